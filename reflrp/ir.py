"""The layer IR: a frozen graph of nodes, each `output = op(inputs)`, in topological order.

Every operator at the observed input is one of a few kinds (`KINDS`), and only kinds that leave a choice have rules:

=============  =====================================================  ====================================
kind           members                                                file
=============  =====================================================  ====================================
dense          Gemm, MatMul by a constant; Einsum by a constant       reflrp/ops/linear.py, einsum.py
conv           Conv, ConvTranspose                                    reflrp/ops/conv.py
diagonal       BatchNormalization, Mul and Add with a constant        reflrp/ops/linear.py
sum            Add, Sub, Sum of values                                reflrp/ops/sums.py
pool           AveragePool; ReduceMean, ReduceSum; Resize, CumSum ... reflrp/ops/conv.py, sums.py, axismap.py
max            MaxPool, ReduceMax, GlobalMaxPool, Max                 reflrp/ops/selection.py
routing        Reshape, Transpose, Slice, Concat, Pad, Gather ...     reflrp/ops/routing.py, picking.py
pointwise      Relu, Gelu, Sigmoid, Clip ...; QuantizeLinear ...      reflrp/ops/pointwise.py, quantised.py
product        Mul, MatMul and Einsum of two values                   reflrp/ops/product.py, einsum.py
normaliser     Softmax, LogSoftmax; LayerNorm, RMSNorm, GroupNorm ... reflrp/ops/normaliser.py, norms.py
embedding      Gather of a constant table by token ids                reflrp/ops/routing.py
plumbing       integer and mask arithmetic: carries no relevance      reflrp/ops/routing.py, picking.py
=============  =====================================================  ====================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from math import prod
from typing import Any, ClassVar, Self

import numpy as np

from reflrp import limits
from reflrp.arrays import Array
from reflrp.arrays.looks import Brief, block, counted, described, listed, shortened

Shape = tuple[int, ...]
Lengths = tuple[int | str, ...]
"""How long the axes of a value are for all inputs: a number, or the name of a length that the file leaves open."""

Layout = Mapping[str, int | None]
"""{"sample": axis, "channel": axis} of one array, as far as known. The axis of samples is None where all samples share it."""

LINEAR = ("dense", "conv", "diagonal", "sum", "pool", "max")
"""The kinds that a linear rule can serve."""

WEIGHTED = ("dense", "conv")
"""The kinds that are a layer in the usual sense: what `first`, `last` and `depth` count."""

KINDS = (*LINEAR, "routing", "pointwise", "product", "normaliser", "embedding", "plumbing")

UNRULED = ("routing", "embedding", "plumbing")
"""The kinds that leave no choice: their relevance goes back by the transpose, or not at all."""


@dataclass(frozen=True, eq=False)
class Op(Brief):
    """What a node computes. Subclasses say `forward`, `shape` and, where it can be known, the sign."""

    kind: ClassVar[str]

    def forward(self, *xs: Array) -> Array:
        """Return the node's output at the inputs `xs`."""
        raise NotImplementedError

    def shape(self, *shapes: Shape) -> Shape:
        """Return the output's shape for the inputs' shapes."""
        raise NotImplementedError

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return about how many numbers `forward` computes on the way from inputs of these shapes to an output of shape `out`.

        One number for each entry of output and inputs, unless an op says otherwise; `limits.TIME` bounds the sum.
        """
        return prod(out) * max(len(shapes), 1) + sum(map(prod, shapes))

    def takes(self, *shapes: Shape) -> int:
        """Return how many numbers are laid out for a moment, forwards or backwards, in arrays larger than inputs and output.

        A frame of padding, unrolled windows, a stack of all inputs: what a file can make large with small inputs and a
        small output. Elementwise temporaries, which are as large as these, do not count.
        """
        return 0

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the output is provably >= 0, given for each input whether it is."""
        return False

    def to(self, convert: Callable[[Array], Array]) -> Self:
        """Return the same op with `convert` applied to every array it holds."""
        changed = {f.name: _convert(getattr(self, f.name), convert) for f in fields(self) if f.init}
        return replace(self, **changed)

    def describe(self) -> str:
        """Return a few words about the parameters, for `Model.summary`."""
        return ""

    @property
    def keeps(self) -> bool:
        """Whether the op holds constants beside its inputs, in which relevance may stay (the ledger's `bias`)."""
        return False

    @property
    def parameters(self) -> int:
        """How many numbers the op holds."""
        return sum(_count(getattr(self, f.name)) for f in fields(self))


def _convert(value: Any, convert: Callable[[Array], Array]) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return convert(np.asanyarray(value))
    if isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value):
        return tuple(_convert(v, convert) for v in value)
    return value


def arrays_of(op: Op) -> Iterator[np.ndarray]:
    """Yield the arrays that an op holds."""
    kind: Any = type(op)
    for name in _names(kind):
        value = getattr(op, name)
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from (v for v in value if isinstance(v, np.ndarray))


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


