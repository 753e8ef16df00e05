"""What a builder sees and builds with, and the table that builders stand in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from reflrp import limits
from reflrp.arrays.measured import SHAPE, how
from reflrp.arrays.provenance import own
from reflrp.arrays.tracing.dims import example, is_open, whole
from reflrp.errors import TooLarge
from reflrp.importer.lengths.naming import Names
from reflrp.importer.nodes.node import Body, OnnxNode
from reflrp.importer.source import Source
from reflrp.ir import Node, Op, Shape, Value


@dataclass(frozen=True)
class Ref:
    """A value of the graph under construction: not an array yet, only a name with a shape, a dtype and what is known.

    Builders get their inputs as arrays where the file settles them, and as a Ref where they will be known only when the
    network runs; what they emit comes back as a Ref for those who read it.
    """

    name: str
    value: Value

    @property
    def shape(self) -> Shape:
        """The value's shape."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """How many axes the value has."""
        return len(self.value.shape)


class Items(tuple["np.ndarray | Ref", ...]):
    """A sequence of tensors, while it is known how many it holds."""


Arg = np.ndarray | Ref | Items | None
Made = Ref | np.ndarray | tuple[Ref | np.ndarray | None, ...]
Build = Callable[["Site"], Made]

BUILDERS: dict[tuple[str, str], Build] = {}
"""(domain, op type) -> builder: the one registry of operators."""


def builds(*op_types: str, domain: str = "") -> Callable[[Build], Build]:
    """Enter a builder in the table, for one or more operators."""

    def enter(build: Build) -> Build:
        for op_type in op_types:
            BUILDERS[domain, op_type] = build
        return build

    return enter


class Unbuildable(Exception):
    """A builder's word that it cannot serve this node, and why."""


class NeedsData(Unbuildable):
    """A builder's word that this node can only be built for inputs whose numbers are known."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why}; give the input, not its shape alone: reflrp.explain does, a compiled graph is for all data"
        )


class Lost(Exception):
    """A node reads a value, the first argument, that could not be built; what made it is named itself."""


class Oversized(Unbuildable):
    """A builder's word that this node asks for more memory than `reflrp.limits` allow."""


def sized(shape: Shape) -> Shape:
    """Return the shape of an array that is about to be made.

    Raises Unbuildable for one that cannot be, Oversized for one beyond the limit on memory.
    """
    if any(n < 0 for n in shape):
        raise Unbuildable(f"it needs an array of the shape {shape}")
    try:
        limits.check_array("it", tuple(map(example, shape)))
    except TooLarge as error:
        raise Oversized(str(error)) from None
    return shape


class Work(Protocol):
    """The graph that grows while the nodes of a file are built one after the other, as builders see it.

    A builder mostly asks `Site` for its inputs and emits ops. Some need more of the whole: a loop builds its body in it
    (`inside`, `run`), TopK adds positions that carry no relevance (`plumbing`). What the whole holds and how it grows is
    `reflrp.importer.construction.Construction`; it stands above the builders' table, so builders know it by this protocol.
    """

    known: MutableMapping[str, Arg]
    written: dict[str, OnnxNode]
    nodes: list[Node]
    values: dict[str, Value]
    aliases: dict[str, str]
    makers: dict[str, Node]
    notes: list[str]
    steps: list[int]
    sized_by_data: set[str]
    late: set[str]
    same: dict[int | str, int | str]
    belied: bool
    names: Names
    bounds: dict[str, tuple[float, float]]
    reserved: tuple[frozenset[str], frozenset[str]]
    prefix: str
    origin: tuple[str, ...]
    source: Source | None

    def inside(self, node: OnnxNode, label: str = "", prefix: str | None = None) -> Work:
        """Return the same construction as seen inside a node: its own names, and those outside."""

    def run(self, body: Body, args: Mapping[str, Arg]) -> list[Arg]:
        """Build the nodes of a body for the given inputs, and return its outputs."""

    def emit(self, node: OnnxNode, op: Op, inputs: tuple[Ref, ...], part: str, measured: int = 0) -> Ref:
        """Add a node and return its output; `measured` says how its constants depend on open lengths."""

    def plumb(self, node: OnnxNode, args: tuple[Arg, ...], only: tuple[int, ...] | None = None) -> tuple[Arg, ...]:
        """Add plumbing nodes: one for each output (or only for some) of an ONNX node that carries no relevance."""

    def plumbing(
        self,
        node: OnnxNode,
        i: int,
        inputs: tuple[Ref, ...],
        function: Callable[..., Any] | Op,
        sample: Any,
        part: str = "",
    ) -> Ref:
        """Add one plumbing node."""

    def evaluated(self, node: OnnxNode, *arrays: Any) -> tuple[Any, ...]:
        """Return a node's outputs for arrays in place of its inputs."""

    def shape_of(self, node: OnnxNode, args: tuple[Arg, ...]) -> Shape | None:
        """Return the formulas of the shape of a node's first output at open lengths; None where it has none. Raises TooShort."""

    def worked_out(self, ref: Ref) -> bool:
        """Return whether a value depends on what the network computes, and not on its inputs as they are given."""

    def observe(self, ref: Ref) -> np.ndarray:
        """Return a value at the observed input. Raises NeedsData where only the input's shape is known."""

    def sample(self, ref: Ref) -> np.ndarray:
        """Return some array of a value's shape and dtype."""

    def hold(self, node: OnnxNode, arrays: Any) -> None:
        """Count the arrays among what a node makes."""


