"""Geometry of windows: auto_pad, ceil_mode, output shapes, as the ONNX standard defines them."""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np

from reflrp.arrays.kernels import Ints, Windows
from reflrp.arrays.provenance import over
from reflrp.arrays.tracing.dims import bounds, is_open
from reflrp.arrays.tracing.spans import check_room
from reflrp.importer.site import Site, Unbuildable, sized
from reflrp.importer.windows import readings


def ints(site: Site, name: str, n: int, default: int = 1, least: int = 1) -> Ints:
    """Return an attribute of n whole numbers, none of them below `least`; n defaults where it is missing."""
    found = site.attr(name)
    values = tuple(int(v) for v in found) if found else (default,) * n
    if len(values) != n:
        raise Unbuildable(f"its {name} {values} should be {n} numbers")
    if min(values, default=least) < least:
        raise Unbuildable(f"its {name} {values} should be at least {least}")
    return values


def _span(kernel: Ints, dilations: Ints) -> Ints:
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))


def _pads(site: Site, size: Ints, span: Ints, strides: Ints) -> tuple[Ints, Ints]:
    """Return the padding before and after, from `pads` or `auto_pad`."""
    mode, n = site.attr("auto_pad", "NOTSET"), len(size)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        need = [_missing(((m + s - 1) // s - 1) * s + k, m) for m, k, s in zip(size, span, strides, strict=True)]
        small, large = tuple(p // 2 for p in need), tuple(p - p // 2 for p in need)
        return (small, large) if mode == "SAME_UPPER" else (large, small)
    if mode == "VALID":
        return (0,) * n, (0,) * n
    if mode not in ("NOTSET", ""):
        raise Unbuildable(f"its auto_pad {mode!r} is unknown")
    pads = ints(site, "pads", 2 * n, default=0, least=0)
    return pads[:n], pads[n:]


def _missing(reach: int, size: int) -> int:
    """Return how much further windows reach than an axis."""
    return 0 if bounds(reach, size)[1] <= 0 else reach - size


def conv_windows(site: Site, size: Ints, kernel: Ints) -> Windows:
    """Return the windows of a Conv."""
    n = len(kernel)
    strides, dilations = ints(site, "strides", n), ints(site, "dilations", n)
    begin, end = _pads(site, size, _span(kernel, dilations), strides)
    _check_room(size, _span(kernel, dilations), begin, end)
    windows = _checked(Windows(tuple(size), tuple(kernel), strides, dilations, begin, end))
    readings.check_conv(site, windows)
    return windows


def _check_room(size: Ints, span: Ints, begin: Ints, end: Ints) -> None:
    for n, k, b, e in zip(size, span, begin, end, strict=True):
        check_room(n, int(bounds(k - b - e, 0)[1]))


def _checked(windows: Windows) -> Windows:
    sized(windows.padded)
    if any(n < 1 for n in windows.out):
        raise Unbuildable(f"its kernel {windows.kernel} does not fit into its input {windows.size}")
    return windows


def transposed_windows(site: Site, inputs: Ints, kernel: Ints) -> Windows:
    """Return the windows of the convolution whose transpose a ConvTranspose is."""
    n = len(kernel)
    strides, dilations = ints(site, "strides", n), ints(site, "dilations", n)
    extra = ints(site, "output_padding", n, default=0, least=0)
    span = _span(kernel, dilations)
    readings.check_transposed(site, strides, span, extra)
    full = tuple(s * (m - 1) + p + k for s, m, p, k in zip(strides, inputs, extra, span, strict=True))
    begin, end = _transposed_pads(site, inputs, strides, full)
    for f, b, e in zip(full, begin, end, strict=True):
        check_room(f, 1 if is_open((b, e)) else b + e + 1)
    out = tuple(f - b - e for f, b, e in zip(full, begin, end, strict=True))
    # Behind the last window there may lie entries that no window covers; only a positive rest is padding.
    rest = zip(full, begin, out, extra, strict=True)
    windows = Windows(
        out, tuple(kernel), strides, dilations, begin, tuple(max(0, f - b - o - p) for f, b, o, p in rest)
    )
    if any(n < 1 for n in out) or windows.out != tuple(inputs):
        raise Unbuildable(f"its output shape {out} does not fit its input {tuple(inputs)}")
    return windows


def _transposed_pads(site: Site, inputs: Ints, strides: Ints, full: Ints) -> tuple[Ints, Ints]:
    """Return what a ConvTranspose cuts off before and after."""
    mode, n = site.attr("auto_pad", "NOTSET"), len(inputs)
    target = site.attr("output_shape")
    if not target and mode.startswith("SAME"):
        target = tuple(m * s for m, s in zip(inputs, strides, strict=True))
    if not target:
        return _pads(site, inputs, (1,) * n, strides)
    total = [f - t for f, t in zip(full, tuple(target)[-n:], strict=True)]
    small, large = tuple(int(t / 2) for t in total), tuple(t - int(t / 2) for t in total)
    if site.opset < 11 and small != large and not mode.startswith("SAME"):
        raise Unbuildable(
            "its output_shape leaves an odd padding, which goes to another side since opset 11; give pads"
        )
    begin, end = (small, large) if mode == "SAME_UPPER" else (large, small)
    return tuple(max(0, b) for b in begin), tuple(e + min(0, b) for b, e in zip(begin, end, strict=True))


def pool_windows(site: Site, size: Ints) -> Windows:
    """Return the windows of a pool; with ceil_mode, a last window may reach beyond the padding."""
    n = len(size)
    if not site.attr("kernel_shape"):
        raise Unbuildable("it has no kernel_shape")
    kernel = ints(site, "kernel_shape", n)
    strides, dilations = ints(site, "strides", n), ints(site, "dilations", n)
    span = _span(kernel, dilations)
    begin, end = _pads(site, size, span, strides)
    if site.attr("ceil_mode", 0) and site.attr("auto_pad", "NOTSET") == "NOTSET":
        geometry = zip(size, span, strides, begin, end, strict=True)
        end = tuple(_ceil_end(*axis) for axis in geometry)
    _check_room(size, span, begin, end)
    windows = _checked(Windows(tuple(size), kernel, strides, dilations, begin, end))
    readings.check_pool(site, windows)
    if is_open(windows.out):
        return windows
    counts(windows, (0,) * n, windows.size)
    return windows


def _ceil_end(size: int, span: int, stride: int, begin: int, end: int) -> int:
    """Return the padding after that makes room for the last, partial window; one that starts in it is dropped."""
    if end + stride > span and is_open((size,)):
        last = (size + begin - 1) // stride * stride
        if stride > span:
            raise Unbuildable(
                "whether its last window reaches beyond the input depends on the length, which is left open"
            )
    elif is_open((size,)):
        check_room(size, span - begin - end)
        last = (size + begin + end - span + stride - 1) // stride * stride
    else:
        last = _ceil_last(size, span, stride, begin, end)
    return max(0, last + span - size - begin) if not is_open((size,)) else last + span - size - begin


def _ceil_last(size: int, span: int, stride: int, begin: int, end: int) -> int:
    out = -(-(size + begin + end - span) // stride) + 1
    if (out - 1) * stride >= size + begin:
        out -= 1
    return (out - 1) * stride


def average_share(site: Site, windows: Windows) -> np.ndarray:
    """Return one over the number of entries that each window of an AveragePool counts."""
    low, high = (0,) * len(windows.size), windows.size
    if is_open(windows.out):
        return over(1.0, float(prod(windows.kernel)))
    if site.attr("count_include_pad", 0):
        begin, end = _pads(site, windows.size, _span(windows.kernel, windows.dilations), windows.strides)
        low, high = tuple(-b for b in begin), tuple(n + e for n, e in zip(windows.size, end, strict=True))
    found = counts(windows, low, high)
    alike = (found == found.flat[0]).all()
    return over(1.0, float(found.flat[0]) if alike else found)


def counted(site: Site, windows: Windows) -> Windows | None:
    """Return the windows over what an AveragePool counts, where a length is open and they do not all hold as much; else None."""
    n, given = len(windows.size), site.attr("count_include_pad", 0)
    partly = any((*windows.begin, *windows.end)) and (not given or site.attr("ceil_mode", 0))
    if not is_open(windows.out) or not partly:
        return None
    if not given:
        return windows
    begin, end = _pads(site, windows.size, _span(windows.kernel, windows.dilations), windows.strides)
    size = tuple(b + m + e for b, m, e in zip(begin, windows.size, end, strict=True))
    if any(not is_open((e,)) and e < own for e, own in zip(windows.end, end, strict=True)):
        raise Unbuildable("it counts padding that no window holds, and a length is left open")
    rest = tuple(e - own for e, own in zip(windows.end, end, strict=True))
    if any(bounds(e, 0)[0] < 0 for e in rest):
        raise Unbuildable("how much padding its windows hold depends on the length, which is left open")
    return Windows(size, windows.kernel, windows.strides, windows.dilations, (0,) * n, rest)


def counts(windows: Windows, low: Ints, high: Ints) -> np.ndarray:
    """Return how many entries of each window lie at low .. high-1 along every axis.

    Raises Unbuildable where a window holds no entry of the input.
    """
    axes = zip(windows.out, windows.strides, windows.begin, windows.kernel, windows.dilations, low, high, strict=True)
    found = []
    for n, stride, begin, kernel, dilation, first, stop in axes:
        start = np.arange(n) * stride - begin
        before, until = (np.clip(-((start - end) // dilation), 0, kernel) for end in (first, stop))
        found.append(until - before)
    if any(not c.all() for c in found):
        raise Unbuildable(f"its padding {windows.begin}, {windows.end} leaves a window of {windows.kernel} empty")
    return np.asarray(reduce(np.multiply, np.ix_(*found), 1), dtype=float)


def window_places(windows: Windows, numbers: np.ndarray) -> np.ndarray:
    """Return which entry of the padded image each entry of each window is: (entries of a window, windows)."""
    along = [
        (d * np.arange(k)[:, None] + s * np.arange(n)).ravel()
        for k, n, s, d in zip(windows.kernel, windows.out, windows.strides, windows.dilations, strict=True)
    ]
    pairs = [n for both in zip(windows.kernel, windows.out, strict=True) for n in both]
    rank = len(along)
    split = numbers[np.ix_(*along)].reshape(pairs)
    found: np.ndarray = split.transpose([*range(0, 2 * rank, 2), *range(1, 2 * rank, 2)])
    return found.reshape(prod(windows.kernel), prod(windows.out))
