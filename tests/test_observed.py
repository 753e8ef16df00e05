"""What depends on the data is observed at the input that is explained, and never at a sample of zeros."""

from typing import Any

import numpy as np
import pytest
from coverage_tools import assert_explained
from models import draw, ints, model, onnxruntime

import reflrp

SIZED = {
    "entries that are not zero": "n = NonZero(x) t = Transpose(n) g = GatherND(x, t) y = Mul(g, two)",
    "as many ones as are positive": "p = Greater(x, zero) i = Cast<to = 7>(p) s = ReduceSum<keepdims = 0>(i, axes) "
    "u = Unsqueeze(s, first) o = ConstantOfShape(u) r = ReduceSum<keepdims = 0>(o, first) a = Cast<to = 1>(s) b = Add(x, a) "
    "y = Add(b, r)",
    "columns that a mask leaves": "m = ReduceMax<keepdims = 0, axes = [0]>(x) c = Greater(m, zero) "
    "y = Compress<axis = 1>(x, c)",
    "the first few columns": "p = Greater(x, zero) i = Cast<to = 7>(p) s = ReduceMax<keepdims = 0>(i) u = Unsqueeze(s, first) "
    "e = Add(u, one) y = Slice(x, first, e, one)",
    "rows written over": "n = ArgMax<axis = 0, keepdims = 0>(x) u = Unsqueeze(n, one) y = ScatterND(x, u, rows)",
    "the largest few": "p = Greater(x, zero) i = Cast<to = 7>(p) s = ReduceMax<keepdims = 0>(i) u = Unsqueeze(s, first) "
    "k = Add(u, one) y, at = TopK(x, k)",
}
SIZES = {
    "of entries that are not zero": "n = NonZero(x) s = Size(n)",
    "of columns that a mask leaves": "m = ReduceMax<keepdims = 0, axes = [0]>(x) c = Greater(m, zero) k = Compress<axis = 1>(x, c) "
    "s = Size(k)",
    "of a range": "a = ReduceMax<keepdims = 0>(x) i = Cast<to = 7>(a) r = Range(nought, i, step) s = Size(r)",
    "of ones": "n = NonZero(x) t = Shape(n) o = ConstantOfShape(t) p = Add(o, two) s = Size(p)",
    "of what is unique": "u = Unique(x) s = Size(u)",
    "of a branch": "a = ReduceMax<keepdims = 0>(x) c = Greater(a, zero) "
    "k = If (c) <then_branch = t () => (int64[] p) { p = Identity(axes) }, "
    "else_branch = e () => (int64[] q) { q = Identity(one) }> "
    "s = Size(k)",
}
CONSTANTS: dict[str, Any] = {
    "two": np.float32(2), "zero": np.float32(0), "axes": ints(0, 1), "first": ints(0), "one": ints(1), "rows": (4, 4),
    "nought": np.int64(0), "step": np.int64(1),
}  # fmt: skip
INPUTS = {
    "as drawn": draw(3, 4, seed=5),
    "mostly zero": draw(3, 4, seed=5) * (np.arange(12).reshape(3, 4) % 3 == 0),
    "negative": -abs(draw(3, 4, seed=6)) - np.float32(0.1),
    "positive": abs(draw(3, 4, seed=6)) + np.float32(0.1),
}


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("what", SIZED)
def test_sizes_by_the_data(what: str, inputs: str) -> None:
    """The forward pass is onnxruntime's, and the ledger closes, for each of several inputs through one model."""
    body = SIZED[what]
    used = {k: v for k, v in CONSTANTS.items() if f" {k}" in body or f"({k}" in body}
    x = INPUTS[inputs].astype(np.float32)
    if what == "columns that a mask leaves" and inputs == "negative":
        x[:, 1] = 1  # else nothing is left to explain
    assert_explained(model(body, "float[3,4] x", opset=13, **used), {"x": x})


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("what", SIZES)
def test_a_size_as_a_number(what: str, inputs: str) -> None:
    """Where only the size of a value is read, nothing else tells that it was another for a sample of zeros."""
    body = SIZES[what] + " f = Cast<to = 1>(s) g = Add(f, two) y = Mul(x, g)"
    used = {k: v for k, v in CONSTANTS.items() if f" {k}" in body or f"({k}" in body}
    proto, x = model(body, "float[3,4] x", opset=13, **used), INPUTS[inputs].astype(np.float32)
    e = assert_explained(proto, {"x": x})
    found = reflrp.explain(reflrp.load(proto), x, "epsilon", init=np.ones((3, 4)))
    assert np.allclose(found.output, e.output)
    assert np.allclose(found.output, onnxruntime(proto, {"x": x})["y"], rtol=1e-6)