@dataclass
class Site:
    """One ONNX node at the moment it is built: the only thing a builder is given.

    It holds the node as the file has it, its inputs as far as they are known (`Arg`: a constant array, a value of the
    graph under construction, a sequence, or nothing), and the construction that it becomes part of. Its methods are how
    a builder reads attributes and inputs, with refusals that name what is missing, and `emit` is how it answers.
    """

    node: OnnxNode
    args: tuple[Arg, ...]
    work: Work

    @property
    def opset(self) -> int:
        """The opset version of the node's domain."""
        return self.node.opset

    @property
    def op_type(self) -> str:
        """The node's operator."""
        return self.node.op_type

    @property
    def measured(self) -> int:
        """What of the node's constants depends on lengths that the file leaves open (`arrays/measured.py`)."""
        return how(self.args)

    def attr(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    def needed(self, name: str) -> Any:
        """Return an attribute that the operator cannot do without."""
        found = self.attr(name)
        if found is None:
            raise Unbuildable(f"its attribute {name!r} is missing")
        return found

    def has(self, i: int) -> bool:
        """Return whether input i is there."""
        return i < len(self.args) and self.args[i] is not None

    def arg(self, i: int) -> np.ndarray | Ref:
        """Return input i, a constant array or a value."""
        found = self.args[i] if i < len(self.args) else None
        if isinstance(found, Items):
            raise Unbuildable(f"its input {i} is a sequence")
        if found is None:
            raise Unbuildable(f"its input {i} is missing")
        return own(found) if isinstance(found, np.ndarray) else found

    def ref(self, i: int = 0) -> Ref:
        """Return input i, which must be a value."""
        found = self.arg(i)
        if not isinstance(found, Ref):
            raise Unbuildable(f"its input {i} is a constant")
        return found

    def const(self, i: int, default: Any = None) -> Any:
        """Return input i, which must be constant (at these input shapes, or as observed), or the default."""
        if not self.has(i):
            return default
        found = self.args[i]
        if isinstance(found, Ref) and found.value.active:
            raise Unbuildable(f"its input {i} ({found.name!r}) depends on the data, and carries relevance")
        return own(self.work.observe(found) if isinstance(found, Ref) else found)

    def ints(self, name: str, i: int | None = None) -> tuple[int, ...] | None:
        """Return integers that are an attribute in old opsets and input i in new ones."""
        value = self.const(i) if i is not None and self.has(i) else self.attr(name)
        return None if value is None else tuple(whole(v) for v in np.ravel(value))

    def axis(self, axis: int, rank: int) -> int:
        """Return an axis counted from the front."""
        if not -rank <= axis < rank:
            raise Unbuildable(f"axis {axis} is out of range for rank {rank}")
        return axis % rank

    def is_number(self, constant: np.ndarray) -> bool:
        """Return whether a constant of the node is one number, for all lengths that the file leaves open."""
        return constant.size == 1 and (constant.ndim == 0 or not self.measured & SHAPE)

    def room(self, *shapes: Shape) -> None:
        """Say of arrays of numbers that are about to be made how large they are together; raises Oversized."""
        try:
            limits.room("it", sum(map(limits.size_of, shapes)))
        except TooLarge as error:
            raise Oversized(str(error)) from None

    def numbers(self, shape: Shape) -> np.ndarray:
        """Return the numbers of the entries of an array: what an operator that moves entries is tried on."""
        if is_open(shape):
            raise Unbuildable(f"it moves entries by their number among those of the shape {shape}, which is left open")
        self.room(shape)
        found = np.arange(prod(shape), dtype=np.int64).reshape(shape)
        self.work.hold(self.node, found)
        return found

    def emit(self, op: Op, *inputs: Ref, part: str = "") -> Ref:
        """Add a node to the graph and return its output.

        The last node that a builder emits should carry no `part`: it gets the ONNX node's name.
        """
        return self.work.emit(self.node, op, inputs, part, self.measured)
