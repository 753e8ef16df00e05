"""The way of the data: model -> program -> its way back, traced -> nodes behind the model's own graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from reflrp.arrays import Array
from reflrp.arrays import symbolic as xp
from reflrp.arrays.convert import converter
from reflrp.arrays.tracing.array import term_of
from reflrp.arrays.tracing.dims import BATCH, Dim, example
from reflrp.arrays.tracing.polynomials import at_most
from reflrp.arrays.tracing.terms import Trace, still
from reflrp.batches import Batch, Feeds
from reflrp.compiler.emit import Writer
from reflrp.compiler.lift import lifted
from reflrp.compiler.marks import marks_of
from reflrp.compiler.observe import confirmed
from reflrp.compiler.opening import Opened, as_plain, matched, opened
from reflrp.compiler.seeding import bounded, check_target, seeded, turned
from reflrp.compiler.source import Given, check, given, opset_of
from reflrp.compiler.tracing import Missing, Tracer, backward, remember, tracer
from reflrp.compiler.values import shared
from reflrp.engine import Program, prepare
from reflrp.engine.witness import compare
from reflrp.errors import InputError
from reflrp.explainer import Explainer, RulesLike
from reflrp.ground import checks
from reflrp.importer.sizes import sized_by_data
from reflrp.ir import Graph, Shape
from reflrp.limits import guarded
from reflrp.model import built
from reflrp.neurons import keeper, masks_of
from reflrp.ops.routing import Plumbing
from reflrp.passes.apart import told
from reflrp.passes.canonize import canonize, strip_output
from reflrp.passes.plumbing_laws import recipe
from reflrp.seeds import Target

RELEVANCE, LAYER = "relevance/", "layer/"
"""What the names of the outputs that are added begin with."""


@guarded("the compilation")
def compiled(
    model: Any,
    rules: RulesLike,
    target: Target,
    init: str,
    output: str | None,
    layers: bool | str | Sequence[str] | None,
    opset: int | None,
    derived: str,
    conditions: Mapping[str, Sequence[int]] | None,
    shapes: Mapping[str, Sequence[int | None]] | None,
    preprocess: str | None,
) -> ModelProto:
    """Return the compiled model; `reflrp.compile` says of what."""
    checks.choice("derived", derived, ("graph", "stored"))
    checks.choice("init", init, ("output", "one", "input"))
    check_target(target)
    source = given(model, opset)
    marks = marks_of(source.model, shapes)
    is_open = {k for k, s in marks.items() if s and s[0] == BATCH}
    passing = Explainer(source.model, rules, output=output, dtype="float32", preprocess=preprocess)
    if any(isinstance(n, str) and n != BATCH for s in marks.values() for n in s):
        lengths = opened(source.model.source, marks, partial(_passed, explainer=passing), passing.composite)
        fixed = {k: tuple(map(example, s)) for k, s in lengths.shapes().items()}
    else:
        lengths, fixed = None, {k: tuple(1 if n == BATCH else int(n) for n in s) for k, s in marks.items()}
    feeds = {k: _example(s, source.model.source.inputs[k].dtype) for k, s in fixed.items()}
    batch = Batch(source.model, feeds, (source.model.output(output),))
    explainer = Explainer(
        source.model, rules, output=output, dtype="float32", batch_size=max(batch.count, 1), preprocess=preprocess
    )
    if lengths is not None:
        program, trace, named = _with_lengths(explainer, source, feeds, lengths)
        if lengths.limits():
            source.proto.metadata_props.add(key="reflrp.lengths", value=lengths.limits())
    else:
        program, trace, named = _program(explainer, source, feeds, is_open)
    graph = program.graph
    values = program.arguments(trace, _dtypes(source), named)
    (name,) = graph.outputs
    y = values[graph.resolve(name)]
    if isinstance(y, Missing):
        raise InputError(f"output {name!r} cannot be compiled: {y}")
    R, added = seeded(y, trace, target, init, turned(y.shape) if is_open else batch.turned())
    R = bounded(R, trace)
    _check_names(source.proto, [a[0] for a in added])
    keep = keeper(layers, graph)
    masks = {k: v.astype(np.float32) for k, v in masks_of(conditions or {}, graph).items()}
    found = backward(program, values, R, keep, masks)
    return _written(source, program, trace, found, added, keep, explainer, derived)


def _program(
    explainer: Explainer, source: Given, feeds: Feeds, is_open: Collection[str]
) -> tuple[Tracer, Trace, set[str]]:
    """Return the program to trace, and the values that it takes from the file.

    It is for N samples where the model leaves the batch size open, else for its own.
    """
    model, own = source.model, opset_of(source.proto)
    fixed = {k: a.shape for k, a in feeds.items()}

    def built(count: int) -> Graph:
        sizes = {k: (count, *s[1:]) if k in is_open else s for k, s in fixed.items()}
        return _passed(model.graph(sizes), explainer)

    plain, named = _plain(explainer, source, feeds)
    trace = Trace()
    if not is_open:
        return tracer(plain, plain.graph, lambda name, op: op, own), trace, named
    graph, lift = lifted(built, is_open)
    two = built(2)
    agreed = all(k in is_open for k, s in fixed.items() if s)
    rules = told(two, explainer.composite.assign(two), 2 if agreed else 0)
    plain = replace(plain, rules={name: rule.plain() for name, rule in rules.items()})
    first = sorted(is_open)[0]
    values = graph.values[first]
    trace.lengths[BATCH] = trace.named(first, values.shape, values.dtype), 0, 0
    return tracer(plain, graph, lift, own), trace, named


def _passed(graph: Graph, explainer: Explainer) -> Graph:
    """Return a graph after the passes that an explainer runs."""
    return canonize(strip_output(graph.restricted_to(explainer.output)), explainer.passes)


def _plain(explainer: Explainer, source: Given, feeds: Feeds) -> tuple[Program, set[str]]:
    """Return the program of an example, and the values that it has of the file. Raises InputError for what depends on data."""
    fixed = {k: a.shape for k, a in feeds.items()}
    source.model.graph(fixed)  # refuses, by name, what depends on the data
    plain = explainer.program(feeds)
    _whole(plain, fixed)
    _witnessed(plain.graph)
    _sized_by_shapes(plain.graph)
    named = shared(plain.graph, source.model.source, source.named)
    return plain, confirmed(source.proto, plain, feeds, named)


def _with_lengths(explainer: Explainer, source: Given, feeds: Feeds, found: Opened) -> tuple[Tracer, Trace, set[str]]:
    """Return the program to trace where lengths other than the batch size are open, and the values that it has of the file."""
    plain, confirmed_ones = _plain(explainer, source, feeds)
    with at_most(found.most):
        again = _passed(built(source.model.source, found.shapes(8, 3)), explainer)
        graph = matched(found, plain.graph, again)
        _same_rules(explainer, graph, plain)
    named = shared(graph, source.model.source, source.named)
    named = {k for k in named if k in confirmed_ones or k not in plain.graph.values}
    program, trace = prepare(graph, plain.rules, converter("numpy", "float32")), Trace(most=dict(found.most))
    for name, shape in reversed(list(found.marks.items())):
        for axis, symbol in enumerate(shape):
            if isinstance(symbol, str):
                value = graph.values[name]
                term = trace.named(name, value.shape, value.dtype)
                trace.lengths[symbol] = term, axis, found.plus.get(symbol, 0)
    return tracer(program, program.graph, lambda name, op: op, opset_of(source.proto)), trace, named


def _same_rules(explainer: Explainer, graph: Graph, plain: Program) -> None:
    """Refuse rules that are others for other lengths."""
    rules = explainer.composite.assign(as_plain(graph, plain.graph))
    given = explainer.composite.assign(plain.graph)
    wrong = next((name for name, rule in given.items() if rules.get(name) != rule), None)
    if wrong is not None:
        raise InputError(f"the rule of node {wrong!r} depends on lengths that are left open; fix them: shapes={{...}}")


def _whole(program: Program, shapes: Mapping[str, Shape]) -> None:
    """Refuse what can be explained in parts of the batch only, as the graph would be that of a part."""
    for name, shape in shapes.items():
        found = program.graph.values[name].shape if name in program.graph.values else shape
        if found != shape:
            raise InputError(
                f"a batch of the shape {shape} of input {name!r} is explained in parts of {found[0]} samples, and cannot be "
                f"compiled; give shapes={{{name!r}: {found}}}"
            )


def _example(shape: Shape, dtype: Any) -> np.ndarray:
    """Return numbers of a shape: by them the passes that change the graph are checked to leave its output as it is."""
    if np.dtype(dtype).kind == "f" or "float" in np.dtype(dtype).name:
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return np.zeros(shape, dtype=dtype)


def _witnessed(graph: Graph) -> None:
    """Compare each function that was recognised with the nodes that it stands for, on random numbers."""
    for node in graph.nodes:
        if node.name in graph.unchecked:
            x = np.random.default_rng(0).standard_normal(graph.values[node.inputs[0]].shape)
            compare(node, graph.replaced[node.name], x, node.op.forward(x))


def _sized_by_shapes(graph: Graph) -> None:
    """Refuse what makes values whose size depends on the data: the graph would be that of one input."""
    for node in graph.nodes:
        known = recipe(node.op) if isinstance(node.op, Plumbing) else None
        if known is None:
            continue
        places = [i for i, operand in enumerate(known.operands) if operand is None]
        if sized_by_data(node.op.function.args[0], places):  # type: ignore[attr-defined]
            raise InputError(
                f"node {node.name!r} (onnx {node.op_type}) cannot be compiled: how large its output is depends on the data"
            )


def _dtypes(source: Given) -> dict[str, Any]:
    """Return the dtypes of the file's values that NumPy has."""
    found = {}
    for name, kind in source.types.items():
        try:
            found[name] = helper.tensor_dtype_to_np_dtype(kind)
        except KeyError:
            continue
    return found


