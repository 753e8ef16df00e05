"""Taking apart: a builder that says its operator in terms of other operators of the standard."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from reflrp.importer.lengths.measuring import inherited
from reflrp.importer.nodes.node import node_of
from reflrp.importer.placing import make
from reflrp.importer.site import Arg, Made, Ref, Site, Unbuildable
from reflrp.importer.windows.geometry import conv_windows, window_places
from reflrp.ops.picking import Index

OPSET = 20
"""The opset in whose terms operators are taken apart."""


def call(
    site: Site, op_type: str, *args: Any, part: str = "", outputs: int = 1, opset: int = OPSET, **attributes: Any
) -> Made:
    """Build one operator of the standard on values and constants. The last one a builder calls carries no `part`.

    Numbers and lists become constants; None is an input that is left out.
    """
    given: tuple[Arg, ...] = tuple(
        inherited(a, site.args) if a is None or isinstance(a, Ref | np.ndarray) else constant(a) for a in args
    )
    while given and given[-1] is None:
        given = given[:-1]
    names = [f"in{i}" if a is not None else "" for i, a in enumerate(given)]
    label = f":{part}" if part else ""
    first = f"{site.node.outputs[0]}{label}"
    made = [first, *(f"{first}.{i}" for i in range(1, outputs))]
    proto = onnx.helper.make_node(op_type, names, made, **attributes)
    node = node_of(proto, f"{site.node.name}{label}", {"": opset})
    work = site.work
    if not work.origin:
        work = work.inside(site.node, prefix="")
    found: Made = make(node, given, work)
    return found


def constant(value: Any) -> np.ndarray:
    """Return a number or list as a constant: whole numbers as int64, others as float32."""
    array = np.asarray(value)
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float32) if array.dtype.kind != "b" else array


def one(made: Made) -> Ref | np.ndarray:
    """Return the first output."""
    found = made[0] if isinstance(made, tuple) else made
    assert isinstance(found, Ref | np.ndarray)
    return found


def normalised_by_values(site: Site) -> Ref | np.ndarray:
    """Return a BatchNormalization whose statistics or scale the network works out, as sums and products."""
    x = site.arg(0)
    shape = [-1, *(1,) * (len(x.shape) - 2)]
    gamma, beta, mean, var = (
        one(call(site, "Reshape", site.arg(i), shape, part=name))
        for i, name in enumerate(("scale", "shift", "mean", "var"), 1)
    )
    centred = one(call(site, "Sub", x, mean, part="centred"))
    raised = one(call(site, "Add", var, float(site.attr("epsilon", 1e-5)), part="raised"))
    root = one(call(site, "Sqrt", raised, part="root"))
    scaled = one(call(site, "Mul", one(call(site, "Div", centred, root, part="normed")), gamma, part="scaled"))
    return one(call(site, "Add", scaled, beta))


def convolved_by_values(site: Site) -> Ref | np.ndarray:
    """Return a convolution whose weights the network works out: the windows, as columns, times the weights."""
    x, w, groups = site.arg(0), site.ref(1), site.attr("group", 1)
    fits = len(w.shape) == len(x.shape) > 2 and groups > 0 and x.shape[1] == w.shape[1] * groups
    if not fits or w.shape[0] % groups or tuple(site.attr("kernel_shape") or w.shape[2:]) != w.shape[2:]:
        raise Unbuildable(f"weights of shape {w.shape} in {groups} groups do not fit an input of shape {x.shape}")
    windows = conv_windows(site, x.shape[2:], w.shape[2:])
    pads = [0, 0, *windows.begin, 0, 0, *windows.end]
    padded = one(call(site, "Pad", x, pads, part="padded")) if any(pads) else x
    columns = (x.shape[0], groups, prod(w.shape[1:]), prod(windows.out))
    site.room((2, *columns))
    numbers = site.numbers(padded.shape).reshape(*x.shape[:2], -1)
    index = numbers[:, :, window_places(windows, np.arange(prod(windows.padded)).reshape(windows.padded))].reshape(
        columns
    )
    taken = (
        site.emit(Index(padded.shape, index), padded, part="windows")
        if isinstance(padded, Ref)
        else padded.ravel()[index]
    )
    rows = call(site, "Reshape", w, [1, groups, w.shape[0] // groups, columns[2]], part="weights")
    z, biased = one(call(site, "MatMul", rows, taken, part="product")), site.has(2)
    y = one(call(site, "Reshape", z, [x.shape[0], w.shape[0], *windows.out], part="" if not biased else "image"))
    if not biased:
        return y
    return one(call(site, "Add", y, call(site, "Reshape", site.arg(2), [-1, *(1,) * len(windows.out)], part="bias")))
