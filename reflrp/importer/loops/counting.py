"""Counting: how many turns a loop makes whose end follows from lengths that are left open, and what counts them.

Nothing is tried: what the loop's body does to its counters and its condition is read off its nodes. A counter is `start + slope k`
in turn k, where `start` may be a formula of lengths; a condition is one comparison of such, or several that must all hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from reflrp.arrays.tracing.dims import Dim, Undecided, whole
from reflrp.arrays.tracing.spans import check_reach, check_room
from reflrp.importer.dtypes import dtype_of
from reflrp.importer.nodes.node import Body, OnnxNode
from reflrp.importer.site import Arg, Ref, Unbuildable, Work
from reflrp.ops.routing import Plumbing


@dataclass(frozen=True)
class Count:
    """plus - minus + slope k, in turn k; as an array of so many axes, None where that is not known."""

    plus: int
    slope: int = 0
    rank: int | None = 0
    minus: int = 0

    @property
    def start(self) -> int:
        """What it is in turn 0. Raises Unsettled where that is below zero for some lengths, and a formula."""
        return whole(self.plus - self.minus)

    def below(self, other: Count, strict: bool) -> bool:
        """Return whether it is smaller in turn 0, or at most as large; raises Undecided where that depends on lengths."""
        low, high = whole(self.plus + other.minus), whole(other.plus + self.minus)
        return bool(low < high if strict else low <= high)


@dataclass(frozen=True)
class Less:
    """one < two, or one <= two."""

    one: Count
    two: Count
    strict: bool


Condition = tuple[Less, ...]
"""Comparisons that must all hold; none where it is true."""

Number = Count | Condition

EXACT = 2**24
"""Up to which number float32 holds every whole one."""


class Unknown(Unbuildable):
    """A value is no number of turns, and no comparison of such."""


def _count(x: Number) -> Count:
    if not isinstance(x, Count):
        raise Unknown("it calculates with a condition")
    return x


def _truth(x: Number) -> Condition:
    if isinstance(x, Count):
        raise Unknown("it takes a number for a condition")
    return x


def _sum(one: Number, two: Number, sign: int = 1) -> Count:
    a, b = _count(one), _count(two)
    rank = None if a.rank is None or b.rank is None else max(a.rank, b.rank)
    plus, minus = (b.plus, b.minus) if sign > 0 else (b.minus, b.plus)
    return Count(whole(a.plus + plus), a.slope + sign * b.slope, rank, whole(a.minus + minus))


def _less(strict: bool, swapped: bool) -> Callable[[Number, Number], Condition]:
    def compared(one: Number, two: Number) -> Condition:
        a, b = (two, one) if swapped else (one, two)
        return (Less(_count(a), _count(b), strict),)

    return compared


LAWS: Mapping[str, Callable[..., Number]] = {
    "Add": _sum, "Sub": lambda a, b: _sum(a, b, -1), "And": lambda a, b: (*_truth(a), *_truth(b)),
    "Less": _less(True, False), "LessOrEqual": _less(False, False),
    "Greater": _less(True, True), "GreaterOrEqual": _less(False, True),
}  # fmt: skip
"""What operators do to numbers of turns."""

RANKS: Mapping[str, Callable[[int], int | None]] = {
    "Identity": lambda rank: rank,
    "Reshape": lambda rank: None,
    "Squeeze": lambda rank: 0,
    "Unsqueeze": lambda rank: 1 if rank == 0 else None,
}
"""Operators that leave one number what it is, and how many axes it has then."""

KEEPS = frozenset(RANKS)


def applied(node: OnnxNode, operands: list[Number]) -> Number:
    """Return what a node makes of numbers of turns. Raises Unknown for any other node."""
    if node.domain == "" and node.op_type in KEEPS:
        x = operands[0]
        return replace(x, rank=RANKS[node.op_type](x.rank)) if isinstance(x, Count) and x.rank is not None else x
    if node.domain == "" and node.op_type == "Cast":
        return _cast(node, operands[0])
    law = LAWS.get(node.op_type) if node.domain == "" else None
    if law is None or len(operands) != 2:
        raise Unknown(f"its node {node.name!r} ({node.op_type}) counts in no way that is known")
    return law(*operands)


def _cast(node: OnnxNode, x: Number) -> Number:
    to = dtype_of(node.attributes.get("to", 0))
    if isinstance(x, tuple):
        if to is not None and to.kind == "b":
            return x
    elif to is not None and to.kind in "iu" and to.itemsize >= 4:
        return x
    elif to is not None and to.kind == "f" and to.itemsize >= 4:
        check_reach(x.plus, EXACT)
        if x.plus <= EXACT and x.minus <= EXACT:  # what runs up to it is smaller
            return x
    raise Unknown(f"its node {node.name!r} (Cast) makes another number of it")


@dataclass
class Outside:
    """The numbers that stand outside of a loop."""

    work: Work

    def of(self, value: Arg) -> Number:
        """Return a value as a number, or as a condition. Raises Unknown where it follows from no lengths."""
        if isinstance(value, np.ndarray):
            return constant(value)
        node = self.work.makers.get(value.name) if isinstance(value, Ref) and value.name in self.work.late else None
        if node is None or not isinstance(node.op, Plumbing):
            raise Unknown("its end depends on the data")
        made, *given = getattr(node.op.function, "args", (None,))
        if not isinstance(made, OnnxNode):
            raise Unknown("its end depends on what no formula says")
        refs = iter(node.inputs)
        operands = [Ref(name := next(refs), self.work.values[name]) if part is None else part for part in given]
        if made.op_type in KEEPS or made.op_type == "Cast":
            operands = operands[:1]
        return applied(made, [self.of(part) for part in operands])

    def whole(self, value: Arg) -> int:
        """Return a value as one whole number, a formula where it follows from lengths."""
        return _count(self.of(value)).start


def constant(value: np.ndarray) -> Number:
    """Return a constant as a number, or as a condition."""
    if value.size != 1:
        raise Unknown(f"it counts by {value.size} numbers")
    n = value.reshape(-1)[0]
    if isinstance(n, bool | np.bool_):
        if not n:
            raise Unknown("its condition is false")
        return ()
    plain = isinstance(n, Dim) or value.dtype.kind in "iuO"
    if not plain and (value.dtype.kind != "f" or n != np.floor(n) or abs(n) > EXACT):
        raise Unknown(f"it counts by {n}")
    return Count(whole(n), rank=value.ndim)


class Turns:
    """The turns of a loop, by the nodes of its body.

    `counters` says for those of the body's inputs that count the turns how, `kept` what those are that the body hands on as they
    are.
    """

    def __init__(self, body: Body, states: list[Arg], work: Work) -> None:
        self.body, self.outside = body, Outside(work)
        self.makers = {o: node for node in body.nodes for o in node.outputs if o}
        self.kept: dict[str, Arg] = {}
        self.counters: dict[str, Count] = {body.inputs[0]: Count(0, 1)} if body.inputs else {}
        pairs = zip(body.inputs[2:], body.outputs[1:], states, strict=False)
        for name, after, value in pairs:
            slope = self._slope(name, after, value)
            if slope == 0:
                self.kept[name] = value
            elif slope is not None:
                self.counters[name] = replace(_count(constant(np.asarray(value))), slope=slope)

    def same(self, name: str) -> str:
        """Return the name of what a value is handed on from."""
        while name in self.makers and self.makers[name].op_type == "Identity" and self.makers[name].domain == "":
            name = self.makers[name].inputs[0]
        return name

    def _slope(self, name: str, after: str, value: Arg) -> int | None:
        """Return by how much a state grows in each turn, 0 where it is handed on; None for what does neither."""
        after = self.same(after)
        if after == name:
            return 0
        node = self.makers.get(after)
        if node is None or node.domain != "" or node.op_type not in ("Add", "Sub") or not isinstance(value, np.ndarray):
            return None
        if value.size != 1 or value.dtype.kind not in "iuO":
            return None
        places = [self.same(i) for i in node.inputs]
        if name not in places or (node.op_type == "Sub" and places[0] != name):
            return None
        step = self.known(places[1 - places.index(name)])
        try:
            found = constant(step) if isinstance(step, np.ndarray) else None
        except Unbuildable:
            return None
        plain = isinstance(found, Count) and not isinstance(found.start, Dim)
        return int(found.start) * (-1 if node.op_type == "Sub" else 1) or None if plain else None  # type: ignore[union-attr]

    def known(self, name: str) -> Arg:
        """Return a value of the body that is the same in all turns; None for one that is not."""
        name = self.same(name)
        if name in self.body.constants:
            return self.body.constants[name]
        if name in self.kept:
            return self.kept[name]
        if name in self.makers or name in self.body.inputs:
            node = self.makers.get(name)
            constants = node is not None and node.op_type == "Constant" and node.domain == ""
            return np.asarray(node.evaluate()[0]) if constants and node is not None else None
        return self.outside.work.known.get(name)

    def number(self, name: str) -> Number:
        """Return a value of the body as a number of turns, or as a condition. Raises Unknown for any other."""
        name = self.same(name)
        if name in self.counters:
            return self.counters[name]
        if len(self.body.inputs) > 1 and name == self.body.inputs[1]:
            return ()
        found = self.known(name)
        if found is not None:
            return self.outside.of(found)
        node = self.makers.get(name)
        if node is None:
            raise Unknown("its end depends on what its body works out")
        operands = node.inputs[:1] if node.op_type in KEEPS or node.op_type == "Cast" else node.inputs
        return applied(node, [self.number(i) for i in operands])

    def count(self, most: Arg, going: Arg) -> int:
        """Return how many turns there are, at least one. Raises Unbuildable where that is no formula of lengths."""
        begins = () if going is None else _truth(self.outside.of(going))
        for one in begins:
            _always(one)
        found = [] if most is None else [_count(self.outside.of(most)).start]
        ends = [_last(one) for one in _truth(self.number(self.body.outputs[0]))]
        found += [n for n in ends if n is not None]
        if not found:
            raise Unbuildable("it has no end")
        least = found[0]
        for n in found[1:]:
            least = least if least <= n else n
        check_room(least, 1)
        if not isinstance(least, Dim) and least < 1:
            raise Unbuildable("it makes no turns")
        return least


def _always(one: Less) -> None:
    """Raise where a comparison of lengths does not hold for all; TooShort where it does for longer ones."""
    if one.one.slope or one.two.slope:
        raise Unknown("its condition counts before it begins")
    if not isinstance(one.one.plus, Dim) and not isinstance(one.two.minus, Dim):
        check_room(one.two.plus, one.one.plus + one.two.minus + one.strict)
    if not one.one.below(one.two, one.strict):
        raise Unbuildable("its condition is false")


def _last(one: Less) -> int | None:
    """Return after how many turns a comparison fails that is made at the end of each; None where it never does."""
    slope, more = one.one.slope - one.two.slope, int(not one.strict)
    try:
        if slope <= 0:
            if not one.one.below(one.two, one.strict):
                raise Unbuildable("its condition ends it after the first turn for some lengths")
            return None
        if slope != 1:
            raise Unknown(f"its condition counts by {slope}")
        return whole(whole(one.two.plus + one.one.minus + 1 + more) - whole(one.one.plus + one.two.minus))
    except Undecided as error:
        raise Unbuildable(f"how many turns it makes is no formula: {error}") from error
