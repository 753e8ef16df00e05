"""Builders of LSTM, GRU and RNN: unrolled over time into dense maps, activations, products and sums.

What a step reads, input and last state, is concatenated, so that each step has one dense map with one bias, and
relevance is shared between input and state in proportion to their contributions.
"""

from __future__ import annotations

import numpy as np

from reflrp import limits
from reflrp.arrays.tracing.dims import check_same, is_open
from reflrp.arrays.tracing.spans import check_room
from reflrp.arrays.tracing.terms import still
from reflrp.importer.lengths.fillings import filled
from reflrp.importer.loops.cells import Cell, Made, State, gru_step, lstm_step, rnn_step
from reflrp.importer.loops.ended import Advance, advanced, at, chosen, own_lengths, running, until_ended
from reflrp.importer.loops.stepping import OpenRun, open_steps, read_second
from reflrp.importer.site import Oversized, Ref, Site, Unbuildable, builds
from reflrp.ops.routing import Concat, Pad, Reshape, Slice, Transpose

DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
PARAMETERS: dict[str, tuple[float | None, ...]] = {
    "LeakyRelu": (0.01,), "ThresholdedRelu": (None,), "HardSigmoid": (0.2, 0.5), "Elu": (1.0,), "Affine": (None, 0.0),
    "ScaledTanh": (None, None), "Relu": (), "Tanh": (), "Sigmoid": (), "Softsign": (), "Softplus": (),
}  # fmt: skip
"""Activation -> the defaults of its alpha and beta.

ONNX says that they are those of the operators of the same names. None: there is none to go by. ONNX has no ScaledTanh and no Affine
(what it had of that began with alpha = 1), and of ThresholdedRelu alpha = 1; onnxruntime takes 0 for each of these.
"""

STANDARD = {"ThresholdedRelu": "1.0", "Affine": "not defined", "ScaledTanh": "not defined"}
"""What ONNX says of these defaults."""

STEPS: dict[str, tuple[Advance, int]] = {"LSTM": (lstm_step, 2), "GRU": (gru_step, 1), "RNN": (rnn_step, 1)}
"""Operator -> a step in time, and how many states it carries."""


@builds("LSTM", "GRU", "RNN")
def recurrent(site: Site) -> tuple[Ref | np.ndarray | None, ...]:
    """A recurrent node in any direction and layout, with initial states and sequence lengths, unrolled."""
    x = site.ref(0)
    if site.attr("layout", 0):
        x = site.emit(Transpose((1, 0, 2)), x, part="time_first")
    advance, states = STEPS[site.op_type]
    directions, layout = _directions(site, x, states), site.attr("layout", 0)
    mask, whole = running(site, x), x.shape[0]
    x = until_ended(site, x)
    outputs: list[Ref | np.ndarray | None] = []
    if is_open(x.shape[:1]):
        runs = [_open_run(site, x, d, advance, states, mask) for d in range(directions)]
        outputs += open_steps(site, x, runs, layout)
    else:
        known = [_run(site, x, d, advance, states, mask) for d in range(directions)]
        outputs.append(_sequence(site, [steps for steps, _ in known], layout))
        outputs += [_last(site, [state[k] for _, state in known], layout, k) for k in range(states)]
    return _ended(site, outputs[0], whole, 1 if layout else 0), *outputs[1:]


def _ended(site: Site, y: Ref | np.ndarray | None, steps: int, axis: int) -> Ref | np.ndarray | None:
    """Return Y with zeros behind the last step of the longest sequence."""
    if y is None or y.shape[axis] == steps:
        return y
    none, more = (0,) * y.ndim, tuple(steps - n if i == axis else 0 for i, n in enumerate(y.shape))
    if isinstance(y, Ref):
        return site.emit(Pad(y.shape, none, more), y, part="Y.ended")
    return np.pad(y, list(zip(none, more, strict=True)))


