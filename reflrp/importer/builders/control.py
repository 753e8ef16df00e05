"""Builders of control flow: branches whose condition is known are put in, loops whose length is known are unrolled.

"Known" means constant at the given input shapes, or observed at the input that is explained. What a body reads from
outside it reads here as well, since it is built in the same construction; see `Construction.inside`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays.measured import how, measured
from reflrp.arrays.tracing.dims import Dim
from reflrp.errors import UnsupportedOperator
from reflrp.importer.decompose import call, one
from reflrp.importer.loops.branches import not_run, nothing, runs_through
from reflrp.importer.loops.looping import concerned, open_loop, open_scan
from reflrp.importer.site import Arg, Items, Made, Oversized, Ref, Site, Unbuildable, builds

LONGEST = 2000
"""How many steps a loop may have."""

MOST = 20_000
"""How many steps the loops of a model may have together, those inside others counted each time."""


@builds("If")
def if_(site: Site) -> Any:
    """One of two branches: by a constant condition, or as observed."""
    if isinstance(site.arg(0), Ref) and not _carries(site):
        return _unruled(site)
    body = site.node.bodies["then_branch" if _truth(site.const(0)) else "else_branch"]
    return tuple(site.work.inside(site.node).run(body, {}))


def _truth(condition: Any) -> bool:
    if np.size(condition) != 1:
        raise Unbuildable(f"its condition holds {np.size(condition)} values; explain the samples one by one")
    return bool(np.ravel(condition)[0])


def _reads(site: Site) -> tuple[Arg, ...]:
    return tuple(site.work.known[name] for name in site.node.reads)


def _carries(site: Site) -> bool:
    """Return whether relevance may go through a node, or sequences, which nothing but a builder can take."""
    return any(isinstance(a, Items) or (isinstance(a, Ref) and a.value.active) for a in _reads(site))


def _unruled(site: Site) -> Any:
    """Run a node as it is, which carries no relevance."""
    node, args = site.node, _reads(site)
    refused = [*not_run(node)]
    if refused:
        raise UnsupportedOperator(refused)
    return site.work.plumb(replace(node, inputs=node.reads), args)


@builds("Loop")
def loop(site: Site) -> Any:
    """A loop, unrolled for as many steps as are known, or observed."""
    if any(isinstance(a, Ref) for a in site.args[:2]) and not _carries(site):
        return _unruled(site)
    repeated = open_loop(site) if concerned(site) else None
    if repeated is not None:
        return repeated
    body = site.node.bodies["body"]
    count, going = _steps(site)
    state: list[Any] = [_there(a) for a in site.args[2:]]  # a sequence as well
    scans: list[list[Arg]] = [[] for _ in body.outputs[1 + len(state) :]]
    step, starts, all_of_them = 0, list[int](), count if runs_through(body) else 0
    while going and step < count:
        _check_length(site, step, starts, all_of_them)
        args = dict(zip(body.inputs, [np.asarray(step), np.asarray(going), *state], strict=True))
        found = site.work.inside(site.node, f"[{step}]").run(body, args)
        going = _known_condition(site, found[0])
        state = [_there(a) for a in found[1 : 1 + len(state)]]
        for scan, value in zip(scans, found[1 + len(state) :], strict=True):
            scan.append(value)
        step += 1
    if not step:
        return (*state, *(nothing(site.node, 1 + len(state) + i) for i in range(len(scans))))
    return (*state, *(_stacked(site, s, 0, f"scan{i}") for i, s in enumerate(scans)))


def _there(value: Arg) -> Any:
    if value is None:
        raise Unbuildable("its body leaves a value out")
    return value


def _steps(site: Site) -> tuple[float, bool]:
    """Return the most steps that a loop makes, and whether it makes any."""
    count, going = site.const(0, np.asarray(np.inf)), site.const(1, np.asarray(True))
    return float(np.ravel(count)[0]), _truth(going)


def _known_condition(site: Site, condition: Arg) -> bool:
    if isinstance(condition, Ref):
        return _truth(site.work.observe(condition))
    if not isinstance(condition, np.ndarray):
        raise Unbuildable("its body does not say whether it goes on")
    return _truth(condition)


def _check_length(site: Site, step: int, starts: list[int], count: float) -> None:
    """Raise Unbuildable for a step too many; Oversized after two, where as many nodes in all others would be too many.

    `starts` keeps how many nodes there were at each step; `count` is how many steps are known to come, 0 for any number.
    """
    site.work.steps[0] += 1
    reached = LONGEST if max(step, count - 1) >= LONGEST else step
    if reached == LONGEST or site.work.steps[0] > MOST:
        raise Unbuildable(
            f"it makes more than {reached} steps; a loop may have {LONGEST} to be unrolled, and all loops together {MOST}"
        )
    starts.append(len(site.work.nodes))
    made = min(starts[1] - starts[0], starts[2] - starts[1]) if step == 2 else 0
    if starts[0] + made * count > limits.NODES:
        raise Oversized(
            f"the graph gets more than {limits.NODES} nodes (reflrp.limits.NODES): {made} for each of {count:g} steps"
        )


def _stacked(site: Site, values: list[Arg], axis: int, part: str) -> Arg:
    """Return what a scan output is: the values of all steps, on a new axis."""
    if not values:
        raise Unbuildable("it makes no steps, so that the shape of its output is open")
    rows = [one(call(site, "Unsqueeze", v, [axis], part=f"{part}.{i}")) for i, v in enumerate(values)]
    return one(call(site, "Concat", *rows, axis=axis, part=part))


@builds("Scan")
def scan(site: Site) -> Any:
    """A loop over the entries of an axis, unrolled."""
    if site.opset < 9:
        raise Unbuildable("a Scan of opset 8 has a batch axis of its own; export with a later opset")
    body, across = site.node.bodies["body"], site.needed("num_scan_inputs")
    states = len(site.args) - across
    state, sequences = [_given(site, i) for i in range(states)], [_given(site, states + i) for i in range(across)]
    axes = [a % len(x.shape) for a, x in zip(_each(site, "scan_input_axes", across), sequences, strict=True)]
    lengths = {x.shape[a] for a, x in zip(axes, sequences, strict=True)}
    if len(lengths) != 1:
        raise Unbuildable(f"its inputs are of the lengths {sorted(lengths)}")
    back = _each(site, "scan_input_directions", across)
    (length,), results = lengths, len(body.outputs) - states
    turned, out_axes = _each(site, "scan_output_directions", results), _each(site, "scan_output_axes", results)
    if isinstance(length, Dim):
        return _open_scan(site, length, [*state], list(zip(sequences, axes, back, strict=True)), turned, out_axes)
    scans: list[list[Arg]] = [[] for _ in range(results)]
    starts = list[int]()
    for step in range(length):
        _check_length(site, step, starts, length)
        places = [length - 1 - step if b else step for b in back]
        rows = [
            _row(site, x, a, p, f"in{i}.{p}") for i, (x, a, p) in enumerate(zip(sequences, axes, places, strict=True))
        ]
        found = site.work.inside(site.node, f"[{step}]").run(body, dict(zip(body.inputs, [*state, *rows], strict=True)))
        state = [_there(a) for a in found[:states]]
        for made, value in zip(scans, found[states:], strict=True):
            made.append(value)
    whole = [s[::-1] if t else s for s, t in zip(scans, turned, strict=True)]
    stacked = [_stacked(site, s, a, f"scan{i}") for i, (s, a) in enumerate(zip(whole, out_axes, strict=True))]
    return (*state, *stacked)


def _open_scan(
    site: Site, length: int, states: list[Arg], rows: list[tuple[Arg, int, int]], turned: list[int], axes: list[int]
) -> Any:
    """A loop over the entries of an axis of an open length."""
    if any(turned) or any(axes):
        raise Unbuildable(
            "it stacks its outputs up backwards, or on another axis than the first, for an open number of turns"
        )
    body, read = site.node.bodies["body"], list[tuple[str, Ref, int, bool]]()
    for name, (x, axis, back) in zip(body.inputs[len(states) :], rows, strict=True):
        if not isinstance(x, Ref):
            raise Unbuildable("it reads the entries of a constant, for an open number of turns")
        read.append((name, x, axis, bool(back)))
    return tuple(open_scan(site, length, read, dict(zip(body.inputs, states, strict=False))))


def _given(site: Site, i: int) -> np.ndarray | Ref:
    """Return input i, a constant or a value, with what is known of where it comes from."""
    found, whole = site.arg(i), site.args[i]
    return whole if isinstance(whole, np.ndarray) else found


def _each(site: Site, name: str, count: int) -> list[int]:
    return [int(n) for n in site.attr(name) or [0] * count]


def _row(site: Site, x: np.ndarray | Ref, axis: int, place: int, part: str) -> np.ndarray | Ref:
    if isinstance(x, Ref):
        return one(call(site, "Gather", x, place, axis=axis, part=part))
    return measured(np.take(x, place, axis=axis), None) if how(x) else np.asarray(np.take(x, place, axis=axis))


@builds("SequenceConstruct", "SequenceEmpty")
def sequence_construct(site: Site) -> Any:
    """A sequence of tensors."""
    return (Items(_given(site, i) for i in range(len(site.args))),)


@builds("SplitToSequence")
def split_to_sequence(site: Site) -> Any:
    """The parts of a tensor along an axis, as a sequence."""
    x = site.arg(0)
    axis = site.axis(site.attr("axis", 0), len(x.shape))
    size = x.shape[axis]
    split = site.const(1)
    flat = not site.has(1) and not site.attr("keepdims", 1)
    step = 1 if split is None else int(split) if split.ndim == 0 else 0
    sizes = [min(step, size - i) for i in range(0, size, step)] if step else [int(n) for n in split]
    if sum(sizes) != size or min(sizes, default=1) < 0:
        raise Unbuildable(f"its parts {sizes} do not make up the axis of size {size}")
    limits.hold(f"node {site.node.name!r} (SplitToSequence)", 256 * len(sizes))
    ends = np.cumsum(sizes).tolist()
    parts = []
    for i, (n, end) in enumerate(zip(sizes, ends, strict=True)):
        if flat:
            parts.append(_row(site, x, axis, i, str(i)))
        else:
            parts.append(one(call(site, "Slice", x, [end - n], [end], [axis], part=str(i))))
    return (Items(parts),)


def _items(site: Site) -> Items:
    found = site.args[0]
    if not isinstance(found, Items):
        raise Unbuildable("its input is no sequence that is known")
    return found


def _place(site: Site, i: int, count: int, default: int) -> int:
    place = int(np.ravel(site.const(i, default))[0])
    if not -count <= place < max(count, 1):
        raise Unbuildable(f"its position {place} is not in a sequence of {count}")
    return place


@builds("SequenceAt")
def sequence_at(site: Site) -> Made:
    """One tensor of a sequence."""
    items = _items(site)
    return items[_place(site, 1, len(items), 0)]


@builds("SequenceLength")
def sequence_length(site: Site) -> Made:
    """How many tensors there are."""
    return np.asarray(len(_items(site)))


@builds("SequenceInsert")
def sequence_insert(site: Site) -> Any:
    """A sequence with one more tensor."""
    items, new = list(_items(site)), _given(site, 1)
    limits.hold(f"node {site.node.name!r} (SequenceInsert)", limits.WIDEST * len(items))
    items.insert(_place(site, 2, len(items) + 1, len(items)), new)
    return (Items(items),)


@builds("SequenceErase")
def sequence_erase(site: Site) -> Any:
    """A sequence with one tensor less."""
    items = list(_items(site))
    items.pop(_place(site, 1, len(items), -1))
    return (Items(items),)


@builds("ConcatFromSequence")
def concat_from_sequence(site: Site) -> Made:
    """The tensors of a sequence side by side, or stacked on a new axis."""
    items, axis = _items(site), site.attr("axis", 0)
    if not items:
        raise Unbuildable("its sequence is empty")
    if site.attr("new_axis", 0):
        items = Items(one(call(site, "Unsqueeze", x, [axis], part=str(i))) for i, x in enumerate(items))
    return call(site, "Concat", *items, axis=axis)
