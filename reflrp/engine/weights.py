"""The ops of a program on the chosen arrays: weights converted once where there is room for them, else at each use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import finalize

import numpy as np

from reflrp.arrays import Array
from reflrp.ground.caches import Allowance, Cache, Portion, bytes_of
from reflrp.ir import Graph, Node, Op
from reflrp.ops.linear import LinearMap

Convert = Callable[[Array], Array]
Finish = Callable[[Node, Op, bool], Op]


@dataclass(eq=False)
class Sharing:
    """A converter that makes one array of each, however many nodes hold it, and knows what it made of late.

    An array that is the one given, or a view of it, takes no room.
    """

    convert: Convert
    made: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    fresh: dict[int, int] = field(default_factory=dict)

    def __call__(self, array: Array) -> Array:
        """Return the array converted."""
        key = id(array)
        if key not in self.made:
            found = self.convert(array)
            self.made[key] = array, found  # the array stays with it, so that its id is no other's
            self.fresh[key] = 0 if _same_memory(array, found) else bytes_of(found)
        return self.made[key][1]

    def settle(self, keep: Callable[[int], bool]) -> bool:
        """Ask whether what was made since the last time may stay, and let go of it where not."""
        size = sum(self.fresh.values())
        stays = size == 0 or keep(size)
        for key in self.fresh if not stays else ():
            del self.made[key]
        self.fresh = {}
        return stays


def _same_memory(array: Array, found: Array) -> bool:
    both = isinstance(array, np.ndarray) and isinstance(found, np.ndarray)
    return found is array or (both and np.may_share_memory(array, found))


class Ops(Mapping[str, Op]):
    """The ops by the names of their nodes: those that are kept, and those that are made when they are asked for."""

    def __init__(self, kept: Mapping[str, Op], late: Mapping[str, Callable[[], Op]]) -> None:
        self.kept, self.late = kept, late

    def __getitem__(self, name: str) -> Op:
        """Return an op, ready to run."""
        found = self.kept.get(name)
        return self.late[name]() if found is None else found

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        yield from (*self.kept, *self.late)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.kept) + len(self.late)


def changed(ops: Mapping[str, Op], change: Callable[[Op], Op]) -> Mapping[str, Op]:
    """Return the same ops, each changed, when it is asked for where it is made then."""
    if not isinstance(ops, Ops):
        return {name: change(op) for name, op in ops.items()}
    late = {name: Late(make, change) for name, make in ops.late.items()}
    return Ops({name: change(op) for name, op in ops.kept.items()}, late)


@dataclass(frozen=True, eq=False)
class Late:
    """An op that is made when it is asked for, and changed."""

    make: Callable[[], Op]
    change: Callable[[Op], Op]

    def __call__(self) -> Op:
        """Return the op."""
        return self.change(self.make())


@dataclass(frozen=True, eq=False)
class Converted:
    """An op of the graph on converted arrays, for one use."""

    node: Node
    convert: Convert
    finish: Finish

    def __call__(self) -> Op:
        """Return the op."""
        return self.finish(self.node, self.node.op.to(self.convert), False)


def _as_it_is(_: Node, op: Op, __: bool) -> Op:
    return op


@dataclass(frozen=True, eq=False)
class Told:
    """Tells a linear map what is known of its input and of its relevance, and where it keeps the weights derived from its own."""

    graph: Graph
    gated: Collection[str]
    portion: Portion
    derived: dict[int, Cache[Any, Array]] = field(default_factory=dict)

    def __call__(self, node: Node, op: Op, stays: bool) -> Op:
        """Return the op that knows it. Maps that share their weights, and stay, share what is derived from them."""
        if not isinstance(op, LinearMap):
            return op
        positive = all(self.graph.values[i].nonneg for i in node.inputs)
        same = self.derived.setdefault(id(op.w), Cache(portion=self.portion)) if stays else Cache[Any, Array]()
        return replace(op, positive=positive, gated=node.output in self.gated, derived=same)


def converted(graph: Graph, convert: Convert, portion: Portion, finish: Finish = _as_it_is) -> Ops:
    """Return a graph's ops on converted arrays; `finish` tells each what is known of its node, and whether it stays.

    They are converted one node at a time. Who comes first keeps its weights while the portion has room: all are used once a
    pass, in order, so that giving way to one another would keep none of them.
    """
    kept, late, share = dict[str, Op](), dict[str, Callable[[], Op]](), Sharing(convert)
    for node in graph.nodes:
        op = node.op.to(share)
        if share.settle(portion.take):
            kept[node.name] = finish(node, op, True)
        else:
            late[node.name] = Converted(node, convert, finish)
    found = Ops(kept, late)
    finalize(found, portion.give_back)
    return found


def passing(graph: Graph, convert: Convert) -> Ops:
    """Return a graph's ops on converted arrays for one forward pass, of which none is kept that takes room of its own."""
    return converted(graph, convert, Portion(Allowance(0)))
