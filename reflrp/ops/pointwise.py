"""Pointwise functions: every activation of the ONNX standard, with its derivative.

`FUNCTIONS` is the table: name -> f, f', and what is known of the sign. Each takes the array and its parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isnan, nan, pi, sqrt
from typing import Any, ClassVar, NamedTuple

import numpy as np

from reflrp.arrays import Array, erf, namespace, ones_like, where
from reflrp.arrays.tracing.dims import broadcast_shapes
from reflrp.ir import Op, Shape


class Function(NamedTuple):
    """A function of one number: f, f', whether f >= 0 always, and whether f(x) > 0 only where x > 0."""

    f: Callable[..., Array]
    derivative: Callable[..., Array]
    nonneg: bool = False
    gates: bool = False
    keeps_sign: bool = False


def _exp(x: Array) -> Array:
    return namespace(x).exp(x)


def _log(x: Array) -> Array:
    return namespace(x).log(x)


def _tanh(x: Array) -> Array:
    return namespace(x).tanh(x)


def _maximum(x: Array, y: Any) -> Array:
    return namespace(x).maximum(x, y)


def _minimum(x: Array, y: Any) -> Array:
    return namespace(x).minimum(x, y)


def _step(condition: Array, x: Array) -> Array:
    return where(condition, ones_like(x), 0 * x)


def _sigmoid(x: Array) -> Array:
    e = _exp(-abs(x))
    return where(x >= 0, 1 / (1 + e), e / (1 + e))


def _softplus(x: Array) -> Array:
    return _maximum(x, 0) + namespace(x).log1p(_exp(-abs(x)))


def _elu(x: Array, alpha: float = 1.0) -> Array:
    return where(x > 0, x, alpha * namespace(x).expm1(_minimum(x, 0)))


def _elu_slope(x: Array, alpha: float = 1.0) -> Array:
    return where(x > 0, ones_like(x), alpha * _exp(_minimum(x, 0)))


def _celu(x: Array, alpha: float = 1.0) -> Array:
    return _maximum(x, 0) + _minimum(alpha * namespace(x).expm1(_minimum(x, 0) / alpha), 0)


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1 + erf(x / sqrt(2)))


def _gelu_slope(x: Array) -> Array:
    return 0.5 * (1 + erf(x / sqrt(2))) + x * _exp(-0.5 * x * x) / sqrt(2 * pi)


def _gelu_inner(x: Array) -> Array:
    return sqrt(2 / pi) * (x + 0.044715 * x**3)


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + _tanh(_gelu_inner(x)))


def _gelu_tanh_slope(x: Array) -> Array:
    t = _tanh(_gelu_inner(x))
    steep = (1 - t * t) * sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x)
    return 0.5 * (1 + t + x * steep)  # 0.5 x alone would be the file's own node, which onnxruntime fuses away


def _hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    return _minimum(_maximum(alpha * x + beta, 0), 1)


def _hard_sigmoid_slope(x: Array, alpha: float, beta: float) -> Array:
    inside = (alpha * x + beta > 0) & (alpha * x + beta < 1)
    return alpha * _step(inside, x)


def _hard_swish(x: Array) -> Array:
    return x * _hard_sigmoid(x, 1 / 6, 0.5)


def _hard_swish_slope(x: Array) -> Array:
    return _hard_sigmoid(x, 1 / 6, 0.5) + x * _hard_sigmoid_slope(x, 1 / 6, 0.5)


def _mish_slope(x: Array) -> Array:
    t = _tanh(_softplus(x))
    return t + x * _sigmoid(x) * (1 - t * t)


def _clip(x: Array, low: float, high: float) -> Array:
    return _minimum(_maximum(x, low), high)


def _shrink(x: Array, lambd: float, bias: float) -> Array:
    return where(x < -lambd, x + bias, where(x > lambd, x - bias, 0 * x))


def _swish(x: Array, alpha: float = 1.0) -> Array:
    return x * _sigmoid(alpha * x)


def _swish_slope(x: Array, alpha: float = 1.0) -> Array:
    s = _sigmoid(alpha * x)
    return s + alpha * x * s * (1 - s)


