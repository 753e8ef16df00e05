"""How large a node's outputs will be, by ONNX's shape inference: asked before ONNX's reference code runs the node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from reflrp import limits
from reflrp.errors import ModelError
from reflrp.importer.files.read import domain_of
from reflrp.importer.nodes.unfit import misfit

SIZED = frozenset(
    ["AffineGrid", "BlackmanWindow", "CenterCropPad", "Col2Im", "ConstantOfShape", "DFT", "Expand", "HammingWindow"]
    + ["HannWindow", "MelWeightMatrix", "MaxUnpool", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"]
)
"""Operators whose outputs are as large as numbers in their inputs say."""

FRAMED = frozenset(
    ["AveragePool", "Conv", "ConvInteger", "ConvTranspose", "LpPool", "MaxPool", "MaxRoiPool", "Multinomial"]
    + ["FeatureVectorizer", "QLinearConv", "RandomNormal", "RandomUniform", "RoiAlign", "TfIdfVectorizer"]
)
"""Operators whose outputs, or frames around their inputs, are as large as attributes say.

The outputs of all others are no larger than the product of their inputs' sizes.
"""

UNROLLING = frozenset(["Conv", "ConvInteger", "ConvTranspose", "DeformConv", "QLinearConv"])
"""Operators of which the reference code unrolls all windows at once: a kernel's numbers for each output."""

LAYING = dict.fromkeys(
    ["DFT", "STFT", "NonZero", "Unique", "TopK", "GatherElements", "ScatterElements", "ScatterND"], 6
)
LAYING |= dict.fromkeys(
    ["BlackmanWindow", "HammingWindow", "HannWindow", "Gelu", "Mish", "Selu", "LayerNormalization"], 6
)
LAYING |= dict.fromkeys(["Resize", "GridSample", "AffineGrid", "Col2Im", "GroupNormalization", "RMSNormalization"], 6)
"""Operators of which the reference code lays out several arrays of the size of its largest; of others it is one."""

NUMBERS = 64
"""Inputs of up to so many entries are given to the inference by value: shapes, repeats, ranges."""


def check_outputs(
    name: str, node: NodeProto, opset: int, feeds: Mapping[str, np.ndarray], by_reference: bool = True
) -> int:
    """Raise TooLarge where the outputs would take more than the limit on memory; return the entries that are foreseen.

    These are counted where shapes alone do not bound them, else none are.

    With by_reference, what ONNX's reference code lays out on the way to them counts as well.
    Raises ModelError for a node whose size is written in its inputs, and does not make sense.
    """
    known = node.op_type in SIZED or node.op_type in FRAMED or node.op_type in LAYING
    inputs = [feeds[i].size for i in node.input if i in feeds]
    if not known and prod(inputs) * limits.WIDEST <= limits.MEMORY and 6 * sum(inputs) * limits.WIDEST <= limits.MEMORY:
        return 0
    if node.op_type in SIZED:
        for number in _numbers(feeds.values()):
            limits.check_array(name, (number,), 1)
    shapes = list(_shapes(name, node, opset, feeds))
    for shape in shapes:
        limits.check_array(name, shape)
    laid = _laid_out(node, shapes, feeds) if by_reference else 0
    limits.room(name, sum(map(limits.size_of, shapes)) + limits.WIDEST * laid)
    return sum(map(prod, shapes))


def _laid_out(node: NodeProto, shapes: list[tuple[int, ...]], feeds: Mapping[str, np.ndarray]) -> int:
    """Return how many numbers ONNX's reference code lays out at once beside its outputs."""
    out = max(map(limits.entries, shapes), default=0)
    if node.op_type in UNROLLING and len(node.input) > 1:
        weights = max((feeds[i].shape for i in node.input if i in feeds), key=len, default=())
        kernels = [prod(feeds[i].shape[1:]) for i in node.input[1:] if i in feeds and feeds[i].ndim == len(weights)]
        return 4 * max(kernels, default=1) * out
    each = LAYING.get(node.op_type, 1)
    return each * max(out, sum(feeds[i].size for i in node.input if i in feeds))


def _numbers(arrays: Iterable[np.ndarray]) -> Iterator[int]:
    """Yield the largest number of each small integer array."""
    for array in arrays:
        if array.dtype.kind in "iu" and 0 < array.size <= NUMBERS:
            yield abs(int(array.max()))


def _shapes(name: str, node: NodeProto, opset: int, feeds: Mapping[str, np.ndarray]) -> Iterator[tuple[int, ...]]:
    """Yield the shapes of the outputs, an open size as 1."""
    if node.op_type == "MaxUnpool":  # the one operator that says its size where the inference does not look
        yield from (tuple(int(n) for n in np.ravel(feeds[i])) for i in node.input[2:3] if i in feeds)
    if node.op_type == "FeatureVectorizer":
        widths = [w for a in node.attribute if a.name == "inputdimensions" for w in a.ints]
        yield (max((len(x) for x in feeds.values() if x.ndim), default=1), sum(w for w in widths if w > 0))
    if node.op_type == "TopK":  # as many places as are asked for are laid out, before the data are looked at
        yield (_count(node, feeds),)
    for kind in _inferred(name, node, opset, feeds).values():
        yield tuple(d.dim_value for d in kind.tensor_type.shape.dim)
    yield from _windows(node, feeds)


def _count(node: NodeProto, feeds: Mapping[str, np.ndarray]) -> int:
    """Return how many a TopK asks for: by an attribute, since opset 10 by an input."""
    given = [int(n) for i in node.input[1:2] if i in feeds for n in np.ravel(feeds[i])[:1]]
    return max([0, *given, *(int(a.i) for a in node.attribute if a.name == "k")])


def _inferred(name: str, node: NodeProto, opset: int, feeds: Mapping[str, np.ndarray]) -> Mapping[str, onnx.TypeProto]:
    domain = domain_of(node.domain)
    if node.op_type == "Range":  # the standard's own AffineGrid gives it vectors of one number
        feeds = {k: a.reshape(()) if a.size == 1 else a for k, a in feeds.items()}
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, domain)
        types = {k: _type(a) for k, a in feeds.items()}
        data = {k: numpy_helper.from_array(a) for k, a in feeds.items() if a.size <= NUMBERS}
        opsets = [onnx.helper.make_opsetid(domain, opset)]
        found: Mapping[str, onnx.TypeProto] = onnx.shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=opsets
        )
    except Exception as error:
        if node.op_type in SIZED:
            raise ModelError(misfit(name, {i: feeds[i] for i in node.input if i in feeds}, error)) from error
        return {}  # what runs the node will say what is wrong with it
    return found


def _type(array: np.ndarray) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _windows(node: NodeProto, feeds: Mapping[str, np.ndarray]) -> Iterator[tuple[int, ...]]:
    """Yield the shape of an input with its frame of `pads`, which windows slide over."""
    pads = next((tuple(a.ints) for a in node.attribute if a.name == "pads"), ())
    x = feeds.get(node.input[0]) if node.input else None
    if pads and x is not None and len(pads) == 2 * (x.ndim - 2):
        n = len(pads) // 2
        yield (prod(x.shape[:2]), *(s + b + e for s, b, e in zip(x.shape[2:], pads[:n], pads[n:], strict=True)))
