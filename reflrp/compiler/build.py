"""The way of the data: model -> program -> its way back, traced -> nodes behind the model's own graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from reflrp.arrays import Array, is_symbolic
from reflrp.arrays import symbolic as xp
from reflrp.arrays.tracing.array import term_of
from reflrp.arrays.tracing.dims import BATCH, example
from reflrp.arrays.tracing.polynomials import at_most
from reflrp.arrays.tracing.terms import Term, Trace, still
from reflrp.batches import Batch
from reflrp.compiler.accounts import accounts
from reflrp.compiler.lengths.marks import marks_of
from reflrp.compiler.lengths.opening import (
    Marks,
    OneBatch,
    Opened,
    beyond_batch,
    equal,
    in_words,
    leading,
    opened,
    refused,
)
from reflrp.compiler.loops.firstturns import check_turns
from reflrp.compiler.loops.unrolled import check_conditions, shown
from reflrp.compiler.opsets.copied import check_copied
from reflrp.compiler.orders import Compiled, Order
from reflrp.compiler.overflow.alarm import heard
from reflrp.compiler.overflow.divisors import watch
from reflrp.compiler.programs import example_of, passed, program_of, with_lengths
from reflrp.compiler.seeding import bounded, check_entries, check_target, seeded, turned
from reflrp.compiler.signs import EXPLAINED, MASK, SUMS
from reflrp.compiler.source import Given, check
from reflrp.compiler.tracing import Missing, Tracer, backward, remember
from reflrp.compiler.writing.bodies import LoopWriter
from reflrp.compiler.writing.emit import PREFIX, Writer
from reflrp.compiler.writing.unread import drop_unread
from reflrp.errors import InputError, ModelError, ReflrpError
from reflrp.explainer import Explainer
from reflrp.ground import checks
from reflrp.ir import Graph, Shape
from reflrp.ledger import Row
from reflrp.limits import guarded
from reflrp.neurons import keeper, masks_of

RELEVANCE, LAYER = "relevance/", "layer/"
"""What the names of the outputs that are added begin with."""


@guarded("the compilation")
def compiled(source: Given, order: Order, shapes: Any = None, **settings: Any) -> Compiled:
    """Return the compiled graph of a source, at input shapes, by the settings of an `Explainer`."""
    checks.choice("derived", order.derived, ("graph", "stored"))
    checks.choice("init", order.init, ("output", "one", "input", "signs"))
    check_target(order.target)
    marks, known = marks_of(source.model, shapes), len(source.proto.metadata_props)
    if beyond_batch(marks):
        try:
            lengths = _opened(source, marks, shapes, order, settings)
        except OneBatch as found:
            return _compiled(source, order, found.marks, found.joined, settings)
        return _compiled(source, order, lengths.marks, lengths, settings)
    try:
        return _compiled(source, order, marks, {}, settings)
    except InputError as error:
        first = any(s and s[0] == BATCH for s in marks.values())
        loops = recurrent(source.proto) and not order.ledger  # the first axis may be that of the time
        if not first or order.init == "signs" or not (loops or numbered(source.proto)):
            raise
        first_refusal = error
    del source.proto.metadata_props[known:]
    try:
        return _compiled(source, order, marks, _opened(source, marks, shapes, order, settings), settings)
    except InputError:
        if loops:
            raise
        raise first_refusal from None


def _opened(source: Given, marks: Marks, shapes: Any, order: Order, settings: dict[str, Any]) -> Opened:
    """Return the graph with open lengths, the batch size being that of the output."""
    passing = Explainer(source.model, **settings)

    def passes(graph: Graph) -> Graph:
        found = passed(graph, passing)
        check_entries(found.values[found.resolve(found.outputs[0])].shape, order.target)
        return found

    found = opened(source.model.source, marks, passes, passing.composite, check_turns)
    batch = leading(found)
    if not batch:
        return found
    again = marks_of(source.model, shapes, batch)
    return opened(source.model.source, again, passes, passing.composite, check_turns)


def _compiled(
    source: Given, order: Order, marks: Marks, lengths: Opened | Mapping[str, str], settings: dict[str, Any]
) -> Compiled:
    """Return the compiled graph, by formulas for all open lengths; or by one for the batch size, which first axes have joined."""
    is_open = {k for k, s in marks.items() if s and s[0] == BATCH}
    if isinstance(lengths, Opened):
        fixed = {k: tuple(map(example, s)) for k, s in lengths.shapes().items()}
    else:
        fixed = {k: tuple(1 if n == BATCH else int(n) for n in s) for k, s in marks.items()}
    feeds = {k: example_of(s, source.model.source.inputs[k].dtype) for k, s in fixed.items()}
    _check_example(source.model, fixed, marks)
    batch = Batch(source.model, feeds, (source.model.output(settings.get("output")),))
    explainer = Explainer(source.model, batch_size=max(batch.count, 1), **settings)
    if isinstance(lengths, Opened):
        program, trace, named = with_lengths(explainer, source, feeds, lengths, order.ledger)
        check_conditions(list(order.conditions), explainer.program(feeds).graph, program.graph)
    else:
        program, trace, named = program_of(explainer, source, feeds, is_open, order.ledger)
    if order.init != "signs":  # whose output is ours
        check_copied(source, program.graph)
    name = _batch_name(source.proto, trace)
    said = lengths.limits(name) if isinstance(lengths, Opened) else ", ".join(equal(lengths, name))
    if said:
        source.proto.metadata_props.add(key="reflrp.lengths", value=said)
    if order.turned is None and (not is_open or (isinstance(lengths, Opened) and not batch.turned())):
        order = replace(order, turned=batch.turned())  # the first axis may be that of the time, whose entries meet
    with at_most(trace.most):
        return _traced(source, program, trace, named, order, explainer)


def _check_example(model: Any, fixed: dict[str, Shape], marks: Marks) -> None:
    """Raise ModelError, which says how to fix lengths, where the file's nodes do not fit one another at the example's."""
    try:
        model.graph(fixed)
    except ModelError as error:
        if not any(isinstance(n, str) for shape in marks.values() for n in shape):
            raise
        shapes = ", ".join(f"{k!r} {s}" for k, s in fixed.items())
        raise ModelError(str(refused(f"for inputs of the shapes {shapes}, {error}", marks))) from error
    except ReflrpError:  # whoever asks for it next says so
        return


def _traced(
    source: Given, program: Tracer, trace: Trace, named: set[str], order: Order, explainer: Explainer
) -> Compiled:
    """Return the compiled graph of a program."""
    graph = program.graph
    values = program.arguments(trace, _dtypes(source), named)
    (name,) = graph.outputs
    y = values[graph.resolve(name)]
    if isinstance(y, Missing):
        raise InputError(f"output {name!r} cannot be compiled: {y}")
    axis = turned(y.shape) if order.turned is None else order.turned
    R, added = seeded(y, trace, order.target, order.init, axis)
    R = bounded(R, trace)
    _check_names(_taken(source.proto), [a[0] for a in added])
    matches = keeper(order.layers, graph)

    def keep(name: str) -> bool:
        return name in order.kept or matches(name)

    masks: dict[str, Any] = {k: v.astype(trace.real) for k, v in masks_of(order.conditions, graph).items()}
    for value, shape in order.masked.items():
        masks[value] = xp.argument(trace, MASK + value, shape, trace.real, finite=True)
        added.append((MASK + value, trace.real, shape))
    watch(program, values, trace)
    found, rows = backward(program, values, R, keep, masks)
    found = heard(found, program, values, trace, order.ledger)
    if order.init == "signs":
        found[EXPLAINED] = y
    return _written(source, program, trace, found, rows, added, keep, explainer, order)


def recurrent(proto: ModelProto) -> bool:
    """Return whether a model has recurrent nodes, or loops."""
    return any(node.op_type in ("GRU", "LSTM", "Loop", "RNN", "Scan") for node in proto.graph.node)


def numbered(proto: ModelProto) -> bool:
    """Return whether a model may take entries by numbers of the data, which can be counted among those of all samples."""
    fixed = {t.name for t in proto.graph.initializer}
    fixed.update(o for node in proto.graph.node if fixed.issuperset(node.input) for o in node.output)
    takers = (node for node in proto.graph.node if node.op_type in ("Gather", "GatherElements", "GatherND", "TopK"))
    return any(n.op_type == "TopK" or fixed.isdisjoint(n.input[:2]) for n in takers)


def _dtypes(source: Given) -> dict[str, Any]:
    """Return the dtypes of the file's values that NumPy has."""
    found = {}
    for name, kind in source.types.items():
        try:
            found[name] = helper.tensor_dtype_to_np_dtype(kind)
        except KeyError:
            continue
    return found


