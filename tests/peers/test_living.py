"""Composites of zennit itself, read by reflrp.dialects.zennit.composite, against zennit. Limit: 1e-9 of the largest relevance."""

import copy
import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import zennit
from peers import living_nets as nets
from torch import nn
from zennit import canonizers, composites, core, rules, torchvision, types
from zennit.attribution import Gradient
from zennit.layer import Sum

import reflrp
from reflrp.dialects import zennit as dialect
from reflrp.dialects.zennit import composite as read

MERGE = canonizers.SequentialMergeBatchNorm.merge_batch_norm


@pytest.fixture(autouse=True)
def _exact_merge() -> Iterator[None]:
    """zennit's merge of BatchNorm as in 1.0.0: 0.5.1 leaves an eps behind (see test_zennit)."""

    def exact(modules: Any, batch_norm: Any) -> None:
        MERGE(modules, batch_norm)
        batch_norm.running_var -= batch_norm.eps

    old = [patch.object(canonizers.MergeBatchNorm, "merge_batch_norm", staticmethod(exact))]
    with patch.object(nets.nets.Add, "forward", nets.stacked), old[0]:
        yield


class Mine(composites.LayerMapComposite):
    """A composite of a user's own: what it says of a module is asked of it."""

    def __init__(self) -> None:
        super().__init__(composites.layer_map_base())

    def mapping(self, ctx: Any, name: str, module: nn.Module) -> Any:
        if isinstance(module, types.Linear):
            ctx["seen"] = ctx.get("seen", 0) + 1
            return rules.Gamma(0.5 / ctx["seen"])
        return super().mapping(ctx, name, module)


BASE = composites.layer_map_base(0.25)
STABILIZER = core.Stabilizer(0.25, clip=True, norm_scale=True)
COMPOSITES: dict[str, Callable[[], Any]] = {
    "EpsilonGammaBox": lambda: composites.EpsilonGammaBox(low=-3.0, high=torch.full((1, 1), 3.0).double()),
    "EpsilonPlus": lambda: composites.EpsilonPlus(epsilon=0.25, stabilizer=STABILIZER, zero_params="bias"),
    "EpsilonPlusFlat": composites.EpsilonPlusFlat,
    "EpsilonAlpha2Beta1Flat": lambda: composites.EpsilonAlpha2Beta1Flat(zero_params=["bias"]),
    "ExcitationBackprop": composites.ExcitationBackprop,
    "DeconvNet": composites.DeconvNet,
    "GuidedBackprop": composites.GuidedBackprop,
    "layers": lambda: composites.LayerMapComposite([(types.Linear, rules.AlphaBeta(1.5, 0.5, 0.25)), *BASE]),
    "first": lambda: composites.SpecialFirstLayerMapComposite(
        [(types.Linear, rules.Epsilon(0.25)), *BASE], [(types.Linear, rules.WSquare(zero_params=["bias"]))]
    ),
    "mixed": lambda: composites.MixedComposite(
        [
            composites.NameMapComposite([(("0", "fc", "first"), rules.Flat())]),
            composites.EpsilonPlusFlat(first_map=[(types.Linear, rules.WSquare(0.25))]),
        ]
    ),
    "names and layers": lambda: composites.NameLayerMapComposite(
        [(("0", "second", "blocks.0.0"), rules.Epsilon(0.5))],
        [(types.Linear, rules.Norm(0.25)), (Sum, rules.Norm(0.5))],
    ),
    "mine": Mine,
}
REFUSED = {
    ("skips", "mixed"): r"'0' \(Residual\) has the rule .* is more than one operator",
    ("skips", "names and layers"): r"'0' \(Residual\) has the rule .* is more than one operator",
    ("norm_first", "mixed"): "is of kind diagonal, but Flat serves",
    ("norm_then_conv", "mixed"): "is of kind diagonal, but Flat serves",
}
"""A rule on a block, and Flat on a BatchNorm, which zennit takes."""
MERGED = ("EpsilonPlusFlat", "EpsilonAlpha2Beta1Flat", "layers", "mine")


def by_zennit(case: Any, theirs: Any) -> np.ndarray:
    with Gradient(model=copy.deepcopy(case.net), composite=theirs) as attributor:
        return attributor(case.x, torch.tensor(np.eye(5)[case.target]))[1].detach().numpy()  # type: ignore[no-any-return]


def by_reflrp(case: Any, theirs: Any) -> np.ndarray:
    ours = read(theirs, case.onnx, case.net)
    e = reflrp.explain(case.onnx, case.x.numpy(), rules=ours, target=case.target, init="one", strip=False)
    return e.relevance


def assert_agree(case: Any, make: Callable[[], Any]) -> None:
    want = by_zennit(case, make())
    assert np.abs(want).max() > 0
    assert np.abs(by_reflrp(case, make()) - want).max() <= 1e-9 * np.abs(want).max()


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("net", [n for n in nets.NETS if n != "torchvision"])
def test_composites(net: str, composite: str) -> None:
    refused = REFUSED.get((net, composite))
    if refused:
        with pytest.raises(reflrp.RuleError, match=refused):
            by_reflrp(nets.case(net, "export"), COMPOSITES[composite]())
        return
    assert_agree(nets.case(net, "export"), COMPOSITES[composite])


