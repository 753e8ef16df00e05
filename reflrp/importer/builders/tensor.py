"""Builders of Einsum, and of the separable linear operators: Resize, Upsample, CumSum."""

from __future__ import annotations

import string

import numpy as np

from reflrp.arrays import ZERO
from reflrp.arrays.tracing.dims import Dim, is_open
from reflrp.importer.lengths.slicing import open_resize
from reflrp.importer.site import Ref, Site, Unbuildable, builds, sized
from reflrp.importer.windows.resampling import resampling
from reflrp.ir import Shape
from reflrp.ops.axismap import axis_map
from reflrp.ops.einsum import DenseEinsum, EinsumProduct, Equation
from reflrp.ops.openmaps import open_sum
from reflrp.ops.picking import Take
from reflrp.ops.routing import Expand, Reshape, Transpose

ONE = np.ones(())


@builds("Einsum")
def einsum(site: Site) -> Ref:
    """An Einstein sum of two operands; one operand is summed or permuted against the constant 1."""
    args = [site.arg(i) for i in range(len(site.args))]
    if len(args) == 1:
        args.append(ONE)
    if len(args) > 2:
        raise Unbuildable(f"it has {len(args)} operands; reflrp has rules for two")
    equation = _equation(site.needed("equation"), [len(a.shape) for a in args])
    pairs = [_diagonals(site, a, t, i) for i, (a, t) in enumerate(zip(args, equation[:2], strict=True))]
    args, equation = [a for a, _ in pairs], Equation(pairs[0][1], pairs[1][1], equation.out)
    sizes = _letters(equation, [a.shape for a in args])
    a, b = (_widened(site, x, t, sizes, i) for i, (x, t) in enumerate(zip(args, equation[:2], strict=True)))
    if isinstance(a, Ref) and isinstance(b, Ref):
        active = (a.value.active, b.value.active)
        op = EinsumProduct((a.shape, b.shape), active, equation=equation)
        return site.emit(op, a, b)
    if isinstance(a, np.ndarray):
        equation, a, b = Equation(equation.right, equation.left, equation.out), b, a
    assert isinstance(a, Ref)
    letters, w = _narrowed(equation, np.asarray(b), sizes)
    return site.emit(DenseEinsum(w, ZERO, a.shape, equation=equation._replace(right=letters)), a)


def _diagonals(site: Site, x: Ref | np.ndarray, term: str, i: int) -> tuple[Ref | np.ndarray, str]:
    """Return an operand and its indices with one axis for each that comes more than once: entries are moved, none is summed."""
    if len(term) != x.ndim:
        raise Unbuildable(f"its indices {term!r} do not fit an operand of shape {tuple(x.shape)}")
    while (twice := next((c for c in term if term.count(c) > 1), None)) is not None:
        first, second = [k for k, c in enumerate(term) if c == twice][:2]
        n, rest = x.shape[first], [k for k in range(len(term)) if k not in (first, second)]
        if x.shape[second] != n:
            raise Unbuildable(f"its index {twice!r} has the sizes {n} and {x.shape[second]} in one operand")
        kept = "".join(term[k] for k in rest)
        if isinstance(x, np.ndarray):
            x, term = np.diagonal(x, 0, first, second), kept + twice
            continue
        if is_open((n,)):
            raise Unbuildable(
                f"its index {twice!r} takes a diagonal of the open length {n}, whose entries have no fixed places"
            )
        name = f"diagonal{i}.{len(term)}"
        moved = site.emit(Transpose((*rest, first, second)), x, part=f"{name}.moved")
        row = site.emit(Reshape(moved.shape, (*moved.shape[:-2], n * n)), moved, part=f"{name}.row")
        x, term = site.emit(Take(row.shape, row.ndim - 1, np.arange(n) * (n + 1)), row, part=name), kept + twice
    return x, term


def _letters(equation: Equation, shapes: list[Shape]) -> dict[str, int]:
    """Return the size of each letter; where one operand has 1, that of the other."""
    sizes: dict[str, int] = {}
    for term, shape in zip(equation[:2], shapes, strict=True):
        for letter, n in zip(term, shape, strict=True):
            if letter in sizes and n != sizes[letter] and 1 not in (n, sizes[letter]):
                raise Unbuildable(f"its index {letter!r} has the sizes {sizes[letter]} and {n}")
            sizes[letter] = n if sizes.get(letter, 1) == 1 else sizes[letter]
    if not set(equation.out) <= set(sizes):
        raise Unbuildable(f"equation {equation} has an index in its output that no operand has")
    return sizes


