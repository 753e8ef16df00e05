"""States that a file fills with one number, of an open number of samples: whether one sample may stand for all of them.

They are held with one entry on each axis of an open length. That is right as long as what reads them works along other axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reflrp.importer.lengths.formulas import JOINT
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.site import Arg, Unbuildable

ENTRYWISE = frozenset(
    [
        *JOINT,
        "Abs",
        "Cast",
        "Clip",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Log",
        "Neg",
    ]
    + ["Not", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu"]
)
"""Operators that work entry by entry."""

ROUTED = frozenset(["Squeeze", "Transpose", "Unsqueeze"])
"""Operators that say anew where the axes are."""

ENDLESS = 2**31 - 1


def check_spread(nodes: Iterable[OnnxNode], spread: Mapping[str, tuple[int, ...]], known: Mapping[str, Arg]) -> None:
    """Raise Unbuildable where a node works along an axis on which a constant has one entry for an open number of them.

    `spread` says for such constants which axes these are, `known` what each value is.
    """
    wide = dict(spread)
    for node in nodes:
        read = [i for i in node.reads if i in wide]
        if not read:
            continue
        kinds = {(wide[i], getattr(known[i], "ndim", None)) for i in read}
        axes, rank = kinds.pop()
        moved = routed(node, axes, rank, known)
        if kinds or (moved is None and not along_others(node, axes, rank, wide, known)):
            raise Unbuildable(
                f"its node {node.name!r} ({node.op_type}) works on a state that is filled with one number, "
                "for an open number of samples"
            )
        wide.update({o: axes if moved is None else moved for o in node.outputs if isinstance(known.get(o), np.ndarray)})


def routed(node: OnnxNode, axes: tuple[int, ...], rank: Any, known: Mapping[str, Arg]) -> tuple[int, ...] | None:
    """Return which axes these are in the output of a Transpose, Squeeze or Unsqueeze; None for any other node."""
    if node.op_type not in ROUTED or node.domain != "" or rank is None:
        return None
    if node.op_type == "Transpose":
        order = list(node.attributes.get("perm", range(rank)[::-1]))
        return tuple(sorted(order.index(a) for a in axes))
    given = known[node.inputs[1]] if len(node.inputs) > 1 else np.asarray(node.attributes.get("axes", ()))
    if not isinstance(given, np.ndarray) or not given.size:
        return None
    new = rank + given.size * (node.op_type == "Unsqueeze")
    apart = {int(a) % new for a in np.ravel(given)}
    rest = [a for a in range(new) if a not in apart]
    if node.op_type == "Unsqueeze":
        return tuple(rest[a] for a in axes)
    return None if apart.intersection(axes) else tuple(rest.index(a) for a in axes)


def along_others(
    node: OnnxNode, axes: tuple[int, ...], rank: Any, wide: Mapping[str, Any], known: Mapping[str, Arg]
) -> bool:
    """Return whether a node works along other axes than these."""
    if node.domain != "" or node.bodies or rank is None:
        return False
    if node.op_type in ENTRYWISE:
        return all(len(getattr(known[i], "shape", ())) <= rank for i in node.inputs if i)
    if node.op_type in ("MatMul", "Gemm"):
        other = known[node.inputs[1]]
        plain = node.op_type == "MatMul" or not node.attributes.get("transA", 0)
        return plain and node.inputs[1] not in wide and rank - 1 not in axes and len(getattr(other, "shape", ())) == 2
    if node.op_type == "Conv":
        return axes == (0,) and not any(i in wide for i in node.inputs[1:])
    if node.op_type in ("Split", "Concat"):
        return int(node.attributes.get("axis", 0)) % rank not in axes
    return node.op_type == "Slice" and node.opset >= 10 and _sliced(node, axes, rank, known)


def _sliced(node: OnnxNode, axes: tuple[int, ...], rank: int, known: Mapping[str, Arg]) -> bool:
    """Return whether a Slice takes all of these axes."""
    given = [known[i] if i else None for i in node.inputs[1:]]
    arrays = [a for a in given if isinstance(a, np.ndarray) and a.dtype.kind == "i"]
    if len(arrays) < sum(a is not None for a in given):
        return False
    numbers = [np.ravel(a).tolist() if isinstance(a, np.ndarray) else None for a in (*given, None, None)][:4]
    starts, ends = numbers[0] or [], numbers[1] or []
    along, steps = numbers[2] or list(range(len(starts))), numbers[3] or [1] * len(starts)
    spans = zip(starts, ends, along, steps, strict=False)
    return all(a % rank not in axes or (start == 0 and end >= ENDLESS and step == 1) for start, end, a, step in spans)