@pytest.mark.parametrize("composite", ["EpsilonGammaBox", "mixed", "mine"])
@pytest.mark.parametrize(
    "net", [n for n in nets.NETS if n not in ("torchvision", "skips", "norm_first", "norm_then_conv")]
)
def test_files_by_the_older_exporter(net: str, composite: str) -> None:
    assert_agree(nets.case(net, "trace"), COMPOSITES[composite])


@pytest.mark.parametrize("exporter", nets.EXPORTERS)
@pytest.mark.parametrize("composite", MERGED)
@pytest.mark.parametrize("net", ["vgg_bn", "resnet_bn", "norm_first", "norm_then_conv"])
def test_merged_batchnorm(net: str, composite: str, exporter: str) -> None:
    def make() -> Any:
        made = COMPOSITES[composite]()
        made.canonizers = [canonizers.SequentialMergeBatchNorm()]
        return made

    assert_agree(nets.case(net, exporter), make)


@pytest.mark.parametrize("exporter", nets.EXPORTERS)
@pytest.mark.parametrize("composite", MERGED)
@pytest.mark.parametrize("net", ["vgg_bn", "resnet_bn"])
def test_what_zennit_051_merges(net: str, composite: str, exporter: str) -> None:
    """Its eps that stays: the version is observed on the library's own merge."""
    case, theirs = nets.case(net, exporter), COMPOSITES[composite]()
    theirs.canonizers = [canonizers.SequentialMergeBatchNorm()]
    exact = by_reflrp(case, theirs)
    with patch.object(canonizers.MergeBatchNorm, "merge_batch_norm", staticmethod(MERGE)):
        want, got = by_zennit(case, theirs), by_reflrp(case, theirs)
        ours = read(theirs, case.onnx, case.net)
        back = by_zennit(case, dialect.to_zennit(ours, case.onnx, case.net, zennit))
    assert ours.canonize == ("part_bias", "merge_batchnorm_0_5_1")
    assert np.abs(got - want).max() <= 1e-9 * np.abs(want).max()
    assert np.abs(back - want).max() <= 1e-9 * np.abs(want).max()
    assert 1e-7 < np.abs(exact - want).max() / np.abs(want).max() < 1e-2
    with pytest.raises(reflrp.RuleError, match="and this zennit does not"):
        dialect.to_zennit(ours, case.onnx, case.net, zennit)


