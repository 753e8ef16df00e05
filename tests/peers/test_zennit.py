"""reflrp against zennit 0.5.1, in float64: the same network, the same input, the same names and arguments.

Everything is written once, as a function of the library: `lambda lib: lib.EpsilonPlus(epsilon=1)` is called
with zennit's names and with those of reflrp.dialects.zennit. Limit: 1e-9 of the largest relevance.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import zennit.canonizers
import zennit.composites
import zennit.core
import zennit.rules
import zennit.torchvision
import zennit.types
from peers import zennit_nets as nets
from torch import nn
from torchvision.models import resnet18
from zennit.attribution import Gradient
from zennit.layer import Sum

import reflrp
from reflrp.dialects import zennit as dialect

Make = Callable[[Any], Any]


class ExactMerge(zennit.canonizers.SequentialMergeBatchNorm):
    """zennit's merge of BatchNorm, without the rest that zennit 0.5.1 leaves.

    There the emptied BatchNorm keeps its eps, and divides by sqrt(1 + eps) for ever; 1.0.0 sets eps to 0.
    See test_zennit_keeps_the_eps_of_a_merged_batchnorm.
    """

    @staticmethod
    def merge_batch_norm(modules: Any, batch_norm: Any) -> None:
        zennit.canonizers.SequentialMergeBatchNorm.merge_batch_norm(modules, batch_norm)
        batch_norm.running_var -= batch_norm.eps


class EachReLU(zennit.rules.ReLUBetaSmooth):
    """zennit's BetaSmooth, where a ReLU is called several times: zennit keeps the last input only."""

    def forward(self, module: Any, input: Any, output: Any) -> None:
        self.stored_tensors.setdefault("inputs", []).append(input[0])

    def backward(self, module: Any, grad_input: Any, grad_output: Any) -> Any:
        x = self.stored_tensors["inputs"].pop()
        return (torch.sigmoid(self.beta_smooth * x) * grad_output[0],)


ZENNIT = SimpleNamespace(
    **zennit.rules.__dict__
    | {name: value for name, value in zennit.composites.__dict__.items() if name[0].isupper()}
    | {"layer_map_base": zennit.composites.layer_map_base}
    | {name: value for name, value in zennit.types.__dict__.items() if name[0].isupper()},
)
ZENNIT.Sum = Sum
ZENNIT.ReLU = nn.ReLU
ZENNIT.Stabilizer = zennit.core.Stabilizer
ZENNIT.SequentialMergeBatchNorm = ExactMerge
ZENNIT.array = torch.tensor

REFLRP = SimpleNamespace(**dialect.__dict__)
REFLRP.ReLU = dialect.nn.ReLU
REFLRP.array = np.array

