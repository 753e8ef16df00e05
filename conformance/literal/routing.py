"""Operators that move entries: each is run on the entries' numbers, which says where every output comes from."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate

import numpy as np

from reflrp.conformance.literal.numbers import fractions
from reflrp.conformance.literal.steps import Routing, Site, numbered

NOWHERE = -1


def moved(move: Callable[[Site, np.ndarray], np.ndarray]) -> Callable[[Site], list[Routing]]:
    """Return a builder of a node with one value and one output."""

    def build(site: Site) -> list[Routing]:
        return [_routing(move(site, numbered(site.shapes[0])))]

    return build


def _routing(places: np.ndarray, fixed: Fraction = Fraction(0)) -> Routing:
    source = [None if j == NOWHERE else (0, int(j)) for j in places.ravel()]
    return Routing(source, [fixed] * len(source), places.shape)


def _ints(site: Site, place: int, name: str) -> list[int] | None:
    given = site.constant(place)
    found: list[int] | None = site.get(name, None) if given is None else given.ravel().tolist()
    return found


def _reshape(site: Site, places: np.ndarray) -> np.ndarray:
    target = [places.shape[i] if n == 0 else n for i, n in enumerate(_ints(site, 1, "shape") or [])]
    return places.reshape(target)


def _flatten(site: Site, places: np.ndarray) -> np.ndarray:
    axis = site.get("axis", 1)
    return places.reshape(int(np.prod(places.shape[:axis], dtype=np.int64)), -1)


def _slice(site: Site, places: np.ndarray) -> np.ndarray:
    starts, ends = _ints(site, 1, "starts") or [], _ints(site, 2, "ends") or []
    axes = _ints(site, 3, "axes") or list(range(len(starts)))
    steps = _ints(site, 4, "steps") or [1] * len(starts)
    cut = [slice(None)] * places.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        n = places.shape[axis]
        stop = None if step < 0 and end < -n else end
        cut[axis % places.ndim] = slice(start, stop, step)
    return places[tuple(cut)]


def _pad(site: Site) -> list[Routing]:
    rank, pads = len(site.shapes[0]), _ints(site, 1, "pads") or []
    width = list(zip(pads[:rank], pads[rank:], strict=True))
    mode = site.get("mode", "constant")
    value = site.constant(2)
    fixed = fractions(value).ravel()[0] if value is not None and value.size else Fraction(0)
    places = numbered(site.shapes[0])
    if mode == "constant":
        return [_routing(np.pad(places, width, constant_values=NOWHERE), fixed)]
    return [_routing(np.pad(places, width, mode=mode))]


def _gather(site: Site, places: np.ndarray) -> np.ndarray:
    return np.take(places, site.constants[1].astype(np.int64), axis=site.get("axis", 0))


def _squeeze(site: Site, places: np.ndarray) -> np.ndarray:
    axes = _ints(site, 1, "axes")
    return places.squeeze(tuple(axes) if axes is not None else None)


def _unsqueeze(site: Site, places: np.ndarray) -> np.ndarray:
    return np.expand_dims(places, tuple(_ints(site, 1, "axes") or ()))


def _expand(site: Site, places: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(places.shape, tuple(_ints(site, 1, "shape") or ()))
    return np.broadcast_to(places, shape)


def _concat(site: Site) -> list[Routing]:
    axis = site.get("axis", 0)
    kinds = [np.full(s, i) for i, s in enumerate(site.shapes)]
    operand = np.concatenate(kinds, axis)
    place = np.concatenate([numbered(s) for s in site.shapes], axis)
    source: list[tuple[int, int] | None] = []
    fixed = []
    for i, j in zip(operand.ravel(), place.ravel(), strict=True):
        constant = int(i) in site.constants
        source.append(None if constant else (int(i), int(j)))
        fixed.append(fractions(site.constants[int(i)]).ravel()[j] if constant else Fraction(0))
    return [Routing(source, fixed, operand.shape)]


def _split(site: Site) -> list[Routing]:
    axis, places = site.get("axis", 0), numbered(site.shapes[0])
    sizes = _ints(site, 1, "split") or [places.shape[axis] // len(site.outputs)] * len(site.outputs)
    return [_routing(part) for part in np.split(places, list(accumulate(sizes))[:-1], axis)]


ROUTING: dict[str, Callable[[Site], list[Routing]]] = {
    "Cast": moved(lambda site, places: places),
    "Concat": _concat,
    "Dropout": moved(lambda site, places: places),
    "Expand": moved(_expand),
    "Flatten": moved(_flatten),
    "Gather": moved(_gather),
    "Identity": moved(lambda site, places: places),
    "Pad": _pad,
    "Reshape": moved(_reshape),
    "Slice": moved(_slice),
    "Split": _split,
    "Squeeze": moved(_squeeze),
    "Transpose": moved(lambda site, places: places.transpose(site.get("perm", None))),
    "Unsqueeze": moved(_unsqueeze),
}
"""ONNX operators that move entries, by what each of their outputs is."""