def test_what_the_file_has_merged_is_not_divided(tmp_path: Path) -> None:
    """zennit 0.5.1 divides by sqrt(1 + eps) at a BatchNorm that the file no more has: the notes name it."""
    case, theirs = nets.case("vgg_bn", "trace"), composites.EpsilonPlus()
    theirs.canonizers = [canonizers.SequentialMergeBatchNorm()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(case.net, (case.x,), tmp_path / "m.onnx", dynamo=False)
    with patch.object(canonizers.MergeBatchNorm, "merge_batch_norm", staticmethod(MERGE)):
        notes = [
            " ".join(reflrp.explain(file, case.x.numpy(), read(theirs, file, case.net), init="one", strip=False).notes)
            for file in (case.onnx, tmp_path / "m.onnx")
        ]
    assert ["merged in the file already" in note for note in notes] == [False, True]


def test_a_merge_of_a_users_own() -> None:
    class Own(canonizers.SequentialMergeBatchNorm):
        @staticmethod
        def merge_batch_norm(modules: Any, batch_norm: Any) -> None:
            MERGE(modules, batch_norm)
            batch_norm.running_var *= 2

    Own.__module__ = "zennit.canonizers"
    Own.__name__ = "SequentialMergeBatchNorm"
    case = nets.case("vgg_bn", "export")
    with pytest.raises(reflrp.RuleError, match=r"neither what zennit 1\.0\.0 nor what 0\.5\.1 leaves"):
        read(composites.EpsilonPlus(canonizers=[Own()]), case.onnx, case.net)


@pytest.mark.parametrize("exporter", nets.EXPORTERS)
@pytest.mark.parametrize("composite", ["EpsilonPlusFlat", "EpsilonGammaBox", "ExcitationBackprop"])
def test_torchvision(composite: str, exporter: str) -> None:
    def make() -> Any:
        box = {"low": -3.0, "high": 3.0} if composite == "EpsilonGammaBox" else {}
        return getattr(composites, composite)(**box, canonizers=[torchvision.ResNetCanonizer()])

    case = nets.case("torchvision", exporter)
    before = {k: id(v) for k, v in case.net.named_parameters()}
    modules = [name for name, _ in case.net.named_modules()]
    assert_agree(case, make)
    assert before == {k: id(v) for k, v in case.net.named_parameters()}
    assert modules == [name for name, _ in case.net.named_modules()], "the network is left as it is"


BACK = {
    "EpsilonGammaBox": dialect.EpsilonGammaBox(low=-3.0, high=np.full((1, 1), 3.0)),
    "EpsilonPlusFlat": dialect.EpsilonPlusFlat(
        epsilon=dialect.Stabilizer(0.25, clip=True), canonizers=[dialect.SequentialMergeBatchNorm()]
    ),
    "EpsilonAlpha2Beta1": dialect.EpsilonAlpha2Beta1(zero_params=["bias"]),
    "a rule": dialect.Gamma(0.5),
    "GuidedBackprop": "zennit.GuidedBackprop",
}


@pytest.mark.parametrize("rules", BACK)
@pytest.mark.parametrize("net", ["vgg", "resnet_bn", "conv1d", "transposed", "branches", "activations", "order"])
def test_and_back(net: str, rules: str) -> None:
    case = nets.case(net, "export")
    theirs = dialect.to_zennit(BACK[rules], case.onnx, case.net, zennit)
    want = reflrp.explain(case.onnx, case.x.numpy(), rules=BACK[rules], target=case.target, init="one", strip=False)
    got = by_zennit(case, theirs)
    assert np.abs(got - want.relevance).max() <= 1e-9 * np.abs(got).max()


def test_what_zennit_cannot_do() -> None:
    case = nets.case("twice", "export")
    with pytest.raises(reflrp.RuleError, match=r"has the rule Pass\(\), but is no module"):
        dialect.to_zennit("zennit.EpsilonPlus", case.onnx, case.net, zennit)
    with pytest.raises(reflrp.RuleError, match="zennit has no rule that is exactly"):
        dialect.to_zennit("epsilon_plus", case.onnx, case.net, zennit)
    with pytest.raises(reflrp.RuleError, match="zennit itself"):
        dialect.to_zennit("zennit.EpsilonPlus", case.onnx, case.net, np)
    plus = nets.case("resnet_plus", "export")
    with pytest.raises(reflrp.RuleError, match=r"make the sum a zennit.layer.Sum"):
        dialect.to_zennit("zennit.EpsilonPlus", plus.onnx, plus.net, zennit)


def bordered(optimize: bool, *layers: nn.Module) -> nets.nets.Case:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that "same" of an even kernel is slow
        size = nn.Sequential(*layers)(torch.zeros(1, 2, 6, 7)).numel()
    return nets.nets.made(lambda: nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, 5)), (2, 6, 7), 0, optimize)


COUNTING: dict[str, tuple[Any, ...]] = {"WSquare": (), "Flat": (), "ZBox": (-3.0, 3.0)}
BORDERS: dict[str, tuple[Callable[[], tuple[nn.Module, ...]], bool, str]] = {
    "same, merged": (lambda: (nn.Conv2d(2, 5, 4, padding="same"),), True, ""),
    "same, a node": (lambda: (nn.Conv2d(2, 5, 4, padding="same"),), False, "whose zeros would count as inputs"),
    "dilated": (lambda: (nn.Conv2d(2, 5, (2, 3), padding="same", dilation=(3, 2)),), True, ""),
    "a module, merged": (lambda: (nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(2, 5, 3)), True, "would not count as inputs"),
    "both, merged": (lambda: (nn.ZeroPad2d(1), nn.Conv2d(2, 5, 3, padding=1)), True, "would not count as inputs"),
    "a module, a node": (lambda: (nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(2, 5, 3)), False, ""),
    "reflected": (lambda: (nn.Conv2d(2, 5, 4, padding="same", padding_mode="reflect"),), True, ""),
    "circular": (lambda: (nn.Conv2d(2, 5, 3, padding=1, padding_mode="circular"),), True, ""),
    "transposed": (lambda: (nn.ConvTranspose2d(2, 5, 3, 2, padding=1, output_padding=1),), True, ""),
}


@pytest.mark.parametrize("rule", COUNTING)
@pytest.mark.parametrize("border", BORDERS)
def test_borders(border: str, rule: str) -> None:
    """Rules that count inputs of 0 need the border in the file that the module has: else they are refused, both ways."""
    layers, optimize, refused = BORDERS[border]
    case = bordered(optimize, *layers())
    ours = dialect.LayerMapComposite([(dialect.Convolution, getattr(dialect, rule)(*COUNTING[rule]))])

    def make() -> Any:
        return composites.LayerMapComposite([(types.Convolution, getattr(rules, rule)(*COUNTING[rule]))])

    if refused:
        for read_or_write in (read, functools.partial(dialect.to_zennit, library=zennit)):
            with pytest.raises(reflrp.RuleError, match=refused):
                read_or_write(make() if read_or_write is read else ours, case.onnx, case.net)
        assert_agree(case, composites.EpsilonPlus)
    else:
        assert_agree(case, make)
        theirs = dialect.to_zennit(ours, case.onnx, case.net, zennit)
        assert_agree(case, lambda: theirs)
