"""Pickles and copies behave as what they were made of, in this process and in others."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from inspect import isclass

import joblib
import models
import numpy as np
import pytest
from models import draw, feeds_of, ints, model
from nets import MLP, RESNET, build

import reflrp
from reflrp import rules
from reflrp.arrays import ZERO
from reflrp.arrays.convert import converter
from reflrp.composites import REGISTRY, preset, presets
from reflrp.engine import Program
from reflrp.errors import Offender
from reflrp.ops.linear import Dense

WAYS = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "oldest pickle": lambda x: pickle.loads(pickle.dumps(x, 2)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


# ---------------------------------------------------------------- graphs and models


OBSERVED = {
    "TopK": model("v, i = TopK(x, k) c = Cast <to = 1>(i) y = Add(v, c)", k=ints(2)),
    "Scatter": model("i = ArgMax <axis = 1>(x) s = ReduceMax <axes = [1]>(x) y = ScatterElements <axis = 1>(x, i, s)"),
    "GridSample": model("y = GridSample(x, g)", "float[N,1,4,4] x, float[N,3,3,2] g", opset=20),
    "GatherElements": model("i = ArgMax <axis = 1>(x) y = GatherElements <axis = 1>(x, i)"),
    "If": model(
        "m = ReduceMax <keepdims = 0>(x) c = Greater(m, z) k = If (c) <then_branch = a () => (int64[1] p) "
        "{ p = Constant <value_ints = [0]>() }, else_branch = b () => (int64[1] q) { q = Constant <value_ints = [1]>() }>"
        " y = Gather <axis = 1>(x, k)",
        z=np.float32(0),
    ),
    "tokens": model("c = Cast <to = 7>(i) e = Gather(w, c) y = ReduceMean <axes = [1]>(e)", "int32[N,T] i", w=(7, 4)),
    "LSTM": model("y = LSTM <hidden_size = 3>(x, w, r)", "float[4,N,2] x", w=(1, 12, 2), r=(1, 12, 3)),
}
CASES = [*models.cases(), *OBSERVED.items()]


@pytest.mark.parametrize("proto", [pytest.param(p, id=k) for k, p in CASES])
def test_graphs_and_models(proto):
    """Every value of the forward pass has the same bits, plumbing included."""
    feeds = {k: v % 7 if v.dtype.kind == "i" else v for k, v in feeds_of(proto).items()}
    original = reflrp.load(proto)
    shapes = {k: v.shape for k, v in feeds.items()}
    graph = original.graph(shapes)
    values = _run(graph, feeds)
    for way in (WAYS["pickle"], WAYS["deepcopy"]):
        for found in (way(graph), way(original).graph(shapes)):
            again = _run(found, feeds)
            assert {k: v.tobytes() for k, v in again.items()} == {k: v.tobytes() for k, v in values.items()}


def _run(graph, feeds):
    convert = converter("numpy", "float64")
    ops = {n.name: n.op.to(convert) for n in graph.nodes}
    inputs = {k: convert(v) for k, v in feeds.items()}
    return {k: np.asarray(v) for k, v in Program(graph, ops, {}).forward(inputs).items()}


@ways
def test_zero_stays_the_one_there_is(way):
    assert way(ZERO) is ZERO
    assert way(Dense(np.ones((2, 2)), ZERO, (1, 2))).b is ZERO


# ---------------------------------------------------------------- rules, composites


@ways
def test_rules(way):
    plain = [r for r in vars(rules).values() if isclass(r) and issubclass(r, rules.Rule)]
    made = [r() for r in plain if r not in (rules.Rule, rules.LinearRule)]
    made += [rules.ZBox(np.zeros((2, 1)), np.ones((2, 1))), rules.Epsilon(stabilizer=rules.Stabilizer(0.1, "clip"))]
    for rule in made:
        assert way(rule) == rule
        assert hash(way(rule)) == hash(rule)


def dialect_composites():
    for library in REGISTRY.dialects:
        module = import_module(f"reflrp.dialects.{library}")
        for name, make in module.COMPOSITES.items():
            yield pytest.param(make, id=f"{library}.{name}")


def with_what_it_needs(make):
    for arguments in ({}, {"low": -1.0, "high": 1.0}, {"rule": "Z"}):
        try:
            return make(**arguments)
        except (TypeError, reflrp.RuleError):
            continue
    return make(alpha=2)


@pytest.mark.parametrize(
    "make", [*(pytest.param(lambda p=p: preset(p), id=p) for p in presets()), *dialect_composites()]
)
def test_composites(make):
    """The same rule stands on each node, with the same fields."""
    composite = reflrp.composites.resolve(with_what_it_needs(make))
    chain = composite.title.startswith("lrp_toolbox")  # which has no rules for anything else
    graph = (
        reflrp.load(build(MLP)).graph({"x": (1, 4)}) if chain else reflrp.load(build(RESNET)).graph({"x": (1, 2, 6, 6)})
    )
    again = pickle.loads(pickle.dumps(composite))
    assert again == composite
    assert repr(again.assign(graph)) == repr(composite.assign(graph))
    assert copy.deepcopy(composite) == composite


def test_a_function_of_the_user_says_so_itself():
    with pytest.raises((pickle.PicklingError, AttributeError), match="pickle"):
        pickle.dumps(reflrp.Explainer(build(RESNET), rules.Epsilon(stabilizer=lambda z: z + 1)))


# ---------------------------------------------------------------- explanations, errors


@ways
def test_explanations(way):
    e = reflrp.explain(build(RESNET), draw(2, 2, 6, 6), layers=True)
    found = way(e)
    assert found == e
    assert way(e.conservation) == e.conservation
    assert found.conservation.totals == e.conservation.totals


@ways
def test_errors(way):
    offenders = (Offender("a", "Foo", "", 1), Offender("b", "Bar", "my", 2, "why"))
    error = reflrp.UnsupportedOperator(offenders)
    error.add_note("a note")
    found = way(error)
    assert type(found) is type(error)
    assert found.nodes == offenders
    assert str(found) == str(error)
    assert found.__notes__ == ["a note"]
    for name in (
        "InputError",
        "ModelError",
        "RuleError",
        "UnassignedNodes",
        "TooLarge",
        "NonFiniteError",
        "ForwardChanged",
    ):
        one = getattr(reflrp, name)("the message")
        assert (type(way(one)), str(way(one))) == (type(one), "the message")


# ---------------------------------------------------------------- explainers, processes


@pytest.fixture(scope="module")
def explainer():
    return reflrp.Explainer(build(RESNET), preset("epsilon_gamma_box", low=-1.0, high=1.0))


@pytest.fixture(scope="module")
def batches():
    return [draw(n, 2, 6, 6, seed=n) for n in (1, 2, 3)]


@ways
def test_explainers(way, explainer, batches):
    """Before and after its first call, for what it keeps."""
    fresh = reflrp.Explainer(explainer.model, explainer.composite)
    for original in (fresh, explainer):
        for x in batches:
            assert way(original)(x) == original(x)
    assert way(explainer.program(batches[0])).rules == explainer.program(batches[0]).rules


def test_a_copy_keeps_nothing_and_shares_nothing(explainer, batches):
    explainer(batches[0])
    found = copy.deepcopy(explainer)
    assert len(found._programs.kept) == len(found.model._graphs) == 0
    assert found.model.source is not explainer.model.source


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_process_pools(method, explainer, batches):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    wanted = [explainer(x) for x in batches]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert_same_bits(list(pool.map(explainer, batches)), wanted)


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_multiprocessing(method, explainer, batches):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    wanted = [explainer(x) for x in batches]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert_same_bits(pool.map(explainer, batches), wanted)


def test_joblib(explainer, batches):
    found = joblib.Parallel(2, backend="loky")(joblib.delayed(explainer)(x) for x in batches)
    assert_same_bits(found, [explainer(x) for x in batches])


def test_an_error_comes_back_from_a_process(explainer):
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        pytest.raises(reflrp.InputError, match="the model expects"),
    ):
        list(pool.map(explainer, [np.zeros((1, 3, 6, 6))]))


def assert_same_bits(found, wanted):
    assert found == wanted
    assert [e.relevance.tobytes() for e in found] == [e.relevance.tobytes() for e in wanted]
