"""One node by itself: what it makes of arrays, and of which shape it is at lengths that are left open."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays.tracing.dims import TooShort
from reflrp.errors import ReflrpError, TooLarge
from reflrp.importer.dtypes import in_one_dtype, widened
from reflrp.importer.loops.branches import RUN, run_subgraphs
from reflrp.importer.nodes.computing import computed
from reflrp.importer.nodes.estimate import check_outputs
from reflrp.importer.nodes.misread import FLAT, MISREAD, flat, reread
from reflrp.importer.nodes.node import Arrays, OnnxNode
from reflrp.importer.placing import place
from reflrp.importer.site import BUILDERS, Arg, Lost, Oversized, Ref, Site, Unbuildable, Work
from reflrp.ir import Shape, Value


def evaluate(node: OnnxNode, feeds: Arrays, construction: Callable[[], Work]) -> tuple[Any, ...]:
    """Return a node's outputs at the values it reads: by ONNX's reference code, or by our builder where that errs.

    What is a branch or a loop is run node by node. Raises UnsupportedOperator for an operator that is not run at all;
    TooLarge, before it runs, where an output would be beyond the limit on memory, or the work beyond that on time.
    """
    if node.domain == "" and node.op_type in RUN:
        return run_subgraphs(node, feeds, partial(evaluate, construction=construction))
    feeds = in_one_dtype(feeds) if node.op_type == "Range" else feeds
    if node.domain == "" and node.opset < MISREAD.get(node.op_type, 0):
        check_outputs(f"node {node.name!r} ({node.op_type})", node.proto, node.opset, feeds, by_reference=False)
        made = (flat(node, feeds),) if node.op_type in FLAT else _by_builder(node, feeds, construction())
        if made is not None:
            return made
    return reread(node, feeds)


def _by_builder(node: OnnxNode, feeds: Arrays, work: Work) -> tuple[np.ndarray | None, ...] | None:
    """Return the outputs as the node's builder computes them, in float64; None for data that it does not take."""
    name = node.inputs[0]
    data = feeds[name]
    build = BUILDERS.get((node.domain, node.op_type))
    if build is None or data.dtype.kind != "f" or not data.size or not np.isfinite(data).all():
        return None
    x = Ref(name, Value(data.shape, np.dtype(float)))
    work.values[name] = x.value
    args = tuple(x if i == name else feeds.get(i) for i in node.inputs)
    try:
        made = build(Site(node, args, work))
    except Oversized as error:
        raise TooLarge(f"node {node.name!r} ({node.op_type}): {error}") from error
    found = made if isinstance(made, tuple) else (made,)
    wanted = list(zip(node.outputs, (*found, *(None for _ in node.outputs)), strict=False))
    if any(o and not isinstance(value, Ref) for o, value in wanted):
        return None  # it has an output that the builder leaves to the reference code
    values = {name: data.astype(np.float64)}
    for step in work.nodes:
        values[step.output] = computed(step, [values[i] for i in step.inputs], work.values[step.output].shape)
    return tuple(widened(values[v.name].astype(data.dtype)) if o and isinstance(v, Ref) else None for o, v in wanted)


def shape_alone(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> Shape | None:
    """Return the shape of a node's first output, built into an empty graph; None where it cannot be. Raises TooShort."""
    given = {k: a for k, a in zip(node.inputs, args, strict=True) if k}
    work.known.update(given)
    work.values.update({a.name: a.value for a in given.values() if isinstance(a, Ref)})
    try:
        with limits.holding():
            place(node, work)
    except TooShort:
        raise
    except (Unbuildable, Lost, ReflrpError):
        return None
    found = work.known.get(node.outputs[0])
    return found.shape if isinstance(found, Ref) else None