def _check_names(taken: set[str], added: Sequence[str], ours: str = PREFIX) -> None:
    """Refuse names that the model has already; those that begin with `ours` are all ours."""
    wrong = [n for n in taken if n in added or (ours and n.startswith(ours))]
    if wrong:
        raise InputError(
            f"the model has a value named {sorted(wrong)[0]!r} already, which the compiled graph would add; rename it in the file"
        )


def _taken(proto: ModelProto) -> set[str]:
    """Return the names of a model's values."""
    graph = proto.graph
    ports = {i.name for i in (*graph.input, *graph.output, *graph.initializer)}
    return ports | {o for n in graph.node for o in n.output}


def _written(
    source: Given,
    program: Tracer,
    trace: Trace,
    found: dict[str, Array],
    rows: list[Row],
    added: list[tuple[str, Any, Any]],
    keep: Any,
    explainer: Explainer,
    order: Order,
) -> Compiled:
    proto, graph, count = source.proto, program.graph, len(source.proto.graph.node)
    constants = len(proto.graph.initializer)
    remember(program, trace)
    writer = LoopWriter(proto.graph, trace, program.opset, order.derived, source.outside)
    known, sums = accounts(rows) if order.ledger else (None, [])
    if order.init != "signs":  # an explainer gives the same to the last bit with its ledger and without
        writer.expect(R.term for R in found.values() if is_symbolic(R))
    batch = _batch_name(proto, trace)
    for name, dtype, shape in added:
        proto.graph.input.append(_port(name, dtype, in_words(shape, trace.lengths), batch))
    inputs = [k for k in graph.inputs if k in found or k in program.carriers]
    inner = [
        k
        for k, v in graph.values.items()
        if (v.active or k in found) and keep(k) and k not in inputs and shown(k, graph)
    ]
    relevances = [(RELEVANCE + k, k) for k in inputs] + [(LAYER + k, k) for k in inner]
    _check_names(_taken(proto), [said for said, _ in relevances], ours="")
    for said, name in relevances:
        _output(writer, said, found.get(name), graph.values[name].shape, batch)
    if EXPLAINED in found:
        _output(writer, EXPLAINED, found[EXPLAINED], graph.values[graph.resolve(graph.outputs[0])].shape, batch)
    if order.ledger:
        _sums(writer, sums)
    rules = explainer.composite.title
    for key, text in (("version", version("reflrp")), ("rules", rules), ("source.sha256", source.digest)):
        proto.metadata_props.add(key=f"reflrp.{key}", value=text)
    for unread in drop_unread(proto.graph, count, constants):
        (source.outside or {}).pop(unread, None)
    check(proto, count)
    return Compiled(proto, known)


