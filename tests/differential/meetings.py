"""Makers of what joins values or reduces them: sums, products, quotients, maxima, reductions, attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from differential.draft import Draft, Drop


def fitting(d: Draft, x: str, alike: bool = False) -> str:
    """Return a value that broadcasts with another (or is shaped alike), made by a reduction where there is none."""
    shape = d.shape(x)

    def fits(a: np.ndarray) -> bool:
        try:
            return a.shape == shape if alike else np.broadcast_shapes(a.shape, shape) is not None
        except ValueError:
            return False

    return d.pick(fits=fits)


def add(d: Draft) -> None:
    """A sum or difference of two values, or of several."""
    x = d.pick()
    y = fitting(d, x)
    op = d.one("Add", "Add", "Sub", "Sum")
    if op == "Sum":
        d.emit("Sum", x, y, *([fitting(d, x)] if d.maybe() else []), *([d.const(d.normal())] if d.maybe(0.3) else []))
    else:
        d.emit(op, *d.one((x, y), (y, x)))


def mean(d: Draft) -> None:
    """The mean of values: their sum, and a scale."""
    x = d.pick()
    y = fitting(d, x)
    with d.hidden():
        z = d.emit("Mean", x, y)
    d.means("Mul", d.means("Sum", x, y), d.const(0.5), output=z)


def shift(d: Draft) -> None:
    """A constant added or subtracted; none that could be a layer's bias."""
    x = d.pick()
    c = d.const(d.normal())
    if d.maybe():
        d.emit("Add", *d.one((x, c), (c, x)))
        return
    shape = d.shape(x)
    c = d.const(d.normal(*d.one(shape[1:], shape[-1:], (*shape[1:-1], 1), ()))) if shape else c
    d.emit("Sub", *d.one((x, c), (c, x)))


def scale(d: Draft) -> None:
    """A constant factor or divisor of any shape that broadcasts, larger ones too."""
    x = d.pick()
    shape = d.shape(x)
    c = d.normal(*d.one(shape[1:], shape[-1:], (*shape[1:-1], 1), (), (1,), (2, *(1,) * len(shape))))
    c = np.sign(c) * (np.abs(c) + np.float32(0.2))
    op = d.one("Mul", "Mul", "Div", "Neg")
    if op == "Neg":
        d.emit("Neg", x)
    else:
        d.emit(op, *((x, d.const(c)) if op == "Div" or d.maybe(0.7) else (d.const(c), x)))


def product(d: Draft) -> None:
    """A product of two values, or of a value with itself."""
    x = d.pick()
    d.emit("Mul", x, fitting(d, x))


def quotient(d: Draft) -> None:
    """A value, or a constant, by a value that is not near 0: a product with the reciprocal."""
    x = d.pick()
    below = d.emit("Sigmoid", fitting(d, x))
    with d.hidden():
        z = d.emit("Div", x, below)
    d.means("Mul", x, d.means("Reciprocal", below), output=z)


def gated(d: Draft) -> None:
    """A gate as in recurrent networks and gated linear units."""
    x = d.pick()
    g = d.emit(d.one("Sigmoid", "Tanh"), fitting(d, x))
    g = d.emit("Sub", d.const(1.0), g) if d.maybe(0.3) else g
    d.emit("Mul", *d.one((x, g), (g, x)))


def matrix_product(d: Draft) -> None:
    """MatMul or Einsum of two values."""
    x = d.pick(rank=3)
    m = d.shape(x)[2]
    y = d.pick(rank=3, fits=lambda a: a.shape[0] == len(d.values[x]) and a.shape[2] == m)
    if d.opset >= 12 and d.maybe(0.4):
        d.emit("Einsum", x, y, equation=d.one("bij,bkj->bik", "bij,bkj->bki", "bij,bkj->ik", "aij,akj->aik"))
        return
    d.emit("MatMul", x, d.emit("Transpose", y, perm=[0, 2, 1]))


