"""Branches and loops without relevance that hang on the data: run node by node, so that each node is looked at and counted.

ONNX's reference code would run a subgraph as a whole: whatever stands in it, for as many turns as the file says. Here
each node goes through `evaluate` by itself, as all nodes do, and each turn counts under `reflrp.limits.TIME`.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.errors import ModelError, Offender
from reflrp.importer.dtypes import dtype_of
from reflrp.importer.nodes.allowed import why_not
from reflrp.importer.nodes.node import Arrays, Body, OnnxNode

Evaluate = Callable[[OnnxNode, Arrays], tuple[Any, ...]]
"""Returns a node's outputs at the values it reads."""

RUN = ("If", "Loop")
"""The operators of which subgraphs are run here."""


def run_subgraphs(node: OnnxNode, feeds: Arrays, evaluate: Evaluate) -> tuple[Any, ...]:
    """Return the outputs of an If or a Loop at the values it reads.

    Raises TooLarge where its work is beyond `reflrp.limits.TIME`.
    """
    if node.op_type == "If":
        chosen = "then_branch" if bool(np.ravel(feeds[node.proto.input[0]])[0]) else "else_branch"
        return tuple(_run(node.bodies[chosen], {}, feeds, evaluate))
    return _loop(node, feeds, evaluate)


def _run(body: Body, args: Arrays, outside: Arrays, evaluate: Evaluate) -> list[Any]:
    """Return a subgraph's outputs for its inputs and the values outside."""
    known: ChainMap[str, Any] = ChainMap({**body.constants, **args}, outside)  # type: ignore[arg-type]
    for node in body.nodes:
        limits.step(f"node {node.name!r} ({node.op_type})")
        missing = [i for i in node.reads if known.get(i) is None]
        if missing:
            raise ModelError(f"node {node.name!r} ({node.op_type}) reads {missing}, which nothing has produced")
        found = evaluate(node, {i: known[i] for i in node.reads})
        known.update({o: v for o, v in zip(node.outputs, found, strict=False) if o})
    return [known[o] for o in body.outputs]


def _loop(node: OnnxNode, feeds: Arrays, evaluate: Evaluate) -> tuple[Any, ...]:
    """Run a loop until its count or its condition ends it."""
    body, (count, going, *state) = node.bodies["body"], _begin(node, feeds)
    scans: list[list[np.ndarray]] = [[] for _ in body.outputs[1 + len(state) :]]
    step, what = 0, f"node {node.name!r} (Loop)"
    if runs_through(body):
        limits.step(what, count * (1 + len(body.nodes)))
    while going and step < count:
        limits.step(what)
        args = dict(zip(body.inputs, [np.asarray(step), np.asarray(going), *state], strict=True))
        goes_on, *found = _run(body, args, feeds, evaluate)
        going, state = bool(np.ravel(goes_on)[0]), found[: len(state)]
        for scan, value in zip(scans, found[len(state) :], strict=True):
            scan.append(value)
            limits.check_array(what, (len(scan), *value.shape), value.itemsize)
        step += 1
    if not step:
        return (*state, *(nothing(node, 1 + len(state) + i) for i in range(len(scans))))
    return (*state, *(np.stack(scan) for scan in scans))


def nothing(node: OnnxNode, i: int) -> np.ndarray:
    """Return what a loop without turns stacks up: no entries, of the shape and dtype that its body declares."""
    graph = next(a.g for a in node.proto.attribute if a.name == "body")
    kind = graph.output[i].type.tensor_type
    dtype = dtype_of(kind.elem_type)
    dims = [d.dim_value for d in kind.shape.dim]
    if dtype is None or not kind.HasField("shape") or not all(d.HasField("dim_value") for d in kind.shape.dim):
        raise ModelError(f"node {node.name!r} (Loop) makes no turns here, so that the shape of its output {i} is open")
    limits.check_array(f"node {node.name!r} (Loop)", dims)
    return np.zeros((0, *dims), dtype)


def runs_through(body: Body) -> bool:
    """Return whether a loop's body hands its condition on as it is, so that nothing but the count ends the loop."""
    makers = {o: node for node in body.nodes for o in node.outputs}
    name = body.outputs[0]
    for _ in body.nodes:
        if name not in makers or makers[name].op_type != "Identity":
            break
        name = makers[name].inputs[0]
    return name == body.inputs[1]


def _begin(node: OnnxNode, feeds: Arrays) -> list[Any]:
    """Return how many turns a loop makes at most, whether it makes any, and its state."""
    names = [*node.proto.input]  # the node's `inputs` are all that it reads, in a construction
    count, going, *state = [feeds[i] if i else None for i in (names + ["", ""])[: max(2, len(names))]]
    most = float("inf") if count is None else int(np.ravel(count)[0])
    return [most, going is None or bool(np.ravel(going)[0]), *state]


def not_run(node: OnnxNode) -> Iterator[Offender]:
    """Yield the nodes in a node's subgraphs, at any depth, that are not on the list of what is run."""
    for body in node.bodies.values():
        for inner in body.nodes:
            if inner.domain == "" and inner.op_type in RUN:
                yield from not_run(inner)
            elif not inner.evaluable:
                yield inner.offender(why_not(inner.op_type))
