"""The engine's way back on symbolic arrays: what the rules do to them is the graph of the relevance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from reflrp.arrays import ZERO, Array, is_symbolic
from reflrp.arrays import symbolic as xp
from reflrp.arrays.tracing import affine
from reflrp.arrays.tracing.array import array, term_of
from reflrp.arrays.tracing.dims import Unsettled, broadcast
from reflrp.arrays.tracing.terms import CURRENT, Trace
from reflrp.compiler import ids
from reflrp.compiler.joining import joined
from reflrp.compiler.lengths.matching import LATE
from reflrp.compiler.lengths.unmoved import copies, passed
from reflrp.compiler.loops import recurrent
from reflrp.compiler.plumbing import plumbed
from reflrp.compiler.source import OLDEST
from reflrp.engine import Program, Values, rule_name
from reflrp.errors import InputError, ReflrpError, RuleError
from reflrp.ir import Graph, Node, Op, Shape, arrays_of
from reflrp.ledger import Row
from reflrp.ops.conv import Conv
from reflrp.ops.linear import Dense, LinearMap
from reflrp.ops.normaliser import LogSoftmax, Softmax
from reflrp.ops.openmaps import OpenAxisMap
from reflrp.ops.picking import MovedIds
from reflrp.ops.quantised import Wrap
from reflrp.ops.recurrence import Steps
from reflrp.ops.routing import Plumbing
from reflrp.rules.base import Rule


@dataclass(frozen=True, eq=False)
class Tracer(Program):
    """A program whose way back is traced. What cannot be written into a graph is refused with the node's name."""

    opset: int = OLDEST
    ledger: bool = False
    real: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))

    def _absorbed(self, r: Array, y: Array) -> list[Any] | None:
        return [] if self.ledger else None

    def _share(self, node: Node, values: Values, r: Array) -> tuple[tuple[Array, ...], Row]:
        where = f"node {node.name!r} ({node.kind}, onnx {node.op_type}, rule {rule_name(self.rules.get(node.name))})"
        missing = next((x for x in (values[i] for i in node.inputs) if isinstance(x, Missing)), None)
        if missing is not None and not isinstance(node.op, MovedIds):
            raise InputError(f"{where} cannot be compiled: {missing}")
        values = joined(node, self.graph, values, self.real)
        if not is_symbolic(r) and r is not ZERO:  # rules count on all entries of the relevance that they share
            r = full(r, self.graph.values[node.output].shape)
        try:
            self._know(node, values, r)
            if isinstance(node.op, Steps):
                parts = recurrent.backward(self, node, [values[i] for i in node.inputs], values[node.output], r)
                return parts, Row(node.name, node.kind, "transpose", 0.0, 0.0)
            if isinstance(node.op, MovedIds):
                parts = ids.moved(node, self.graph, [values[i] for i in node.inputs], r, self.opset)
                return parts, Row(node.name, node.kind, "transpose", 0.0, 0.0)
            return super()._share(node, values, r)
        except Unsettled as error:
            raise InputError(f"{where} cannot be compiled: {str(error).removeprefix(f'{where}: ')}") from error
        except MemoryError:
            raise
        except Exception as error:
            cause = error.__cause__ if isinstance(error, RuleError) else error
            if cause is None or isinstance(cause, ReflrpError):
                raise
            raise InputError(f"{where} cannot be compiled: {asked(cause)}") from cause

    @staticmethod
    def _parts(
        op: Op, rule: Rule | None, xs: tuple[Array, ...], y: Array, r: Array, absorbed: list[Any] | None
    ) -> tuple[Array, ...]:
        """Return what a rule gives to each input; a map of which a part is found in the run is put together first."""
        if isinstance(op, OpenAxisMap) and copies(op):
            if absorbed is not None:
                raise Unsettled("whether its lengths stay as they are, and so its account, is found in the run only")
            (part,) = Program._parts(op, rule, xs, y, r, absorbed)
            return (passed(op, xs[0], r, part),)
        if not isinstance(op, LATE):
            return Program._parts(op, rule, xs, y, r, absorbed)
        a, whole = op.parted(xs)
        (part,) = Program._parts(whole, rule, (a,), y, r, absorbed)
        return (part, *(None for _ in xs[1:])) if xs[0] is a else (None, part)

    def _account(
        self, node: Node, rule: Rule | None, r: Array, parts: tuple[Array, ...], absorbed: list[Any] | None
    ) -> Row:
        """Return the account, its numbers as tallies; of a constant, which has one entry for all samples, those of all."""
        if absorbed is None:
            return super()._account(node, rule, r, parts, absorbed)
        shapes = [self.graph.values[i].shape for i in node.inputs]
        received = full(r, self.graph.values[node.output].shape)
        whole = [p if p is None else received if p is r else full(p, s) for p, s in zip(parts, shapes, strict=True)]
        return super()._account(node, rule, received, tuple(whole), absorbed)

    def _know(self, node: Node, values: Values, r: Array) -> None:
        """Tell the trace that a layer's output is the layer at its input, and where the relevance vanishes."""
        op, z = self.ops[node.name], values[node.output]
        if not is_symbolic(z) or z.dtype != np.float32:
            return
        if getattr(op, "gated", False) and is_symbolic(r):
            z.term.trace.gates.setdefault(id(r.term), []).append((z.term, 1))
        if isinstance(op, Conv | Dense) and not isinstance(op, LATE):
            layer = op(op.join(tuple(values[i] for i in node.inputs)), op.w)
            affine.know(z.term, layer.term, np.zeros((), np.float32) if op.b is ZERO else np.asarray(op.b))

    def arguments(self, trace: Trace, types: Mapping[str, Any], shared: set[str]) -> Values:
        """Return all values: those that the file computes by their names, others traced from these."""
        token = CURRENT.set(trace)  # constants may meet in an op that an open length alone makes symbolic
        try:
            return self._arguments(trace, types, shared)
        finally:
            CURRENT.reset(token)

    def _arguments(self, trace: Trace, types: Mapping[str, Any], shared: set[str]) -> Values:
        found: Values = {}
        finite = _finite(self)
        for name in self.graph.inputs:
            found[name] = self._named(trace, name, types, finite)
        for node in self.graph.nodes:
            if node.output in shared and _alike(self.graph.values[node.output].dtype, types.get(node.output)):
                found[node.output] = self._named(trace, node.output, types, finite)
                _alias(node, found)
            else:
                y, value = self.replayed(node, found), self.graph.values[node.output]
                found[node.output] = y if isinstance(y, Missing) or is_symbolic(y) else _lasting(y, trace, value.shape)
        return found

    def _named(self, trace: Trace, name: str, types: Mapping[str, Any], finite: set[str]) -> Array:
        value = self.graph.values[name]
        known = {"nonneg": value.nonneg, "finite": name in finite}
        array = xp.argument(trace, name, value.shape, types[name], **known)
        return xp.astype(array, self.real if value.active else types[name])

    def replayed(self, node: Node, values: Values) -> Array:
        """Return a value that the file does not compute, by the node's own op."""
        xs = [values[i] for i in node.inputs]
        if isinstance(node.op, Plumbing):
            known = not any(isinstance(x, Missing) for x in xs)
            found = plumbed(node.op, xs, self.graph.values[node.output], self.opset) if known else None
            return Missing(node) if found is None else found
        missing = next((x for x in xs if isinstance(x, Missing)), None)
        if missing is not None:
            return missing
        if isinstance(node.op, Wrap):  # float32 has not all of its numbers
            return Missing(node)
        try:
            y = recurrent.forward(self, node, xs) if isinstance(node.op, Steps) else node.op.forward(*xs)
        except ReflrpError as error:
            raise InputError(f"node {node.name!r} (onnx {node.op_type}) cannot be compiled: {error}") from error
        except MemoryError:
            raise
        except Exception as error:
            raise InputError(f"node {node.name!r} (onnx {node.op_type}) cannot be compiled: {asked(error)}") from error
        shape = self.graph.values[node.output].shape
        if broadcast(y.shape, shape) != shape or (is_symbolic(y) and y.shape != shape):
            raise InputError(
                f"node {node.name!r} (onnx {node.op_type}) cannot be compiled: it makes {y.shape}, not {shape}"
            )
        return y


