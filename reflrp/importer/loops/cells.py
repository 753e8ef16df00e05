"""One step of a recurrent layer: the cells of LSTM, GRU and RNN, with their gates, peepholes and clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from reflrp.arrays import ZERO
from reflrp.arrays.measured import ENTRIES, how
from reflrp.arrays.tracing.terms import still
from reflrp.importer.builders.linear import diagonal, multiply, sum_of
from reflrp.importer.site import Ref, Site
from reflrp.ops.linear import Dense
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.routing import Concat, Slice

Made = Ref | np.ndarray

NAMES = {
    "LeakyRelu": "leaky_relu", "ThresholdedRelu": "thresholded_relu", "HardSigmoid": "hard_sigmoid", "Elu": "elu",
    "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softsign": "softsign", "Softplus": "softplus",
}  # fmt: skip


State = tuple[Made, ...]


@dataclass
class Cell:
    """One direction of a recurrent node: its weights, and the emitters that a step is made with."""

    site: Site
    direction: int
    hidden: int
    functions: tuple[tuple[str, tuple[float, ...]], ...]
    step: str = ""
    made: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def w(self) -> np.ndarray:
        """The weights of the input, (gates * hidden, in)."""
        found: np.ndarray = self.site.const(1)[self.direction]
        return found

    @property
    def r(self) -> np.ndarray:
        """The weights of the state, (gates * hidden, hidden)."""
        found: np.ndarray = self.site.const(2)[self.direction]
        return found

    @cached_property
    def biases(self) -> tuple[np.ndarray, np.ndarray]:
        """The biases of input and state, in float64, since a step adds them."""
        rows = self.w.shape[0]
        both = self.site.const(3)
        b = np.zeros(2 * rows) if both is None else both[self.direction].astype(np.float64)
        return b[:rows], b[rows:]

    def once(self, what: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return an array that all steps share: weights laid out as they read them, their biases."""
        if what not in self.made:
            self.made[what] = make()
        return self.made[what]

    def both(self, what: str, rows: slice = slice(None)) -> np.ndarray:
        """Return rows of the weights of input and state, side by side and transposed."""
        return self.once(what, lambda: np.concatenate([self.w[rows], self.r[rows]], axis=1).T)

    def bias(self, what: str, rows: slice = slice(None)) -> np.ndarray:
        """Return the biases of input and state together."""
        return self.once(f"{what}.b", lambda: self.biases[0][rows] + self.biases[1][rows])

    def is_zero(self, state: np.ndarray) -> bool:
        """Return whether a known state is zero, for all lengths that the file leaves open."""
        return not np.any(state) and not how((self.site.args[0], *self.site.args[5:7])) & ENTRIES

    def label(self, what: str) -> str:
        """Return a name for a part of this step."""
        return f"d{self.direction}.t{self.step}.{what}"

    def dense(self, values: tuple[Made, ...], weights: np.ndarray, bias: np.ndarray, what: str) -> Made:
        """Return [values] weights + bias."""
        rows = None if all(isinstance(v, np.ndarray) for v in values) else self.concat(values, what)
        if rows is None:
            known: np.ndarray = np.concatenate([np.asarray(v) for v in values], axis=1) @ weights + bias
            return known
        b = bias if np.any(bias) else ZERO
        return self.site.emit(Dense(weights, b, rows.shape), rows, part=self.label(what))

    def concat(self, values: tuple[Made, ...], what: str) -> Ref:
        """Return values side by side."""
        refs = [v for v in values if isinstance(v, Ref)]
        if len(values) == 1:
            return refs[0]
        parts = tuple(None if isinstance(v, Ref) else v for v in values)
        op = Concat(1, parts, tuple(v.shape[1] for v in values))
        return self.site.emit(op, *refs, part=self.label(f"{what}.in"))

    def gate(self, z: Ref, i: int, what: str) -> Ref:
        """Return the i-th section of the gates."""
        columns = slice(i * self.hidden, (i + 1) * self.hidden)
        return self.site.emit(Slice(z.shape, (slice(None), columns)), z, part=self.label(what))

    def activate(self, x: Ref, i: int, what: str) -> Ref:
        """Return the node's i-th activation of x; that of a gate is clipped before where the node asks for it."""
        name, parameters = self.functions[i]
        part = self.label(what)
        limit = self.site.attr("clip")
        if limit is not None and i < 2:  # an LSTM's third is of the cell
            x = self.site.emit(Pointwise("clip", (-limit, limit)), x, part=f"{part}.clip")
        if name == "Affine":
            return diagonal(self.site, x, np.asarray(parameters[0]), np.asarray(parameters[1]), part)
        if name == "ScaledTanh":
            inner = diagonal(self.site, x, np.asarray(parameters[1]), None, f"{part}.scale")
            inner = self.site.emit(Pointwise("tanh"), inner, part=f"{part}.tanh")
            return diagonal(self.site, inner, np.asarray(parameters[0]), None, part)
        return self.site.emit(Pointwise(NAMES[name], parameters), x, part=part)

    def times(self, a: Made, b: Made, what: str) -> Made:
        """Return a * b; a constant zero where a factor is one."""
        part = self.label(what)
        if isinstance(a, Ref) and isinstance(b, Ref):
            return multiply(self.site, a, b, part)
        value, constant = (a, b) if isinstance(a, Ref) else (b, a)
        assert isinstance(value, Ref)
        if self.is_zero(np.asarray(constant)):
            return np.zeros(still(value.shape))
        return diagonal(self.site, value, np.asarray(constant), None, part)

    def plus(self, a: Made, b: Made, what: str, signs: tuple[int, int] = (1, 1)) -> Made:
        """Return a + b with signs."""
        part = self.label(what)
        if isinstance(a, Ref) and isinstance(b, Ref):
            return sum_of(self.site, [a, b], list(signs), part)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            known: np.ndarray = signs[0] * a + signs[1] * b
            return known
        if isinstance(b, np.ndarray):
            assert isinstance(a, Ref)
            same = signs[0] == 1 and self.is_zero(b)
            return a if same else diagonal(self.site, a, np.asarray(float(signs[0])), signs[1] * b, part)
        assert isinstance(a, np.ndarray)
        same = signs[1] == 1 and self.is_zero(a)
        return b if same else diagonal(self.site, b, np.asarray(float(signs[1])), signs[0] * a, part)


