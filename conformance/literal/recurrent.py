"""LSTM, GRU and RNN as their steps in time: nodes of simple operators, which stand under the name of the one node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import helper

State = tuple[str, ...]
"""The names of what a step hands on; none before the first step, where no initial state is given: it is 0."""


@dataclass
class Unrolled:
    """One direction of a recurrent node. W (gates x hidden, in), R (gates x hidden, hidden), B of both."""

    node: onnx.NodeProto
    hidden: int
    w: np.ndarray
    r: np.ndarray
    b: tuple[np.ndarray, np.ndarray]
    reset_late: bool
    numbers: count[int]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def constant(self, values: Any) -> str:
        """Enter a constant."""
        name = f"{self.node.name}/c{next(self.numbers)}"
        self.constants[name] = np.asarray(values)
        return name

    def emit(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Enter a node."""
        made = output or f"{self.node.name}/{next(self.numbers)}"
        self.nodes.append(helper.make_node(op, inputs, [made], self.node.name, **attributes))
        return made

    def dense(self, x: str, h: str, rows: slice) -> str:
        """Return W x + R h + b for some rows: one sum over the entries of both, with the two biases added up."""
        bias = self.constant(self.b[0][rows].astype(np.float64) + self.b[1][rows])
        if not h:
            return self.emit("Gemm", x, self.constant(self.w[rows].T), bias)
        both = self.constant(np.concatenate([self.w[rows], self.r[rows]], axis=1).T)
        return self.emit("Gemm", self.emit("Concat", x, h, axis=1), both, bias)

    def gate(self, z: str, i: int) -> str:
        """Return the i-th section of the gates' sums."""
        at = [self.constant(np.array([n])) for n in (i * self.hidden, (i + 1) * self.hidden, 1)]
        return self.emit("Slice", z, *at)


def lstm(u: Unrolled, x: str, state: State) -> State:
    """C = f C + i g, H = o tanh(C); sections in the order i, o, f, g."""
    h, c = state or ("", "")
    z = u.dense(x, h, slice(None))
    i, o, f = (u.emit("Sigmoid", u.gate(z, k)) for k in range(3))
    new = u.emit("Mul", i, u.emit("Tanh", u.gate(z, 3)))
    c = u.emit("Add", u.emit("Mul", f, c), new) if c else new
    return u.emit("Mul", o, u.emit("Tanh", c)), c


def gru(u: Unrolled, x: str, state: State) -> State:
    """H = (1 - z) g + z H; sections in the order z, r, g. The reset r stands before the matrix, or behind it."""
    (h,) = state or ("",)
    early, late = slice(2 * u.hidden), slice(2 * u.hidden, None)
    zr = u.dense(x, h, early)
    z, r = (u.emit("Sigmoid", u.gate(zr, k)) for k in range(2))
    if u.reset_late:
        mine = u.emit("Gemm", x, u.constant(u.w[late].T), u.constant(u.b[0][late]))
        its = u.emit("Gemm", h, u.constant(u.r[late].T), u.constant(u.b[1][late])) if h else ""
        inner = u.emit("Add", mine, u.emit("Mul", r, its or u.constant(u.b[1][late])))
    else:
        inner = u.dense(x, u.emit("Mul", r, h) if h else "", late)
    fresh = u.emit("Mul", u.emit("Sub", u.constant(np.array(1.0)), z), u.emit("Tanh", inner))
    return (u.emit("Add", fresh, u.emit("Mul", z, h)) if h else fresh,)


def rnn(u: Unrolled, x: str, state: State) -> State:
    """H = tanh(W x + R H + b)."""
    return (u.emit("Tanh", u.dense(x, state[0] if state else "", slice(None))),)


CELLS: dict[str, tuple[Callable[[Unrolled, str, State], State], int]] = {
    "GRU": (gru, 1),
    "LSTM": (lstm, 2),
    "RNN": (rnn, 1),
}
"""What a step is, and how many states it hands on."""


def unrolled(
    node: onnx.NodeProto,
    attributes: Mapping[str, Any],
    constants: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Return the nodes of a recurrent node over x (time, batch, in), and the constants that they read."""
    advance, states = CELLS[node.op_type]
    given = [*node.input, *[""] * 8]
    direction, runs = attributes.get("direction", "forward"), []
    numbers = count()
    for d in range(2 if direction == "bidirectional" else 1):
        w, r = constants[given[1]][d], constants[given[2]][d]
        b = constants[given[3]][d] if given[3] else np.zeros(2 * len(w))
        late = bool(attributes.get("linear_before_reset", 0))
        u = Unrolled(node, r.shape[1], w, r, (b[: len(w)], b[len(w) :]), late, numbers)
        start = [given[5 + k] for k in range(states)]
        state = tuple(u.emit("Gather", s, u.constant(np.array(d)), axis=0) for s in start if s)
        steps = [""] * shapes[given[0]][0]
        for t in range(len(steps))[:: -1 if d or direction == "reverse" else 1]:
            state = advance(u, u.emit("Gather", given[0], u.constant(np.array(t)), axis=0), state)
            steps[t] = state[0]
        runs.append((u, steps, state))
    return _stacked(node, runs)


def _stacked(
    node: onnx.NodeProto, runs: list[tuple[Unrolled, list[str], State]]
) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Return all nodes with those of the outputs: Y (time, directions, batch, hidden), and the last states."""
    last = runs[-1][0]

    def wide(name: str, axes: list[int]) -> str:
        return last.emit("Unsqueeze", name, last.constant(np.array(axes)))

    for place, output in enumerate(node.output):
        if output and place == 0:
            times = [
                last.emit("Concat", *(wide(steps[t], [0, 1]) for _, steps, _ in runs), axis=1)
                for t in range(len(runs[0][1]))
            ]
            last.emit("Concat", *times, output=output, axis=0)
        elif output:
            last.emit("Concat", *(wide(state[place - 1], [0]) for _, _, state in runs), output=output, axis=0)
    return [n for u, _, _ in runs for n in u.nodes], {k: v for u, _, _ in runs for k, v in u.constants.items()}
