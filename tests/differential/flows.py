"""Makers of what has a body or a state, and of sizes that depend on the data: If, Loop, Scan, LSTM, GRU, RNN, NonZero."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper

from differential.draft import Draft, Drop

FLOAT = TensorProto.FLOAT


def body(nodes: list[NodeProto], inputs: list[Any], outputs: list[tuple[str, int]]) -> GraphProto:
    """Return a subgraph; its outputs have a type and no shape."""
    ends = [helper.make_tensor_value_info(k, dtype, None) for k, dtype in outputs]
    return helper.make_graph(nodes, "body", inputs, ends)


def port(name: str, dtype: int = FLOAT, shape: Any = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def branch(d: Draft) -> None:
    """If by a constant, or by what the data say of the whole batch."""
    x = d.pick()
    ways = [d.one("Relu", "Tanh", "Neg", "Abs"), d.one("Sigmoid", "Neg", "Softsign")]
    ends = [d.name() for _ in ways]
    bodies = [body([helper.make_node(op, [x], [y])], [], [(y, FLOAT)]) for op, y in zip(ways, ends, strict=True)]
    c = d.const(np.array(d.maybe()))
    if d.maybe():
        total = d.emit("ReduceSum", x, keepdims=0)
        c = d.emit("Greater", total, d.const(0.0))
    with d.hidden():
        y = d.emit("If", c, then_branch=bodies[0], else_branch=bodies[1])
    if x in d.active:
        d.active.append(y) if y not in d.active else None
    d.means(ways[0] if d.values[c] else ways[1], x, output=y)


def loop(d: Draft) -> None:
    """A few turns, of one state; the weights come from outside."""
    x = d.pick(least=2)
    m = d.shape(x)[-1]
    w, turns = d.weights(m, m), d.whole(1, 3)
    names = [d.name() for _ in range(5)]
    i, c, h, e, t = names
    g, k = d.name(), d.name()
    nodes = [
        helper.make_node("MatMul", [h, w], [t]),
        helper.make_node("Tanh", [t], [g]),
        helper.make_node("Identity", [c], [e]),
    ]
    inputs = [port(i, TensorProto.INT64, []), port(c, TensorProto.BOOL, []), port(h)]
    made = body(nodes, inputs, [(e, TensorProto.BOOL), (g, FLOAT)])
    with d.hidden():
        y = d.emit("Loop", d.const(np.array(turns)), d.const(np.array(True)) if d.maybe() else "", x, body=made)
    h = x
    for turn in range(turns):
        h = d.means("Tanh", d.means("MatMul", h, w), output=y if turn == turns - 1 else f"{k}t{turn}")


def scan(d: Draft) -> None:
    """A running state over the first axis of a transposed sequence."""
    x = d.pick(rank=3)
    d.wordless()
    a, s, t, u = (d.name() for _ in range(4))
    nodes = [helper.make_node("Add", [a, s], [t]), helper.make_node("Tanh", [t], [u])]
    made = body(nodes, [port(a, FLOAT), port(s, FLOAT)], [(t, FLOAT), (u, FLOAT)])
    time_first = d.emit("Transpose", x, perm=[1, 0, 2])
    zero = d.emit("Mul", d.emit("ReduceMax", x, axes=[1], keepdims=0) if d.opset < 18 else first(d, x), d.const(0.5))
    d.emit("Scan", zero, time_first, outputs=2, body=made, num_scan_inputs=1)


def first(d: Draft, x: str) -> str:
    return d.emit("Gather", x, d.const(np.array(0)), axis=1)


def recurrent(d: Draft) -> None:
    """LSTM, GRU or RNN over a sequence, in any direction."""
    x = d.pick(rank=3)
    d.wordless()
    op, gates = d.one(("LSTM", 4), ("GRU", 3), ("RNN", 1))
    n, time, m = d.shape(x)
    hidden, direction = d.whole(1, 3), d.one("forward", "reverse", "bidirectional")
    k = 2 if direction == "bidirectional" else 1
    seq = d.emit("Transpose", x, perm=[1, 0, 2])
    w, r = d.weights(k, gates * hidden, m), d.weights(k, gates * hidden, hidden)
    given: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    b = [d.const(d.normal(k, 2 * gates * hidden))] if d.maybe() else []
    if op == "GRU":
        given["linear_before_reset"] = d.whole(0, 1)
    if d.maybe(0.2):
        given["clip"] = 1.5
    bias, lengths, start, cell, peep = [*b, ""][0], "", "", "", ""
    if d.maybe(0.3):
        lengths = d.const(d.rng.integers(1, time + 1, n).astype(np.int32))
    if d.maybe(0.3):
        start = d.const(d.normal(k, n, hidden))
        cell = d.const(d.normal(k, n, hidden)) if op == "LSTM" and d.maybe() else ""
    if op == "LSTM" and d.maybe(0.2):
        peep = d.const(d.normal(k, 3 * hidden))
    rest = [bias, lengths, start, *([cell, peep] if op == "LSTM" else [])]
    while rest and not rest[-1]:
        rest.pop()
    y, last = d.emit(op, seq, w, r, *rest, outputs=2, **given)
    if d.maybe():
        d.emit("Transpose", y, perm=[2, 0, 1, 3])
    else:
        d.emit("Transpose", last, perm=[1, 0, 2])


def observed(d: Draft) -> None:
    """Sizes and indices that the data say: the entries beyond a bound, however many there are."""
    x = d.pick(least=2)
    d.wordless()
    if d.opset < 13:
        raise Drop
    flat = d.emit("Reshape", x, d.ints(-1))
    places = d.emit("NonZero", d.emit("Cast", d.emit("Greater", flat, d.const(0.0)), to=1))
    ids = d.emit("Squeeze", places, d.ints(0))
    found = d.emit("Gather", flat, ids, axis=0)
    total = d.emit(d.one("ReduceSum", "ReduceMax"), found, keepdims=0)
    d.emit("Mul" if d.maybe() else "Add", x, total)


def sized(d: Draft) -> None:
    """Constants as large as the batch: ones, ranges, positions."""
    x = d.pick(least=2)
    if d.opset < 11:
        raise Drop
    shape = d.emit("Shape", x)
    if d.maybe():
        ones = d.emit("ConstantOfShape", shape, value=helper.make_tensor("v", FLOAT, [1], [0.5]))
        d.emit(d.one("Sub", "Mul"), x, ones)
        return
    length = d.emit("Gather", shape, d.const(np.array(-1)), axis=0)
    steps = d.emit("Range", d.const(np.array(1)), d.emit("Add", length, d.const(np.array(1))), d.const(np.array(1)))
    d.emit("Mul", x, d.emit("Cast", steps, to=1))


def running(d: Draft) -> None:
    """A Loop that hands out its turns, and ends by itself: when the state is small, or after a few turns."""
    x = d.pick(least=2)
    d.wordless()
    i, c, h, t, g, size, e, each = (d.name() for _ in range(8))
    half, bound = d.const(d.one(0.5, 0.8)), d.const(d.one(0.2, 2.0))
    nodes = [
        helper.make_node("Mul", [h, half], [t]),
        helper.make_node(d.one("Tanh", "Relu", "Neg"), [t], [g]),
        helper.make_node("ReduceMax", [t], [size], keepdims=0),
        helper.make_node("Greater", [size, bound], [e]),
        helper.make_node("Identity", [g], [each]),
    ]
    given = [port(i, TensorProto.INT64, []), port(c, TensorProto.BOOL, []), port(h)]
    made = body(nodes, given, [(e, TensorProto.BOOL), (g, FLOAT), (each, FLOAT)])
    last, turns = d.emit("Loop", d.const(np.array(3)), d.const(np.array(True)), x, body=made, outputs=2)
    if d.maybe():
        d.emit("Add", last, d.emit("Gather", turns, d.const(np.array(0)), axis=0))


def computed_slice(d: Draft) -> None:
    """A part whose end is worked out from the shape: the first half."""
    x = d.pick(least=2)
    if d.opset < 10:
        raise Drop
    axis = d.axis(x, first=1)
    n = d.emit("Gather", d.emit("Shape", x), d.ints(axis), axis=0)
    n = d.emit("Div", d.emit("Add", n, d.ints(1)), d.ints(2))
    d.emit("Slice", x, *d.one((d.ints(0), n), (n, d.ints(2**31))), d.ints(axis))


MAKERS = {branch: 1, loop: 1, running: 1, scan: 1, recurrent: 2, observed: 1, sized: 1, computed_slice: 1}