def test_one_model_explains_inputs_of_both_ways() -> None:
    body = "n = NonZero(x) t = Transpose(n) g = GatherND(x, t) y = Mul(g, two)"
    explainer = reflrp.Explainer(model(body, "float[3,4] x", two=np.float32(2)), "epsilon")
    for x in [*INPUTS.values(), *INPUTS.values()]:
        x = x.astype(np.float32)
        count = np.count_nonzero(x)
        e = explainer(x, init=np.ones(count))
        assert e.output.shape == (count,)
        assert np.array_equal(e.relevance != 0, x != 0)


def test_samples_that_take_different_ways_are_explained_one_by_one() -> None:
    """A condition is one number: so a file with a branch by the data takes samples one at a time, and a note says so."""
    branch = (
        "<then_branch = t () => (float[N,3] p) { p = Relu(x) }, else_branch = e () => (float[N,3] q) { q = Neg(x) }>"
    )
    proto = model(f"s = ReduceSum<keepdims = 0>(x, axes) c = Greater(s, zero) y = If (c) {branch}", "float[N,3] x",
                  zero=np.float32(0), axes=ints(1))  # fmt: skip
    x = np.float32([[1, 2, -1], [-1, -2, 1], [3, 1, -1]])
    e = reflrp.explain(proto, x, "epsilon", target=0)
    assert np.array_equal(e.output[:, 0], [1, 1, 3])
    assert np.allclose(e.relevance[:, 0], [1, 1, 3])
    assert any("sample by sample" in note for note in e.notes)


def test_a_table_of_layers_needs_the_data() -> None:
    body = "p = Greater(x, zero) i = Cast<to = 7>(p) s = ReduceMax<keepdims = 0>(i) u = Unsqueeze(s, first) y = Slice(x, first, u)"
    proto = model(body, "float[3,4] x", opset=13, zero=np.float32(0), first=ints(0))
    with pytest.raises(reflrp.UnsupportedOperator, match="depends on the data"):
        reflrp.load(proto).summary()


READS_A_SIZE = {
    "entries that are not zero": "v = NonZero(x) s = Size(v)",
    "the shape of what is gathered": "n = NonZero(x) t = Transpose(n) v = GatherND(x, t) h = Shape(v) "
    "s = ReduceSum<keepdims = 0>(h)",
    "columns that a mask leaves": "m = ReduceMax<keepdims = 0, axes = [0]>(x) c = Greater(m, zero) v = Compress<axis = 1>(x, c) "
    "s = Size(v)",
    "a range": "m = ReduceMax<keepdims = 0>(x) a = Abs(m) k = Cast<to = 7>(a) o = Add(k, three) v = Range(nought, o, step) "
    "s = Size(v)",
    "how often a scan turns": "n = NonZero(x) t = Transpose(n) s = Scan<num_scan_inputs = 1, body = body (int64 i, int64[2] r) => "
    "(int64 o) { o = Add(i, step) }>(nought, t)",
    "a branch's rows": "m = ReduceMax<keepdims = 0>(x) c = Greater(m, zero) v = If(c) <then_branch = yes () => (int64[k] a) "
    "{ a = Constant<value_ints = [1, 2, 3]>() }, else_branch = no () => (int64[k] b) { b = Constant<value_ints = [1]>() }> "
    "s = Size(v)",
}


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("what", READS_A_SIZE)
def test_what_reads_a_size_only(what: str, inputs: str) -> None:
    """Nothing in the graph would notice that the size is another than that of a sample of zeros."""
    body = READS_A_SIZE[what] + " f = Cast<to = 1>(s) g = Add(f, half) y = Mul(x, g)"
    constants = {
        "zero": np.float32(0),
        "half": np.float32(0.5),
        "nought": np.int64(0),
        "step": np.int64(1),
        "three": np.int64(3),
    }
    used = {k: v for k, v in constants.items() if f" {k}" in body or f"({k}" in body}
    x = INPUTS[inputs].astype(np.float32)
    assert_explained(model(body, "float[3,4] x", opset=13, **used), {"x": x})