def asked(error: BaseException) -> str:
    """Return in words that an op's or a rule's lines ask of symbolic arrays what has no formula."""
    return (
        f"it asks for what has no formula ({type(error).__name__}: {error}); a rule of your own is written by the functions of "
        "reflrp.arrays, and any other is explained by reflrp.explain"
    )


def full(part: Array, shape: Shape) -> Array:
    """Return a part of the relevance with all entries of a shape, for their sum: of a constant, too, as where none arrives."""
    if part is ZERO or part.shape == shape:
        return part
    trace = part.term.trace if is_symbolic(part) else CURRENT.get()
    return xp.SymbolicArray(trace.make("Expand", (term_of(part, trace, trace.real),), shape))


def _alias(node: Node, values: Values) -> None:
    """Tell the trace of a rectifier that the file has: rules and simplifications ask for the same."""
    if getattr(node.op, "name", "") != "relu":
        return
    x, y = values[node.inputs[0]], values[node.output]
    if is_symbolic(x) and is_symbolic(y):
        y.term.trace.alias("Relu", x.term, y.term)


def _lasting(y: Any, trace: Trace, shape: Shape) -> Array:
    """Return a value that is the same for all inputs as a symbolic array, as formulas expect values to be."""
    term = trace.constant(y)
    found = trace.make("Identity" if term.shape == shape else "Expand", (term,), shape, nonneg=term.nonneg)
    found.finite = term.finite
    return array(found)


