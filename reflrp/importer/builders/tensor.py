"""Builders of Einsum, and of the separable linear operators: Resize, Upsample, CumSum."""

from __future__ import annotations

import string

import numpy as np

from reflrp.arrays import ZERO
from reflrp.importer.resampling import resampling
from reflrp.importer.site import Ref, Site, Unbuildable, builds
from reflrp.ir import Shape
from reflrp.ops.axismap import axis_map
from reflrp.ops.einsum import DenseEinsum, EinsumProduct, Equation
from reflrp.ops.routing import Take

ONE = np.ones(())


@builds("Einsum")
def einsum(site: Site) -> Ref:
    """An Einstein sum of two operands; one operand is summed or permuted against the constant 1."""
    args = [site.arg(i) for i in range(len(site.args))]
    if len(args) == 1:
        args.append(ONE)
    if len(args) > 2:
        raise Unbuildable(f"it has {len(args)} operands; reflrp has rules for two")
    equation = _equation(site.attr("equation"), [len(a.shape) for a in args])
    a, b = args
    if isinstance(a, Ref) and isinstance(b, Ref):
        active = (a.value.active, b.value.active)
        op = EinsumProduct((a.shape, b.shape), active, equation=equation)
        return site.emit(op, a, b)
    if isinstance(a, Ref):
        return site.emit(DenseEinsum(np.asarray(b), ZERO, a.shape, equation=equation), a)
    swapped = Equation(equation.right, equation.left, equation.out)
    return site.emit(DenseEinsum(a, ZERO, site.ref(1).shape, equation=swapped), site.ref(1))


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
    if any(len(set(t)) < len(t) for t in full):
        raise Unbuildable(f"equation {text!r} takes a diagonal, which has no rule")
    return Equation(full[0], full[1], out.replace("...", "".join(dots)))


@builds("Resize", "Upsample")
def resize(site: Site) -> Ref:
    """A resampling along axes, each by its matrix.

    Nearest neighbours only move entries, so they become routing.
    """
    x = site.ref()
    how = resampling(site, x.shape)
    found = {axis: how.matrix(axis, n) for axis, n in enumerate(x.shape)}
    matrices = {axis: m for axis, m in found.items() if m is not None}
    if 0 in matrices:
        raise Unbuildable("it resizes the batch axis")
    if how.mode == "nearest":
        for axis, m in matrices.items():
            x = site.emit(Take(x.shape, axis, m.argmax(axis=1)), x, part="" if axis == max(matrices) else f"axis{axis}")
        return x
    return site.emit(axis_map(x.shape, matrices), x) if matrices else x


@builds("CumSum")
def cumsum(site: Site) -> Ref:
    """A running sum along an axis, as a triangular matrix."""
    x = site.ref()
    axis = site.axis(int(np.asarray(site.const(1)).item()), x.ndim)
    size = x.shape[axis]
    matrix = np.tril(np.ones((size, size)), -1 if site.attr("exclusive", 0) else 0)
    matrix = matrix.T if site.attr("reverse", 0) else matrix
    return site.emit(axis_map(x.shape, {axis: matrix}), x)
