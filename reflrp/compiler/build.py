"""The way of the data: model -> program -> its way back, traced -> nodes behind the model's own graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from reflrp.arrays import Array
from reflrp.arrays import symbolic as xp
from reflrp.arrays.tracing.array import term_of
from reflrp.arrays.tracing.dims import Dim
from reflrp.arrays.tracing.terms import Term, Trace, still
from reflrp.batches import Batch, Feeds
from reflrp.compiler.accounts import accounts
from reflrp.compiler.emit import Writer
from reflrp.compiler.lift import lifted
from reflrp.compiler.observe import confirmed
from reflrp.compiler.orders import Compiled, Order
from reflrp.compiler.signs import EXPLAINED, MASK, SUMS
from reflrp.compiler.source import Given, check, opset_of
from reflrp.compiler.tracing import Missing, Tracer, backward, check_target, remember, seeded, tracer, turned
from reflrp.compiler.values import shared
from reflrp.engine import Program
from reflrp.engine.witness import compare
from reflrp.errors import InputError
from reflrp.explainer import Explainer
from reflrp.ground import checks
from reflrp.importer.sizes import sized_by_data
from reflrp.ir import Graph, Shape
from reflrp.ledger import Row
from reflrp.limits import guarded
from reflrp.neurons import keeper, masks_of
from reflrp.ops.routing import Plumbing
from reflrp.passes.apart import told
from reflrp.passes.canonize import canonize, strip_output
from reflrp.passes.plumbing_laws import recipe

RELEVANCE, LAYER = "relevance/", "layer/"
"""What the names of the outputs that are added begin with."""


@guarded("the compilation")
def compiled(source: Given, order: Order, shapes: Any = None, **settings: Any) -> Compiled:
    """Return the compiled graph of a source, at input shapes, by the settings of an `Explainer`."""
    checks.choice("derived", order.derived, ("graph", "stored"))
    checks.choice("init", order.init, ("output", "one", "input", "signs"))
    check_target(order.target)
    fixed, is_open = _shapes(source.model, shapes)
    feeds = {k: _example(s, source.model.source.inputs[k].dtype) for k, s in fixed.items()}
    batch = Batch(source.model, feeds, (source.model.output(settings.get("output")),))
    explainer = Explainer(source.model, batch_size=max(batch.count, 1), **settings)
    program, trace, named = _program(explainer, source, feeds, is_open, order.ledger)
    graph = program.graph
    values = program.arguments(trace, _dtypes(source), named)
    (name,) = graph.outputs
    y = values[graph.resolve(name)]
    if isinstance(y, Missing):
        raise InputError(f"output {name!r} cannot be compiled: {y}")
    axis = turned(y.shape) if is_open else batch.turned()
    R, added = seeded(y, trace, order.target, order.init, axis if order.turned is None else order.turned)
    _check_names(source.proto, [a[0] for a in added])
    matches = keeper(order.layers, graph)

    def keep(name: str) -> bool:
        return name in order.kept or matches(name)

    masks: dict[str, Any] = {k: v.astype(trace.real) for k, v in masks_of(order.conditions, graph).items()}
    for value, shape in order.masked.items():
        masks[value] = xp.argument(trace, MASK + value, shape, trace.real, finite=True)
        added.append((MASK + value, trace.real, shape))
    found, rows = backward(program, values, R, keep, masks)
    if order.init == "signs":
        found[EXPLAINED] = y
    return _written(source, program, trace, found, rows, added, keep, explainer, order)


def _program(
    explainer: Explainer, source: Given, feeds: Feeds, is_open: Collection[str], ledger: bool
) -> tuple[Tracer, Trace, set[str]]:
    """Return the program to trace, and the values that it takes from the file.

    It is for N samples where the model leaves the batch size open, else for its own.
    """
    model, own = source.model, opset_of(source.proto)
    fixed = {k: a.shape for k, a in feeds.items()}

    def built(count: int) -> Graph:
        sizes = {k: (count, *s[1:]) if k in is_open else s for k, s in fixed.items()}
        whole = model.graph(sizes).restricted_to(explainer.output)
        return canonize(strip_output(whole) if explainer.strip else whole, explainer.passes)

    model.graph(fixed)  # refuses, by name, what depends on the data
    plain = explainer.program(feeds)
    _whole(plain, fixed)
    _witnessed(plain.graph)
    _sized_by_shapes(plain.graph)
    named = shared(plain.graph, source.model.source, source.named)
    named = confirmed(source.proto, plain, feeds, named, source.outside or {})
    real = np.dtype(explainer.dtype)
    trace = Trace(real=real)
    if not is_open:
        return tracer(plain, plain.graph, lambda name, op: op, own, ledger, real), trace, named
    graph, lift = lifted(built, is_open)
    two = built(2)
    agreed = all(k in is_open for k, s in fixed.items() if s)
    rules = told(two, explainer.composite.assign(two), 2 if agreed else 0)
    plain = replace(plain, rules={name: rule.plain() for name, rule in rules.items()})
    first = sorted(is_open)[0]
    values = graph.values[first]
    trace.batch = trace.named(first, values.shape, values.dtype), 0
    return tracer(plain, graph, lift, own, ledger, real), trace, named


def _shapes(model: Any, shapes: Any) -> tuple[dict[str, Shape], set[str]]:
    """Return the input shapes, with one sample where the batch size stays open, and the inputs where it does."""
    asked = {} if shapes is None else checks.mapping("shapes", shapes, "a dict of the inputs' shapes by name")
    unknown = sorted(set(asked) - set(model.source.inputs))
    if unknown:
        raise InputError(f"shapes: the model has no inputs {unknown}; it has {sorted(model.source.inputs)}")
    found, is_open = dict[str, Shape](), set[str]()
    for name, port in model.source.inputs.items():
        if port.dims is None and name not in asked:
            raise InputError(
                f"the file does not say the shape of input {name!r}; give shapes={{{name!r}: (None, ...)}}"
            )
        dims: list[Any] = list(asked.get(name, port.dims or ()))
        if dims and not isinstance(dims[0], int):
            is_open.add(name)
            dims[0] = 1
        late = [i for i, n in enumerate(dims) if not isinstance(n, int)]
        if late:
            hint = ", ".join(str(n) if isinstance(n, int) else "128" for n in dims[1:])
            raise InputError(
                f"input {name!r} ({port}) leaves axis {late[0]} open, and a compiled graph is for one length of it; "
                f"give shapes={{{name!r}: (None, {hint})}}"
            )
        found[name] = checks.shape(f"shapes[{name!r}]", tuple(dims))
    lengths = {d for d in (model.source.inputs[k].dims[0] for k in is_open if model.source.inputs[k].dims) if d}
    if len(lengths) > 1:
        raise InputError(
            f"the first axes of the inputs {sorted(is_open)} have the lengths {sorted(lengths)}, which are not one batch size; "
            "fix all but one of them: shapes={...}"
        )
    return found, is_open


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
    rows: list[Row],
    added: list[tuple[str, Any, Any]],
    keep: Any,
    explainer: Explainer,
    order: Order,
) -> Compiled:
    proto, graph, count = source.proto, program.graph, len(source.proto.graph.node)
    remember(program, trace)
    writer = Writer(proto.graph, trace, program.opset, order.derived, source.outside)
    batch = _batch_name(proto, trace)
    for name, dtype, shape in added:
        proto.graph.input.append(_port(name, dtype, shape, batch))
    inputs = [k for k in graph.inputs if k in found or k in program.carriers]
    inner = [k for k, v in graph.values.items() if (v.active or k in found) and keep(k) and k not in inputs]
    for prefix, names in ((RELEVANCE, inputs), (LAYER, inner)):
        for name in names:
            _output(writer, prefix + name, found.get(name), graph.values[name].shape, batch)
    if EXPLAINED in found:
        _output(writer, EXPLAINED, found[EXPLAINED], graph.values[graph.resolve(graph.outputs[0])].shape, batch)
    known = None
    if order.ledger:
        known, sums = accounts(rows)
        _sums(writer, sums)
    rules = explainer.composite.title
    for key, text in (("version", version("reflrp")), ("rules", rules), ("source.sha256", source.digest)):
        proto.metadata_props.add(key=f"reflrp.{key}", value=text)
    check(proto, count)
    return Compiled(proto, known)


def _sums(writer: Writer, sums: list[Term]) -> None:
    """Write the sums that the ledger needs as one output (count, 1)."""
    names = [writer.write(term) for term in sums] or [
        writer.write(writer.trace.constant(np.zeros((1, 1)), writer.trace.real))
    ]
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
    writer.graph.output.append(_port(name, real, shape, batch))


def _batch_name(proto: ModelProto, trace: Trace) -> str:
    """Return what the file calls the batch size, or `batch`."""
    name = trace.batch[0].get("name") if trace.batch else ""
    port = next((i for i in proto.graph.input if i.name == name), None)
    return (port.type.tensor_type.shape.dim[0].dim_param if port is not None else "") or "batch"


def _port(name: str, dtype: Any, shape: Shape, batch: str) -> Any:
    dims = [batch if repr(n) == "N" else None if isinstance(n, Dim) else n for n in shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims)