GRADIENTS = ("DeconvNet", "GuidedBackprop")
COMPOSITES = (
    "EpsilonGammaBox",
    "EpsilonPlus",
    "EpsilonPlusFlat",
    "EpsilonAlpha2Beta1",
    "EpsilonAlpha2Beta1Flat",
    "ExcitationBackprop",
    "BetaSmooth",
    *GRADIENTS,
)
BOX = {"low": -3.0, "high": 3.0}
RULES: dict[str, Make] = {
    "Epsilon": lambda lib: lib.Epsilon(),
    "Epsilon(0.25)": lambda lib: lib.Epsilon(epsilon=0.25),
    "Epsilon(0)": lambda lib: lib.Epsilon(epsilon=0.0),
    "Gamma": lambda lib: lib.Gamma(),
    "Gamma(0.5)": lambda lib: lib.Gamma(gamma=0.5, stabilizer=1e-3),
    "Gamma(0)": lambda lib: lib.Gamma(gamma=0.0),
    "AlphaBeta": lambda lib: lib.AlphaBeta(),
    "AlphaBeta(1, 0)": lambda lib: lib.AlphaBeta(alpha=1.0, beta=0.0),
    "AlphaBeta(1.5, 0.5)": lambda lib: lib.AlphaBeta(alpha=1.5, beta=0.5, stabilizer=1e-3),
    "ZPlus": lambda lib: lib.ZPlus(),
    "ZBox(-3, 3)": lambda lib: lib.ZBox(low=-3.0, high=3.0),
    "ZBox(0, 1)": lambda lib: lib.ZBox(low=0.0, high=1.0, stabilizer=1e-3),
    "WSquare": lambda lib: lib.WSquare(),
    "Flat": lambda lib: lib.Flat(),
    "Norm": lambda lib: lib.Norm(),
    "Norm(0.25)": lambda lib: lib.Norm(stabilizer=0.25),
}
# Each takes zero_params, so that all of them are tried with each choice of it.
PARAMETRISED = ("Epsilon", "Gamma", "AlphaBeta", "ZPlus", "WSquare", "Flat")
STABILIZERS: dict[str, Make] = {
    "float": lambda lib: 0.125,
    "int": lambda lib: 1,
    "Stabilizer": lambda lib: lib.Stabilizer(epsilon=0.05),
    "clip": lambda lib: lib.Stabilizer(epsilon=0.25, clip=True),
    "norm_scale": lambda lib: lib.Stabilizer(epsilon=0.25, norm_scale=True),
    "norm_scale, dim": lambda lib: lib.Stabilizer(epsilon=0.25, norm_scale=True, dim=(1,)),
    "clip, norm_scale": lambda lib: lib.Stabilizer(epsilon=0.25, clip=True, norm_scale=True),
    "callable": lambda lib: lambda z: z * 1.125 + 0.0625 * (z >= 0),
}
ARGUMENTS: list[Make] = [
    lambda lib: lib.EpsilonGammaBox(low=-2.0, high=4.0, epsilon=0.125, gamma=0.75, stabilizer=1e-2),
    lambda lib: lib.EpsilonGammaBox(low=channels(lib, -3, -2, -4), high=channels(lib, 2, 4, 3)),
    lambda lib: lib.EpsilonPlus(epsilon=0.125, stabilizer=1e-2),
    lambda lib: lib.EpsilonAlpha2Beta1Flat(epsilon=0.125, stabilizer=1e-2),
    lambda lib: lib.ExcitationBackprop(stabilizer=1e-2),
    lambda lib: lib.BetaSmooth(beta_smooth=2.5),
    lambda lib: lib.EpsilonPlus(layer_map=[(lib.Convolution, lib.Gamma(gamma=0.5))]),
    lambda lib: lib.EpsilonPlus(layer_map=[(lib.AvgPool, lib.Flat()), (lib.Linear, lib.WSquare())]),
    lambda lib: lib.EpsilonPlus(layer_map=[(lib.Sum, lib.Norm(0.25)), (lib.AvgPool, lib.Norm(0.5))]),
    lambda lib: lib.EpsilonPlus(layer_map=[(lib.Activation, lib.ReLUDeconvNet())]),
    lambda lib: lib.EpsilonPlus(layer_map=[(lib.ReLU, lib.ReLUGuidedBackprop())]),
    lambda lib: lib.EpsilonPlus(layer_map=[(lib.ReLU, lib.ReLUBetaSmooth(beta_smooth=3.0))]),
    lambda lib: lib.EpsilonPlusFlat(first_map=[(lib.Linear, lib.WSquare())]),
    lambda lib: lib.EpsilonPlusFlat(first_map=[(lib.Activation, lib.ReLUGuidedBackprop())]),
    lambda lib: lib.EpsilonGammaBox(**BOX, first_map=[(lib.Linear, lib.Flat())], layer_map=[]),
    lambda lib: lib.EpsilonAlpha2Beta1(layer_map=[(lib.Convolution, lib.ZPlus()), (lib.Linear, lib.Norm())]),
    # torch's and zennit's own classes mean the same in both libraries
    lambda lib: lib.LayerMapComposite([((nn.Conv2d, nn.Linear), lib.AlphaBeta(1.0, 0.0)), *lib.layer_map_base(0.25)]),
    lambda lib: lib.LayerMapComposite([(zennit.types.Linear, lib.Epsilon(0.25)), (nn.ReLU, lib.Norm(0.25))]),
    lambda lib: lib.SpecialFirstLayerMapComposite(
        [(nn.Conv2d, lib.ZPlus()), (nn.Linear, lib.Gamma())],
        [(nn.Conv3d, lib.Flat()), (nn.Linear, lib.WSquare()), (nn.ReLU, lib.Pass())],
    ),
    lambda lib: lib.NameMapComposite([(("0",), lib.ZBox(-3.0, 3.0)), (("4.body.0", "10"), lib.Norm(0.25))]),
    lambda lib: lib.NameLayerMapComposite([(("0",), lib.WSquare())], lib.layer_map_base()),
    # the first layer stays taken where another composite has a rule for it
    lambda lib: lib.MixedComposite(
        [
            lib.NameMapComposite([(("0",), lib.ZPlus())]),
            lib.EpsilonPlusFlat(first_map=[(nn.MaxPool2d, lib.Epsilon(0.25))]),
        ]
    ),
]


def channels(lib: Any, *values: float) -> Any:
    """One value for each channel of an image."""
    return lib.array([[[[float(value)]] for value in values]])


def by_zennit(case: nets.Case, composite: Any, start: np.ndarray | None = None) -> np.ndarray:
    """zennit's relevance: 1 at each sample's target, or the given start."""
    start = np.eye(5)[case.target] if start is None else start
    with Gradient(model=case.net, composite=composite) as attributor:
        _, relevance = attributor(case.x, torch.tensor(start))
    return relevance.detach().numpy()


