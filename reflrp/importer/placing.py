"""Placing one ONNX node into the graph under construction: known now, plumbing, or what its builder emits."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays import ZERO
from reflrp.arrays.measured import plain
from reflrp.arrays.tracing.dims import Unsettled
from reflrp.errors import InputError, ModelError, ReflrpError
from reflrp.importer.dtypes import is_float
from reflrp.importer.labels import INERT_OUTPUTS, LOOKUPS, TABLES, is_inert
from reflrp.importer.lengths.formulas import concerns, counted
from reflrp.importer.lengths.measuring import marked
from reflrp.importer.lengths.sizes import read_shapes
from reflrp.importer.nodes.allowed import BUILT, RANDOM
from reflrp.importer.nodes.functions import defined_by_function, function_of
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.nodes.unfit import misfit
from reflrp.importer.quantised.integers import build_on_integers, is_number, on_integers
from reflrp.importer.site import BUILDERS, Arg, Items, Lost, Ref, Site, Unbuildable, Work
from reflrp.ir import Op
from reflrp.ops.linear import Diagonal
from reflrp.ops.routing import Expand, Reshape, Where

PLACED = 10
"""What building one node counts for, in turns of a loop."""


def does_nothing(op: Op, inputs: tuple[Ref, ...], measured: int) -> bool:
    """Return whether an op returns its one input as it is, for all lengths that its constants depend on."""
    if isinstance(op, Reshape | Expand):
        return op.source == op.target and not (measured or any(isinstance(n, str) for n in inputs[0].value.lengths))
    if isinstance(op, Where) and isinstance(op.condition, np.ndarray) and len(inputs) == 1:
        chosen = op.condition if op.x is None else ~op.condition
        return bool(chosen.all()) and inputs[0].shape == op.target and not measured
    unit = isinstance(op, Diagonal) and not measured and op.b is ZERO and op.w.size == 1 and bool(op.w == 1)
    return unit and op.shape(inputs[0].shape) == inputs[0].shape


def as_array(value: Any) -> Arg:
    """Return a NumPy scalar as an array, so that what is no array is no constant."""
    found: Arg = np.asarray(value) if isinstance(value, np.generic) else value
    return found


def free(name: str, taken: Collection[str], reserved: Collection[str]) -> str:
    """Return the name, or one like it that nothing has yet."""
    n, found = len(taken), name
    while found in taken or found in reserved:
        found, n = f"{name}'{n}", n + 1
    return found


def place(node: OnnxNode, work: Work) -> None:
    """Build one node and enter its outputs among the known values."""
    limits.step(f"node {node.name!r} ({node.op_type})", PLACED)
    lost = next((i for i in node.inputs if i and i not in work.known), None)
    if lost is not None:
        raise Lost(lost)
    args = tuple(work.known[i] if i else None for i in node.inputs)
    try:
        made = make(node, args, work)
    except Unsettled as error:
        error.args = (f"node {work.prefix + node.name!r} (onnx {node.op_type}): {error}",)
        raise
    except InputError as error:
        if "node " not in str(error):  # of what stands inside, that is named already
            error.args = (f"node {work.prefix + node.name!r} (onnx {node.op_type}): {error}",)
        raise
    except (Lost, Unbuildable, ReflrpError):
        raise
    except MemoryError as error:
        raise limits.exhausted(f"node {node.name!r} ({node.op_type})", error) from error
    except Exception as error:
        given = dict(zip(node.inputs, args, strict=True))
        raise ModelError(misfit(f"node {node.name!r} ({node.op_type})", given, error)) from error
    work.hold(node, made)
    for output, value in zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=False):
        if output and value is not None:
            work.known[output], work.written[output] = as_array(value), node
            name = work.prefix + output
            if isinstance(value, Ref) and value.name != name and not (work.prefix and name in work.reserved[1]):
                work.aliases[name] = value.name


def make(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> Any:
    """Return the node's outputs: known now, plumbing, or what its builder emits."""
    if any(a is None for i, a in zip(node.inputs, args, strict=True) if i):
        raise Unbuildable("it reads an output that reflrp does not compute")
    if _random(node, args):
        raise Unbuildable(
            "its output is random, so that there is no one answer to explain; export the model for inference"
        )
    read_shapes(node, args, work)
    settled = _by_lengths(node, args, work)
    made = _made(node, args, work) if settled is None else settled
    return marked(node, args, made, work)


def _made(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> Any:
    build_ = BUILDERS.get((node.domain, node.op_type))
    if node.op_type in BUILT or any(isinstance(a, Items) for a in args):
        if build_ is None:
            raise Unbuildable("no builder")
        return build_(Site(node, args, work))
    carries, integers = _carries(node, args, work), on_integers(node, args)
    if not carries and not node.evaluable and defined_by_function(node):
        return _expanded(node, args, work)
    known = _known(node, args, work)
    if known is not None:
        return known
    if not carries:
        return work.plumb(node, args)
    if build_ is None:
        return _expanded(node, args, work)
    made = build_on_integers(build_, node, args, work) if integers else build_(Site(node, args, work))
    inert = tuple(i for i in INERT_OUTPUTS.get(node.op_type, ()) if i < len(node.outputs) and node.outputs[i])
    return (made, *work.plumb(node, args, inert)[1:]) if inert and not isinstance(made, tuple) else made


def _by_lengths(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> Any:
    """Return the outputs of a node that open lengths settle: integers made of them, or late values; None for any other."""
    refs = [a for a in args if isinstance(a, Ref)]
    if not concerns(args) and not any(r.name in work.late for r in refs):
        return None
    found = counted(node, args)
    if found is not None or node.op_type in BUILT:
        return found
    if all(r.name in work.late for r in refs) or not (_carries(node, args, work) or node.bodies):
        return work.plumb(node, args)
    return None


def _random(node: OnnxNode, args: tuple[Arg, ...]) -> bool:
    """Return whether a node gives other numbers at each run: random operators, and Dropout while it trains."""
    if node.domain != "" or node.op_type not in RANDOM | {"Dropout"}:
        return False
    training = args[2] if len(args) > 2 else None
    return node.op_type in RANDOM or (isinstance(training, np.ndarray) and bool(training.any()))


def _known(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> Any:
    """Return the outputs of a node that depends on constants and shapes only; None for any other."""
    if node.op_type in ("Shape", "Size") and isinstance(args[0], Ref):
        return node.evaluate(np.broadcast_to(np.float32(0), args[0].shape))
    if not any(isinstance(a, Ref | Items) for a in args):
        return work.evaluated(node, *(plain(a) if isinstance(a, np.ndarray) else None for a in args))
    if node.op_type == "CastLike" and isinstance(args[0], np.ndarray) and isinstance(args[1], Ref):
        return args[0].astype(args[1].value.dtype)
    return None


def _carries(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> bool:
    """Return whether a node's outputs carry relevance: what `labelled` said by name, now for the values."""
    if is_inert(node, node.op_type == "Cast" and is_number(args[0])) or node.op_type in LOOKUPS:
        return node.op_type in LOOKUPS
    if node.op_type in TABLES and isinstance(args[0], np.ndarray) and isinstance(args[1], Ref):
        return is_float(args[0].dtype) and not work.worked_out(args[1])
    reads = args[:1] if node.op_type == "CastLike" else args
    return any(isinstance(a, Ref) and a.value.active for a in reads)


def _expanded(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> tuple[Arg, ...]:
    """Build what an operator is defined by: the body of its function."""
    body = function_of(node, args)
    if body is None:
        raise Unbuildable("no builder")
    return tuple(work.inside(node).run(body, dict(zip(body.inputs, args, strict=False))))