def _count(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return int(value.size) if value.dtype.kind == "f" else 0
    return sum(map(_count, value)) if isinstance(value, tuple) else 0


@dataclass(frozen=True)
class Value:
    """What the graph knows of a value before it runs.

    `active` means that it carries relevance; `nonneg` that it is provably >= 0. `shape` is that of the input that is explained;
    `open_as` are the lengths for all inputs, or () where they are the shape.
    """

    shape: Shape
    dtype: np.dtype[Any]
    active: bool = True
    nonneg: bool = False
    open_as: Lengths = field(default=(), compare=False)

    @property
    def lengths(self) -> Lengths:
        """The length of each axis for all inputs: what a pass decides by, so that it comes out alike for all of them."""
        return self.open_as or self.shape


@dataclass(frozen=True)
class Node:
    """One equation, `output = op(*inputs)`, with where it came from.

    `joined` holds the two nodes that import made this one of, a layer and its split bias, where they can be parted again.
    `measured` says what of its constants depends on lengths that the file leaves open, as the batch size (`arrays/measured.py`):
    these are no parameters. `counts` are two formulas of these lengths, where its one constant is the quotient of the two.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: str
    op_type: str = ""
    onnx: tuple[str, ...] = ()
    scope: str = ""
    joined: tuple[Node, ...] = ()
    measured: int = 0
    counts: tuple[int, int] | None = None

    @property
    def kind(self) -> str:
        """The kind of the node's op."""
        return self.op.kind

    @property
    def names(self) -> tuple[str, ...]:
        """The node's own name, its output's, and those of the ONNX nodes it came from."""
        return (self.name, self.output, *self.onnx)

    def __repr__(self) -> str:
        """Return `Node('fc', dense, 64 -> 10, bias: 'h' -> 'y', onnx Gemm)`."""
        what = ", ".join(filter(None, [self.op.kind, self.op.describe()]))
        name, output = (shortened(repr(k), 40) for k in (self.name, self.output))
        return f"Node({name}, {what}: {listed(map(repr, self.inputs))} -> {output}, onnx {self.op_type})"


@dataclass(frozen=True, eq=False)
class Replaced:
    """The nodes that a recognised node stands for, from its one input to its output.

    `rounding` is the relative rounding error of the constants that the file keeps for them.
    """

    nodes: tuple[Node, ...]
    rounding: float


@dataclass(frozen=True, eq=False)
class Graph:
    """A network at fixed input shapes. Nodes are in topological order; every value is assigned once.

    `made` is how many bytes of constants the file makes the import compute, beside those that lie in it.

    `names` are those of the file's nodes and of their outputs, and of the nodes that import made of them, of which a graph for one
    output has only some.

    `formulas` says of names of lengths that stand for formulas of others which these are (`arrays/tracing/dims.py`).

    `replaced` holds, by name, what recognised nodes stand for; `unchecked` the names of those that have not run yet, and
    is shared by all graphs that are made of this one.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, Value]
    aliases: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    made: int = 0
    names: frozenset[str] = frozenset()
    formulas: Mapping[str, int] = field(default_factory=dict)
    replaced: Mapping[str, Replaced] = field(default_factory=dict)
    unchecked: set[str] = field(default_factory=set, compare=False)

    def __repr__(self) -> str:
        """Return how many nodes of which kinds there are, the inputs, the outputs and the notes."""
        rows = {"nodes": f"{len(self.nodes)} ({counted(n.kind for n in self.nodes)})"}
        rows |= {"inputs": listed(map(self._port, self.inputs), width=60)}
        rows |= {"outputs": listed(map(self._port, self.outputs), width=60)}
        return block("Graph", rows | ({"notes": "; ".join(self.notes)} if self.notes else {}))

    def _port(self, name: str) -> str:
        value = self.values.get(self.resolve(name))
        return f"{name!r} {described(value)}" if value else repr(name)

    def resolve(self, name: str) -> str:
        """Return the value that `name` stands for (Identity, Dropout and Cast leave aliases)."""
        return self.aliases.get(name, name)

    def work(self, node: Node) -> float:
        """Return about how many numbers a node computes, a step in Python included."""
        values = self.values
        return limits.STEP + node.op.work(values[node.output].shape, *(values[i].shape for i in node.inputs))

    def count_work(self, times: int = 1) -> None:
        """Count the work of all nodes before any is computed. Raises TooLarge, which names a node, beyond `limits.TIME`."""
        for node in self.nodes:
            limits.spend(f"node {node.name!r} (onnx {node.op_type})", times * self.work(node))

    def consumers(self) -> dict[str, list[Node]]:
        """Return the nodes that read each value."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return found

    def producers(self) -> dict[str, Node]:
        """Return the node that makes each value."""
        return {node.output: node for node in self.nodes}

    def takes(self, node: Node) -> int:
        """Return how many numbers a node lays out for a moment, beside its inputs and its output."""
        return node.op.takes(*(self.values[i].shape for i in node.inputs))

    def restricted_to(self, *outputs: str) -> Graph:
        """Return the part of the graph that the outputs depend on."""
        needed, kept = {self.resolve(o) for o in outputs}, []
        for node in reversed(self.nodes):
            if node.output in needed:
                kept.append(node)
                needed.update(node.inputs)
        return replace(self, nodes=tuple(reversed(kept)), outputs=outputs)
