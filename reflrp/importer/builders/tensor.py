"""Builders of Einsum, and of the separable linear operators: Resize, Upsample, CumSum."""

from __future__ import annotations

import string

import numpy as np

from reflrp.arrays import ZERO
from reflrp.importer.node import OnnxNode, made_node
from reflrp.importer.site import Ref, Site, Unbuildable, builds, sized
from reflrp.ir import Shape
from reflrp.ops.axismap import AxisMap
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
    """A resampling along axes, each by the matrix that ONNX's reference code gives for unit vectors.

    Nearest neighbours only move entries, so they become routing.
    """
    x = site.ref()
    if site.attr("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise Unbuildable("crop and resize has no rule")
    node, rest = _modern(site)
    _check_size(x, rest)
    out = node.evaluate(np.zeros(x.shape, np.float32), *rest)[0].shape
    axes = tuple(i for i, (n, m) in enumerate(zip(x.shape, out, strict=True)) if n != m)
    start = x
    if not axes or site.attr("mode", "nearest") != "nearest":
        matrices = tuple(_axis_matrix(site, node, start, out, axis, rest) for axis in axes)
        return site.emit(AxisMap(ONE, ZERO, x.shape, axes=axes, matrices=matrices), x) if axes else x
    for axis in axes:
        nearest = _axis_matrix(site, node, start, out, axis, rest).argmax(axis=1)
        x = site.emit(Take(x.shape, axis, nearest), x, part="" if axis == axes[-1] else f"axis{axis}")
    return x


def _check_size(x: Ref, rest: list[np.ndarray | None]) -> None:
    """Raise Unbuildable before an array is made that cannot be."""
    scales, sizes = ([*rest, None, None, None])[1:3]
    if scales is not None and scales.size and np.isfinite(scales).all():
        sized(tuple(int(n * s) for n, s in zip(x.shape, scales, strict=False)))
    if sizes is not None:
        sized(tuple(int(n) for n in sizes))


def _modern(site: Site) -> tuple[OnnxNode, list[np.ndarray | None]]:
    """Return the node and its constants as since opset 11; before, coordinates were asymmetric and rounded down."""
    if site.op_type == "Resize" and site.opset >= 11:
        return site.node, [site.const(i) for i in range(1, len(site.args))]
    scales = site.attr("scales") if site.attr("scales") else site.const(1)
    mode = {"bilinear": "linear"}.get(site.attr("mode", "nearest"), site.attr("mode", "nearest"))
    node = made_node(
        "Resize", ("x", "", "scales"), 19,
        mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    return node, [None, np.asarray(scales, dtype=np.float32)]


def _axis_matrix(
    site: Site, node: OnnxNode, x: Ref, out: Shape, axis: int, rest: list[np.ndarray | None]
) -> np.ndarray:
    """Return the matrix (out, in) of a resampling along one axis: its values on unit vectors, one a sample."""
    if x.shape[0] != out[0]:
        raise Unbuildable("it resizes the batch axis")
    size = x.shape[axis]
    whole = (
        node.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch"
    )  # then each axis has a say in the scale
    kept = (size, *(n if n != m or whole else 1 for n, m in zip(x.shape[1:], out[1:], strict=True)))
    site.room((size, size), kept, (size, *(m if n != 1 else 1 for n, m in zip(kept[1:], out[1:], strict=True))))
    units = np.eye(size).reshape(size, *(size if i == axis else 1 for i in range(1, x.ndim)))
    if len(rest) > 2 and rest[2] is not None and len(rest[2]) == x.ndim:
        sizes = (size, *(m if n != m or whole else 1 for n, m in zip(x.shape[1:], out[1:], strict=True)))
        rest = [*rest[:2], np.asarray(sizes, dtype=np.int64)]
    lines = node.evaluate(np.ascontiguousarray(np.broadcast_to(units, kept)), *rest)[0]
    return np.asarray(np.moveaxis(lines, axis, 1).reshape(size, out[axis], -1)[:, :, 0].T)


@builds("CumSum")
def cumsum(site: Site) -> Ref:
    """A running sum along an axis, as a triangular matrix."""
    x = site.ref()
    axis = site.axis(int(np.asarray(site.const(1)).item()), x.ndim)
    size = x.shape[axis]
    site.room((size, size))
    matrix = np.tri(size, k=-1 if site.attr("exclusive", 0) else 0)
    matrix = matrix.T if site.attr("reverse", 0) else matrix
    return site.emit(AxisMap(ONE, ZERO, x.shape, axes=(axis,), matrices=(matrix,)), x)