def lstm_step(cell: Cell, x: Ref, state: State) -> State:
    """i, o, f, c gates; C = f C + i c, H = o h(C)."""
    h, c = state
    peephole = cell.site.const(7)
    p = np.zeros((3, cell.hidden)) if peephole is None else peephole[cell.direction].reshape(3, -1)
    z = cell.dense((x, h), cell.both("gates"), cell.bias("gates"), "gates")
    assert isinstance(z, Ref)
    zi, zo, zf, zc = (cell.gate(z, k, f"z_{name}") for k, name in enumerate("iofc"))
    i = cell.activate(_peep(cell, zi, p[0], c, "p_i"), 0, "i")
    coupled = cell.site.attr("input_forget", 0)
    f = _forget(cell, i) if coupled else cell.activate(_peep(cell, zf, p[2], c, "p_f"), 0, "f")
    g = cell.activate(zc, 1, "c")
    new_c = cell.plus(cell.times(f, c, "keep"), cell.times(i, g, "write"), "C")
    o = cell.activate(_peep(cell, zo, p[1], new_c, "p_o"), 0, "o")
    assert isinstance(new_c, Ref)
    return cell.times(o, cell.activate(new_c, 2, "h"), "H"), new_c


def _peep(cell: Cell, z: Ref, p: np.ndarray, c: Made, what: str) -> Ref:
    if not np.any(p) or (isinstance(c, np.ndarray) and cell.is_zero(c)):
        return z
    found = cell.plus(z, cell.times(p, c, what) if isinstance(c, Ref) else p * c, f"{what}.sum")
    assert isinstance(found, Ref)
    return found


def _forget(cell: Cell, i: Ref) -> Ref:
    found = cell.plus(np.ones(()), i, "f", (1, -1))
    assert isinstance(found, Ref)
    return found


def gru_step(cell: Cell, x: Ref, state: State) -> State:
    """z, r, h gates; H = (1 - z) h + z H."""
    (h,) = state
    early, late = slice(2 * cell.hidden), slice(2 * cell.hidden, None)
    zr = cell.dense((x, h), cell.both("gates", early), cell.bias("gates", early), "gates")
    assert isinstance(zr, Ref)
    z, r = (cell.activate(cell.gate(zr, k, f"z_{name}"), 0, name) for k, name in enumerate("zr"))
    if cell.site.attr("linear_before_reset", 0):
        one, two = cell.once("one", lambda: cell.w[late].T), cell.once("two", lambda: cell.r[late].T)
        wb, rb = (cell.once(f"late.{k}", partial(np.array, b[late])) for k, b in enumerate(cell.biases))
        inner = cell.dense((h,), two, rb, "state")
        fresh = cell.plus(cell.dense((x,), one, wb, "input"), cell.times(r, inner, "reset"), "z_h")
    else:
        reset = cell.times(r, h, "reset")
        fresh = cell.dense((x, reset), cell.both("late", late), cell.bias("late", late), "z_h")
    assert isinstance(fresh, Ref)
    new = cell.times(cell.plus(np.ones(()), z, "1-z", (1, -1)), cell.activate(fresh, 1, "h"), "write")
    return (cell.plus(new, cell.times(z, h, "keep"), "H"),)


def rnn_step(cell: Cell, x: Ref, state: State) -> State:
    """H = f(x W^T + H R^T + b)."""
    z = cell.dense((x, state[0]), cell.both("z"), cell.bias("z"), "z")
    assert isinstance(z, Ref)
    return (cell.activate(z, 0, "H"),)
