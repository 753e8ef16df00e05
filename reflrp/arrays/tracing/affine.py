"""Passes that vanish by algebra: a layer with other weights, from values of the same layer that there are already.

A layer is affine in its weights and its bias: with v = alpha w + beta u and any c,

    L(x, v) + c = alpha (L(x, w) + b) + beta (L(x, u) + d) + (c - alpha b - beta d).

So where L(x, w) + b is the layer's own output, and L(x, u) + d was asked for before, the third costs no pass. One such third
is the lower denominator of the generalised gamma rule: w + g w- = (2 + g) w - (w + g w+).

It is done only where no digits can be lost. What rounding does to L(x, v) + c is bounded by a multiple of
L(|x|, |v|) + |c|; if each |v| is at least KEPT of |alpha w| + |beta u|, and |c| of |alpha b| + |beta d|, the bound on the
right grows by 1 / KEPT and no more, whatever x is.

w- = w - w+, the negative denominator of alpha-beta, is not of that kind: where w > 0 it is zero, and what should cancel is
left over as rounding of the larger part. How much that is shows in the run (`choices`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from reflrp.arrays.tracing.terms import Term

KEPT = 1 / 8
"""How much of the parts a combination of weights must be at least, entry by entry."""

ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""How far a combination may be off the weights asked for, in units of its parts: what rounded weights may be off."""

SAMPLE = 4096
"""So many entries of the weights are looked at first."""

LAYERS = frozenset(["Conv", "MatMul"])


@dataclass(frozen=True, eq=False)
class Affine:
    """A value L(x, w) + b: the term that holds it, the term L(x, w), and the bias."""

    term: Term
    layer: Term
    b: np.ndarray

    @property
    def w(self) -> np.ndarray:
        """The weights."""
        found = self.layer.inputs[1].value
        assert found is not None
        return found


@dataclass(frozen=True, eq=False)
class Sum:
    """Terms with factors, and the constant that is left."""

    factors: list[float]
    terms: list[Term]
    rest: np.ndarray


def know(value: Term, layer: Term, bias: np.ndarray, serves: bool = True) -> None:
    """Remember that a value is what a layer gives plus a bias, and whether others are combined from it."""
    if layer.op in LAYERS and layer.inputs[1].value is not None:
        found = layer.trace.known[id(value)] = Affine(value, layer, bias)
        if serves:
            layer.trace.affine.setdefault(_key(layer), []).append(found)


def at_least(value: Term, other: Term) -> bool:
    """Return whether a value is provably at least another: larger weights and bias, at the same input >= 0."""
    if value is other:
        return True
    known = value.trace.known
    one, two = known.get(id(value)), known.get(id(other))
    if one is None or two is None or _key(one.layer) != _key(two.layer) or not one.layer.inputs[0].nonneg:
        return False
    return one.w.shape == two.w.shape and bool((one.w >= two.w).all() and (one.b >= two.b).all())


def known_of(layer: Term) -> list[Affine]:
    """Return the values of a layer at its input that are known, with any weights."""
    return layer.trace.affine.get(_key(layer), [])


def unbiased(layer: Term) -> bool:
    """Return whether values of the same layer are known, and none has a bias."""
    found = known_of(layer)
    return bool(found) and not any(one.b.any() for one in found)


def combined(layer: Term, bias: np.ndarray) -> Sum | None:
    """Return what sums up to a layer plus a bias; None where nothing does."""
    v, best = layer.inputs[1].value, None
    if v is None or v.dtype != np.float32 or not np.isfinite(bias).all():
        return None
    for parts in _pairs(known_of(layer)):
        factors = _factors(v, [p.w for p in parts])
        rest = None if factors is None else _rest(bias, factors, parts)
        if factors is not None and rest is not None and (best is None or not rest.any()):
            best = Sum(factors, [p.term for p in parts], rest)
            if not rest.any():
                break
    return best


def _rest(bias: np.ndarray, factors: list[float], parts: list[Affine]) -> np.ndarray | None:
    """Return what a bias has beyond the sum of those of the parts; None where these are too large for it."""
    biases = [f * p.b.astype(np.float64) for f, p in zip(factors, parts, strict=True)]
    scale: Any = sum(map(np.abs, biases))
    if not bool((np.abs(bias) >= KEPT * scale).all()):
        return None
    rest = np.asarray(bias - sum(biases))
    return np.where(np.abs(rest) <= ROUNDING * (scale + np.abs(bias)), 0, rest)


def _key(layer: Term) -> Any:
    return layer.op, id(layer.inputs[0]), layer.attributes, layer.shape


def _pairs(all_known: list[Affine]) -> Iterator[list[Affine]]:
    """Yield what to combine: each value alone, then each two."""
    yield from ([one] for one in all_known)
    yield from ([one, two] for i, one in enumerate(all_known) for two in all_known[i + 1 :])


def _factors(v: np.ndarray, parts: list[np.ndarray]) -> list[float] | None:
    """Return the factors by which weights sum up to v, if there are such, and they keep its digits."""
    if any(w.shape != v.shape for w in parts):
        return None
    rows = [np.ravel(w) for w in (v, *parts)]
    factors = _solved([row[:: max(1, row.size // SAMPLE)].astype(np.float64) for row in rows])
    if factors is None or not _holds([row[:SAMPLE] for row in rows], factors):
        return None
    return factors if _holds(rows, factors) else None


def _solved(rows: list[np.ndarray]) -> list[float] | None:
    """Return factors by which the rows behind the first sum up to it at some entries."""
    at = [int(np.argmax(np.abs(rows[1])))]
    if len(rows) == 3:
        at.append(int(np.argmax(np.abs(rows[1][at[0]] * rows[2] - rows[1] * rows[2][at[0]]))))
    square = np.array([[row[i] for row in rows[1:]] for i in at])
    if abs(np.linalg.det(square)) <= ROUNDING * float(np.prod(np.abs(square).max(axis=0))):
        return None
    return list(map(float, np.linalg.solve(square, [rows[0][i] for i in at])))


def _holds(rows: list[np.ndarray], factors: list[float]) -> bool:
    """Return whether the sum is the first row up to rounding, and nowhere much smaller than its parts."""
    parts = [f * row.astype(np.float64) for f, row in zip(factors, rows[1:], strict=True)]
    scale: Any = sum(map(np.abs, parts))
    off = np.abs(rows[0] - sum(parts))
    return bool((off <= ROUNDING * scale).all() and (np.abs(rows[0]) >= KEPT * scale).all())