def attention(d: Draft) -> None:
    """Scaled products of queries and keys, a mask, a Softmax, and the values."""
    x = d.pick(rank=3, fits=lambda a: a.shape[2] >= 2)
    n, m = d.shape(x)[1:]
    heads = 2 if m % 2 == 0 and d.maybe() else 1
    q, k, v = (d.emit("MatMul", x, d.weights(m, m)) for _ in range(3))
    lead = [0, n, heads, m // heads]
    if heads > 1:
        q, v = (d.emit("Transpose", d.emit("Reshape", i, d.ints(*lead)), perm=[0, 2, 1, 3]) for i in (q, v))
        k = d.emit("Transpose", d.emit("Reshape", k, d.ints(*lead)), perm=[0, 2, 3, 1])
    else:
        k = d.emit("Transpose", k, perm=[0, 2, 1])
    s = d.emit(d.one("Mul", "Div"), d.emit("MatMul", q, k), d.const(0.7))
    if d.maybe(0.3):
        s = d.emit("Sub", s, d.const(np.triu(np.full((n, n), 30, "f"), 1)))
    p = d.emit("Softmax", s, axis=-1 if d.opset >= 13 else len(d.shape(s)) - 1)
    z = d.emit("MatMul", p, v)
    if heads > 1:
        z = d.emit("Reshape", d.emit("Transpose", z, perm=[0, 2, 1, 3]), d.ints(0, n, m))
    if d.maybe():
        d.emit("Add", z, x)


def extreme(d: Draft) -> None:
    """Max or Min of values, with constants among them."""
    x = d.pick()
    if not d.shape(x):
        raise Drop
    y = fitting(d, x)
    c = [d.const(d.normal(*d.shape(x)[-1:]))] if d.maybe(0.3) else []
    d.emit(d.one("Max", "Min"), x, *([y] if y != x else []), *c)


def reduced(d: Draft, op: str, x: str, axes: list[int], keep: int, since: int) -> Any:
    """Emit a reduction in the words of the opset."""
    if d.opset >= since:
        return d.emit(op, x, d.ints(*axes), keepdims=keep)
    return d.emit(op, x, axes=axes, keepdims=keep)


def reduction(d: Draft) -> None:
    """A sum, mean, maximum or minimum over axes."""
    x = d.pick(least=2)
    axes = sorted({d.axis(x) for _ in range(d.one(1, 1, 2))})
    axes = [d.either(a, x) for a in axes]
    op, since = d.one(("ReduceSum", 13), ("ReduceMean", 18), ("ReduceMax", 18), ("ReduceMin", 18))
    keep = d.whole(0, 1)
    if op != "ReduceMin":
        reduced(d, op, x, axes, keep, since)
        return
    with d.hidden():  # the maximum of the negative
        y = reduced(d, op, x, axes, keep, since)
    d.means("Neg", d.means("MaxOver", d.means("Neg", x), axes=axes, keepdims=keep), output=y)


def norm_reduction(d: Draft) -> None:
    """A norm or a logarithm of a sum: a power, a sum, a root."""
    x = d.pick(least=2)
    axis, keep = [d.axis(x)], d.whole(0, 1)
    op = d.one("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceLogSum", "ReduceProd")
    if op == "ReduceLogSum":
        x = d.emit("Exp", x)
    if op == "ReduceProd":
        d.wordless()
        reduced(d, op, x, axis, keep, 18)
        return
    with d.hidden():
        y = reduced(d, op, x, axis, keep, 18)
    inner, outer = {
        "ReduceL1": ("Abs", None), "ReduceL2": ("Passed", "Passed"), "ReduceSumSquare": ("Passed", None),
        "ReduceLogSumExp": ("Exp", "Log"), "ReduceLogSum": (None, "Log"),
    }[op]  # fmt: skip
    names: dict[str, Any] = {"Passed": {"name": "square"}}
    x = x if inner is None else d.means(inner, x, **names.get(inner, {}))
    z = d.means("SumOver", x, output=None if outer else y, axes=axis, keepdims=keep)
    if outer:
        d.means(outer, z, output=y, **({"name": "sqrt"} if outer == "Passed" else {}))


def cumsum(d: Draft) -> None:
    """A running sum."""
    x = d.pick(least=2)
    if d.opset < 11:
        raise Drop
    axis = d.const(np.array(d.either(d.axis(x), x), np.int64))
    d.emit("CumSum", x, axis, exclusive=d.whole(0, 1), reverse=d.whole(0, 1))


def gemm_of_values(d: Draft) -> None:
    """Gemm of two values, transposed or not, with or without a third."""
    x = d.pick(rank=2)
    d.wordless()
    n = d.shape(x)[1]
    y = d.pick(rank=2, fits=lambda a: a.shape[1] == n)
    c = [d.const(d.normal(1))] if d.opset < 11 or d.maybe() else []
    d.emit("Gemm", x, y, *c, transB=1, alpha=d.one(1.0, 0.5), beta=d.one(1.0, -2.0))


def reduce_all(d: Draft) -> None:
    """One number of the whole batch, brought back to it."""
    x = d.pick()
    total = d.emit(d.one("ReduceSum", "ReduceMean", "ReduceMax"), x, keepdims=0)
    d.emit(d.one("Sub", "Mul", "Add"), x, total)


def grid_sample(d: Draft) -> None:
    """A map sampled at given places."""
    x = d.pick(rank=4)
    if d.opset < 16:
        raise Drop
    n, mode = len(d.values[x]), d.one("bilinear", "nearest")
    d.wordless()
    grid = d.const(d.rng.uniform(-1.2, 1.2, (n, d.whole(1, 3), d.whole(1, 3), 2)).astype(np.float32))
    mode = mode if d.opset < 20 else mode.replace("bi", "")
    padding = d.one("zeros", "border", "reflection")
    d.emit("GridSample", x, grid, mode=mode, padding_mode=padding, align_corners=d.whole(0, 1))


def truncated(d: Draft) -> None:
    """A factor or a sum with what a cast to integers leaves of a value, which carries no relevance."""
    x = d.pick()
    d.wordless()
    mask = d.emit("Cast", d.emit("Cast", fitting(d, x), to=7), to=1)
    d.emit(d.one("Mul", "Add", "Sub", "Max"), *d.one((x, mask), (mask, x)))


MAKERS = {
    gemm_of_values: 1, reduce_all: 1, grid_sample: 1, truncated: 1,
    add: 5, mean: 1, shift: 2, scale: 3, product: 3, quotient: 1, gated: 3, matrix_product: 2, attention: 2, extreme: 2,
    reduction: 4, norm_reduction: 2, cumsum: 1,
}  # fmt: skip