def _alike(ours: Any, theirs: Any) -> bool:
    """Return whether a value is of one kind with us and in the file: what a quantised file keeps as integers is none."""
    return theirs is not None and _kind(ours) == _kind(theirs)


def _kind(dtype: Any) -> str:
    name = np.dtype(dtype).name
    return "float" if "float" in name else "int" if "int" in name else name


class Missing:
    """A value without relevance that the file does not compute under its own name: who needs it cannot be compiled."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __str__(self) -> str:
        """Return what is missing."""
        if isinstance(self.node.op, Wrap):
            where = f"node {self.node.name!r} (onnx {self.node.op_type})"
            return f"it reads the whole numbers of {where}, which are not exact in float32"
        return (
            f"it reads what node {self.node.name!r} (onnx {self.node.op_type}) works out of the data on the way, which no "
            "value of the file holds; make what it reads constant, or explain by reflrp.explain"
        )


def _finite(program: Program) -> set[str]:
    """Return the values that provably hold no infinity where the engine lets none arise but -inf: masks bring those in."""
    found = set(program.graph.inputs)
    for node in program.graph.nodes:
        constants = (a for a in arrays_of(program.ops[node.name]) if a.dtype.kind == "f")
        bounded = isinstance(node.op, Softmax) or all(i in found for i in node.inputs)
        log = isinstance(node.op, LogSoftmax) or getattr(node.op, "name", "") == "log"
        known = bounded and not log and not isinstance(node.op, Plumbing)
        frame = np.isfinite(getattr(node.op, "value", 0.0))
        if known and frame and all(bool(np.isfinite(a).all()) for a in constants):
            found.add(node.output)
    return found - _masked(program.graph)


def _masked(graph: Graph) -> set[str]:
    """Return the masks that are given or worked out, and what they are added to before a Softmax: -inf may be the sum of two."""
    makers, found = {n.output: n for n in graph.nodes}, set[str]()
    for node in graph.nodes:
        seen, waiting = set[str](), [node.inputs[0]] if isinstance(node.op, Softmax) else []
        while waiting:
            name = waiting.pop()
            seen.add(name)
            maker = makers.get(name)
            if maker is not None and maker.kind in ADDED:
                waiting.extend(i for i in maker.inputs if i not in seen)
        if any(i not in makers or makers[i].kind == "plumbing" for i in seen):
            found |= {i for i in seen if i not in makers or makers[i].kind in ADDED}
    return found


ADDED = frozenset(["diagonal", "routing", "sum"])
"""Kinds of nodes on the way of a mask to its Softmax."""


def backward(
    program: Tracer, values: Values, R: Array, keep: Callable[[str], bool], masks: Mapping[str, Any]
) -> tuple[Values, list[Row]]:
    """Return the relevance of the inputs and of the values to keep, and the accounts with their numbers as tallies."""
    (output,) = program.graph.outputs
    token = CURRENT.set(next(x.term.trace for x in values.values() if is_symbolic(x)))
    try:
        return program.backward(dict(values), {program.graph.resolve(output): R}, keep, None, masks)
    finally:
        CURRENT.reset(token)


def remember(program: Program, trace: Trace) -> None:
    """Tell the trace of which weights the rules' derived ones are made, and how."""
    for op in program.ops.values():
        if isinstance(op, LinearMap) and type(op).weights is LinearMap.weights:
            for function, value in op.derived.items():
                if isinstance(value, np.ndarray):
                    trace.derive(value, function, op.w)


def tracer(
    program: Program, graph: Any, lift: Callable[[str, Op], Op], opset: int, ledger: bool, real: np.dtype[Any]
) -> Tracer:
    """Return the program whose graph and ops are for N samples."""
    ops = {name: lift(name, op) for name, op in program.ops.items()}
    rules: Mapping[str, Rule] = program.rules
    return Tracer(Open(**{f.name: getattr(graph, f.name) for f in fields(graph)}), ops, rules, opset, ledger, real)


@dataclass(frozen=True, eq=False)
class Open(Graph):
    """A graph whose work nobody counts: it is not run here."""

    def count_work(self, times: int = 1) -> None:
        """Count nothing."""
