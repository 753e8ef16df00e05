"""reflrp against iNNvestigate 2.1.2 and SignXAI2 0.14.1: the same network, the same input, the same names and arguments.

The libraries answered beforehand, where TensorFlow is installed (`keras_peers/answer.py`, run by `make peers-tf`); each case
is written once, as a function of the library (`keras_peers/cases.py`). The networks are Keras models, exported by tf2onnx.
Limit: 1e-9 of the largest relevance, and 1e-5 where SignXAI adds in float32.
"""

import os
import pickle
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from peers.keras_peers import cases, nets

import reflrp
from reflrp.composites import Composite
from reflrp.conformance import Report, run
from reflrp.conformance.libraries import WRITTEN, written
from reflrp.dialects import innvestigate, signxai
from reflrp.dialects.keras import KerasModel

FOLDER = Path(os.environ.get("KERAS_ANSWERS", Path(__file__).parents[2] / ".venv-peers-tf" / "answers"))
if not FOLDER.is_dir():
    pytest.skip("iNNvestigate and SignXAI have not answered: run `make peers-tf`", allow_module_level=True)

DIALECTS = {"innvestigate": innvestigate, "signxai": signxai}
NETS = tuple(nets.NETS)
PLANNED = [(library, *each) for library in DIALECTS for each in cases.plan(library, NETS, bool(os.environ.get("ALL")))]


@cache
def network(net: str) -> Any:
    """The Keras model's description, the ONNX file, the input, the output."""
    data = pickle.loads((FOLDER / f"{net}.pickle").read_bytes())
    description = KerasModel.of({"config": data["config"], "weights": data["weights"]})
    return SimpleNamespace(model=description, onnx=reflrp.load(FOLDER / f"{net}.onnx"), x=data["x"], y=data["y"])


@cache
def answers(library: str, net: str) -> dict[str, Any]:
    """What a library answered, or what it raised, as a text."""
    found: dict[str, Any] = pickle.loads((FOLDER / f"{library}-{net}.pickle").read_bytes())
    return found


def named(dialect: Any, **more: Any) -> Any:
    """A dialect whose analyzers and rules have some arguments, where they know them."""
    lib = SimpleNamespace(**{name: getattr(dialect, name) for name in dialect.__all__})

    def made(rule: Any, **arguments: Any) -> Any:
        if not arguments:
            return rule
        released = {f.name for f in fields(rule)} & {"as_released"} & set(more)
        return rule(**arguments, **{k: more[k] for k in released})

    def bound(kind: Any) -> Any:
        known = more if "DeepTaylor" not in kind.__name__ else {k: v for k, v in more.items() if k != "as_released"}

        def begin(self: Any, model: Any = None, *args: Any, **arguments: Any) -> None:
            kind.__init__(self, model, *args, **{**known, **arguments})

        return type(kind.__name__, (kind,), {"__init__": begin})

    for name, value in list(vars(lib).items()):
        if isinstance(value, type) and issubclass(value, Composite):
            setattr(lib, name, bound(value))
    if hasattr(lib, "LRPRuleUntilIndex"):
        lib.LRPRuleUntilIndex = partial(lib.LRPRuleUntilIndex, **more)
    lib.made = made
    return lib


INDEX = {"index": 4, "list": [1, 0, 3]}


def answered(library: str, net: str, title: str, mode: str, as_released: bool = True) -> np.ndarray:
    """The dialect's relevance."""
    known, x = network(net), network(net).x[: cases.samples(library, net)]
    if library == "innvestigate":
        way = "index" if mode == "list" else mode
        lib = named(innvestigate, as_released=as_released, neuron_selection_mode=way, disable_model_checks=True)
        found = cases.INNVESTIGATE[title](lib, known.model).analyze(known.onnx, x, INDEX.get(mode))
    else:
        lib = named(signxai, as_released=as_released)
        found = cases.SIGNXAI[title](lib, known.model).analyze(known.onnx, x, INDEX.get(mode, mode))
    assert isinstance(found, np.ndarray)
    return found


@pytest.mark.parametrize("net", NETS)
def test_networks_are_what_keras_computes(net: str) -> None:
    known = network(net)
    (y,) = known.onnx.run({"x": known.x}).values()
    assert np.abs(y - known.y).max() <= 1e-12 * np.abs(known.y).max()


