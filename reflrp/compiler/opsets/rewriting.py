"""A node of one opset as nodes of the next: what a formula is given, and what it writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from reflrp.importer.files.read import nodes_within
from reflrp.importer.lengths.inferring import inferred


class Lasting(Exception):
    """A node means what no node of the next opset does; the message says what."""


Kind = tuple[int, tuple[int, ...] | None]
"""A value's element type, and the lengths of its axes, 0 for those that are open."""


class Facts:
    """What is known of a model's values: types, ranks, numbers, who reads them.

    Of a name that stands for several values, as in both branches of an If, only what is the same of all is known.
    """

    def __init__(self, proto: ModelProto, slim: ModelProto, constants: Mapping[str, np.ndarray]) -> None:
        self._slim, self._constants = slim, dict(constants)
        graphs = [*_graphs(proto.graph)]
        made = Counter(name for graph in graphs for name in {*_made(graph)})
        self._count = made
        nodes = [*nodes_within(proto.graph.node)]
        self._read = {i for n in nodes for i in n.input} | {o.name for graph in graphs for o in graph.output}
        self._taken = {*made, *self._read}

    def free(self, name: str) -> str:
        """Return a name that nothing bears, made of this one, and take it."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def is_read(self, name: str) -> bool:
        """Return whether a node reads a value, or it leaves a graph."""
        return name in self._read

    def know(self, name: str, numbers: np.ndarray) -> None:
        """Take note of a constant that was written under a free name."""
        self._count[name] += 1
        self._constants[name] = numbers

    def number(self, name: str) -> np.ndarray | None:
        """Return the numbers of a value where they are constant and known."""
        return self._constants.get(name) if self._count[name] == 1 else None

    def element(self, name: str) -> int | None:
        """Return the element type of a value, where it is known."""
        return self._types.get(name, (None, None))[0]

    def lengths(self, name: str) -> tuple[int, ...] | None:
        """Return the lengths of a value's axes, 0 for those that are open, where their number is known."""
        return self._types.get(name, (None, None))[1]

    def rank(self, name: str) -> int | None:
        """Return the rank of a value, where it is known."""
        lengths = self.lengths(name)
        return None if lengths is None else len(lengths)

    @cached_property
    def _types(self) -> dict[str, Kind]:
        graph = inferred(self._slim).graph
        found: dict[str, list[Kind]] = {}
        for one in _graphs(graph):
            for name, kind in _kinds(one).items():
                found.setdefault(name, []).append(kind)
        return {k: kinds[0] for k, kinds in found.items() if kinds == kinds[:1] * self._count[k]}


class Rewrite:
    """One node that is rewritten, and the nodes that come of it, in their order."""

    def __init__(self, node: NodeProto, facts: Facts) -> None:
        self.node, self.facts = NodeProto(), facts
        self.node.CopyFrom(node)
        self.made: list[NodeProto] = []

    @property
    def x(self) -> str:
        """The node's first input."""
        return str(self.node.input[0])

    def says(self, name: str, default: Any = None) -> Any:
        """Return an attribute's value, texts as str; the default where the node does not say it."""
        value = next((helper.get_attribute_value(a) for a in self.node.attribute if a.name == name), default)
        return value.decode() if isinstance(value, bytes) else value

    def take(self, name: str, default: Any = None) -> Any:
        """Return an attribute's value as `says`, and take it out of the node."""
        value, kept = self.says(name, default), [a for a in self.node.attribute if a.name != name]
        if len(kept) < len(self.node.attribute):
            rest = NodeProto(attribute=kept)
            del self.node.attribute[:]
            self.node.attribute.extend(rest.attribute)
        return value

    def say(self, name: str, value: Any) -> None:
        """Set an attribute of the node."""
        self.take(name)
        self.node.attribute.append(helper.make_attribute(name, value))

    def reads(self, *inputs: str) -> None:
        """Set the node's inputs; those at the end that are left out are not there."""
        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        del self.node.input[:]
        self.node.input.extend(given)

    def keep(self) -> None:
        """Let the node itself be the next one."""
        self.made.append(self.node)

    def add(self, op_type: str, inputs: Sequence[str], what: str, output: str = "", **attributes: Any) -> str:
        """Write a node; `what` goes into its name, and into that of its output where it is given none."""
        name = self.facts.free(f"{self.node.output[0]}:{what}")
        found = output or name
        self.made.append(helper.make_node(op_type, inputs, [found], name, **attributes))
        return found

    def constant(self, value: Any, what: str) -> str:
        """Write a constant: whole numbers as int64, others as float32; an array as it is."""
        array = np.asarray(value)
        if not isinstance(value, np.ndarray):
            array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
        name = self.add("Constant", (), what, value=numpy_helper.from_array(array))
        self.facts.know(name, array)
        return name

    def scalar(self, value: float, what: str) -> str:
        """Write a number of the element type of the node's input."""
        element = self.facts.element(self.x)
        if element is None:
            return self.add("CastLike", (self.constant(float(value), f"{what}_float"), self.x), what)
        with np.errstate(over="ignore"):
            return self.constant(np.asarray(value, helper.tensor_dtype_to_np_dtype(element)), what)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and those in its nodes."""
    yield graph
    for node in nodes_within(graph.node):
        for a in node.attribute:
            if a.HasField("g"):
                yield a.g
            yield from a.graphs


def _made(graph: GraphProto) -> Iterator[str]:
    """Yield the names of what a graph makes or is given."""
    yield from (i.name for i in graph.input)
    yield from (t.name for t in graph.initializer)
    yield from (s.values.name for s in graph.sparse_initializer)
    yield from (o for n in graph.node for o in n.output if o)


def _kinds(graph: GraphProto) -> dict[str, Kind]:
    """Return element type and lengths of the values of which a graph says the type."""
    found: dict[str, Kind] = {}
    for info in (*graph.input, *graph.value_info, *graph.output):
        tensor = info.type.tensor_type
        if tensor.elem_type:
            lengths = tuple(d.dim_value for d in tensor.shape.dim) if tensor.HasField("shape") else None
            found[info.name] = tensor.elem_type, lengths
    return found | {t.name: (t.data_type, tuple(t.dims)) for t in graph.initializer}
