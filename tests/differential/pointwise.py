"""Makers of what acts entry by entry, or normalises: activations, spelled out or not, Softmax, normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from differential.draft import Draft, Drop

PLAIN = (
    *("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "Exp", "Abs", "Sin", "Cos", "Atan", "Sinh", "Cosh"),
    *("Asinh", "Floor", "Ceil", "Sign", "LeakyRelu", "Elu", "Selu", "HardSigmoid", "Relu", "Relu"),
)
LATER = {"Round": 11, "Celu": 12, "HardSwish": 14, "Mish": 18, "Gelu": 20, "ThresholdedRelu": 10, "Shrink": 9}


def activation(d: Draft) -> None:
    """A function of one value, with or without parameters."""
    x = d.pick()
    op = d.one(*PLAIN, *[k for k, opset in LATER.items() if d.opset >= opset])
    given: dict[str, Any] = {}
    if op in ("LeakyRelu", "Elu", "Celu", "ThresholdedRelu") and d.maybe():
        given["alpha"] = d.one(0.3, 0.7, 1.5)
    if op == "HardSigmoid" and d.maybe():
        given = {"alpha": 0.4, "beta": 0.3}
    if op == "Shrink":
        given = {"lambd": 0.3, "bias": d.one(0.0, 0.1)}
    if op == "Gelu" and d.maybe():
        given["approximate"] = "tanh"
    d.emit(op, x, **given)


def narrow_function(d: Draft) -> None:
    """A function that is not defined everywhere, of a value brought to where it is."""
    x = d.pick()
    inner, outer = d.one(
        *(("Sigmoid", op) for op in ("Log", "Sqrt", "Reciprocal", "Asin", "Acos")), ("Exp", "Log"), ("Exp", "Sqrt"),
        ("Cosh", "Acosh"), ("Tanh", "Atanh"), ("Softplus", "Sqrt"),
    )  # fmt: skip
    d.emit(outer, d.emit(inner, x))


def clip(d: Draft) -> None:
    """Clip with both bounds or one."""
    x = d.pick()
    low, high = -abs(float(d.normal(1)[0])), abs(float(d.normal(1)[0]))
    if d.opset < 11:
        d.emit("Clip", x, min=low, max=high)
        return
    bounds = d.one((d.const(low), d.const(high)), (d.const(low),), ("", d.const(high)))
    d.emit("Clip", x, *bounds)


def prelu(d: Draft) -> None:
    """PRelu with a slope, or one a channel."""
    x = d.pick(least=2)
    shape = d.shape(x)
    slopes = d.one((1,), (shape[1], *(1,) * (len(shape) - 2)), shape[1:])
    d.emit("PRelu", x, d.const(np.abs(d.normal(*slopes))))


def power(d: Draft) -> None:
    """Pow by a constant, or of one."""
    x = d.pick(least=1)
    if d.maybe(0.3):
        d.emit("Pow", d.const(np.abs(d.normal(*d.one((), (1,), d.shape(x)[-1:]))) + np.float32(0.2)), x)
        return
    if d.maybe(0.3):
        x = d.emit("Sigmoid", x)
        d.emit("Pow", x, d.const(d.one(0.5, 1.5, -1.0, 2.5)))
        return
    d.emit(
        "Pow", x, d.one(d.const(2.0), d.const(3.0), d.ints(2), d.const(np.array([2, 3, 1, 4][: d.shape(x)[-1]], "f")))
    )


def softmax(d: Draft) -> None:
    """Softmax over an axis; of old over all axes from one on."""
    x = d.pick(least=2)
    d.emit(d.one("Softmax", "Softmax", "LogSoftmax"), x, axis=d.either(d.axis(x), x))


def layer_norm(d: Draft) -> None:
    """LayerNormalization and kin."""
    x = d.pick(least=2)
    shape, rank = d.shape(x), len(d.shape(x))
    axis = d.whole(1, rank - 1)
    how = d.one("LayerNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "LpNormalization", "MVN")
    if how == "LayerNormalization" and d.opset >= 17:
        scale = d.const(d.normal(*shape[axis:]))
        bias = [d.const(d.normal(*shape[axis:]))] if d.maybe() else []
        d.emit(how, x, scale, *bias, axis=d.one(axis, axis - rank), epsilon=d.one(1e-5, 0.1))
    elif how == "InstanceNormalization" and rank >= 3:
        d.emit(how, x, d.const(d.normal(shape[1])), d.const(d.normal(shape[1])), epsilon=d.one(1e-5, 0.1))
    elif how == "GroupNormalization" and d.opset >= 21 and rank >= 3:
        groups = d.one(*[g for g in range(1, shape[1] + 1) if shape[1] % g == 0])
        d.emit(how, x, d.const(d.normal(shape[1])), d.const(d.normal(shape[1])), num_groups=groups)
    elif how == "LRN" and rank == 4:
        d.emit(how, x, size=d.one(1, 3, 5), alpha=d.one(1e-4, 0.5), bias=d.one(1.0, 2.0))
    elif how == "LpNormalization":
        d.emit(how, x, axis=d.one(axis, axis - rank), p=2)
    elif how == "MVN" and rank == 4 and d.opset >= 9:
        d.emit("MeanVarianceNormalization", x, axes=d.one([0, 2, 3], [2, 3], [1, 2, 3], [3]))
    else:
        raise Drop


def rounded_mask(d: Draft) -> None:
    """A mask that the network works out, as a factor or as a choice."""
    x, b = d.pick(), d.const(d.one(0.0, 0.3))
    if d.opset >= 9:
        mask = d.emit(d.one("Greater", "Less"), x, b)
        if d.maybe():
            d.emit("Mul", x, d.emit("Cast", mask, to=1))
        else:
            d.emit("Where", mask, *d.one((x, b), (b, x)))


def spelled(d: Draft) -> None:
    """A function that an exporter takes apart, which is one node again."""
    x = d.pick(least=2)
    with d.hidden():
        y, op, given = d.one(gelu, swish, silu_div, hard_swish, softplus, mish)(d, x)
    d.means(op, x, output=y, **given)


def gelu(d: Draft, x: str) -> Any:
    t = d.emit("Erf", d.emit("Div", x, d.const(np.float32(np.sqrt(2)))))
    u = d.emit("Add", t, d.const(1.0))
    return d.emit("Mul", d.emit("Mul", x, u), d.const(0.5)), "Passed", {"name": "gelu"}


def swish(d: Draft, x: str) -> Any:
    return d.emit("Mul", x, d.emit("Sigmoid", x)), "Passed", {"name": "swish"}


def silu_div(d: Draft, x: str) -> Any:
    e = d.emit("Exp", d.emit("Neg", x))
    return d.emit("Div", x, d.emit("Add", e, d.const(1.0))), "Passed", {"name": "swish"}


def hard_swish(d: Draft, x: str) -> Any:
    t = d.emit("Relu", d.emit("Add", x, d.const(3.0)))
    if d.opset < 11:
        raise Drop
    t = d.emit("Clip", d.emit("Add", x, d.const(3.0)), d.const(0.0), d.const(6.0))
    return d.emit("Div", d.emit("Mul", x, t), d.const(6.0)), "Passed", {"name": "hard_swish"}


def softplus(d: Draft, x: str) -> Any:
    return d.emit("Log", d.emit("Add", d.emit("Exp", x), d.const(1.0))), "Passed", {"name": "softplus"}


def mish(d: Draft, x: str) -> Any:
    return d.emit("Mul", x, d.emit("Tanh", d.emit("Softplus", x))), "Passed", {"name": "mish"}


def spelled_norm(d: Draft) -> None:
    """LayerNorm or RMSNorm over the last axis, in single operators."""
    x = d.pick(least=2, fits=lambda a: a.shape[-1] > 1)
    with d.hidden():
        center = x
        if d.maybe():
            center = d.emit("Sub", x, mean_last(d, x))
        square = d.emit("Mul", center, center) if d.maybe() else d.emit("Pow", center, d.const(2.0))
        root = d.emit("Sqrt", d.emit("Add", mean_last(d, square), d.const(np.float32(1e-3))))
        y = d.emit("Div", center, root)
    d.means("Passed", x, output=y, name="norm")


def spelled_softmax(d: Draft) -> None:
    """Softmax in single operators, with or without the maximum."""
    x = d.pick(least=2)
    with d.hidden():
        z = d.emit("Sub", x, d.emit("ReduceMax", x, **axes_of(d, -1))) if d.opset < 18 and d.maybe() else x
        e = d.emit("Exp", z)
        y = d.emit("Div", e, sum_last(d, e))
    d.means("SoftmaxOf", x, output=y, axis=-1)


def axes_of(d: Draft, *axes: int) -> dict[str, Any]:
    return {"axes": list(axes), "keepdims": 1}


def mean_last(d: Draft, x: str) -> str:
    if d.opset >= 18:
        return d.emit("ReduceMean", x, d.ints(-1), keepdims=1)
    return d.emit("ReduceMean", x, **axes_of(d, -1))


def sum_last(d: Draft, x: str) -> str:
    if d.opset >= 13:
        return d.emit("ReduceSum", x, d.ints(-1), keepdims=1)
    return d.emit("ReduceSum", x, **axes_of(d, -1))


MAKERS = {
    activation: 10, narrow_function: 2, clip: 2, prelu: 1, power: 2, softmax: 2, layer_norm: 3, rounded_mask: 1, spelled: 3,
    spelled_norm: 2, spelled_softmax: 1,
}  # fmt: skip