UPSTREAM: dict[str, dict[str, Any]] = {
    "innvestigate_bias": {"alpha 1, beta 0": [-1e7, 0], "alpha 2, beta 1": [-2e7, 0.5]},
    "innvestigate_batchnorm": {"LRPZ": [2.4], "formula": [3]},
    "innvestigate_added_to_itself": {"LRPZ": [4], "formula": [2]},
    "innvestigate_zero_sum": {"LRPZ": [1e7, -1e7]},
    "innvestigate_groups": {"LRPZ": [0, 8], "LRPFlat": "InvalidArgumentError", "LRPWSquare": "InvalidArgumentError"},
    "innvestigate_layer_norm": {"LRPZ": "InvalidArgumentError", "TensorFlow": [0, 0]},
    "innvestigate_equal_maxima": {"GlobalMaxPooling2D": [0.5, 0.5], "MaxPooling2D": [1, 0]},
    "innvestigate_by_hand": {
        "a sum of 0": [1e7, -1e7],
        "x + x": [4],
        "equal maxima": [0.5, 0.5],
        "a rule for Dense alone": [0, 2],
        "low above high": [0, 2],
    },
    "signxai_bounded": {"BoundedRule": [0, 0], "formula": [1.6, 0.4]},
    "signxai_gamma": {"gamma 0.25": [-1.2, 0.3], "gamma 1.0": [0, 0], "formula, gamma 0.25": [5 / 2.75, -2 / 2.75]},
    "signxai_alpha_beta_x": {"AlphaBetaX1000Rule": "TypeError: '<' not supported"},
    "signxai_batchnorm_batch": {"one": [3], "two": "ValueError: Cannot merge tensors with different batch sizes"},
    "signxai_permute": {"LRPZ": [0, 3, 0, 0], "formula": [0, 0, 3, 0]},
    "signxai_by_hand": {
        "a sum of 0": [1e7, -1e7],
        "x + x": [4],
        "equal maxima": [0.5, 0.5],
        "a rule for Dense alone": [1, 2],
        "low above high": [0, 0],
        "gamma -1": [-3.2, 0.8],
    },
}
"""What the pages in docs/bugs say that the scripts of conformance/upstream give, and what the profiles say by hand."""


@pytest.mark.parametrize("name", UPSTREAM)
def test_libraries_alone_give_what_the_pages_say(name: str) -> None:
    got = pickle.loads((FOLDER / f"{name}.pickle").read_bytes())
    for key, wanted in UPSTREAM[name].items():
        if isinstance(wanted, str):
            assert got[key].startswith(wanted), key
        else:
            assert np.allclose(got[key], wanted, rtol=1e-7, atol=1e-9), key


@pytest.mark.parametrize("library", WRITTEN)
def test_reports_are_what_the_library_answers(library: str) -> None:
    """On a sample of the vectors; what is named by several readings together takes too long here, and is left as it is."""
    kept = Report.load(Path(__file__).parents[2] / "conformance" / "reports" / f"{library}.json")
    want = {row.case: row for row in kept.rows}
    folder = FOLDER / "vectors" / library
    ids = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.*")]
    found = run(written(folder), ids)
    assert len(ids) > 70
    assert (found.library, found.version) == (kept.library, kept.version)
    for row in found.rows:
        named = {"FAIL": ("VARIANT", "DEVIATES")}.get(row.verdict, (row.verdict,))
        assert want[row.case].verdict in named, row
        if row.verdict == "FAIL":
            assert float(f"{row.error:.2g}") == want[row.case].error, row


@cache
def living(library: str) -> dict[tuple[str, str], Any]:
    """What was read from a library's living analyzers, or why it was not, by network and title."""
    found: dict[tuple[str, str], Any] = pickle.loads((FOLDER / f"{library}-living.pickle").read_bytes())
    return found


@pytest.mark.parametrize(("library", "net", "title"), [each[:3] for each in PLANNED if each[3] == "index"])
def test_living_analyzers(library: str, net: str, title: str) -> None:
    """What an analyzer of the library is read as answers as the dialect's own of that name."""
    want, known = answers(library, net)[f"{title}|index"], network(net)
    if isinstance(want, str):
        assert want.startswith(cases.raises(library, net, title)), want
        return
    if (library, net) == ("signxai", "embedding"):
        return
    ours = living(library).get((net, title), "not read")
    try:
        assert not isinstance(ours, str), ours
        got = ours.analyze(known.onnx, known.x[: cases.samples(library, net)], INDEX["index"])
    except reflrp.ReflrpError as error:
        refused = cases.refused(library, net, title, "index")
        if not refused or refused not in str(error):
            raise
        return
    assert np.array_equal(got, answered(library, net, title, "index")) or (
        np.abs(got - want).max() <= (1e-9 if want.dtype == np.float64 else 1e-5) * np.abs(want).max()
    )


@pytest.mark.parametrize(("library", "net", "title", "mode"), PLANNED)
def test_relevance(library: str, net: str, title: str, mode: str) -> None:
    want = answers(library, net)[f"{title}|{mode}"]
    if isinstance(want, str):
        assert want.startswith(cases.raises(library, net, title)), want
        return
    if (library, net) == ("signxai", "embedding"):  # it knows no Embedding, and returns the input
        assert np.array_equal(want, network(net).x)
        return
    try:
        got = answered(library, net, title, mode)
    except reflrp.ReflrpError as error:
        refused = cases.refused(library, net, title, mode)
        if not refused or refused not in str(error):
            raise
        return
    scale = np.abs(want).max()
    assert np.isfinite(want).all()
    assert got.shape == want.shape
    if cases.vanishes(library, title) and not got.any():
        assert scale <= 1e-6 * np.abs(network(net).y).max()
        return
    rounding = 1e-15 * np.abs(network(net).y).max()
    if scale <= rounding:  # what a Softmax hands on sums to 0, and Flat hands on its sum
        assert np.abs(got).max() <= rounding
        return
    limit = 1e-9 if want.dtype == np.float64 else 1e-5
    difference = np.abs(got - want).max()
    assert difference <= limit * scale, f"{difference / scale:.2g} of the largest relevance"
