"""A recurrent node of an open number of steps: the first as it is, all others as one node that repeats the second.

The first step is another one than the second, as it starts from zeros that are known. The second stands beside, to be repeated.
There is one step more than there are entries, so that even one entry leaves a second; nothing reads what it makes.
"""

from __future__ import annotations

from dataclasses import dataclass

from reflrp.importer.lengths.formulas import Shown
from reflrp.importer.loops.cells import Cell, State
from reflrp.importer.site import Ref, Site, Unbuildable
from reflrp.ir import Op
from reflrp.ops.pieces import Pieces
from reflrp.ops.recurrence import Steps
from reflrp.ops.routing import Concat, Reshape, Slice, Transpose

PART = "open"
"""What the parts of a node are called that no node with a known number of steps has."""


@dataclass(frozen=True)
class OpenRun:
    """The first two steps of one direction: all entries and one more, what the second reads, and what both end in.

    The first is x; behind it, where sequences end, which of them run on. Steps end in the states and, then, in what they put out.
    """

    cell: Cell
    backwards: bool
    longer: tuple[Ref, ...]
    read: tuple[Ref, ...]
    first: State
    second: State
    states: int


def open_steps(site: Site, x: Ref, runs: list[OpenRun], layout: int) -> tuple[Ref | None, ...]:
    """Return the outputs of a recurrent node: all states H, and the last of each kind."""
    states = [_stepped(site, x, run) for run in runs]
    rows = [_sequence(site, run, packed) for run, packed in zip(runs, states, strict=True)]
    y = _joined(site, rows, 1, (2, 0, 1, 3) if layout else None, "Y")
    outputs: list[Ref | None] = [y]
    for k in range(runs[0].states):
        last = [_last(site, run, packed, k) for run, packed in zip(runs, states, strict=True)]
        name = f"Y_{'hc'[k]}" + (".0" if len(runs) == 1 else "")  # as where the number of steps is known
        outputs.append(_joined(site, last, 0, (1, 0, 2) if layout else None, name))
    return tuple(outputs)


def read_second(site: Site, values: list[Ref], cell: Cell, backwards: bool) -> tuple[tuple[Ref, ...], tuple[Ref, ...]]:
    """Return all entries of each value with the one that is read last once more, and what the second step reads."""
    d, parts = (
        f"{PART}.d{cell.direction}",
        (("longer", "second", "read"), ("running", "running.second", "running.read")),
    )
    longer = tuple(
        put(site, _lengthened(x, backwards), x, f"{d}.{names[0]}") for x, names in zip(values, parts, strict=False)
    )
    at, found = slice(-2, -1) if backwards else slice(1, 2), list[Ref]()
    for x, names in zip(longer, parts, strict=False):
        row = put(site, Slice(x.shape, (at, *(slice(None),) * (x.ndim - 1))), x, f"{d}.{names[1]}")
        found.append(put(site, Reshape(row.shape, x.shape[1:]), row, f"{d}.{names[2]}"))
    return longer, tuple(found)


def _lengthened(x: Ref, backwards: bool) -> Pieces:
    whole, last = slice(None), slice(0, 1) if backwards else slice(-1, None)
    return Pieces(x.shape, ((last, whole) if backwards else (whole, last), *((),) * (x.ndim - 1)))


def put(site: Site, op: Op, x: Ref, part: str, sample: Shown | None = None) -> Ref:
    """Add a node that moves entries, of a value with relevance or without; `sample` shows what is of another dtype."""
    if x.value.active:
        return site.emit(op, x, part=part)
    made = site.work.plumbing(site.node, 0, (x,), op, sample or Shown(op.shape(x.shape), x.value.dtype), part)
    if x.name in site.work.late:
        site.work.late.add(made.name)
    return made


def _stepped(site: Site, x: Ref, run: OpenRun) -> Ref:
    """Return what each step ends in, side by side, in the order of the entries."""
    before, after = (tuple(v for v in state if isinstance(v, Ref)) for state in (run.first, run.second))
    if len(before) < len(run.first) or len(after) < len(run.second):
        raise Unbuildable("a state of its steps is constant, and the number of its steps is left open")
    whole, count = slice(None), x.shape[0]
    rest = (slice(0, -1) if run.backwards else slice(1, None), whole, whole)
    others = [
        put(site, Slice(v.shape, rest), v, _part(run, what))
        for v, what in zip(run.longer, ("x", "running.others"), strict=False)
    ]
    op = Steps(
        site.node.name, run.cell.direction, tuple(v.name for v in run.read), tuple(v.name for v in before),
        tuple(v.name for v in after), run.states, (), tuple(v.shape for v in before), count, run.backwards,
    )  # fmt: skip
    return site.emit(op, *others, *before, *after, part=_part(run, "steps"))


def stacked_steps(site: Site, packed: Ref, op: Steps, k: int, part: str, last: bool = False) -> Ref:
    """Return the k-th value that the steps end in, of the last step, or of all on a new first axis."""
    key = (slice(-1, None) if last else slice(None), *(slice(None),) * len(op.lead), op.spans[k])
    y = site.emit(Slice(packed.shape, key), packed, part=f"{PART}.{part}.of")
    return site.emit(Reshape(y.shape, op.shapes[k] if last else (op.count, *op.shapes[k])), y, part=part)


def _sequence(site: Site, run: OpenRun, packed: Ref) -> Ref:
    """Return what all steps of one direction put out, (steps, 1, batch, hidden): the states H where no sequence ends."""
    k = run.states if len(run.first) > run.states else 0
    key = (slice(None), slice(None), slice(k * run.cell.hidden, (k + 1) * run.cell.hidden))
    y = site.emit(Slice(packed.shape, key), packed, part=_part(run, "h"))
    return site.emit(Reshape(y.shape, (y.shape[0], 1, *y.shape[1:])), y, part=_part(run, "Y.direction"))


def _last(site: Site, run: OpenRun, packed: Ref, k: int) -> Ref:
    """Return the k-th state of one direction after the last step, (1, batch, hidden)."""
    part = slice(k * run.cell.hidden, (k + 1) * run.cell.hidden)
    end = slice(0, 1) if run.backwards else slice(-1, None)
    return site.emit(Slice(packed.shape, (end, slice(None), part)), packed, part=_part(run, f"last.{k}"))


def _joined(site: Site, rows: list[Ref], axis: int, perm: tuple[int, ...] | None, name: str) -> Ref:
    """Return what directions make side by side, with the batch first where it is asked for."""
    part = f"{PART}.{name}" if perm else name
    wide = site.emit(Concat(axis, (None,) * len(rows), (1,) * len(rows)), *rows, part=part)
    return site.emit(Transpose(perm), wide, part=name) if perm else wide


def _part(run: OpenRun, what: str) -> str:
    return f"{PART}.d{run.cell.direction}.{what}"