BRANCH = (
    "m = ReduceMax<keepdims = 0>(x) c = Greater(m, zero) y = If(c) <then_branch = yes () => (float[n, k] a) { a = Mul(x, two) }, "
    "else_branch = no () => (float[n, k] b) { b = Neg(x) }>"
)


def test_samples_that_decide_together_are_not_cut() -> None:
    """The first two samples agree on the branch, and the last would take another one alone."""
    proto = model(BRANCH, zero=np.float32(0), two=np.float32(2))
    x = np.abs(draw(6, 4)) * np.array([1, 1, 1, 1, -1, -1], np.float32)[:, None]
    assert np.allclose(reflrp.Explainer(proto, "epsilon")(x, init=np.ones((6, 4))).output, 2 * x)
    with pytest.raises(reflrp.InputError, match="batch_size=2 would change the answer"):
        reflrp.Explainer(proto, "epsilon", batch_size=2)(x, init=np.ones((6, 4)))


def test_what_is_observed_counts_as_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is computed before the graph is there whose work would be counted."""
    body = "h = MatMul(x, w) i = MatMul(h, w) " + BRANCH.replace(
        "ReduceMax<keepdims = 0>(x)", "ReduceMax<keepdims = 0>(i)"
    )
    proto = model(body, zero=np.float32(0), two=np.float32(2), w=(4, 4))
    loaded = reflrp.load(proto)
    monkeypatch.setattr(reflrp.limits, "TIME", 1e-6)
    with pytest.raises(reflrp.TooLarge, match="MatMul"):
        loaded.graph({"x": (100, 4)}, {"x": draw(100, 4)})


def test_a_nan_on_the_way_to_a_branch_warns_of_nothing() -> None:
    body = "l = Log(x) " + BRANCH.replace("ReduceMax<keepdims = 0>(x)", "ReduceMax<keepdims = 0>(l)")
    proto = model(body, zero=np.float32(0), two=np.float32(2))
    x = draw(1, 4, seed=1)
    assert (x < 0).any()
    assert np.allclose(reflrp.explain(proto, x, "epsilon").output, -x)


def test_the_ledger_of_samples_that_take_different_ways() -> None:
    """Each node's account is under its own name: the ways differ in nodes, and in how many there are."""
    body = (
        "m = ReduceMax<axes = [1], keepdims = 0>(x) c = Greater(m, zero) y = If(c) <then_branch = yes () => (float[n, k] a) "
        "{ a = Mul(x, two) }, else_branch = no () => (float[n, k] b) { r = MatMul(x, w) b = Neg(r) }>"
    )
    proto = model(body, zero=np.float32(0), two=np.float32(2), w=(4, 4))
    x = np.abs(draw(4, 4)) * np.array([1, -1, -1, 1], np.float32)[:, None]
    whole, parts = (
        reflrp.explain(proto, x, "epsilon"),
        [reflrp.explain(proto, x[i : i + 1], "epsilon") for i in range(4)],
    )
    for node, row in whole.conservation.items():
        assert np.isclose(row.received, sum(p.conservation[node].received for p in parts if node in p.conservation)), (
            node
        )
    assert set(whole.conservation) == set(whole.rules) == {node for p in parts for node in p.rules}
    assert np.isclose(whole.conservation.totals["bias"], sum(p.conservation.totals["bias"] for p in parts))
    inner = reflrp.explain(proto, x, "epsilon", layers=True)
    for name, R in inner.layers.items():
        passed = [name in reflrp.explain(proto, x[i : i + 1], "epsilon", layers=True).layers for i in range(4)]
        assert not R[[not p for p in passed]].any()
    assert any("take different ways" in note for note in inner.notes)