def by_reflrp(case: nets.Case, rules: Any, init: Any = "one") -> np.ndarray:
    """reflrp's relevance of the exported network."""
    answer = reflrp.explain(case.onnx, case.x.numpy(), rules=rules, target=case.target, init=init, dtype="float64")
    return answer.relevance


def assert_close(got: np.ndarray, want: np.ndarray, limit: float = 1e-9) -> None:
    """Largest difference at most `limit` of the largest wanted number, which is neither 0 nor infinite."""
    scale = np.abs(want).max()
    assert np.isfinite(want).all()
    assert scale > 0
    assert got.shape == want.shape
    difference = np.abs(got - want).max()
    assert difference <= limit * scale, f"{difference / scale:.2g} of the largest relevance"


def assert_agree(case: nets.Case, make: Make, limit: float = 1e-9) -> None:
    """Both libraries give the same relevance for one composite."""
    assert_close(by_reflrp(case, make(REFLRP)), by_zennit(case, make(ZENNIT)), limit)


def assert_agree_alone(case: nets.Case, make: Make) -> None:
    """Both give the same relevance for one rule on all linear layers and zennit's base map on the rest."""
    layer_map = [(ZENNIT.Linear, make(ZENNIT)), *zennit.composites.layer_map_base()]
    want = by_zennit(case, zennit.composites.LayerMapComposite(layer_map))
    assert_close(by_reflrp(case, make(REFLRP)), want)


def named(lib: Any, composite: str, **arguments: Any) -> Any:
    """A composite by name, with its box where it needs one."""
    return getattr(lib, composite)(**(BOX if composite == "EpsilonGammaBox" else {}), **arguments)


def merged(lib: Any, composite: str) -> Any:
    """A composite by name that merges BatchNorm into the linear layer before it."""
    return named(lib, composite, canonizers=[lib.SequentialMergeBatchNorm()])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("net", nets.NETS)