def _directions(site: Site, x: Ref, states: int) -> int:
    """Return how many directions there are, with all parameters checked against one another."""
    gates, both = {"LSTM": 4, "GRU": 3, "RNN": 1}[site.op_type], site.attr("direction") == "bidirectional"
    _, batch, size = x.shape
    d, hidden = 1 + both, site.attr("hidden_size") or site.const(2).shape[-1]
    first = (batch, d, hidden) if site.attr("layout", 0) else (d, batch, hidden)
    wanted = [(d, gates * hidden, size), (d, gates * hidden, hidden), (d, 2 * gates * hidden), (batch,)]
    wanted += [first] * states + [(d, 3 * hidden)] * (site.op_type == "LSTM")
    for i, shape in enumerate(wanted, 1):
        if site.has(i) and site.arg(i).shape != shape:
            for n, other in zip(site.arg(i).shape, shape, strict=False):
                if n != other:
                    check_same(n, other)
            own = i in (4, 5, 6) and isinstance(site.arg(i), np.ndarray) and is_open((batch,))
            only = ", which the file has for its own batch size alone" if own else ""
            raise Unbuildable(f"its input {i} of shape {site.arg(i).shape} must have the shape {shape}{only}")
    return int(d)


def _functions(site: Site, direction: int) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Return the activations of one direction with their parameters."""
    default = DEFAULTS[site.op_type]
    names = site.attr("activations") or [*default, *default]
    names = [n.decode() if isinstance(n, bytes) else n for n in names]
    spelled = {n.lower(): n for n in PARAMETERS}
    alphas, betas = iter(site.attr("activation_alpha") or ()), iter(site.attr("activation_beta") or ())
    found = []
    for name in names:
        title = spelled.get(name.lower())
        if title is None:
            raise Unbuildable(f"activation {name!r} is unknown")
        given = [next(values, default) for default, values in zip(PARAMETERS[title], (alphas, betas), strict=False)]
        for kind, value in zip(("alpha", "beta"), given, strict=False):
            if value is None:
                raise Unbuildable(
                    f"activation {title!r} has no activation_{kind}: by ONNX it is {STANDARD[title]}, and onnxruntime takes 0; "
                    f"write the one that is meant into activation_{kind}"
                )
        found.append((title, tuple(float(value) for value in given if value is not None)))
    n = len(default)
    return tuple(found[direction * n : (direction + 1) * n])


def _run(site: Site, x: Ref, d: int, advance: Advance, states: int, mask: Ref | None) -> tuple[list[Made], State]:
    """Run one direction over time. Returns its output at each time, and its last states."""
    length, batch = x.shape[:2]
    hidden = site.const(2).shape[2]
    cell = Cell(site, d, hidden, _functions(site, d))
    state = tuple(_initial(site, 5 + k, d, (batch, hidden)) for k in range(states))
    backwards = d == 1 or site.attr("direction", "forward") == "reverse"
    lengths = np.ravel(own) if mask is None and (own := own_lengths(site, x)) is not None else None
    before = len(site.work.nodes)
    _check_room(before, 1, length)
    steps: list[Made] = [np.zeros((batch, hidden))] * length
    for t in reversed(range(length)) if backwards else range(length):
        cell.step = str(t)
        new = advanced(cell, advance, _at(site, x, t, cell), state, mask and at(site, mask, t, cell))
        if before >= 0:
            _check_room(before, len(site.work.nodes) - before, length)
            before = -1
        alive = None if lengths is None or (lengths > t).all() else (lengths > t)[:, None]
        if alive is not None:
            steps[t] = chosen(cell, alive, new[0], np.zeros((batch, hidden)), "Y")
            new = tuple(chosen(cell, alive, a, b, f"S{k}") for k, (a, b) in enumerate(zip(new, state, strict=True)))
        else:
            steps[t] = new[states if mask else 0]
        state = new[:states]
    return steps, state


def _open_run(site: Site, x: Ref, d: int, advance: Advance, states: int, mask: Ref | None) -> OpenRun:
    """Run the first two steps of one direction, of an open number."""
    count, batch = x.shape[:2]
    check_room(count, 1)
    hidden = site.const(2).shape[2]
    cell = Cell(site, d, hidden, _functions(site, d))
    backwards = d == 1 or site.attr("direction", "forward") == "reverse"
    start: State = tuple(_initial(site, 5 + k, d, (batch, hidden)) for k in range(states))
    cell.step, t = ("-1", count - 1) if backwards else ("0", 0)
    one = advanced(cell, advance, _at(site, x, t, cell), start, mask and at(site, mask, t, cell))
    cell.step = "-2" if backwards else "1"
    longer, read = read_second(site, [x] if mask is None else [x, mask], cell, backwards)
    two = advanced(cell, advance, read[0], one[:states], None if mask is None else read[1])
    return OpenRun(cell, backwards, longer, read, one, two, states)


def _check_room(before: int, made: int, length: int) -> None:
    """Raise Oversized where so many steps of so many nodes would be too many, beside those that were there before.

    Asked before the first step, which makes one node at least, and after it, as it is the shortest.
    """
    if before + made * length > limits.NODES:
        raise Oversized(
            f"the graph gets more than {limits.NODES} nodes (reflrp.limits.NODES): at least {made} for each of {length} steps"
        )


def _initial(site: Site, i: int, d: int, shape: tuple[int, int]) -> Made:
    if not site.has(i):
        return np.zeros(still(shape))
    given = site.arg(i)
    number = filled(site, given.name) if isinstance(given, Ref) and is_open(given.shape) else None
    if number is not None:
        return np.full(still(shape), float(number))
    along = 1 if site.attr("layout", 0) else 0
    if isinstance(given, np.ndarray):
        state: np.ndarray = np.take(given, d, axis=along)
        return state
    slices = tuple(slice(d, d + 1) if k == along else slice(None) for k in range(3))
    row = site.emit(Slice(given.shape, slices), given, part=f"d{d}.initial{i}")
    return site.emit(Reshape(row.shape, shape), row, part=f"d{d}.state{i}")


def _at(site: Site, x: Ref, t: int, cell: Cell) -> Ref:
    row = site.emit(Slice(x.shape, (slice(t, t + 1), slice(None), slice(None))), x, part=cell.label("slice"))
    return site.emit(Reshape(row.shape, x.shape[1:]), row, part=cell.label("x"))


def _stacked(site: Site, values: list[Made], shape: tuple[int, ...], axis: int, part: str) -> Ref | np.ndarray:
    """Return values, each in the given shape, side by side along an axis."""
    arrays = [v.reshape(shape) if isinstance(v, np.ndarray) else None for v in values]
    if all(a is not None for a in arrays):
        return np.concatenate([a for a in arrays if a is not None], axis=axis)
    refs = [
        v if v.shape == shape else site.emit(Reshape(v.shape, shape), v, part=f"{part}.{i}")
        for i, v in enumerate(values)
        if isinstance(v, Ref)
    ]
    if len(values) == 1:
        return refs[0]
    return site.emit(Concat(axis, tuple(arrays), (shape[axis],) * len(values)), *refs, part=part)


def _sequence(site: Site, runs: list[list[Made]], layout: int) -> Ref | np.ndarray:
    """Return Y: (time, directions, batch, hidden), or (batch, time, directions, hidden)."""
    batch, hidden = runs[0][0].shape
    shape = (batch, 1, 1, hidden) if layout else (1, 1, batch, hidden)
    along, across = (2, 1) if layout else (1, 0)
    rows = [_stacked(site, [run[t] for run in runs], shape, along, f"Y.t{t}") for t in range(len(runs[0]))]
    wide = tuple(len(runs) if i == along else n for i, n in enumerate(shape))
    return _stacked(site, rows, wide, across, "Y")


def _last(site: Site, states: list[Made], layout: int, k: int) -> Ref | np.ndarray:
    """Return Y_h or Y_c: (directions, batch, hidden), or (batch, directions, hidden)."""
    batch, hidden = states[0].shape
    shape = (batch, 1, hidden) if layout else (1, batch, hidden)
    return _stacked(site, states, shape, 1 if layout else 0, f"Y_{'hc'[k]}")
