"""The program to trace: of an example that was run through all checks, with open lengths where they stay open."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from reflrp.arrays.convert import converter
from reflrp.arrays.tracing.dims import BATCH, TooLong, TooShort, Undecided, example, length
from reflrp.arrays.tracing.polynomials import at_most
from reflrp.arrays.tracing.terms import Trace
from reflrp.batches import Feeds
from reflrp.compiler.lengths.lift import among_all, lifted, refuse
from reflrp.compiler.lengths.matching import alike, as_plain, matched
from reflrp.compiler.lengths.opening import Opened
from reflrp.compiler.loops.conditions import check_matchers
from reflrp.compiler.loops.trimming import trimmed
from reflrp.compiler.loops.unrolled import check_steps, first_two, loops, with_third
from reflrp.compiler.observe import confirmed
from reflrp.compiler.source import Given, opset_of
from reflrp.compiler.tracing import Tracer, tracer
from reflrp.compiler.values import misread, shared, strayed
from reflrp.engine import Program, prepare
from reflrp.engine.witness import compare
from reflrp.errors import InputError, ReflrpError
from reflrp.explainer import Explainer
from reflrp.importer.lengths.sizes import sized_by_data
from reflrp.ir import Graph, Shape
from reflrp.model import built
from reflrp.ops.routing import Plumbing
from reflrp.passes.apart import told
from reflrp.passes.canonize import canonize
from reflrp.passes.plumbing_laws import recipe
from reflrp.passes.stripping import strip_output
from reflrp.rules.base import Rule


def program_of(
    explainer: Explainer, source: Given, feeds: Feeds, is_open: Collection[str], ledger: bool
) -> tuple[Tracer, Trace, set[str]]:
    """Return the program to trace, and the values that it takes from the file.

    It is for N samples where the model leaves the batch size open, else for its own.
    """
    model, own = source.model, opset_of(source.proto)
    fixed = {k: a.shape for k, a in feeds.items()}

    def built(count: int) -> Graph:
        sizes = {k: (count, *s[1:]) if k in is_open else s for k, s in fixed.items()}
        return passed(model.graph(sizes), explainer)

    plain, named = _plain(explainer, source, feeds)
    real = np.dtype(explainer.dtype)
    trace = Trace(real=real)
    if not is_open:
        return tracer(plain, plain.graph, lambda name, op: op, own, ledger, real), trace, named
    graph, lift = lifted(built, is_open)
    _for_any_batch(model, fixed, is_open, graph)
    two = built(2)
    agreed = all(k in is_open for k, s in fixed.items() if s)
    rules = told(two, explainer.composite.assign(two), 2 if agreed else 0)
    plain = replace(plain, rules={name: rule.plain() for name, rule in rules.items()})
    for name in sorted(is_open):
        trace.shows(BATCH, trace.named(name, graph.values[name].shape, graph.values[name].dtype), 0)
    return tracer(plain, graph, lift, own, ledger, real), trace, named


def _for_any_batch(model: Any, fixed: Mapping[str, Shape], is_open: Collection[str], graph: Graph) -> None:
    """Raise InputError where building the graph for N samples asks how large N is: it is another graph for a larger N.

    What such a build does not read says nothing: how samples lie is proven by `lifted`.
    """
    shapes = {k: (length(BATCH, 3), *s[1:]) if k in is_open else s for k, s in fixed.items()}
    try:
        built(model.source, shapes)
    except (Undecided, TooLong, TooShort) as error:
        raise refuse(str(error), graph) from error
    except ReflrpError:
        return


def passed(graph: Graph, explainer: Explainer) -> Graph:
    """Return a graph after the passes that an explainer runs."""
    whole = trimmed(graph.restricted_to(explainer.output))
    return canonize(strip_output(whole) if explainer.strip else whole, explainer.passes)


def _plain(explainer: Explainer, source: Given, feeds: Feeds) -> tuple[Program, set[str]]:
    """Return the program of an example, and the values that it has of the file. Raises InputError for what depends on data."""
    fixed = {k: a.shape for k, a in feeds.items()}
    source.model.graph(fixed)  # refuses, by name, what depends on the data
    plain = explainer.program(feeds)
    _whole(plain, fixed)
    _witnessed(plain.graph)
    _sized_by_shapes(plain.graph)
    if plain.graph.notes:
        source.proto.metadata_props.add(key="reflrp.notes", value="\n".join(plain.graph.notes))
    named = shared(plain.graph, source.model.source, source.named) - misread(plain.graph, source.shapes)
    return plain, confirmed(source.proto, plain, feeds, named, source.outside or {})


def with_lengths(
    explainer: Explainer, source: Given, feeds: Feeds, found: Opened, ledger: bool
) -> tuple[Tracer, Trace, set[str]]:
    """Return the program to trace where lengths other than the batch size are open, and the values that it has of the file."""
    plain, confirmed_ones = _plain(explainer, source, feeds)
    with at_most(found.most):
        again = passed(built(source.model.source, found.shapes(3, 3, 4)), explainer)
        check_matchers(explainer.composite, plain.graph, again)
        graph = matched(found, plain.graph, again)
        other = passed(
            built(source.model.source, {k: tuple(map(example, s)) for k, s in found.shapes(3, 3, 4).items()}), explainer
        )
        for graph_, rules in (
            ((plain.graph, plain.rules), (other, explainer.composite.assign(other))) if loops(graph) else ()
        ):
            check_steps(graph_, rules, graph if graph_ is plain.graph else again, alike)
        if ledger and loops(graph):
            raise InputError("a loop over an open number of steps keeps no ledger; fix the lengths: shapes={...}")
        rules = _same_rules(explainer, graph, plain)
    named = shared(graph, source.model.source, source.named)
    named = {k for k in named if k in confirmed_ones or k not in plain.graph.values} - strayed(source.model.source)
    real = np.dtype(explainer.dtype)
    program = prepare(graph, rules, converter("numpy", explainer.dtype))
    trace = Trace(most=dict(found.most), real=real)
    for name, shape in found.marks.items():
        for axis, symbol in enumerate(shape):
            if isinstance(symbol, str):
                value = graph.values[name]
                term = trace.named(name, value.shape, value.dtype)
                trace.shows(symbol, term, axis, found.plus.get(symbol, 0), found.times.get(symbol, 1))
    own = opset_of(source.proto)
    return tracer(program, program.graph, among_all, own, ledger, real), trace, named


def _same_rules(explainer: Explainer, graph: Graph, plain: Program) -> dict[str, Rule]:
    """Return the rules by the open graph's names; refuse those that are others for other lengths."""
    two, renamed = first_two(plain.graph, graph)
    kept = {n.name for n in two.nodes}
    try:
        rules = explainer.composite.assign(with_third(as_plain(graph, two)))
    except Undecided as error:
        raise InputError(f"a rule depends on lengths that are left open ({error}); fix them: shapes={{...}}") from error
    given = {renamed(name): rule for name, rule in explainer.composite.assign(plain.graph).items()}
    wrong = next((name for name, rule in given.items() if name in kept and rules.get(name) != rule), None)
    if wrong is not None:
        raise InputError(f"the rule of node {wrong!r} depends on lengths that are left open; fix them: shapes={{...}}")
    return {renamed(name): rule for name, rule in plain.rules.items() if renamed(name) in kept}


def _whole(program: Program, shapes: Mapping[str, Shape]) -> None:
    """Refuse what can be explained in parts of the batch only, as the graph would be that of a part."""
    for name, shape in shapes.items():
        found = program.graph.values[name].shape if name in program.graph.values else shape
        if found != shape:
            raise InputError(
                f"a batch of the shape {shape} of input {name!r} is explained in parts of {found[0]} samples, and cannot be "
                f"compiled; give shapes={{{name!r}: {found}}}"
            )


def example_of(shape: Shape, dtype: Any) -> np.ndarray:
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