def test_composites(net: str, composite: str, seed: int) -> None:
    assert_agree(nets.case(net, seed), lambda lib: named(lib, composite))


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("net", nets.BATCHNORM_NETS)
def test_batchnorm_nodes_pass(net: str, composite: str) -> None:
    assert_agree(nets.case(net, optimize=False), lambda lib: named(lib, composite))


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("net", nets.BATCHNORM_NETS)
def test_batchnorm_nodes_are_merged_on_demand(net: str, composite: str) -> None:
    assert_agree(nets.case(net, optimize=False), lambda lib: merged(lib, composite))


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("net", nets.BATCHNORM_NETS)
def test_batchnorm_merged_as_by_zennit_0_5_1(net: str, composite: str) -> None:
    case = nets.case(net, optimize=False)
    theirs = named(ZENNIT, composite, canonizers=[zennit.canonizers.SequentialMergeBatchNorm()])
    ours = named(REFLRP, composite, canonizers=[REFLRP.SequentialMergeBatchNorm(version="0.5.1")])
    assert_close(by_reflrp(case, ours), by_zennit(case, theirs))


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("net", nets.BATCHNORM_NETS)
def test_batchnorm_merged_by_the_exporter(net: str, composite: str) -> None:
    case = nets.case(net)
    assert_close(by_reflrp(case, named(REFLRP, composite)), by_zennit(case, merged(ZENNIT, composite)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("net", ["vgg", "resnet", "conv1d", "transposed", "activations", "mlp"])
def test_rules_alone(net: str, rule: str) -> None:
    assert_agree_alone(nets.case(net), RULES[rule])


@pytest.mark.parametrize("zero_params", ["bias", ["bias"], "weight", ["weight", "bias"], ["other"]], ids=str)
@pytest.mark.parametrize("rule", PARAMETRISED)
def test_zero_params_of_rules(rule: str, zero_params: Any) -> None:
    assert_agree_alone(nets.case("skips"), lambda lib: getattr(lib, rule)(zero_params=zero_params))


@pytest.mark.parametrize("zero_params", ["bias", "weight"])
@pytest.mark.parametrize("composite", [name for name in COMPOSITES if name not in GRADIENTS])
def test_zero_params_of_composites(composite: str, zero_params: str) -> None:
    net = {"bias": "resnet", "weight": "skips"}[zero_params]
    assert_agree(nets.case(net), lambda lib: named(lib, composite, zero_params=zero_params))


@pytest.mark.parametrize("stabilizer", STABILIZERS)
@pytest.mark.parametrize("rule", [*PARAMETRISED, "ZBox", "Norm"])
def test_stabilizers_of_rules(rule: str, stabilizer: str) -> None:
    make = STABILIZERS[stabilizer]
    name = "epsilon" if rule == "Epsilon" else "stabilizer"
    box = BOX if rule == "ZBox" else {}
    assert_agree_alone(nets.case("conv2d"), lambda lib: getattr(lib, rule)(**{name: make(lib)}, **box))


@pytest.mark.parametrize("stabilizer", STABILIZERS)
@pytest.mark.parametrize("net", ["resnet", "pools"])
def test_stabilizers_of_composites(net: str, stabilizer: str) -> None:
    make = STABILIZERS[stabilizer]
    assert_agree(nets.case(net), lambda lib: lib.EpsilonPlusFlat(epsilon=make(lib), stabilizer=make(lib)))


@pytest.mark.parametrize("make", ARGUMENTS)
@pytest.mark.parametrize("net", ["resnet", "vgg"])
def test_arguments_of_composites(net: str, make: Make) -> None:
    assert_agree(nets.case(net), make)


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("activation", [*nets.ACTIVATIONS, *nets.ROUNDED_ACTIVATIONS])
def test_activations(activation: str, composite: str) -> None:
    limit = 1e-9 if activation in nets.ACTIVATIONS else 1e-6
    assert_agree(nets.activation_case(activation), lambda lib: named(lib, composite), limit)


@pytest.mark.parametrize("composite", ["ExcitationBackprop", *GRADIENTS])
@pytest.mark.parametrize("activation", nets.SEVERED_ACTIVATIONS)
def test_gradients_of_severed_activations(activation: str, composite: str) -> None:
    assert_agree(nets.activation_case(activation), lambda lib: named(lib, composite))


@pytest.mark.parametrize("composite", ["EpsilonPlus", "GuidedBackprop"])
@pytest.mark.parametrize("function", nets.UNHOOKED)
def test_unhooked_functions_let_the_gradient_through(function: str, composite: str) -> None:
    assert_agree(nets.unhooked_case(function), lambda lib: named(lib, composite))


@pytest.mark.parametrize("composite", ["EpsilonPlus"])
@pytest.mark.parametrize("arithmetic", nets.ARITHMETIC)
@pytest.mark.parametrize("layer", nets.LAYERS)
def test_arithmetic_behind_a_layer_is_no_part_of_it(layer: str, arithmetic: str, composite: str) -> None:
    """Whatever is added to a layer or scales it has no hook in zennit, also where it could be taken for its bias."""
    assert_agree(nets.affine_case(layer, arithmetic), lambda lib: named(lib, composite))


@pytest.mark.parametrize("composite", ["EpsilonPlusFlat", "EpsilonGammaBox", "DeconvNet"])
def test_starts(composite: str) -> None:
    case = nets.case("resnet")
    ours, theirs = named(REFLRP, composite), named(ZENNIT, composite)
    start = np.random.default_rng(0).standard_normal((3, 5))
    assert_close(by_reflrp(case, ours, start), by_zennit(case, theirs, start))
    outputs = case.net(case.x).detach().numpy() * np.eye(5)[case.target]
    assert_close(by_reflrp(case, ours, "output"), by_zennit(case, theirs, outputs))


@pytest.fixture(scope="module")
def torchvision_resnet() -> nets.Case:
    """torchvision's ResNet-18 on small images, and its export with the BatchNormalization nodes kept."""
    torch.manual_seed(0)
    net = nets.randomised(resnet18(num_classes=5).double().eval())
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # else zennit's BetaSmooth looks at the output for the input
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    return nets.Case(net, x, [3, 1], nets.exported(net, x, optimize=False))


def resnet_composite(composite: str) -> Any:
    """A composite of zennit's with its ResNetCanonizer, the merge being exact."""
    _, *sums = zennit.torchvision.ResNetCanonizer().canonizers
    canonizers = [ExactMerge(), *sums]
    if composite == "BetaSmooth":
        return zennit.composites.LayerMapComposite([(nn.ReLU, EachReLU())], canonizers)
    return named(ZENNIT, composite, canonizers=canonizers)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_torchvision_resnet(torchvision_resnet: nets.Case, composite: str) -> None:
    want = by_zennit(torchvision_resnet, resnet_composite(composite))
    assert_close(by_reflrp(torchvision_resnet, merged(REFLRP, composite)), want)


@torch.no_grad()
def test_zennit_keeps_the_eps_of_a_merged_batchnorm(torchvision_resnet: nets.Case) -> None:
    """Why ExactMerge: with zennit 0.5.1's own merge the network itself computes something else."""
    net, x = torchvision_resnet.net, torchvision_resnet.x
    plain = net(x)
    with zennit.core.Composite(canonizers=[ExactMerge()]).context(net):
        exact = net(x)
    with zennit.core.Composite(canonizers=[zennit.canonizers.SequentialMergeBatchNorm()]).context(net):
        inexact = net(x)
    scale = plain.abs().max()
    assert (exact - plain).abs().max() / scale < 1e-12
    assert 1e-6 < (inexact - plain).abs().max() / scale < 1e-3
