"""Geometry of windows: auto_pad, ceil_mode, output shapes, as the ONNX standard defines them."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.importer.build import Site, Unbuildable
from reflrp.kernels import Ints, Windows, pad, window_sum


def _ones(values: Any, n: int) -> Ints:
    return tuple(int(v) for v in values) if values else (1,) * n


def _span(kernel: Ints, dilations: Ints) -> Ints:
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))


def _pads(site: Site, size: Ints, span: Ints, strides: Ints) -> tuple[Ints, Ints]:
    """Return the padding before and after, from `pads` or `auto_pad`."""
    mode, n = site.attr("auto_pad", "NOTSET"), len(size)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        need = [max(0, (-(-m // s) - 1) * s + k - m) for m, k, s in zip(size, span, strides, strict=True)]
        small, large = tuple(p // 2 for p in need), tuple(p - p // 2 for p in need)
        return (small, large) if mode == "SAME_UPPER" else (large, small)
    pads = site.attr("pads") if mode == "NOTSET" else None
    pads = tuple(pads) if pads else (0,) * (2 * n)
    return pads[:n], pads[n:]


def conv_windows(site: Site, size: Ints, kernel: Ints) -> Windows:
    """Return the windows of a Conv."""
    n = len(kernel)
    strides, dilations = _ones(site.attr("strides"), n), _ones(site.attr("dilations"), n)
    begin, end = _pads(site, size, _span(kernel, dilations), strides)
    return _checked(Windows(tuple(size), tuple(kernel), strides, dilations, begin, end))


def _checked(windows: Windows) -> Windows:
    if min(windows.out, default=1) < 1:
        raise Unbuildable(f"its kernel {windows.kernel} does not fit into its input {windows.size}")
    return windows


def transposed_windows(site: Site, inputs: Ints, kernel: Ints) -> Windows:
    """Return the windows of the convolution whose transpose a ConvTranspose is."""
    n = len(kernel)
    strides, dilations = _ones(site.attr("strides"), n), _ones(site.attr("dilations"), n)
    extra = tuple(site.attr("output_padding") or (0,) * n)
    span = _span(kernel, dilations)
    full = tuple(s * (m - 1) + p + k for s, m, p, k in zip(strides, inputs, extra, span, strict=True))
    mode, target = site.attr("auto_pad", "NOTSET"), site.attr("output_shape")
    if not target and mode.startswith("SAME"):
        target = tuple(m * s for m, s in zip(inputs, strides, strict=True))
    if target:
        begin, end = _split_total(full, tuple(target)[-n:], mode)
    else:
        begin, end = _pads(site, inputs, span, strides)
    out = tuple(f - b - e for f, b, e in zip(full, begin, end, strict=True))
    end = tuple(f - b - o - p for f, b, o, p in zip(full, begin, out, extra, strict=True))
    begin, end, windows = begin, end, Windows(out, tuple(kernel), strides, dilations, begin, _at_least(end))
    if windows.out != tuple(inputs):
        raise Unbuildable(f"its output shape {out} does not fit its input {tuple(inputs)}")
    return windows


def _at_least(end: Ints) -> Ints:
    """Return the padding after, without what output_padding adds behind the last window."""
    return tuple(max(0, e) for e in end)


def _split_total(full: Ints, target: Ints, mode: str) -> tuple[Ints, Ints]:
    total = [f - t for f, t in zip(full, target, strict=True)]
    small, large = tuple(int(t / 2) for t in total), tuple(t - int(t / 2) for t in total)
    begin, end = (small, large) if mode == "SAME_UPPER" else (large, small)
    return tuple(max(0, b) for b in begin), tuple(e + min(0, b) for b, e in zip(begin, end, strict=True))


def pool_windows(site: Site, size: Ints) -> Windows:
    """Return the windows of a pool; with ceil_mode, a last window may reach beyond the padding."""
    kernel = tuple(site.attr("kernel_shape"))
    n = len(kernel)
    strides, dilations = _ones(site.attr("strides"), n), _ones(site.attr("dilations"), n)
    span = _span(kernel, dilations)
    begin, end = _pads(site, size, span, strides)
    if site.attr("ceil_mode", 0):
        geometry = zip(size, span, strides, begin, end, strict=True)
        end = tuple(_ceil_end(*axis) for axis in geometry)
    return _checked(Windows(tuple(size), kernel, strides, dilations, begin, end))


def _ceil_end(size: int, span: int, stride: int, begin: int, end: int) -> int:
    """Return the padding after that makes room for the last, partial window; one that starts in it is dropped."""
    out = -(-(size + begin + end - span) // stride) + 1
    if (out - 1) * stride >= size + begin:
        out -= 1
    return max(0, (out - 1) * stride + span - size - begin)


def average_share(site: Site, windows: Windows) -> np.ndarray:
    """Return one over the number of entries that each window of an AveragePool counts."""
    ones = np.ones(windows.size)
    if site.attr("count_include_pad", 0):
        begin, end = _pads(site, windows.size, _span(windows.kernel, windows.dilations), windows.strides)
        ones = np.ones(tuple(n + b + e for n, b, e in zip(windows.size, begin, end, strict=True)))
        ones = ones[tuple(slice(0, n) for n in windows.padded)]
        rest = tuple(n - m for n, m in zip(windows.padded, ones.shape, strict=True))
        inner = Windows(ones.shape, windows.kernel, windows.strides, windows.dilations, (0,) * len(rest), rest)
        return 1 / window_sum(pad(ones, inner), Windows(inner.padded, *_unpadded(inner)))
    return 1 / window_sum(ones, windows)


def _unpadded(windows: Windows) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    none = (0,) * len(windows.size)
    return windows.kernel, windows.strides, windows.dilations, none, none