def _widened(site: Site, x: Ref | np.ndarray, term: str, sizes: dict[str, int], i: int) -> Ref | np.ndarray:
    """Return a value with axes of length 1 repeated as the other operand asks for; a constant as it is."""
    full = sized(tuple(sizes[c] for c in term))
    if isinstance(x, np.ndarray) or x.shape == full:
        return x
    return site.emit(Expand(x.shape, full), x, part=f"expand{i}")


def _narrowed(equation: Equation, w: np.ndarray, sizes: dict[str, int]) -> tuple[str, np.ndarray]:
    """Return a constant without the indices that the value does not meet, so that its entries are the coefficients.

    An index of the constant alone is summed over; one of length 1, which is repeated for the value's, is left out.
    """
    letters = equation.right
    alone = [i for i, c in enumerate(letters) if c not in equation.left and c not in equation.out]
    single = [i for i, c in enumerate(letters) if c in equation.left and w.shape[i] == 1 < sizes[c]]
    if not alone and not single:
        return letters, w
    summed = w.astype(np.float64).sum(axis=tuple({*alone, *single}))
    return "".join(c for i, c in enumerate(letters) if i not in alone and i not in single), np.asarray(summed)


def _equation(text: str, ranks: list[int]) -> Equation:
    """Return the equation with ellipses written out as letters, and the implicit output made explicit."""
    inputs, arrow, out = text.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) == 1:
        terms.append("")
    spare = [c for c in string.ascii_letters if c not in text]
    rest = [max(0, rank - len(t.replace("...", ""))) for t, rank in zip(terms, ranks, strict=True)]
    dots = spare[: max((n for n, t in zip(rest, terms, strict=True) if "..." in t), default=0)]
    full = [t.replace("...", "".join(dots[len(dots) - n :])) for t, n in zip(terms, rest, strict=True)]
    if not arrow:
        joined = "".join(terms).replace("...", "")
        out = "..." + "".join(sorted(c for c in set(joined) if joined.count(c) == 1))
    return Equation(full[0], full[1], out.replace("...", "".join(dots)))


@builds("Resize", "Upsample")
def resize(site: Site) -> Ref:
    """A resampling along axes, each by its matrix.

    Nearest neighbours only move entries, so they become routing.
    """
    x = site.ref()
    how = resampling(site, x.shape)
    if is_open((*x.shape, *how.target)):
        return open_resize(site, x, how)
    found = {axis: how.matrix(axis, n) for axis, n in enumerate(x.shape)}
    matrices = {axis: m for axis, m in found.items() if m is not None}
    if 0 in matrices:
        raise Unbuildable("it resizes the batch axis")
    if how.mode == "nearest" and matrices:
        for axis, m in matrices.items():
            x = site.emit(Take(x.shape, axis, m.argmax(axis=1)), x, part="" if axis == max(matrices) else f"axis{axis}")
        return x
    if matrices:
        return site.emit(axis_map(x.shape, matrices), x)
    resized = site.measured or site.has(3) or any(scale != 1 for scale in how.scales)
    loose = [i for i, n in enumerate(x.value.lengths) if i and isinstance(n, str)]
    if loose and resized:  # it leaves this input as it is, not every one: a node of its own, which hands relevance on
        return site.emit(Take(x.shape, loose[0], np.arange(x.shape[loose[0]])), x)
    return x


@builds("CumSum")
def cumsum(site: Site) -> Ref:
    """A running sum along an axis, as a triangular matrix."""
    x = site.ref()
    axis = site.axis(int(np.asarray(site.const(1)).item()), x.ndim)
    size = x.shape[axis]
    if isinstance(size, Dim):
        return site.emit(open_sum(x.shape, axis, bool(site.attr("exclusive", 0)), bool(site.attr("reverse", 0))), x)
    site.room((size, size))
    matrix = np.tri(size, k=-1 if site.attr("exclusive", 0) else 0)
    matrix = matrix.T if site.attr("reverse", 0) else matrix
    return site.emit(axis_map(x.shape, {axis: matrix}), x)
