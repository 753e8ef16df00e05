"""Token ids on their way from an input to a table: what moves, casts or shifts them lets relevance back.

- A move (Reshape, Gather, Concat, Where ...) gives each entry's relevance to the id that came there, as observed: an id that
  a mask replaced gets nothing, and what a constant brought in stays with the node.
- Arithmetic on one id leaves it in its place. Where a bound of Clip, Max or Min wins, or a factor is 0, the id is replaced.
- TopK moves ids as it finds them.
- Of several ids that are added (a token and its field's offset, as inputs) none comes before the other: equal parts. The
  same holds for a product; but a factor of 1 changes nothing, and gets nothing.
- A choice that is written as a sum of products, `m*u + (1 - m)*v`, is a Where before it comes here (`selecting.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from math import prod
from typing import Any

import numpy as np

from reflrp.arrays import namespace
from reflrp.importer.nodes.node import OnnxNode
from reflrp.ops.picking import Share

DATA: dict[str, tuple[int, ...] | None] = dict.fromkeys(
    ["Compress", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "ReverseSequence"]
    + ["Slice", "Split", "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze"],
    (0,),
)
DATA |= {"Concat": None, "Pad": (0, 2), "Where": (1, 2), "ScatterElements": (0, 2), "ScatterND": (0, 2)}
"""Operators that move entries -> the operands whose entries they move (None: all)."""

ENTRYWISE = frozenset(
    ["Abs", "Add", "Cast", "Ceil", "Clip", "Div", "Floor", "Max", "Min", "Mod", "Mul", "Neg", "Round", "Sub", "Sum"]
)
"""Operators that leave each id in its place."""

BOUNDS = frozenset(["Clip", "Max", "Min"])
"""Those among them that replace ids by one another, or by a bound."""

STAYS = ENTRYWISE | {"Where"}
"""Operators of which each entry is worked out of the entries in its place, but for broadcasting."""

Evaluate = Callable[..., tuple[Any, ...]]


def sharing(node: OnnxNode, tokens: tuple[int, ...], output: int) -> tuple[int, ...]:
    """Return which of the operands `tokens` get some of the relevance of a node's output; none where it is no such node."""
    if node.op_type in ENTRYWISE:
        return tokens
    if node.op_type == "TopK":
        return tokens if output == 0 else ()  # the other one is positions
    if node.op_type not in DATA or node.attributes.get("reduction", "none") != "none":  # of a scatter
        return ()
    data = DATA[node.op_type]
    return tuple(t for t in tokens if data is None or t in data)


@dataclass(frozen=True, eq=False)
class Sharing:
    """How the relevance of output number `output` of a node is shared among the operands `tokens`, as observed.

    `evaluate` runs a node on operands; `args` holds those that are constant, and what is observed comes in at `places`.
    """

    evaluate: Evaluate
    node: OnnxNode
    args: tuple[Any, ...]
    places: tuple[int, ...]
    tokens: tuple[int, ...]
    output: int

    @property
    def asked(self) -> tuple[int, ...]:
        """Which of what is observed the shares depend on by its numbers, and not by its shape alone."""
        op_type = self.node.op_type
        if op_type in ENTRYWISE:
            known = () if op_type in BOUNDS else self.tokens if op_type != "Mul" or len(self.tokens) == 1 else ()
            return self._observed(known) if op_type in BOUNDS or op_type == "Mul" else ()
        data = () if op_type == "TopK" else DATA[op_type]
        return () if data is None else self._observed(data)

    def _observed(self, besides: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(i for i, place in enumerate(self.places) if place not in besides)

    def __call__(self, *observed: np.ndarray) -> list[Share]:
        """Return the shares, by the numbers of what is observed; what stays in its place may be symbolic arrays."""
        operands = list(self.args)
        for place, array in zip(self.places, observed, strict=True):
            operands[place] = array
        return [s._replace(place=self.places.index(s.place)) for s in self._shares(tuple(operands))]

    def _shares(self, operands: tuple[Any, ...]) -> list[Share]:
        if self.node.op_type in STAYS:
            return _in_place(self.node, operands, self.tokens)
        run = partial(self.evaluate, self.node)
        if self.node.op_type == "TopK":
            return [Share(0, _along(operands[0], run(*operands)[1], self.node.attributes.get("axis", -1)))]
        data = DATA[self.node.op_type]
        return [Share(t, _origins(run, operands, data, t)[self.output]) for t in self.tokens]


def _along(ids: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Return the numbers of the entries at some positions along an axis."""
    found: np.ndarray = np.take_along_axis(np.arange(ids.size).reshape(ids.shape), positions, axis)
    return found


def _origins(
    evaluate: Evaluate, operands: tuple[Any, ...], data: tuple[int, ...] | None, token: int
) -> tuple[Any, ...]:
    """Return for each entry of the outputs which entry of one operand came there, or -1.

    The node is run on the entries' numbers, from 1 on: 0 is what other operands bring in, and what Pad and Trilu fill in.
    """
    given: list[Any] = list(operands)
    for i in range(len(given)) if data is None else data:
        if i < len(given) and given[i] is not None:
            given[i] = np.zeros(np.shape(given[i]), dtype=np.int64)
    shape = np.shape(operands[token])
    given[token] = np.arange(1, prod(shape) + 1, dtype=np.int64).reshape(shape)
    return tuple(None if out is None else np.asarray(out, dtype=np.int64) - 1 for out in evaluate(*given))


def _in_place(node: OnnxNode, operands: tuple[Any, ...], tokens: tuple[int, ...]) -> list[Share]:
    """Return each id's share in the entry in its place: all that have a part in it get as much."""
    parts = _parts(node, operands, tokens)
    if parts is None:
        return [Share(t, None, None if len(tokens) == 1 else np.asarray(1 / len(tokens))) for t in tokens]
    if len(parts) == 1:
        return [Share(tokens[0], None, parts[0])]
    counted = [part.astype(np.int64) for part in parts]
    whole = sum(counted[1:], counted[0])
    each = namespace(whole).maximum(whole, 1)
    return [Share(t, None, part / each) for t, part in zip(tokens, counted, strict=True)]


def _parts(node: OnnxNode, operands: tuple[Any, ...], tokens: tuple[int, ...]) -> list[Any] | None:
    """Return where each of the operands `tokens` has a part in the output; None where all have one everywhere."""
    if node.op_type == "Where":
        chosen = {1: operands[0], 2: ~operands[0]}
        return [chosen[t] for t in tokens]
    if node.op_type in BOUNDS:
        out = _bounded(node, operands)
        return [operands[t] == out for t in tokens]
    if node.op_type != "Mul":
        return None
    others = {t: operands[1 - t] for t in tokens}
    if len(tokens) == 1:
        return [others[t] != 0 for t in tokens]
    return [(others[t] != 0) & ((operands[t] != 1) | (others[t] == 1)) for t in tokens]


def _bounded(node: OnnxNode, operands: tuple[Any, ...]) -> Any:
    """Return the output of an operator among BOUNDS."""
    xp = namespace(*(x for x in operands if x is not None))
    if node.op_type != "Clip":
        return reduce(xp.maximum if node.op_type == "Max" else xp.minimum, operands)
    low, high = ((*operands[1:], None, None)[i] for i in range(2))
    low = node.attributes.get("min") if low is None else low
    high = node.attributes.get("max") if high is None else high
    out = operands[0] if low is None else xp.maximum(operands[0], low)
    return out if high is None else xp.minimum(out, high)
