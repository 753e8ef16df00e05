"""Steps of a recurrence: which sequences run on at each; and those of an open number, whose second stands beside as nodes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reflrp.arrays import Array, namespace
from reflrp.arrays.counting import numbers
from reflrp.arrays.tracing.dims import total, whole
from reflrp.ir import Op, Shape

RELATIONS: Mapping[str, Callable[[Array, Array], Array]] = {
    "Less": operator.lt, "LessOrEqual": operator.le, "Greater": operator.gt, "GreaterOrEqual": operator.ge, "Equal": operator.eq,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Running(Op):
    """A comparison with the number of the step, as which sequences run on: a > start + slope t, (count, *shape of a).

    It carries no relevance. `relation` is ONNX's operator, whose first operand is a.
    """

    kind = "routing"
    count: int
    relation: str = "Greater"
    start: int = 0
    slope: int = 1

    def forward(self, *xs: Array) -> Array:
        """Return what holds at each step."""
        (a,), xp = xs, namespace(xs[0])
        steps = self.slope * numbers(a, self.count) + self.start
        return RELATIONS[self.relation](
            xp.reshape(a, (1, *a.shape)), xp.reshape(steps, (self.count, *(1 for _ in a.shape)))
        )

    def shape(self, *shapes: Shape) -> Shape:
        """Return (count, *shape of a)."""
        return self.count, *shapes[0]


@dataclass(frozen=True)
class Read:
    """What reads an entry in a graph of a known number of steps: its node is called BEFORE number BEHIND, and its value likewise.

    The number is that of the step or, counted `down`, that of the entry. `first` is what the first step reads in the open graph;
    `axis` that of the entries.
    """

    node: tuple[str, str]
    value: tuple[str, str]
    first: str
    down: bool
    axis: int


@dataclass(frozen=True, eq=False)
class Steps(Op):
    """What each step ends in, side by side and in the order of the entries, (steps, *lead, width).

    Its inputs are, for each source, what the steps from the second on read, and one more, (steps, ...); then what the first step
    ends in, `before`, and what the second does, `after`, of which the latter only says what is repeated; then `kept`. It is no
    operator of the engine, which knows how many steps there are: compiled graphs run and explain it as a loop over the nodes of
    the second step (`compiler/loops/recurrent.py`).

    Attributes
    ----------
    onnx : str
        The ONNX node.
    direction : int
        Which of its directions this is.
    sources : tuple of str
        The values that the second step reads of its own.
    before, after : tuple of str
        What the first step ends in, and the second: first the states, which the next step starts from.
    states : int
        How many of these are states.
    kept : tuple of str
        The values from outside that all steps read.
    shapes : tuple of shapes
        The shape of each value that a step ends in.
    count : int
        How many steps there are in all.
    backwards : bool
        Whether the last entry comes first.
    turns : bool
        Whether the steps are the turns of a Loop or Scan, whose nodes are called `ONNX[t]/part`.
    reads : tuple of Read
        How a graph of a known number of steps names what each source stands for; of turns only.
    last : tuple of str
        What the states are called after the last step.

    """

    kind = "routing"
    onnx: str
    direction: int
    sources: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    states: int
    kept: tuple[str, ...]
    shapes: tuple[Shape, ...]
    count: int
    backwards: bool = False
    turns: bool = False
    reads: tuple[Read, ...] = ()
    last: tuple[str, ...] = ()

    def shape(self, *shapes: Shape) -> Shape:
        """Return (steps, *lead, width)."""
        return self.count, *self.lead, self.spans[-1].stop

    @property
    def lead(self) -> Shape:
        """The first axes that all values of a step have in common; one axis is left to each."""
        common, *rest = (shape[:-1] for shape in self.shapes)
        for shape in rest:
            same = [i for i, (n, m) in enumerate(zip(common, shape, strict=False)) if n != m]
            common = common[: min(same[0] if same else len(common), len(shape))]
        return common

    @property
    def spans(self) -> tuple[slice, ...]:
        """Where each value lies along the last axis."""
        found, start = list[slice](), 0
        for shape in self.shapes:
            stop = whole(total(shape[len(self.lead) :]) + start)
            found.append(slice(start, stop))
            start = stop
        return tuple(found)
