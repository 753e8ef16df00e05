"""Error bars: how far rounding may have moved relevance, observed by running again with all operands shaken.

A run on shaken operands multiplies each entry that goes into a node's arithmetic, forward and back, by 1 + delta or 1 - delta, as a
coin says. delta is a few units of rounding u, and grows with the root of the number n of terms that the node adds up, as the
error of a sum does: the rounded sum of a_j w_j is the exact sum of slightly moved terms, whatever the order in which a library adds
them (backward error analysis). What cancels in a sum moves by what it is made of, and what hangs on a near-zero denominator is
thrown as far as rounding can throw it. How far RUNS such runs land from the plain one, times FACTOR, is the error bar.

Sources
-------
Vignes : "A stochastic arithmetic for reliable scientific computation", Mathematics and Computers in Simulation 35, 1993 (CESTAC).
Higham and Mary : "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019 (sqrt n).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from math import prod, sqrt
from typing import Any
from zlib import crc32

import numpy as np

from reflrp.arrays import Array, namespace, sign, where
from reflrp.engine.program import Program, Values
from reflrp.ground.caches import Kept
from reflrp.ir import Layout, Node, Op, Shape
from reflrp.ledger import Row
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.linear import Dense, LeftDense, LinearMap
from reflrp.ops.normaliser import Normaliser
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import MatrixProduct
from reflrp.ops.quantised import Units
from reflrp.rules.base import Rule

RUNS = 2
"""How many shaken runs there are."""

FACTOR = 7.0
"""Error bars are so many times the root mean square of how far the shaken runs land from the plain one."""

LEAST = 2.04
"""delta in units of rounding u where nothing is added up: just enough for every entry to become another float."""

GROWTH = 0.4
"""delta = GROWTH u sqrt(1 + n / 2) for n terms: the spread of a sum's error, were its terms added one by one."""

LONGEST = 4096
"""Beyond so many terms delta grows no more: libraries add long sums in blocks."""

FLOOR = 0.5
"""An entry's bar is at least so many times what the median of its sample's relative bars makes of it: no entry is lucky alone."""

EDGE = 3.0
"""A sum that is at most so many times what a run moves it by may have the other sign: the first run gives it that one."""

OFFSETS = 1 << 16
"""At how many places the coins of a run can begin."""

STILL = frozenset(["routing", "plumbing", "max", "embedding"])
"""Kinds of nodes that only move entries: nothing is rounded there."""

STEPS = frozenset(["relu", "abs", "clip", "thresholded_relu", "floor", "ceil", "round", "sign"])
"""Functions whose values are exact."""


