"""Einstein sums and resampling: of a value and a constant terms, of two values products, of nearest neighbours routing."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

from reflrp.conformance.literal.layers import ONE
from reflrp.conformance.literal.numbers import fractions
from reflrp.conformance.literal.steps import Linear, Product, Routing, Site, Step, Term, numbered

ZERO = Fraction(0)


def einsum(site: Site) -> Step:
    """Return Einsum of two operands whose equation is written out, as "bij,jk->bik"."""
    inputs, out = site.get("equation", "").replace(" ", "").split("->")
    terms = inputs.split(",")
    sizes = {c: n for term, shape in zip(terms, site.shapes, strict=True) for c, n in zip(term, shape, strict=True)}
    summed = [c for c in sizes if c not in out]
    places = [numbered(shape) for shape in site.shapes]
    shape = tuple(sizes[c] for c in out)
    pairs = []
    for at in product(*(range(sizes[c]) for c in out)):
        rows = (
            dict(zip([*out, *summed], [*at, *inner], strict=True))
            for inner in product(*(range(sizes[c]) for c in summed))
        )
        pairs.append([tuple(int(p[tuple(i[c] for c in t)]) for p, t in zip(places, terms, strict=True)) for i in rows])
    if not site.constants:
        return Product([[(pair[0], pair[1]) for pair in row] for row in pairs], shape, elementwise=False)
    known = next(iter(site.constants))
    w = list(fractions(site.constants[known]).ravel())
    made = [[Term(1 - known, pair[1 - known], ONE, w[pair[known]]) for pair in row] for row in pairs]
    return Linear("dense", made, [ZERO] * len(made), shape)


def resize(site: Site) -> Step:
    """Return Resize by scales, its coordinates half_pixel, asymmetric or align_corners: axis after axis a weighted sum."""
    shape, scales = site.shapes[0], [Fraction(s) for s in fractions(site.constants[2]).ravel()]
    target = tuple(int(n * s) for n, s in zip(shape, scales, strict=True))
    along = [[_taps(site, i, n, s) for i in range(m)] for n, s, m in zip(shape, scales, target, strict=True)]
    place, rows = numbered(shape), []
    for at in product(*map(range, target)):
        row: dict[int, Fraction] = {}
        for taps in product(*(along[axis][i] for axis, i in enumerate(at))):
            j = int(place[tuple(entry for entry, _ in taps)])
            weight = ONE
            for _, factor in taps:
                weight *= factor
            row[j] = row.get(j, ZERO) + weight
        rows.append([Term(0, j, ONE, w) for j, w in row.items() if w != 0])
    if _mode(site) == "nearest":
        return Routing([(0, row[0].j) for row in rows], [ZERO] * len(rows), target)
    return Linear("dense", rows, [ZERO] * len(rows), target)


def _mode(site: Site) -> str:
    return str(site.get("mode", "nearest"))


def _taps(site: Site, i: int, n: int, scale: Fraction) -> list[tuple[int, Fraction]]:
    """Return the entries that output i of an axis of n takes, with their weights; beyond the border the edge counts again."""
    if scale == 1:
        return [(i, ONE)]
    how = site.get("coordinate_transformation_mode", "half_pixel")
    x = {"half_pixel": (i + Fraction(1, 2)) / scale - Fraction(1, 2), "asymmetric": i / scale}.get(
        how, i * (n - 1) / (n * scale - 1)
    )
    below = x.__floor__()
    if _mode(site) == "nearest":
        low = (
            x - below <= Fraction(1, 2)
            if site.get("nearest_mode", "round_prefer_floor") == "round_prefer_floor"
            else True
        )
        return [(min(max(below if low else below + 1, 0), n - 1), ONE)]
    reach = range(below, below + 2) if _mode(site) == "linear" else range(below - 1, below + 3)
    kernel = _linear if _mode(site) == "linear" else _cubic
    return [(min(max(p, 0), n - 1), kernel(abs(x - p))) for p in reach]


def _linear(distance: Fraction) -> Fraction:
    return max(1 - distance, ZERO)


def _cubic(d: Fraction) -> Fraction:
    """Return Keys' kernel with a = -3/4, the standard's default."""
    a = Fraction(-3, 4)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else ZERO


TENSORS: dict[str, Callable[[Site], Step]] = {"Einsum": einsum, "Resize": resize}
"""ONNX operators that sum over named axes, or resample."""
