"""What changed the meaning of an operator, as exact formulas: (operator, opset) -> what its node of the opset before becomes.

A formula holds for every input that the node was defined for, not for an example of it. Where there is none it raises `Lasting`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from reflrp.compiler.opsets.rewriting import Lasting, Rewrite

Step = Callable[[Rewrite], None]


def _normaliser(d: Rewrite) -> None:
    """Over all axes from `axis` on, as one -> over one axis."""
    axis, rank, y = d.take("axis", 1), d.facts.rank(d.x), d.node.output[0]
    if rank and axis in (rank - 1, -1):
        d.say("axis", -1)
        d.keep()
        return
    x, flat = d.x, d.add("Flatten", (d.x,), "flat", axis=axis)
    d.reads(flat)
    d.say("axis", 1)
    d.node.output[0] = d.facts.free(f"{y}:rows")
    d.keep()
    d.add("Reshape", (d.node.output[0], d.add("Shape", (x,), "shape")), "reshaped", y, allowzero=1)


def _axes(d: Rewrite) -> None:
    """An attribute `axes` -> an input. No axes at all are all of them, as where they are left out."""
    axes = d.take("axes", ())
    d.reads(d.x, d.constant(list(axes), "axes") if len(axes) else "")
    d.keep()


def _squeeze(d: Rewrite) -> None:
    if len(d.says("axes", (0,))) == 0:
        raise Lasting("it has an empty list of axes")
    _axes(d)


def _unsqueeze(d: Rewrite) -> None:
    d.reads(d.x, d.constant(np.asarray(d.take("axes", ()), np.int64), "axes"))
    d.keep()


def _batch_norm_spatial(d: Rewrite) -> None:
    if not d.take("spatial", 1):
        raise Lasting("it has statistics for each entry (spatial = 0)")
    d.keep()


def _batch_norm_training(d: Rewrite) -> None:
    if any(d.node.output[1:]):
        raise Lasting("it has further outputs, so it is of training")
    del d.node.output[1:]
    d.keep()


def _dropout(d: Rewrite) -> None:
    """Of inference: the input itself, whatever the ratio."""
    if any(map(d.facts.is_read, filter(None, d.node.output[1:]))):
        raise Lasting("its mask is read")
    del d.node.output[1:]
    d.take("ratio")
    d.keep()


def _clip(d: Rewrite) -> None:
    low, high = (d.take(k, s * float(np.finfo(np.float32).max)) for k, s in (("min", -1), ("max", 1)))
    d.reads(d.x, d.scalar(low, "min"), d.scalar(high, "max"))
    d.keep()


def _pad(d: Rewrite) -> None:
    pads, value = d.constant(np.asarray(d.take("pads"), np.int64), "pads"), d.take("value", 0.0)
    d.reads(d.x, pads, d.scalar(value, "value") if value else "")
    d.keep()


def _slice(d: Rewrite) -> None:
    starts, ends = d.take("starts"), d.take("ends")
    axes = d.take("axes", range(len(starts)))
    given = zip((starts, ends, axes), ("starts", "ends", "axes"), strict=True)
    d.reads(d.x, *(d.constant(np.asarray(values, np.int64), what) for values, what in given))
    d.keep()


def _top_k(d: Rewrite) -> None:
    d.reads(d.x, d.constant([d.take("k")], "k"))
    d.keep()


def _split_sizes(d: Rewrite) -> None:
    sizes = d.take("split", ())
    d.reads(d.x, d.constant(list(sizes), "split") if len(sizes) else "")
    d.keep()


def _split_count(d: Rewrite) -> None:
    if len(d.node.input) < 2 or not d.node.input[1]:
        d.say("num_outputs", len(d.node.output))
    d.keep()


def _upsample_scales(d: Rewrite) -> None:
    d.reads(d.x, d.constant(np.asarray(d.take("scales"), np.float32), "scales"))
    d.keep()


def _upsample(d: Rewrite) -> None:
    """No scale of an Upsample is below 1: that is what the attribute says to `_resize`, which Resize has from opset 11 on."""
    d.node.op_type = "Resize"
    if d.says("mode", "nearest") == "nearest":
        d.say("nearest_mode", "floor")
    d.keep()


def _resize(d: Rewrite) -> None:
    """Coordinates divided by the scales; nearest takes the entry below where an axis grows, and above where it shrinks.

    Nearest goes along each axis for itself, so an axis that grows and one that shrinks are two nodes, one after the other.
    """
    y, scales = d.node.output[0], d.node.input[1]
    mode = d.take("mode", "nearest")
    d.say("mode", "linear" if mode == "bilinear" else mode)
    d.say("coordinate_transformation_mode", "asymmetric")
    if mode != "nearest":
        d.reads(d.x, "", scales)
        d.keep()
        return
    known = d.facts.number(scales)
    shrinks, grows = known is None or bool((known < 1).any()), known is None or bool((known > 1).any())
    shrinks &= not d.says("nearest_mode")
    if not (shrinks and grows):
        d.say("nearest_mode", "ceil" if shrinks else "floor")
        d.reads(d.x, "", scales)
        d.keep()
        return
    if known is None or not _grows(known, d.facts.lengths(d.x) or (0,) * known.size):
        raise Lasting(
            "where it shrinks one axis and leaves all others as they were, runtimes copy these, whatever their scales"
        )
    one = d.constant(1.0, "one")
    less, more = (d.add(op, (scales, one), op.lower()) for op in ("Min", "Max"))
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"}
    shrunk = d.add("Resize", (d.x, "", less), "shrunk", **attributes)
    d.say("nearest_mode", "floor")
    d.reads(shrunk, "", more)
    d.node.output[0] = y
    d.keep()


def _grows(scales: np.ndarray, lengths: tuple[int, ...]) -> bool:
    """Return whether an axis is longer afterwards, of single or double precision; 0 is a length that is open."""
    products = (np.float32(s) * np.float32(n) for s, n in zip(scales, lengths, strict=True))
    pairs = zip(scales.tolist(), lengths, products, strict=True)
    return any(s >= 2 or (p >= n + 1 and s * n >= n + 1) for s, n, p in pairs)


def _scatter(d: Rewrite) -> None:
    d.node.op_type = "ScatterElements"
    d.keep()


def _one_hot(d: Rewrite) -> None:
    """Negative indices are off -> they count from the end: they become the depth, which is off."""
    x, depth, *rest = d.node.input
    whole, most = (d.add("Cast", (v,), f"{k}_int", to=TensorProto.INT64) for k, v in (("index", x), ("depth", depth)))
    off = d.add("Less", (whole, d.constant(0, "zero")), "off")
    d.reads(d.add("Where", (off, most, whole), "index"), depth, *rest)
    d.keep()


def _conv_transpose(d: Rewrite) -> None:
    """An odd padding that follows from `output_shape` goes to the other side than before; an even one has equal sides."""
    if d.says("output_shape") and not d.says("auto_pad", "NOTSET").startswith("SAME") and not _evenly_padded(d):
        raise Lasting("its output_shape may leave an odd padding, which went to the other side before opset 11")
    d.keep()


def _evenly_padded(d: Rewrite) -> bool:
    """Return whether a ConvTranspose with `output_shape` pads certainly as much before as behind, on every axis."""
    sizes, kernel = ((d.facts.lengths(name) or ())[2:] for name in d.node.input[:2])
    ones, target = (1,) * len(sizes), d.says("output_shape")
    if not sizes or 0 in (*sizes, *kernel) or not len(sizes) == len(kernel) == len(target):
        return False
    given = (
        d.says(key, default)
        for key, default in (("strides", ones), ("dilations", ones), ("output_padding", (0,) * len(ones)))
    )
    axes = zip(sizes, kernel, target, *given, strict=True)
    whole = [step * (n - 1) + more + (k - 1) * apart + 1 - t for n, k, t, step, apart, more in axes]
    return all(n >= 0 and n % 2 == 0 for n in whole)


def _fourier(d: Rewrite) -> None:
    length = d.node.input[1] if len(d.node.input) > 1 else ""
    d.reads(d.x, length, d.constant(d.take("axis", 1), "axis"))
    d.keep()


def _grid_sample(d: Rewrite) -> None:
    mode = d.take("mode", "bilinear")
    d.say("mode", {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode))
    d.keep()


STEPS: dict[tuple[str, int], Step] = {
    **{(name, 13): _normaliser for name in ("Softmax", "LogSoftmax", "Hardmax")},
    **{(f"Reduce{name}", 18): _axes for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod")},
    ("BatchNormalization", 9): _batch_norm_spatial,
    ("BatchNormalization", 14): _batch_norm_training,
    ("Clip", 11): _clip,
    ("ConvTranspose", 11): _conv_transpose,
    ("DFT", 20): _fourier,
    ("Dropout", 10): _dropout,
    ("Dropout", 12): _dropout,
    ("GridSample", 20): _grid_sample,
    ("OneHot", 11): _one_hot,
    ("Pad", 11): _pad,
    ("ReduceSum", 13): _axes,
    ("ReduceSumSquare", 18): _axes,
    ("Resize", 11): _resize,
    ("Scatter", 11): _scatter,
    ("Slice", 10): _slice,
    ("Split", 13): _split_sizes,
    ("Split", 18): _split_count,
    ("Squeeze", 13): _squeeze,
    ("TopK", 10): _top_k,
    ("Unsqueeze", 13): _unsqueeze,
    ("Upsample", 9): _upsample_scales,
    ("Upsample", 10): _upsample,
}
"""What a node of the opset before becomes in this one, in which its operator changed."""