def _missing(x: Array, gap: float) -> Array:
    """Return where an entry is missing: where it is NaN, which is not itself, or the number that stands for a gap."""
    return x != x if isnan(gap) else x == gap  # noqa: PLR0124 (fractions have no `isnan`)


def _power(x: Array, exponent: Array) -> Array:
    return namespace(x).pow(x, exponent)


def _root(x: Array, p: float) -> Array:
    return namespace(x).pow(x, 1 / p)


def _hypotenuse(x: Array) -> Array:
    """Return sqrt(x^2 + 1), whose square may be beyond what the dtype holds."""
    most = _maximum(abs(x), 1)
    return most * namespace(x).sqrt((x / most) ** 2 + (1 / most) ** 2)


def _acosh_slope(x: Array) -> Array:
    return 1 / (namespace(x).sqrt(x - 1) * namespace(x).sqrt(x + 1))


_SELU = (1.67326319217681884765625, 1.05070102214813232421875)

FUNCTIONS: dict[str, Function] = {
    "relu": Function(lambda x: _maximum(x, 0), lambda x: _step(x > 0, x), nonneg=True, gates=True),
    "leaky_relu": Function(
        lambda x, alpha: where(x >= 0, x, alpha * x),
        lambda x, alpha: where(x > 0, ones_like(x), alpha + 0 * x),
        keeps_sign=True,
    ),
    "prelu": Function(
        lambda x, slope: where(x >= 0, x, slope * x),
        lambda x, slope: where(x > 0, ones_like(x), slope + 0 * x),
    ),
    "thresholded_relu": Function(lambda x, alpha: where(x > alpha, x, 0 * x), lambda x, alpha: _step(x > alpha, x)),
    "elu": Function(_elu, _elu_slope, keeps_sign=True),
    "selu": Function(
        lambda x, alpha=_SELU[0], gamma=_SELU[1]: gamma * _elu(x, alpha),
        lambda x, alpha=_SELU[0], gamma=_SELU[1]: gamma * _elu_slope(x, alpha),
        keeps_sign=True,
    ),
    "celu": Function(
        _celu, lambda x, alpha=1.0: where(x > 0, ones_like(x), _exp(_minimum(x, 0) / alpha)), keeps_sign=True
    ),
    "sigmoid": Function(_sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x), nonneg=True),
    "hard_sigmoid": Function(_hard_sigmoid, _hard_sigmoid_slope, nonneg=True),
    "hard_swish": Function(_hard_swish, _hard_swish_slope),
    "log_sigmoid": Function(lambda x: -_softplus(-x), lambda x: _sigmoid(-x)),
    "tanh": Function(_tanh, lambda x: 1 - _tanh(x) ** 2, keeps_sign=True),
    "tanhshrink": Function(lambda x: x - _tanh(x), lambda x: _tanh(x) ** 2, keeps_sign=True),
    "softplus": Function(_softplus, _sigmoid, nonneg=True),
    "softsign": Function(lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2, keeps_sign=True),
    "gelu": Function(_gelu, _gelu_slope),
    "gelu_tanh": Function(_gelu_tanh, _gelu_tanh_slope),
    "mish": Function(lambda x: x * _tanh(_softplus(x)), _mish_slope),
    "swish": Function(_swish, _swish_slope),
    "clip": Function(_clip, lambda x, low, high: _step((x >= low) & (x <= high), x)),
    "impute": Function(
        lambda x, gap=nan, value=0.0: where(_missing(x, gap), value + 0 * ones_like(x), x),
        lambda x, gap=nan, value=0.0: where(_missing(x, gap), 0 * ones_like(x), ones_like(x)),
    ),
    "shrink": Function(_shrink, lambda x, lambd, bias: _step(abs(x) > lambd, x)),
    "erf": Function(erf, lambda x: 2 / sqrt(pi) * _exp(-x * x), keeps_sign=True),
    "exp": Function(_exp, _exp, nonneg=True),
    "log": Function(_log, lambda x: 1 / x),
    "sqrt": Function(lambda x: namespace(x).sqrt(x), lambda x: 0.5 / namespace(x).sqrt(x), nonneg=True),
    "reciprocal": Function(lambda x: 1 / x, lambda x: -1 / (x * x), keeps_sign=True),
    "abs": Function(abs, lambda x: namespace(x).sign(x), nonneg=True),
    "power": Function(_power, lambda x, p: p * _power(x, p - 1)),
    "abs_power": Function(
        lambda x, p: _power(abs(x), p), lambda x, p: p * namespace(x).sign(x) * _power(abs(x), p - 1), nonneg=True
    ),
    "root": Function(_root, lambda x, p: _power(x, 1 / p - 1) / p, nonneg=True),
    "exponential": Function(
        lambda x, rate: _exp(x * rate),
        lambda x, rate: rate * _exp(x * rate),
        nonneg=True,
    ),
    "sin": Function(lambda x: namespace(x).sin(x), lambda x: namespace(x).cos(x)),
    "cos": Function(lambda x: namespace(x).cos(x), lambda x: -namespace(x).sin(x)),
    "tan": Function(lambda x: namespace(x).tan(x), lambda x: 1 / namespace(x).cos(x) ** 2),
    "asin": Function(lambda x: namespace(x).asin(x), lambda x: 1 / namespace(x).sqrt(1 - x * x)),
    "acos": Function(lambda x: namespace(x).acos(x), lambda x: -1 / namespace(x).sqrt(1 - x * x)),
    "atan": Function(lambda x: namespace(x).atan(x), lambda x: 1 / (1 + x * x), keeps_sign=True),
    "sinh": Function(lambda x: namespace(x).sinh(x), lambda x: namespace(x).cosh(x), keeps_sign=True),
    "cosh": Function(lambda x: namespace(x).cosh(x), lambda x: namespace(x).sinh(x), nonneg=True),
    "asinh": Function(lambda x: namespace(x).asinh(x), lambda x: 1 / _hypotenuse(x), keeps_sign=True),
    "acosh": Function(lambda x: namespace(x).acosh(x), _acosh_slope, nonneg=True),
    "atanh": Function(lambda x: namespace(x).atanh(x), lambda x: 1 / (1 - x * x), keeps_sign=True),
    "floor": Function(lambda x: namespace(x).floor(x), lambda x: 0 * x),
    "ceil": Function(lambda x: namespace(x).ceil(x), lambda x: 0 * x),
    "round": Function(lambda x: namespace(x).round(x), lambda x: 0 * x),
    "sign": Function(lambda x: namespace(x).sign(x), lambda x: 0 * x),
}


