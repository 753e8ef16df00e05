"""What a node makes of constants that depend on open lengths: whether its own constants do, and how far (`arrays/measured.py`).

Proven operator by operator, from what the operator does with entries and axes; what no law is written for depends on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.arrays.measured import Marks, how, marks, measured, plain
from reflrp.importer.lengths.forming import by_names, formed, keep_counts
from reflrp.importer.lengths.spread import ROUTED, along_others, routed
from reflrp.importer.loops.branches import runs_through
from reflrp.importer.nodes.allowed import BUILT, ENTRYWISE
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.site import Arg, Items, Ref, Work

MOVED = frozenset(
    ["Concat", "Flatten", "Gather", "GatherElements", "GatherND", "Reshape", "Slice", "Split", "Squeeze", "Tile"]
    + ["Transpose", "Unsqueeze"]
)
"""Operators that move the entries of their first operand, or of all, as the others say."""


def marked(node: OnnxNode, args: tuple[Arg, ...], made: Any, work: Work) -> Any:
    """Return what a node makes, its constants marked by how far they depend on open lengths."""
    if node.op_type in ("Shape", "Size") and node.domain == "" and made is not None:
        (x,) = made if isinstance(made, tuple) else (made,)
        if not isinstance(x, np.ndarray | np.generic):
            return (x,)
        return (measured(x, _of_shape(node, args[0], work), formed(node, (by_names(args[0], work),), x, work)),)
    if isinstance(found := made[0] if isinstance(made, tuple) else made, Ref) and found.name in work.late:
        keep_counts(node, args, found, work)
    if not any(map(how, args)) and not _turns(node, args, work):
        return made
    if not isinstance(made, tuple):
        return _one(node, args, 0, made, work)
    return tuple(_one(node, args, i, a, work) for i, a in enumerate(made))


def _one(node: OnnxNode, args: tuple[Arg, ...], i: int, made: Any, work: Work) -> Any:
    if isinstance(made, Items):
        return Items(_one(node, args, i, a, work) for a in made)
    if not isinstance(made, np.ndarray | np.generic):
        return made
    if node.op_type in BUILT:
        return measured(made, None) if _turns(node, args, work) else made  # what is inside was marked there
    constants = [a for a in args if a is not None]
    if node.domain != "" or not all(isinstance(a, np.ndarray) for a in constants):
        return measured(made, None)
    return measured(made, _law(node, args, i, np.asarray(made), work), None if i else formed(node, args, made, work))


def _turns(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> bool:
    """Return whether open lengths may say which branch is taken, or how many turns are made."""
    if node.op_type == "Loop":
        return bool(how(args[:2])) or not runs_through(node.bodies["body"])
    if node.op_type == "Scan":
        return work.source is not None and work.source.is_open
    return node.op_type in BUILT and node.op_type not in ("SequenceConstruct", "SequenceEmpty") and bool(how(args))


def _lengths(x: Ref, work: Work) -> tuple[bool, ...]:
    """Return for each axis of what a node reads whether the file leaves its length open."""
    if work.source is None or not work.source.is_open:
        return (False,) * x.ndim
    return tuple(isinstance(n, str) for n in x.value.lengths)


def _of_shape(node: OnnxNode, x: Any, work: Work) -> Marks:
    along = _lengths(x, work) if isinstance(x, Ref) else tuple(i in marks(x)[1] for i in range(x.ndim))
    if node.op_type == "Size":
        return np.asarray(any(along)), frozenset()
    return np.asarray(along[node.attributes.get("start", 0) : node.attributes.get("end")], bool), frozenset()


def _law(node: OnnxNode, args: tuple[Any, ...], i: int, made: np.ndarray, work: Work) -> Marks | None:
    """Return the marks of an output of a node on constants; None for all."""
    if node.op_type in ENTRYWISE:
        return _entrywise([marks(a) for a in args if a is not None], made.shape)
    if node.op_type == "ConstantOfShape":
        return _filled(args[0], made)
    if node.op_type == "Expand":
        return _expanded(args[0], args[1], made)
    seen = [marks(a) for a in args if a is not None]
    if not any(axes for _, axes in seen):
        return _moved(node, args, i, work)
    if any(entries.any() for entries, _ in seen):
        return None
    axes = _along(node, args)
    return None if axes is None else (np.broadcast_to(False, made.shape), axes)


def _entrywise(seen: list[Marks], shape: tuple[int, ...]) -> Marks | None:
    """Return the marks of numbers each of which is made of one of each operand."""
    rank = len(shape)
    axes = frozenset(a + rank - entries.ndim for entries, axes in seen for a in axes)
    for entries, own in seen:
        lead = rank - entries.ndim
        if any(a >= lead and a - lead not in own and entries.shape[a - lead] != 1 for a in axes):
            return None
    found = np.zeros(shape, bool)
    for entries, _ in seen:
        found |= entries
    return found, axes


def _filled(shape: np.ndarray, made: np.ndarray) -> Marks | None:
    entries, axes = marks(shape)
    return None if axes else (np.broadcast_to(False, made.shape), frozenset(np.flatnonzero(entries).tolist()))


def _expanded(x: np.ndarray, shape: np.ndarray, made: np.ndarray) -> Marks | None:
    """Return the marks of what is repeated; along an open length only what has one entry there can be."""
    (entries, own), (lengths, ranks) = marks(x), marks(shape)
    if ranks:
        return None
    lead, before = made.ndim - x.ndim, made.ndim - shape.size
    axes = frozenset((np.flatnonzero(lengths) + before).tolist())
    if any(a >= lead and a - lead not in own and x.shape[a - lead] != 1 for a in axes):
        return None
    return np.broadcast_to(entries, made.shape), axes | {a + lead for a in own}


def _moved(node: OnnxNode, args: tuple[Any, ...], i: int, work: Work) -> Marks | None:
    """Return the marks of entries that are moved by known numbers: they are moved along."""
    first = len(args) if node.op_type == "Concat" else 1
    if node.op_type not in MOVED or any(map(how, args[first:])):
        return None
    moved = (marks(a)[0].astype(np.int64) if k < first else a for k, a in enumerate(args))
    return np.asarray(work.evaluated(node, *moved)[i]) != 0, frozenset()


def _along(node: OnnxNode, args: tuple[Any, ...]) -> frozenset[int] | None:
    """Return the open axes of what a node makes by work along others; None where it may not."""
    if not how(args[0]):
        return None
    known, own = dict(zip(node.inputs, args, strict=True)), tuple(sorted(marks(args[0])[1]))
    if node.op_type in ROUTED:
        found = None if any(map(how, args[1:])) else routed(node, own, args[0].ndim, known)
        return None if found is None else frozenset(found)
    if node.op_type == "Gather":
        return None if any(map(how, args[1:])) else _gathered(node, args, own)
    wide = {k: tuple(sorted(marks(a)[1])) for k, a in known.items() if a is not None and how(a)}
    kinds = {(axes, known[k].ndim) for k, axes in wide.items()}
    if len(kinds) != 1:
        return None
    axes, rank = kinds.pop()
    return frozenset(axes) if along_others(node, axes, rank, wide, known) else None


def _gathered(node: OnnxNode, args: tuple[Any, ...], axes: tuple[int, ...]) -> frozenset[int] | None:
    axis = node.attributes.get("axis", 0) % args[0].ndim
    return None if axis in axes else frozenset(a if a < axis else a + args[1].ndim - 1 for a in axes)


def inherited(made: Any, args: tuple[Any, ...]) -> Any:
    """Return an array that a builder made of a node's operands, marked where one of these is."""
    return measured(plain(made), None) if isinstance(made, np.ndarray) and how(args) else made
