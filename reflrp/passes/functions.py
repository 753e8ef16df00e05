"""Functions of normal forms: what each pointwise function of the IR, a mean, a maximum is in `algebra`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from reflrp.passes.algebra import Algebra, Product, Sum, Unproven, number


def exp(a: Algebra, s: Sum) -> Sum:
    """Return exp(s): a product of one exponential for each term; exp(c log b) = b^c."""
    found = a.number(1.0)
    for m, c in s.items():
        c = number(c)
        base = a.atoms[m[0][0]] if len(m) == 1 and m[0][1] == 1 else None
        if not m:
            part = a.number(_exponential(c))
        elif base and base.name == "log" and a.sign(base.arg) == 2:
            part = a.power(base.arg, c)
        else:
            part = a.power(a.atom("exp", {m: 1.0}, sign=2), c)
        found = a.mul(found, part)
    return found


def _exponential(c: float) -> float:
    if abs(c) > 700:
        raise Unproven("an exponential that no float64 holds")
    return math.exp(c)


def log(a: Algebra, s: Sum) -> Sum:
    """Return log(s): the sum of the logarithms of positive factors."""
    if not s:
        raise Unproven("the logarithm of zero")
    m, c = a.factored(s)
    if number(c) <= 0 or any(a.atoms[k].sign < 2 for k, _ in m):
        found = a.atom("log", s)
        a.partial.update(k for n in found for k, _ in n)
        return found
    return a.add(a.number(math.log(c)), *(a.scale(_log_of(a, k), e) for k, e in m))


def _log_of(a: Algebra, k: int) -> Sum:
    atom = a.atoms[k]
    if atom.name == "exp":
        return atom.arg
    return a.atom("log", atom.arg if atom.name == "sum" else {((k, 1.0),): 1.0})


def erf(a: Algebra, s: Sum) -> Sum:
    """Return erf(s), which is odd."""
    if not s:
        return {}
    sign = 1.0 if number(s[a.lead(s)]) > 0 else -1.0
    return a.scale(a.atom("erf", a.scale(s, sign)), sign)


def mean(a: Algebra, s: Sum, axes: frozenset[int]) -> Sum:
    """Return the mean over axes of x: term by term, what does not vary along them before it."""
    return a.add(*(_mean_of(a, m, c, axes) for m, c in s.items())) if s else {}


def count(a: Algebra, axes: frozenset[int]) -> Sum:
    """Return how many entries axes of x have: of an open axis a number that is not known."""
    known = float(math.prod(a.shape[i] for i in axes - a.open.keys()))
    alike = sorted(a.open[i] for i in axes & a.open.keys())
    return reduce(a.mul, (a.atom("count", {}, frozenset([i]), 2) for i in alike), a.number(known))


def _mean_of(a: Algebra, m: Product, c: Any, axes: frozenset[int]) -> Sum:
    if np.ndim(c) and any(np.shape(c)[i] > 1 for i in axes):
        raise Unproven("a mean of constants that differ from entry to entry")
    inner = tuple((k, e) for k, e in m if a.atoms[k].varies & axes)
    outer = {tuple(p for p in m if p not in inner): c}
    if not inner:
        return outer
    atom = a.atoms[inner[0][0]]
    if len(inner) == 1 and inner[0][1] == 1 and atom.name == "mean":
        return a.mul(outer, a.atom("mean", atom.arg, atom.axes | axes, atom.sign))
    return a.mul(outer, a.atom("mean", {inner: 1.0}, axes, a.sign({inner: 1.0})))


def maximum(a: Algebra, s: Sum, axes: frozenset[int]) -> Sum:
    """Return the maximum over axes of x."""
    return a.atom("max", s, axes)


def relu(a: Algebra, s: Sum) -> Sum:
    """Return max(s, 0), by hinges max(t, 0) of sums t whose leading coefficient is 1."""
    if a.sign(s) or not s:
        return s
    if a.sign(a.scale(s, -1.0)):
        return {}
    lead = number(s[a.lead(s)])
    t = a.scale(s, 1 / lead)
    up = _hinge(a, t)
    return a.scale(up if lead > 0 else a.sub(up, t), abs(lead))


def _hinge(a: Algebra, t: Sum) -> Sum:
    """Return max(t, 0); where t is a sum of hinges of one argument u, as a sum of hinges of u."""
    knots: dict[float, float] = {}
    u, rest = None, t
    for m, c in t.items():
        atom = a.atoms[m[0][0]] if len(m) == 1 and m[0][1] == 1 else None
        if atom is not None and atom.name == "relu":
            bare = {n: d for n, d in atom.arg.items() if n}
            u = bare if u is None else u
            if not a.same(u, bare):
                return a.atom("relu", t, sign=1)
            knots[-a.constant(atom.arg)] = number(c)
            rest = a.sub(rest, {m: c})
    if u is not None:
        slope = number(rest.get(a.lead(u), 0.0))
        rest = a.sub(rest, a.scale(u, slope))
        if not rest.keys() - {()}:
            return _above_zero(a, u, slope, a.constant(rest), knots)
    return a.atom("relu", t, sign=1)


def _above_zero(a: Algebra, u: Sum, slope: float, start: float, knots: dict[float, float]) -> Sum:
    """Return max(f, 0) where f(u) = start + slope u + sum of c max(u - k, 0) over the knots k, c: piece by piece."""

    def rate(v: float) -> float:
        return slope + sum(c for k, c in knots.items() if k < v)

    def f(v: float) -> float:
        return start + slope * v + sum(c * max(v - k, 0.0) for k, c in knots.items())

    steep, far = abs(slope) + sum(map(abs, knots.values())), 1 + max(map(abs, knots))
    near = a.tolerance * (abs(start) + steep * far)
    edges = sorted(knots)
    for left, right in pairwise([-math.inf, *edges, math.inf]):
        v = _inside(left, right)
        zero = v - f(v) / rate(v) if abs(rate(v)) > a.tolerance * steep else math.inf
        if left + a.tolerance * far < zero < right - a.tolerance * far:
            edges.append(zero)
    edges.sort()
    found, before = {}, 0.0
    for left, right in pairwise([-math.inf, *edges, math.inf]):
        v = _inside(left, right)
        after = rate(v) if f(v) > near else 0.0
        if left == -math.inf:
            found = a.add(a.scale(u, after), a.number(f(v) - after * v)) if f(v) > near else {}
        elif abs(after - before) > a.tolerance * steep:
            found = a.add(found, a.scale(a.atom("relu", a.sub(u, a.number(left)), sign=1), after - before))
        before = after
    return found


def _inside(left: float, right: float) -> float:
    """Return a point between two, of which one may be infinite."""
    if math.isinf(left):
        return right - 1 - abs(right)
    return left + 1 + abs(left) if math.isinf(right) else (left + right) / 2


def larger(a: Algebra, s: Sum, t: Sum) -> Sum:
    """Return max(s, t) = t + max(s - t, 0)."""
    return a.add(t, relu(a, a.sub(s, t)))


def smaller(a: Algebra, s: Sum, t: Sum) -> Sum:
    """Return min(s, t) = s - max(s - t, 0)."""
    return a.sub(s, relu(a, a.sub(s, t)))


def clip(a: Algebra, s: Sum, low: float, high: float) -> Sum:
    """Return min(max(s, low), high)."""
    s = larger(a, s, a.number(low)) if low > -np.inf else s
    return smaller(a, s, a.number(high)) if high < np.inf else s


def absolute(a: Algebra, s: Sum) -> Sum:
    """Return |s| = 2 max(s, 0) - s."""
    return a.sub(a.scale(relu(a, s), 2.0), s)


def sigmoid(a: Algebra, s: Sum) -> Sum:
    """Return 1 / (1 + exp(-s))."""
    return a.power(a.add(a.number(1.0), exp(a, a.scale(s, -1.0))), -1.0)


def tanh(a: Algebra, s: Sum) -> Sum:
    """Return 2 sigmoid(2 s) - 1."""
    return a.sub(a.scale(sigmoid(a, a.scale(s, 2.0)), 2.0), a.number(1.0))


def softplus(a: Algebra, s: Sum) -> Sum:
    """Return log(1 + exp(s))."""
    return log(a, a.add(a.number(1.0), exp(a, s)))


def root(a: Algebra, s: Sum, p: float) -> Sum:
    """Return the p-th root; of max(s, c) with s >= 0 and c > 0 it is the maximum of the roots."""
    c, rest = a.constant(s), {m: d for m, d in s.items() if m}
    hinge = next((m[0][0] for m, d in rest.items() if len(m) == 1 and m[0][1] == 1 and a.close(d, 1.0)), 0)
    inside = a.add(a.atoms[hinge].arg, a.number(c))
    if c > 0 and len(rest) == 1 and a.atoms[hinge].name == "relu" and a.sign(inside):
        return larger(a, a.power(inside, 1 / p), a.number(c ** (1 / p)))
    return a.power(s, 1 / p)


def power(a: Algebra, s: Sum, p: float) -> Sum:
    """Return s^p; what is broken is a root, or one over a root."""
    if p % 1 == 0:
        return a.power(s, p) if p else a.number(1.0)
    r = root(a, s, 1 / abs(p))
    return r if p > 0 else a.power(r, -1.0)


def _abs_power(a: Algebra, s: Sum, p: float) -> Sum:
    return power(a, s if p % 2 == 0 else absolute(a, s), p)


def _hard_sigmoid(a: Algebra, s: Sum, alpha: float, beta: float) -> Sum:
    return clip(a, a.add(a.scale(s, alpha), a.number(beta)), 0.0, 1.0)


def _elu(a: Algebra, s: Sum, alpha: float = 1.0, rate: float = 1.0) -> Sum:
    """Return max(s, 0) + alpha (exp(rate min(s, 0)) - 1)."""
    below = exp(a, a.scale(smaller(a, s, {}), rate))
    return a.add(relu(a, s), a.scale(a.sub(below, a.number(1.0)), alpha))


def _gelu_tanh(a: Algebra, s: Sum) -> Sum:
    inner = a.add(s, a.scale(a.power(s, 3.0), 0.044715))
    return a.mul(s, sigmoid(a, a.scale(inner, 2 * math.sqrt(2 / math.pi))))


SPELLINGS: dict[str, Callable[..., Sum]] = {
    "relu": relu,
    "leaky_relu": lambda a, s, alpha: a.add(a.scale(s, alpha), a.scale(relu(a, s), 1 - alpha)),
    "clip": clip,
    "abs": absolute,
    "elu": _elu,
    "selu": lambda a, s, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875: a.scale(
        _elu(a, s, alpha), gamma
    ),
    "celu": lambda a, s, alpha=1.0: _elu(a, s, alpha, 1 / alpha) if alpha > 0 else a.atom("celu", s),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda a, s: a.mul(s, _hard_sigmoid(a, s, 1 / 6, 0.5)),
    "sigmoid": sigmoid,
    "log_sigmoid": lambda a, s: a.scale(softplus(a, a.scale(s, -1.0)), -1.0),
    "tanh": tanh,
    "tanhshrink": lambda a, s: a.sub(s, tanh(a, s)),
    "softplus": softplus,
    "softsign": lambda a, s: a.mul(s, a.power(a.add(a.number(1.0), absolute(a, s)), -1.0)),
    "swish": lambda a, s, alpha=1.0: a.mul(s, sigmoid(a, a.scale(s, alpha))),
    "mish": lambda a, s: a.mul(s, tanh(a, softplus(a, s))),
    "gelu": lambda a, s: a.scale(a.mul(s, a.add(a.number(1.0), erf(a, a.scale(s, math.sqrt(0.5))))), 0.5),
    "gelu_tanh": _gelu_tanh,
    "erf": erf,
    "exp": exp,
    "exponential": lambda a, s, rate: exp(a, a.scale(s, rate)),
    "log": log,
    "sqrt": lambda a, s: root(a, s, 2.0),
    "root": root,
    "reciprocal": lambda a, s: a.power(s, -1.0),
    "power": power,
    "abs_power": _abs_power,
}
"""The pointwise functions of `reflrp.ops.pointwise`, by name, as functions of a normal form."""