@dataclass(frozen=True, eq=False)
class Pointwise(Op):
    """y = f(x), elementwise; `name` is a key of FUNCTIONS, `args` its parameters (numbers or arrays)."""

    kind: ClassVar[str] = "pointwise"
    name: str
    args: tuple[Any, ...] = field(default=())

    def forward(self, *xs: Array) -> Array:
        """Return f(x)."""
        return FUNCTIONS[self.name].f(xs[0], *self.args)

    def derivative(self, x: Array) -> Array:
        """Return f'(x)."""
        return FUNCTIONS[self.name].derivative(x, *self.args)

    @property
    def gates(self) -> bool:
        """Whether f(x) is 0 wherever x <= 0, as the rectifier's is."""
        if self.name == "clip":
            return bool(np.all(self.args[0] == 0) and np.all(self.args[1] >= 0))
        if self.name == "thresholded_relu":
            return bool(self.args[0] >= 0)
        if self.name == "leaky_relu":
            return bool(self.args[0] == 0)
        return FUNCTIONS[self.name].gates

    def shape(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        return broadcast_shapes(shapes[0], *(np.shape(a) for a in self.args))

    def nonneg(self, *flags: bool) -> bool:
        """Return whether f >= 0 always, or keeps the sign of an input that is."""
        known = FUNCTIONS[self.name]
        if self.name == "clip":
            low, high = self.args
            return (flags[0] or bool(np.all(low >= 0))) and bool(np.all(high >= 0))
        if self.name == "selu" and self.args and self.args[-1] < 0:
            return False
        return known.nonneg or (known.keeps_sign and flags[0])

    def describe(self) -> str:
        """Return the function and its scalar parameters."""
        scalars = [f"{float(a):g}" for a in self.args if np.ndim(a) == 0]
        return f"{self.name}({', '.join(scalars)})" if scalars else self.name