def _sums(writer: Writer, sums: list[Term]) -> None:
    """Write the sums that the ledger needs as one output (count, 1).

    The last one is written first: of what a node reads, onnxruntime runs first what stands last. So the sums are made on the way
    back, each beside its node, and no relevance waits for the end.
    """
    terms = sums or [writer.trace.constant(np.zeros((1, 1)), writer.trace.real)]
    names = [writer.write(term) for term in reversed(terms)][::-1]
    writer.graph.node.append(helper.make_node("Concat", names, [SUMS], SUMS, axis=0))
    writer.graph.output.append(_port(SUMS, writer.trace.real, (len(names), 1), ""))


def _output(writer: Writer, name: str, R: Any, shape: Shape, batch: str) -> None:
    """Write the relevance of one value as an output."""
    real = writer.trace.real
    R = np.zeros(still(shape), dtype=real) if R is None else R
    term = term_of(R, writer.trace, real)
    if term.shape != shape:
        term = term_of(xp.SymbolicArray(writer.trace.make("Expand", (term,), shape)), writer.trace)
    writer.graph.node.append(helper.make_node("Identity", [writer.write(term)], [name], f"reflrp/output/{name}"))
    writer.graph.output.append(_port(name, real, in_words(shape, writer.trace.lengths), batch))


def _batch_name(proto: ModelProto, trace: Trace) -> str:
    """Return what the file calls the batch size, or `batch`."""
    if BATCH not in trace.lengths:
        return "batch"
    term, axis, *_ = trace.lengths[BATCH]
    port = next((i for i in proto.graph.input if i.name == term.get("name")), None)
    return (port.type.tensor_type.shape.dim[axis].dim_param if port is not None else "") or "batch"


def _port(name: str, dtype: Any, shape: Sequence[int | str], batch: str) -> Any:
    dims = [batch if n == BATCH else n for n in shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims)
