"""Where samples lie and whether they meet is proven on the graph; what is proven holds on numbers, and no more is claimed."""

from typing import Any

import models
import numpy as np
import pytest
from models import draw, ints, model

import reflrp
from reflrp.passes.places import Place, reshaped
from reflrp.passes.samples import alike, trace

CASES = dict(models.cases())


def graphs(loaded: reflrp.Model, feeds: dict[str, np.ndarray], *counts: int) -> list[Any]:
    found = (loaded.graph({k: (n, *a.shape[1:]) for k, a in feeds.items()}) for n in counts)
    return [g.restricted_to(loaded.outputs[0]) for g in found]


def proven(proto: Any, feeds: dict[str, np.ndarray], many: int = 6, few: int = 2) -> bool:
    """Whether the first output's samples are proven to be independent, with all inputs' samples on the first axis."""
    loaded = reflrp.load(proto)
    try:
        one, two = graphs(loaded, feeds, many, few)
    except reflrp.ReflrpError:
        return False
    seen = [trace(g, dict.fromkeys(g.inputs, 0)) for g in (one, two)]
    (output,) = one.outputs
    return all(s.axis(one.resolve(output)) == 0 for s in seen) and alike(one, two, *seen)


@pytest.mark.parametrize("name", CASES)
def test_what_is_proven_holds(name):
    """Six samples at once give what two at a time give, bit by bit or to rounding, wherever a proof is claimed."""
    proto = CASES[name]
    loaded = reflrp.load(proto)
    feeds = models.feeds_of(proto, batch=6)
    output = loaded.outputs[0]
    named = all(port.dims and isinstance(port.dims[0], str) for port in loaded.source.inputs.values())
    if not named or output not in loaded.graph({k: a.shape for k, a in feeds.items()}).outputs:
        return
    whole = loaded.run(feeds)[output]
    parts = [loaded.run({k: a[i : i + 2] for k, a in feeds.items()})[output] for i in (0, 2, 4)]
    if proven(proto, feeds):
        assert np.allclose(np.concatenate(parts), whole, rtol=1e-12, atol=1e-12)


X = draw(6, 4, seed=3)
ROWS = (
    "h = Shape(x) n = Gather(h, nought) r = Range(nought, n, step) o = Sub(n, r) p = Mod(o, n) "
    "c = Greater(x, bound) i = Unsqueeze({}, inner) g = GatherND(c, i) f = Cast<to = 1>(g) y = Mul(x, f)"
)
NUMBERS: dict[str, Any] = {"nought": np.int64(0), "step": np.int64(1), "bound": np.float32(0), "inner": ints(1)}
TOGETHER = {
    "a mask's rows behind the first turned round": ROWS.format("p"),
    "a sum over the batch": "s = ReduceSum(x, first) y = Add(x, s)",
    "the batch's mean": "m = ReduceMean<axes = [0]>(x) y = Sub(x, m)",
    "running sums": "y = CumSum(x, zero)",
    "softmax along the batch": "y = Softmax<axis = 0>(x)",
    "every sample with every other": "t = Transpose(x) p = MatMul(x, t) y = MatMul(p, x)",
    "the first sample for all": "f = Slice(x, start, stop, first) y = Add(x, f)",
    "the batch turned round": "y = Slice(x, last, far, first, back)",
    "rows of the batch joined": "r = Reshape(x, pairs) y = MatMul(r, square)",
    "from the third sample on": "a = Slice(x, zeros, two, first) b = Slice(x, two, many, first) s = ReduceSum(b, first) "
    "c = Add(b, s) y = Concat<axis = 0>(a, c)",
    "a constant for each sample": "y = Mul(x, rows)",
    "a table by the batch's maxima": "k = ArgMax<axis = 0, keepdims = 0>(x) y = Gather(x, k)",
}
WEIGHTS: dict[str, Any] = {
    "first": ints(0), "zero": np.int64(0), "start": ints(0), "stop": ints(1), "last": ints(-1), "far": ints(-99), "back": ints(-1),
    "pairs": ints(-1, 8), "square": (8, 8), "zeros": ints(0), "two": ints(2), "many": ints(99), "rows": (6, 1), **NUMBERS,
}  # fmt: skip


@pytest.mark.parametrize("what", TOGETHER)
def test_samples_that_meet_are_seen(what):
    body = TOGETHER[what]
    used = {k: v for k, v in WEIGHTS.items() if f" {k}" in body or f"({k}" in body}
    assert not proven(model(body, opset=13, **used), {"x": X}, few=3)


APART = {
    "a mask's rows": ROWS.format("r"),
    "channels run as samples": "r = Reshape(x, rows) h = MatMul(r, w) t = Tanh(h) y = Reshape(t, back)",
    "attention": "q = Unsqueeze(x, last) k = Transpose<perm = [0, 2, 1]>(q) p = MatMul(q, k) s = Softmax(p) z = MatMul(s, q) "
    "y = Squeeze(z, last)",
    "a token for each": "n = Shape<start = 0, end = 1>(x) t = Concat<axis = 0>(n, four) c = Expand(token, t) "
    "y = Concat<axis = 1>(x, c)",
    "turned and turned back": "t = Transpose(x) u = MatMul(v, t) y = Transpose(u)",
}


@pytest.mark.parametrize("what", APART)
def test_samples_that_do_not_meet_are_seen(what):
    values: dict[str, Any] = {
        "rows": ints(-1, 2), "w": (2, 2), "back": ints(-1, 4), "last": ints(2), "four": ints(4), "token": (1, 4), "v": (3, 4),
        **NUMBERS,
    }  # fmt: skip
    body = APART[what]
    used = {k: v for k, v in values.items() if f" {k}" in body or f"({k}" in body}
    assert proven(model(body, opset=17, **used), {"x": X})


def test_a_graph_that_is_another_for_fewer_samples():
    """At any one batch size the samples are apart, but a slice is as long as there are samples."""
    body = "n = Shape<start = 0, end = 1>(x) s = Slice(x, zero, n, one) y = ReduceSum(s, one)"
    assert not proven(model(body, "float[N,6] x", zero=ints(0), one=ints(1)), {"x": draw(4, 6)}, many=4, few=2)


@pytest.mark.parametrize(
    ("place", "source", "target", "want"),
    [
        (Place(0), (6, 4), (24,), Place(0, 1, 4)),
        (Place(0, 1, 4), (24,), (12, 2), Place(0, 1, 2)),
        (Place(1), (3, 6, 4), (18, 4), Place(0, 3, 1)),
        (Place(0, 3, 1), (18, 4), (3, 6, 4), Place(1)),
        (Place(0), (6, 4), (1, 6, 4), Place(1)),
        (Place(0), (6, 4), (2, 3, 4), None),
        (Place(1), (4, 6), (6, 4), None),
    ],
)
def test_reshapes(place, source, target, want):
    if want is None:
        with pytest.raises(Exception, match="it reshapes samples into one another"):
            reshaped(place, source, target, 6)
    else:
        assert reshaped(place, source, target, 6) == want
