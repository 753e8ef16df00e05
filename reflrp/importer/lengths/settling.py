"""Which lengths follow from others by a formula: behind strides, paddings, and what a file works out with sizes.

ONNX's inference says of these only that they are not known. A node whose output would get a new name is built once more by itself,
with formulas in place of lengths, as for a compiled graph with open lengths.
"""

from __future__ import annotations

import numpy as np

from reflrp.arrays.measured import SHAPE, formulas, how
from reflrp.arrays.tracing.dims import Dim, TooShort, bounds, example, whole
from reflrp.importer.lengths.forming import by_names
from reflrp.importer.lengths.formulas import JOINT
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.site import Arg, Ref, Work
from reflrp.ir import Lengths, Shape

ROOMY = {"AveragePool", "Conv", "ConvTranspose", "LpPool", "MaxPool", "Pad", "Slice"}
"""Operators that make nothing of what is too short for them."""

TURNS = 8
"""How often a node may ask for longer axes."""


def settled(work: Work, node: OnnxNode, shape: Shape, found: Lengths) -> Lengths:
    """Return the lengths of a node's first output, those that have new names by their formulas, where it has any."""
    if work.names.lacks(found) and work.source and not node.bodies:
        args = _by_formulas(work, node)
        dims = None if args is None else _asked_for(node, args) or _joint(work, node, args) or _roomy(work, node, args)
        if dims is not None and tuple(map(example, dims)) == tuple(map(example, shape)):
            formed = work.names.named(dims, work.source.said)
            new = {m: n for m, n in zip(found, formed, strict=True) if work.names.lacks((m,))}
            work.same.update(new)
            found = tuple(new.get(m, m) for m in found)
    return work.names.know(found)


def _by_formulas(work: Work, node: OnnxNode) -> tuple[Arg, ...] | None:
    """Return what a node reads at formulas of the lengths that have names; None where one has none."""
    args = tuple(_formed(work.known.get(i), work) if i else None for i in node.inputs)
    return None if any(i and a is None for i, a in zip(node.inputs, args, strict=True)) else args


def _formed(a: Arg, work: Work) -> Arg:
    if isinstance(a, np.ndarray):
        return None if how(a) & SHAPE else formulas(a)
    return by_names(a, work)


def _asked_for(node: OnnxNode, args: tuple[Arg, ...]) -> Shape | None:
    """Return the shape that a Reshape asks for, where it leaves none to be found: it fails where the entries are not as many."""
    asked = args[1] if node.op_type == "Reshape" and node.domain == "" and len(args) > 1 else None
    if not isinstance(asked, np.ndarray) or any(not isinstance(n, Dim) and n < 1 for n in asked.flat):
        return None
    return tuple(map(whole, asked.flat))


def _joint(work: Work, node: OnnxNode, args: tuple[Arg, ...]) -> Shape | None:
    """Return the shape of what is broadcast together: an axis is as long as any of its lengths that is never 1."""
    shapes = [a.shape for a in args if isinstance(a, Ref | np.ndarray)]
    if node.domain == "" and node.op_type == "Expand" and len(shapes) == 2:
        asked = args[1]
        if not isinstance(asked, np.ndarray):
            return None
        shapes = [shapes[0], tuple(map(whole, asked.flat))]
    elif node.domain != "" or node.op_type not in JOINT:
        return None
    found = list[int]()
    with work.names.alone():
        for i in range(-max(map(len, shapes)), 0):
            along = list(dict.fromkeys(s[i] for s in shapes if len(s) >= -i and s[i] != 1))
            longer = [n for n in along if bounds(n, 1)[0] > 0]
            if len(along) > 1 and not longer:
                return None
            found.append(longer[0] if longer else along[0] if along else 1)
    return tuple(found)


def _roomy(work: Work, node: OnnxNode, args: tuple[Arg, ...]) -> Shape | None:
    """Return the shape of a node's first output, where there is room for its slices and windows; None where it has no formula."""
    before = dict(work.names.beyond)
    for _ in range(TURNS):
        try:
            dims = work.shape_of(node, args)
        except TooShort as error:
            if node.op_type not in ROOMY:
                return None
            work.names.beyond[error.symbol] = work.names.beyond.get(error.symbol, 0) + error.by
            continue
        if dims is not None and (work.names.beyond == before or _grows(args[0], dims)):
            return dims
        break
    work.names.beyond = before
    return None


def _grows(x: Arg, dims: Shape) -> bool:
    """Return whether no length is a number that was open."""
    return (
        isinstance(x, Ref)
        and len(x.shape) == len(dims)
        and all(isinstance(n, Dim) or not isinstance(m, Dim) for n, m in zip(dims, x.shape, strict=True))
    )