@lru_cache(maxsize=4)
def coins(size: int, dtype: str) -> np.ndarray:
    """Return `size` times +1 or -1, always the same ones."""
    bits = np.frombuffer(np.random.default_rng(11).bytes(size // 8 + 1), np.uint8)
    found = (2 * np.unpackbits(bits, count=size).astype(np.int8) - 1).astype(dtype)
    found.flags.writeable = False
    return found


def is_rounded(node: Node) -> bool:
    """Return whether a node rounds at all."""
    exact = isinstance(node.op, Units) or (isinstance(node.op, Pointwise) and node.op.name in STEPS)
    return node.kind not in STILL and not exact


def terms(node: Node, shapes: Sequence[Shape], back: bool) -> float:
    """Return about how many terms a node adds up for an entry of its output or, going back, of its input."""
    op = node.op
    if isinstance(op, Dense | LeftDense | Conv | ConvTranspose):
        w = op.w.shape
        ins, outs = w[-2:] if node.kind == "dense" else (prod(w[1:]), w[0] * prod(w[2:]))
        turned = isinstance(op, LeftDense | ConvTranspose)
        return float(outs if turned != back else ins)
    if isinstance(op, MatrixProduct):
        return float(max(n for shape in shapes for n in shape[-2:]))
    if isinstance(op, Normaliser):
        return float(prod(shapes[0][a] for a in getattr(op, "axes", (-1,))))
    sizes = [max(prod(shape), 1) for shape in shapes]
    return max(sizes) / min(sizes)


@dataclass(frozen=True, eq=False)
class Shaken(Program):
    """The same program on shaken operands; the same run shakes a sample in the same way, whichever batch it is in.

    Attributes
    ----------
    run : int
        Which run it is: each throws other coins.
    places : dict of Layout
        The plain program's layout: which axis holds the samples.
    plain : dict of array
        The values of the plain run, where sums that may have the other sign are to have it.

    """

    run: int = 0
    places: Mapping[str, Layout] = field(default_factory=dict)
    plain: Mapping[str, Array] = field(default_factory=dict)

    def _output(self, node: Node, values: Values) -> Array:
        if not self.graph.values[node.output].active or not is_rounded(node):
            return super()._output(node, values)
        y, plain = super()._output(node, self._moved(node, values, "forward")), self.plain.get(node.output)
        return y if plain is None or not isinstance(node.op, LinearMap) else turned(plain, y)

    def _share(self, node: Node, values: Values, r: Array) -> tuple[tuple[Array, ...], Row]:
        if is_rounded(node):
            y = {node.output: values[node.output]}
            values, r = {**self._moved(node, values, "back"), **y}, self._shake(node, node.output, r, "back")
        return super()._share(node, values, r)

    @staticmethod
    def _parts(
        op: Op, rule: Rule | None, xs: tuple[Array, ...], y: Array, r: Array, absorbed: list[Any] | None
    ) -> tuple[Array, ...]:
        """Return what a rule gives to each input, without notes for the account."""
        return Program._parts(op, rule, xs, y, r, None)

    def _account(
        self, node: Node, rule: Rule | None, r: Array, parts: tuple[Array, ...], absorbed: list[Any] | None
    ) -> Row:
        """Return no account: it is the plain run's."""
        return Row(node.name, node.kind, "", 0.0, 0.0)

    def _moved(self, node: Node, values: Values, way: str) -> Values:
        """Return a node's inputs, shaken: on the way back anew, as a rule computes with them anew."""
        return {k: self._shake(node, k, values[k], f"{way} input") for k in node.inputs}

    def _shake(self, node: Node, name: str, x: Array, way: str) -> Array:
        """Return x (1 +- delta). The coins of a sample do not depend on the others, where it is proven which axis holds them."""
        xp = namespace(x)
        if x.dtype not in (xp.float64, xp.float32):
            return x
        axis = self.places.get(name, {}).get("sample")
        shape = _of_one(x.shape, axis)
        start = crc32(f"{self.run} {way} {node.name} {name}".encode()) % OFFSETS
        thrown = coins(OFFSETS + self._largest, str(x.dtype))[start : start + prod(shape)].reshape(shape)
        moved = xp.asarray(thrown) * self._delta(node, x, way == "back")
        moved += 1
        with np.errstate(all="ignore"):  # what is not finite is reported, with the node's name, where it is used
            alike = isinstance(moved, np.ndarray) and moved.shape == x.shape
            return np.multiply(x, moved, out=moved) if alike else x * moved

    @Kept
    def _largest(self) -> int:
        """A power of two that no value has more entries than, of one sample where it is proven which axis holds them."""
        axes = {k: self.places.get(k, {}).get("sample") for k in self.graph.values}
        return 1 << max(prod(_of_one(v.shape, axes[k])) for k, v in self.graph.values.items()).bit_length()

    def _delta(self, node: Node, x: Array, back: bool) -> float:
        shapes = [self.graph.values[k].shape for k in (*node.inputs, node.output) if self.graph.values[k].active]
        count = min(terms(node, shapes, back), LONGEST)
        return float(max(LEAST, GROWTH * sqrt(1 + count / 2)) * namespace(x).finfo(x.dtype).eps / 2)


def copies(targets: int) -> int:
    """Return how many times a cut's values are in memory: the plain run's, a shaken run's, what nodes gave back for each target."""
    return 2 + targets


def _of_one(shape: Shape, axis: int | None) -> Shape:
    return tuple(1 if i == axis else n for i, n in enumerate(shape))


def shaken(program: Program, run: int, plain: Values) -> Shaken:
    """Return a program that runs on shaken operands; `plain` holds the values of the plain run."""
    return Shaken(program.graph, program.ops, program.rules, run, program.layout, {} if run else plain)


def turned(plain: Array, y: Array) -> Array:
    """Return y with the other sign than the plain value where that is within EDGE times what it was moved by.

    A stabilised denominator jumps where its z crosses 0, and a few runs at random may all stay on one side.
    """
    with np.errstate(invalid="ignore"):  # a mask of -infinity, which nothing moves
        moved = abs(y - plain)
    near = (abs(plain) <= EDGE * moved) & (moved > 0)
    return where(near, -sign(plain) * moved, y) if bool(namespace(y).any(near)) else y


def mean_square(distances: Sequence[Any]) -> Any:
    """Return FACTOR times the root mean square of some distances; what would overflow as a square does not."""
    return FACTOR * reduce(np.hypot, distances) / sqrt(len(distances))


def bars(R: np.ndarray, shaken: Sequence[np.ndarray], axis: int | None) -> np.ndarray:
    """Return the error bars of relevance, of its shape and dtype, from what the shaken runs gave; `axis` holds the samples.

    The runs' distance, times FACTOR; at least FLOOR times the share of |R| that is the median over the sample, and a unit in the
    last place. 0 where R is 0 in all runs.
    """
    size = abs(R.astype(np.float64))
    found = np.asarray(mean_square([abs(S.astype(np.float64) - R) for S in shaken]))
    around = tuple(i for i in range(R.ndim) if i != axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(size > 0, found / size, np.nan)
        middle = _median(share, around) if share.size else share
    unit = np.where(size > 0, np.finfo(R.dtype).smallest_subnormal, 0.0)  # of entries so small that eps times them is 0
    floor = np.maximum(np.maximum(FLOOR * middle, np.finfo(R.dtype).eps) * size, unit)
    return np.where(np.isfinite(found), np.maximum(found, floor), np.inf).astype(R.dtype)


def _median(x: np.ndarray, axes: tuple[int, ...]) -> Any:
    """Return the median of what is no NaN over some axes; 0 where there is nothing."""
    last = np.moveaxis(x, axes, tuple(range(x.ndim - len(axes), x.ndim)))
    flat = last.reshape(-1, prod(x.shape[a] for a in axes))
    rows = [row[~np.isnan(row)] for row in flat]
    found = np.asarray([np.median(row) if row.size else 0.0 for row in rows])
    return found.reshape([1 if i in axes else n for i, n in enumerate(x.shape)])