def _check_names(proto: ModelProto, inputs: Sequence[str]) -> None:
    """Refuse names that the model has already."""
    graph = proto.graph
    taken = {i.name for i in (*graph.input, *graph.output, *graph.initializer)}
    taken |= {o for n in graph.node for o in n.output}
    wrong = [n for n in taken if n.startswith(("reflrp/", RELEVANCE, LAYER)) or n in inputs]
    if wrong:
        raise InputError(
            f"the model has a value named {sorted(wrong)[0]!r} already, which the compiled graph would add"
        )


def _written(
    source: Given,
    program: Tracer,
    trace: Trace,
    found: dict[str, Array],
    added: list[tuple[str, Any, Any]],
    keep: Any,
    explainer: Explainer,
    how: str,
) -> ModelProto:
    proto, graph, count = source.proto, program.graph, len(source.proto.graph.node)
    remember(program, trace)
    writer = Writer(proto.graph, trace, program.opset, how)
    batch = _batch_name(proto, trace)
    for name, dtype, shape in added:
        proto.graph.input.append(_port(name, dtype, shape, batch))
    inputs = [k for k in graph.inputs if k in found or k in program.carriers]
    inner = [k for k, v in graph.values.items() if v.active and keep(k) and k not in inputs]
    for prefix, names in ((RELEVANCE, inputs), (LAYER, inner)):
        for name in names:
            _output(writer, prefix + name, found.get(name), graph.values[name].shape, batch)
    rules = explainer.composite.title
    for key, text in (("version", version("reflrp")), ("rules", rules), ("source.sha256", source.digest)):
        proto.metadata_props.add(key=f"reflrp.{key}", value=text)
    check(proto, count)
    return proto


def _output(writer: Writer, name: str, R: Any, shape: Shape, batch: str) -> None:
    """Write the relevance of one value as an output."""
    R = np.zeros(still(shape), dtype=np.float32) if R is None else R
    term = term_of(R, writer.trace, np.dtype(np.float32))
    if term.shape != shape:
        term = term_of(xp.SymbolicArray(writer.trace.make("Expand", (term,), shape)), writer.trace)
    writer.graph.node.append(helper.make_node("Identity", [writer.write(term)], [name], f"reflrp/output/{name}"))
    writer.graph.output.append(_port(name, np.float32, shape, batch))


def _batch_name(proto: ModelProto, trace: Trace) -> str:
    """Return what the file calls the batch size, or `batch`."""
    name = trace.lengths[BATCH][0].get("name") if BATCH in trace.lengths else ""
    port = next((i for i in proto.graph.input if i.name == name), None)
    return (port.type.tensor_type.shape.dim[0].dim_param if port is not None else "") or "batch"


def _port(name: str, dtype: Any, shape: Shape, batch: str) -> Any:
    dims = [batch if repr(n) == BATCH else str(n) if isinstance(n, Dim) else n for n in shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims)
