"""Nodes without relevance that the file does not hold as they are: the ONNX operators that they run, as nodes of the graph.

Such are the parts of an operator's own function, and the numbers by which a Gather or a TopK is found to move entries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from reflrp.arrays import Array, is_symbolic
from reflrp.arrays.symbolic import arange
from reflrp.arrays.tracing.array import array, term_of
from reflrp.arrays.tracing.dims import Dim, total
from reflrp.arrays.tracing.moves import reshape
from reflrp.arrays.tracing.terms import CURRENT, Shape, Term, Trace
from reflrp.compiler.source import same_since
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.plumbing import Along, Filled, Numbered, TapPlaces, TapWeights
from reflrp.ir import Value
from reflrp.ops.routing import Plumbing
from reflrp.passes.plumbing_laws import ENTRYWISE, FLAT, REDUCES

OURS = {"op", "inputs", "shape", "dtype", "nonneg", "outputs"}
"""Names of attributes that say something else of a term; no operator here has one of them."""

TYPED = {"Cast": "to", "EyeLike": "dtype"}
"""The attributes that say of which type an operator's output is."""

ANY_LENGTH = ENTRYWISE | FLAT | REDUCES | {"Slice", "Transpose"}
"""Operators that are the same nodes for any length; of those that only bring entries into another shape, that is a formula."""

FORMULAS = TapPlaces | TapWeights
"""Functions that are written as formulas of arrays, so that they write the graph themselves."""

Call = tuple[OnnxNode, tuple[Any, ...]]
"""An operator of the file, and its operands; None stands for what is observed."""


def plumbed(op: Plumbing, xs: list[Array], value: Value, opset: int) -> Array | None:
    """Return what a node without relevance makes of its inputs; None where no operator is known to stand for it."""
    symbolic = next((x for x in xs if is_symbolic(x)), None)
    if symbolic is None:
        return None if xs else _filled(op, value)
    trace, function = symbolic.term.trace, op.function
    dtype = trace.real if value.dtype.kind == "f" else value.dtype
    if isinstance(function, FORMULAS):
        return function(*xs)
    if isinstance(function, Numbered):
        term = _numbered(function, xs, value.shape, opset, trace)
        return None if term is None else array(term)
    if isinstance(function, Along):
        found = _run(_call(function.found), function.found.output, xs, value.shape, np.dtype(np.int64), opset, trace)
        if found is None:
            return None
        numbers = trace.constant(function.numbers, np.int64)
        return array(trace.make("onnx:GatherElements", (numbers, found), value.shape, np.int64, axis=function.axis))
    made = _run(_call(function), getattr(function, "output", 0), xs, value.shape, dtype, opset, trace)
    return None if made is None else array(made)


def _filled(op: Plumbing, value: Value) -> Array | None:
    """Return what an operator fills with one number, of a shape that follows from open lengths alone; None for any other."""
    call, trace = _call(op.function), CURRENT.get()
    if call is None or call[0].domain != "" or call[0].op_type != "ConstantOfShape":
        return None
    (one,) = call[0].evaluate(np.ones(1, np.int64))
    number = trace.constant(
        one.reshape((1,) * len(value.shape)), trace.real if value.dtype.kind == "f" else value.dtype
    )
    return array(trace.make("Expand", (number,), value.shape, nonneg=number.nonneg))


def _numbered(function: Numbered, xs: list[Array], shape: Shape, opset: int, trace: Trace) -> Term | None:
    """Return the numbers of the entries that an operator takes, which it moves itself."""
    node, rest = function.node, iter(xs)
    numbers = reshape(term_of(arange(total(function.source)), trace), function.source)
    data = term_of(next(rest), trace) if function.sorted_ else numbers
    operands = (data, *(term_of(next(rest) if a is None else a, trace) for a in function.args))
    made = written(node, operands, int(function.sorted_), shape, np.int64, opset)
    if made is None or not function.sorted_:
        return made
    return trace.make("onnx:GatherElements", (numbers, made), shape, np.int64, axis=node.attributes.get("axis", -1))


def _call(function: Any) -> Call | None:
    """Return the operator that a function runs, and its operands."""
    if not isinstance(function, Filled):
        return None
    node = getattr(function.function, "__self__", None)
    if isinstance(node, OnnxNode):
        return node, function.args
    first = function.args[0] if function.args else None
    return (first, function.args[1:]) if isinstance(first, OnnxNode) else None


def _run(
    call: Call | None, output: int, xs: list[Array], shape: Shape, dtype: Any, opset: int, trace: Trace
) -> Term | None:
    """Return an output of an operator as a term, if the graph's opset has the same operator."""
    if call is None:
        return None
    node, given = call
    is_open = any(isinstance(n, Dim) for n in shape)
    if sum(o is None for o in given) != len(xs) or (is_open and node.op_type not in ANY_LENGTH):
        return None
    if any(isinstance(o, np.ndarray) and o.dtype == object for o in given):
        return None  # numbers that follow from lengths
    rest = iter(xs)
    operands = tuple(term_of(next(rest) if o is None else o, trace) for o in given)
    if is_open and node.op_type in FLAT:
        return reshape(operands[0], shape) if node.domain == "" else None
    return written(node, operands, output, shape, dtype, opset)


def written(
    node: OnnxNode, operands: tuple[Term, ...], output: int, shape: Shape, dtype: Any, opset: int
) -> Term | None:
    """Return an output of an operator of the file at other operands; None where the graph's opset has not the same operator."""
    if node.domain != "" or not same_since(node.op_type, node.opset, opset):
        return None
    trace = operands[0].trace
    if any(t.is_float and t.dtype != trace.real for t in operands):
        return None
    attributes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in node.attributes.items()}
    if node.op_type in TYPED and np.dtype(dtype).kind == "f":  # the file's float is ours of another width
        attributes[TYPED[node.op_type]] = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    if OURS & set(attributes) or any(not isinstance(v, int | float | str | tuple) for v in attributes.values()):
        return None
    if len(node.outputs) == 1:
        return trace.make(f"onnx:{node.op_type}", operands, shape, dtype, **attributes)
    whole = trace.make(f"onnx:{node.op_type}", operands, shape, dtype, outputs=len(node.outputs), **attributes)
    return trace.make("output", (whole,), shape, dtype, i=output)
