"""ONNX operators that are plain functions of tensors: (attributes) -> function of the node's inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch.nn import functional as fn

from reflrp.conformance.protocol import Unsupported

Attributes = dict[str, Any]

Known = Sequence[np.ndarray | None]
"""The inputs of a node that are constants; None for values."""


def only(title: str, a: Attributes, names: set[str]) -> None:
    """Refuse attributes that would be overlooked."""
    more = sorted(set(a) - names)
    if more:
        raise Unsupported(f"{title} with {', '.join(more)} is not built")


def _ints(x: Any) -> list[int]:
    return [int(n) for n in x.tolist()] if hasattr(x, "tolist") else [int(n) for n in x]


def _reshape(a: Attributes) -> Callable[..., Any]:
    if a.get("allowzero", 0):
        raise Unsupported("Reshape with allowzero is not built")
    return lambda x, s: x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(_ints(s))])


def _reduce(kind: Callable[..., Any]) -> Callable[[Attributes], Callable[..., Any]]:
    def make(a: Attributes) -> Callable[..., Any]:
        def reduced(x: Any, axes: Any = None) -> Any:
            over = _ints(axes if axes is not None else a.get("axes", range(x.ndim)))
            return kind(x, tuple(over), keepdim=bool(a.get("keepdims", 1)))

        return reduced

    return make


BORDERS = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}
"""torch's words for the borders of Pad."""


def _pad(a: Attributes) -> Callable[..., Any]:
    mode = a.get("mode", "constant")
    if mode not in BORDERS:
        raise Unsupported(f"Pad in the mode {mode} is not built")

    def widened(x: Any, pads: Any, value: Any = 0.0, axes: Any = None) -> Any:
        given, rank = _ints(pads), x.ndim
        if axes is not None:
            raise Unsupported("Pad of some axes is not built")
        border = [n for i in reversed(range(rank)) for n in (given[i], given[i + rank])]
        if mode == "constant":
            return fn.pad(x, border, value=float(value))
        if any(border[-4:]):
            raise Unsupported("torch repeats and mirrors behind the first two axes only")
        return fn.pad(x, border[:-4], BORDERS[mode])

    return widened


def _slice(a: Attributes) -> Callable[..., Any]:
    def sliced(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
        begin, end = _ints(starts), _ints(ends)
        over = _ints(axes) if axes is not None else range(len(begin))
        step = _ints(steps) if steps is not None else [1] * len(begin)
        for axis, low, high, by in zip(over, begin, end, step, strict=True):
            x = _taken(x, axis % x.ndim, slice(low, high, by))
        return x

    return sliced


def _taken(x: Any, axis: int, part: slice) -> Any:
    """Return a slice of one axis; torch has none backwards, but an index."""
    if part.step > 0:
        return x[(slice(None),) * axis + (part,)]
    return x.index_select(axis, torch.tensor(range(x.shape[axis])[part], dtype=torch.long))


def _split(a: Attributes) -> Callable[..., Any]:
    def parted(x: Any, sizes: Any = None) -> Any:
        axis = a.get("axis", 0)
        count = a.get("num_outputs", 2)
        return tuple(torch.split(x, _ints(sizes) if sizes is not None else -(-x.shape[axis] // count), dim=axis))

    return parted


def _gather(a: Attributes) -> Callable[..., Any]:
    def gathered(x: Any, index: Any) -> Any:
        axis = a.get("axis", 0) % x.ndim
        index = index.long() % x.shape[axis]
        return x.index_select(axis, index.reshape(-1)).reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])

    return gathered


def _squeeze(a: Attributes) -> Callable[..., Any]:
    return lambda x, axes=None: x.squeeze(tuple(_ints(axes if axes is not None else a["axes"])))


def _unsqueeze(a: Attributes) -> Callable[..., Any]:
    def unsqueezed(x: Any, axes: Any = None) -> Any:
        for axis in sorted(_ints(axes if axes is not None else a["axes"])):
            x = x.unsqueeze(axis)
        return x

    return unsqueezed


FUNCTIONS: dict[str, Callable[[Attributes], Callable[..., Any]]] = {
    "Add": lambda a: torch.add,
    "Sub": lambda a: torch.sub,
    "Mul": lambda a: torch.mul,
    "Div": lambda a: torch.div,
    "Sum": lambda a: lambda *xs: sum(xs[1:], xs[0]),
    "Exp": lambda a: torch.exp,
    "Greater": lambda a: torch.gt,
    "Max": lambda a: lambda *xs: reduce(torch.maximum, xs),
    "Gather": _gather,
    "Flatten": lambda a: lambda x: x.reshape(int(np.prod(x.shape[: a.get("axis", 1)])), -1),
    "Reshape": _reshape,
    "Transpose": lambda a: lambda x: x.permute(a.get("perm", tuple(reversed(range(x.ndim))))),
    "Concat": lambda a: lambda *xs: torch.cat(xs, a["axis"]),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Expand": lambda a: lambda x, s: x.expand(torch.broadcast_shapes(x.shape, _ints(s))),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMax": _reduce(torch.amax),
}
"""The functions that are built."""
