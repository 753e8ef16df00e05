"""Writing: terms -> nodes and initializers of an ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from onnx import GraphProto, helper, numpy_helper

from reflrp.arrays.symbolic import argument
from reflrp.arrays.tracing.array import term_of
from reflrp.arrays.tracing.dims import Dim, Unsettled, broadcast, symbols_of
from reflrp.arrays.tracing.moves import ELEMENTWISE
from reflrp.arrays.tracing.terms import Shape, Term, Trace
from reflrp.compiler.writing.constants import Constants
from reflrp.compiler.writing.extents import Lengths
from reflrp.compiler.writing.fusing import fused, side_by_side, users_of
from reflrp.errors import ReflrpError

PREFIX = "reflrp/"
"""What all names of our nodes and values begin with."""

AXES_AS_INPUT = {"ReduceSum": 13, "ReduceMean": 18, "ReduceMax": 18, "ReduceMin": 18, "ReduceL1": 18}
"""Since which opset the axes of a reduction are an input."""


NAMES = {"Zeros": "ConstantOfShape", "Length": "Reshape"}
"""What terms are written as that ONNX has no operator for."""

WRITTEN = {"Slice": ("starts", "ends"), "Pad": ("pads",), "Length": ("of",), "Range": ("of",)}
"""Attributes of terms that may hold open lengths."""


class Writer(Lengths):
    """Writes terms into a graph; equal ones once. `derived` says how weights made from others are kept: in the graph or stored."""

    def __init__(
        self, graph: GraphProto, trace: Trace, opset: int, derived: str, outside: dict[str, np.ndarray] | None = None
    ) -> None:
        self.graph, self.trace, self.opset, self.derived = graph, trace, opset, derived
        self.names: dict[int, tuple[str, ...]] = {}
        self.held: list[Term] = []
        self.constants = Constants(graph, outside)
        self.count = 0
        self.lengths_made: dict[tuple[str, ...], str] = {}
        self.users: Counter[int] = Counter()
        self.fusions: dict[int, Term | None] = {}

    def name(self, op: str) -> str:
        """Return a new name."""
        self.count += 1
        return f"{PREFIX}{op}_{self.count}"

    def expect(self, terms: Iterable[Term]) -> None:
        """Say which terms will be written: what only one of them reads, or all of one value, can be fused."""
        roots = list(terms)
        self.users = users_of(roots)
        self.fusions.update(side_by_side(roots))

    def _fused(self, term: Term) -> Term | None:
        if id(term) not in self.fusions:
            self.fusions[id(term)] = fused(term, self.users)
            self.held.append(term)
        return self.fusions[id(term)]

    def write(self, term: Term) -> str:
        """Write a term and all that it needs, and return the name of its value."""
        waiting = [term]
        while waiting:
            now = waiting[-1]
            if id(now) in self.names:
                waiting.pop()
                continue
            rest = [t for t in self._needs(now) if id(t) not in self.names]
            if rest:
                waiting.extend(reversed(rest))
                continue
            waiting.pop()
            self.held.append(now)
            self.names[id(now)] = self._written(now)
        return self.names[id(term)][0]

    def _needs(self, term: Term) -> Iterator[Term]:
        found = self._fused(term)
        yield from term.inputs if found is None else (found,)
        if term.op == "constant":
            source = self._source(term)
            if source is not None:
                yield source
        shape = self._shape_asked(term)
        for symbol in symbols_of(shape or ()):
            if symbol in self.trace.lengths:
                yield self.trace.lengths[symbol][0]
                yield from (term for term, _ in self.trace.alike.get(symbol, ()))

    def _shape_asked(self, term: Term) -> Shape | None:
        """Return the shape that an operator takes as an input, where it has lengths that are known in the run only."""
        if term.op in ("Expand", "Zeros", "MaxUnpool") and any(isinstance(n, Dim) for n in term.shape):
            return term.shape
        if term.op in WRITTEN:
            return tuple(n for key in WRITTEN[term.op] for n in term.get(key))
        many = term.op == "Reshape" and sum(isinstance(n, Dim) for n in term.shape) > 1
        return term.shape if many else None

    def _source(self, term: Term) -> Term | None:
        """Return the term that computes a constant in the graph, from the weights that it was derived from."""
        value = term.value
        if value is None or self.derived != "graph" or id(value) not in self.trace.origins:
            return None
        if self.constants.find(value) is not None:
            return None
        _, function, base = self.trace.origins[id(value)]
        if base.dtype != value.dtype or (base.shape == value.shape and np.array_equal(base, value)):
            return None  # w+ of positive weights is these weights, and the same constant
        inner = self.write(self.trace.constant(base))
        leaf = argument(self.trace, inner, tuple(base.shape), base.dtype, finite=True)
        self.names.setdefault(id(leaf.term), (inner,))
        self.held.append(leaf.term)
        try:
            made = term_of(function(leaf), self.trace)
        except (
            TypeError,
            AttributeError,
            NotImplementedError,
            ReflrpError,
        ):  # a function of NumPy arrays alone: it is stored
            return None
        return made if made.value is None and made.shape == term.shape and made.dtype == term.dtype else None

    def _written(self, term: Term) -> tuple[str, ...]:
        if term.op == "value":
            return (term.get("name"),)
        found = self._fused(term)
        if found is not None:
            return self.names[id(found)]
        if term.op == "output":
            return (self.names[id(term.inputs[0])][term.get("i")],)
        if term.value is not None:
            source = self._source(term)
            return self.names[id(source)] if source is not None else (self._constant(term.value),)
        if term.op in ELEMENTWISE and broadcast(*(t.shape for t in term.inputs)) != term.shape:
            raise Unsettled(f"{term.op} of the shapes {[t.shape for t in term.inputs]} is taken for {term.shape}")
        operands = [self.names[id(t)][0] for t in term.inputs]
        if term.op.startswith("onnx:"):  # one of the file's own operators, as it stands there
            attributes = dict(term.attributes)
            outputs: int = attributes.pop("outputs", 1)  # type: ignore[assignment]
            return self.node(term.op.removeprefix("onnx:"), operands, attributes, outputs)
        special: Callable[..., tuple[list[str], dict[str, Any]]] | None = getattr(self, f"_{term.op.lower()}", None)
        attributes = {**dict(term.attributes)}
        if term.op in AXES_AS_INPUT:
            operands, attributes = self._axes(term, operands, attributes)
        elif special is not None:
            operands, attributes = special(term, operands, attributes)
        outputs = len(term.get("body").made) if term.op == "Scan" else 1 + (term.op == "MaxPool")
        return self.node(NAMES.get(term.op, term.op), operands, attributes, outputs)

    def node(self, op: str, operands: list[str], attributes: dict[str, Any], outputs: int = 1) -> tuple[str, ...]:
        """Write one node, and return the names of its outputs."""
        name = self.name(op)
        made = tuple(name if i == 0 else f"{name}:{i}" for i in range(outputs))
        kept: dict[str, Any] = {k: list(v) if isinstance(v, tuple) else v for k, v in attributes.items()}
        self.graph.node.append(helper.make_node(op, operands, list(made), name, **kept))
        return made

    def _constant(self, value: np.ndarray) -> str:
        """Return the name of a constant, which may be the user's own, reshaped or transposed."""
        found = self.constants.find(value)
        if found is None:
            return self.constants.add(value, self.name("constant"))
        name, change, how = found
        if change == "Reshape":
            return self.node("Reshape", [name, self.ints(how)], {})[0]
        return self.node("Transpose", [name], {"perm": how})[0] if change else name

    def ints(self, values: Any) -> str:
        """Return the name of a constant of integers."""
        return self.write(self.trace.constant(np.asarray(values, dtype=np.int64)))

    def _axes(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        axes = attributes.pop("axes")
        if self.opset < AXES_AS_INPUT[term.op]:
            return operands, {**attributes, "axes": axes}
        return [*operands, self.ints(axes)], attributes

    def _reshape(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        if self._shape_asked(term) is not None:
            return [*operands, self.lengths(term.shape)], {"allowzero": 1}  # a length may be 0, which would be a copy
        return [*operands, self.ints([-1 if isinstance(n, Dim) else n for n in term.shape])], {}

    def _expand(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        source = term.inputs[0].shape
        lead = len(term.shape) - len(source)
        asked = tuple(1 if i >= lead and source[i - lead] == n else n for i, n in enumerate(term.shape))
        return [*operands, self.lengths(asked)], {}

    def _zeros(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        zero = numpy_helper.from_array(np.zeros(1, dtype=term.dtype), "value")
        return [self.lengths(term.shape)], {"value": zero}

    def _maxunpool(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        return [*operands, self.lengths(term.shape)], attributes

    def _slice(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        return [*operands, *(self.lengths(attributes[k]) for k in ("starts", "ends", "axes", "steps"))], {}

    def _pad(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        if term.dtype.kind == "b":
            raise NotImplementedError("booleans are not padded")
        value = self.write(self.trace.constant(np.asarray(attributes["value"], dtype=term.dtype)))
        return [*operands, self.lengths(attributes["pads"]), value], {}

    def _length(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        return [self.lengths(attributes["of"]), self.ints(())], {}

    def _range(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        return [self.ints(0), self.node("Squeeze", [self.lengths(term.shape)], {})[0], self.ints(1)], {}

    def _cast(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        return operands, {"to": helper.np_dtype_to_tensor_dtype(term.dtype)}

    def _if(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        names = ("then_branch", "else_branch")
        return operands[:1], {k: self._branch(t) for k, t in zip(names, attributes["branches"], strict=True)}

    def _branch(self, term: Term) -> GraphProto:
        """Return a graph that makes a term, with all that is not written outside of it, or names what is."""
        whole, known, lengths, inner = self.graph, dict(self.names), dict(self.lengths_made), GraphProto()
        self.graph = inner
        made = self.write(term)
        if not inner.node:
            made = self.node("Identity", [made], {})[0]
        self.graph, self.names, self.lengths_made = whole, known, lengths
        dims = [None if isinstance(n, Dim) else n for n in term.shape]
        port = helper.make_tensor_value_info(made, helper.np_dtype_to_tensor_dtype(term.dtype), dims)
        return helper.make_graph(inner.node, made, [], [port])
