"""The engine: batches, known structure, array libraries, memory, and what it says of numbers that are none."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import Library
from models import draw, model
from nets import NETS, build, net

import reflrp
from reflrp.composites import Composite, first, kind, presets, uniform
from reflrp.engine import prepare
from reflrp.engine.gated import gated_values
from reflrp.errors import InputError, NonFiniteError
from reflrp.ground.caches import Cache
from reflrp.ops.linear import LinearMap
from reflrp.rules import Epsilon, Flat, Gamma, GuidedBackprop, Sign, StdxEpsilon, WSquare, ZBox, ZPlus

PRESETS = [name for name in presets() if name != "until_index"]
CASES = [(name, rules) for name in NETS for rules in PRESETS]


@pytest.mark.parametrize(("name", "rules"), CASES)
def test_samples_do_not_meet(name, rules):
    """Explaining a batch is explaining each sample; cutting it changes nothing either."""
    model, x = net(name)
    explainer = reflrp.Explainer(model, rules)
    together = explainer(x)
    scale = np.abs(together.relevance).max()
    apart = np.concatenate([explainer(x[i : i + 1]).relevance for i in range(3)])
    assert np.abs(together.relevance - apart).max() <= 1e-13 * scale
    cut = reflrp.Explainer(model, rules, batch_size=2)(x)
    assert np.abs(together.relevance - cut.relevance).max() <= 1e-13 * scale
    assert cut.target == together.target
    for one, two in zip(together.conservation.rows, cut.conservation.rows, strict=True):
        assert one.node == two.node
        assert np.isclose(one.bias, two.bias, atol=1e-13 * one.flow)


@pytest.mark.parametrize(("name", "rules"), CASES)
def test_known_structure_saves_work_only(name, rules):
    """Relevance with what is known of signs (positive, gated) is the relevance without, to the last bit."""
    model, x = net(name)
    program = reflrp.Explainer(model, rules).program(x)
    naive = {
        node: replace(op, positive=False, gated=False, derived=Cache()) if isinstance(op, LinearMap) else op
        for node, op in program.ops.items()
    }
    assert any(isinstance(op, LinearMap) and op.positive for op in program.ops.values())
    found = []
    for version in (program, replace(program, ops=naive)):
        values = version.forward({"x": x})
        R = {"y": values["y"]}
        found.append(version.backward(values, R, lambda name: True)[0])
    assert found[0].keys() == found[1].keys()
    for value in found[0]:
        assert np.array_equal(found[0][value], found[1][value]), value


@pytest.mark.parametrize(
    ("below", "gated"),
    [(Epsilon(), True), (Gamma(), True), (ZPlus(), True), (StdxEpsilon(), True)]
    + [(rule, False) for rule in (Flat(), WSquare(), ZBox(), Sign())],
)
def test_where_relevance_vanishes_behind_a_rectifier(below, gated):
    """Only if the layer behind it gives relevance that is a multiple of its input."""
    model, x = net("mlp")
    composite = Composite(((first(), Gamma(generalized=True)), (kind("dense"), below), *uniform(below).pairs))
    program = reflrp.Explainer(model, composite).program(x)
    assert gated_values(program.graph, program.rules) == ({"h"} if gated else set())


def test_other_rules_on_the_rectifier_gate_nothing():
    model, x = net("mlp")
    composite = Composite(((kind("pointwise"), GuidedBackprop()), *uniform(Epsilon()).pairs))
    program = reflrp.Explainer(model, composite).program(x)
    assert not gated_values(program.graph, program.rules)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rules", ["epsilon_plus_flat", "epsilon_gamma_box", "epsilon_alpha2_beta1", "gradient"])
def test_networks_on_every_array_library(xp: Library, name, rules):
    model, x = net(name)
    plain = reflrp.Explainer(model, rules)
    wanted, program = plain(x), plain.program(x)
    program = prepare(program.graph, program.rules, lambda a: xp.array(np.asarray(a, dtype=float)))
    values = program.forward({"x": xp.array(x)})
    seed = np.zeros((3, *wanted.output.shape[1:]))
    for n, index in enumerate(wanted.target):
        seed[(n, *index)] = wanted.output[(n, *index)]
    found, _ = program.backward(values, {"y": xp.array(seed)}, lambda name: False)
    assert np.allclose(xp.host(found["x"]), wanted.relevance, rtol=0, atol=1e-13 * np.abs(wanted.relevance).max())


def test_forward_keeps_only_what_is_needed():
    model, x = net("resnet")
    program = reflrp.Explainer(model).program(x)
    assert set(program.forward({"x": x}, keep=False)) <= {"x", "y"}
    values = program.forward({"x": x})
    program.backward(values, {"y": values["y"]}, lambda name: False)
    assert set(values) == {"x"}


def test_float32_stays_float32():
    model, x = net("inception")
    half, full = (reflrp.explain(model, x, dtype=d) for d in ("float32", "float64"))
    assert half.relevance.dtype == half.output.dtype == np.float32
    assert np.allclose(half.relevance, full.relevance, atol=4e-6 * np.abs(full.relevance).max())


def test_negation_keeps_the_precision():
    """Neg has a parameter of its own, -1, which is converted as all are."""
    model = build("net (float[N, 2] x) => (float[N, 2] y) { y = Neg(x) }")
    assert reflrp.explain(model, np.ones((1, 2)), dtype="float32").relevance.dtype == np.float32


@pytest.mark.parametrize(("argument", "value"), [("dtype", "float16"), ("backend", "tpu")])
def test_unknown_settings(argument, value):
    with pytest.raises(InputError, match=f"{argument}='{value}' is unknown"):
        reflrp.Explainer(net("mlp")[0], **{argument: value})


def test_nan_names_its_node():
    text = "net (float[N, 2] x) => (float[N, 2] y) <float[2, 2] w> { [log] l = Log(x) [out] y = MatMul(l, w) }"
    with pytest.raises(NonFiniteError, match="NaN arose in the value of node 'log'"):
        reflrp.explain(build(text), -np.ones((1, 2)))


def test_infinite_relevance_names_its_node():
    """A seed that is too large for what the rule multiplies it with."""
    model, x = net("mlp")
    init = np.full((3, 3), 1e305)
    with pytest.raises(NonFiniteError, match="relevance of node 'Gemm_2'"):
        reflrp.explain(model, x, Epsilon(1e-30), init=init * 1e3)


@pytest.mark.parametrize("rules_", ["epsilon", "gradient", "attnlrp"])
@pytest.mark.parametrize(
    "body",
    ["h = Mul(x, m)", "h = Add(x, m)", "t = Transpose(m) h = MatMul(t, x)", "h = Max(x, m)", "h = Where(b, x, m)"],
)
def test_masks_of_float64_in_float32(body, rules_):
    """What carries no relevance has the file's dtype; it joins what is computed in that of the call."""
    numbers = {"w": draw(4, 3).astype(float), "zero": np.float64(0)}
    proto = model(
        f"b = Greater(x, zero) m = Cast<to = 11>(b) {body} y = MatMul(h, w)", "double[N,4] x", "double[] y", **numbers
    )
    x = draw(3, 4)
    low, high = (reflrp.explain(proto, x, rules_, target=1, dtype=dtype) for dtype in ("float32", "float64"))
    assert low.relevance.dtype == np.float32
    assert np.allclose(low.relevance, high.relevance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rules_", ["epsilon", "gradient"])
def test_masks_of_float64_in_float32_by_a_compiled_graph(rules_):
    proto = model(
        "b = Greater(x, zero) m = Cast<to = 11>(b) t = Transpose(m) h = MatMul(t, x) y = MatMul(h, w)",
        "double[N,4] x", "double[] y", w=draw(4, 3).astype(float), zero=np.float64(0),
    )  # fmt: skip
    x = draw(4, 4)
    fast = reflrp.Explainer(proto, rules_, backend="onnxruntime", dtype="float32")(x, target=1)
    slow = reflrp.explain(proto, x, rules_, target=1)
    assert np.allclose(fast.relevance, slow.relevance, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(fast.conservation.rows, slow.conservation.rows, strict=True):
        assert np.isclose(ours.flow, theirs.flow, rtol=1e-4, atol=1e-5)
