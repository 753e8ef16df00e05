"""Terms of windows: convolutions, their transposes, pools."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np

from reflrp.arrays import convolution
from reflrp.arrays.tracing.arithmetic import binary, saved
from reflrp.arrays.tracing.derived import derived, ones_of, phased, unscaled
from reflrp.arrays.tracing.dims import bounds, is_open, total
from reflrp.arrays.tracing.moves import expand, index, pad, reshape, same
from reflrp.arrays.tracing.terms import Shape, Term

Windows = Any

FEW = 32
"""Up to so many channels a convolution is hardly cheaper with fewer: runtimes lay them out in blocks of 8 or 16."""


def framed(x: Term, windows: Windows, value: float) -> Term:
    """Return x padded on its window axes."""
    lead = (0,) * (len(x.shape) - len(windows.size))
    return pad(x, (*lead, *windows.begin), (*lead, *windows.end), value)


def _lying(windows: Windows) -> dict[str, Any]:
    found = {"dilations": windows.dilations, "kernel_shape": windows.kernel, "strides": windows.strides}
    if not _open_frame(windows):
        return {**found, "pads": (*windows.begin, *windows.end)}
    mode = _mode(windows)
    if mode is None:
        raise NotImplementedError("its padding depends on a length that is left open")
    return {**found, "auto_pad": mode}


def _mode(windows: Windows) -> str | None:
    """Return the auto_pad by which an operator makes the padding; None where there is none."""
    found = next((mode for mode in ("SAME_UPPER", "SAME_LOWER") if _is_same(windows, mode)), None)
    return found if set(windows.dilations) == {1} else None


def _open_frame(windows: Windows) -> bool:
    """Return whether the padding depends on lengths: in every SAME mode of strided windows it does."""
    return is_open((*windows.begin, *windows.end))


def _is_same(windows: Windows, mode: str) -> bool:
    """Return whether the padding is that of an auto_pad."""
    for n, k, s, b, e in zip(windows.size, windows.kernel, windows.strides, windows.begin, windows.end, strict=True):
        reach = ((n + s - 1) // s - 1) * s + k
        need = 0 if bounds(reach, n)[1] <= 0 else reach - n
        if (b, e) != ((need // 2, need - need // 2) if mode == "SAME_UPPER" else (need - need // 2, need // 2)):
            return False
    return True


def _croppable(x: Term, windows: Windows) -> tuple[Term, Windows]:
    """Return x and windows without negative padding, or one of open lengths, which operators do not take."""
    if not _open_frame(windows) and min((*windows.begin, *windows.end), default=0) >= 0:
        return x, windows
    zeros = (0,) * len(windows.size)
    x = framed(x, windows, 0)
    return x, type(windows)(windows.padded, windows.kernel, windows.strides, windows.dilations, zeros, zeros)


def laid_out(x: Term, size: Shape) -> Term:
    """Return a constant with all its entries along axes of open lengths, where it has one for all."""
    lead = x.shape[: len(x.shape) - len(size)]
    return expand(x, (*lead, *size)) if x.value is not None and is_open(size) else x


def conv(x: Term, w: Term, windows: Windows, groups: int) -> Term:
    """Return the convolution: one Conv."""
    x, windows = _croppable(laid_out(x, windows.size), windows)
    shape = (x.shape[0], w.shape[0], *windows.out)
    made = x.trace.make("Conv", (x, w), shape, x.dtype, x.nonneg and w.nonneg, group=groups, **_lying(windows))
    made.finite = x.finite and w.finite
    return saved(made)


def conv_transpose(s: Term, w: Term, windows: Windows, groups: int) -> Term:
    """Return the transpose of `conv`: a Conv with the mirrored kernel, where windows lie densely; else a ConvTranspose."""
    s, w = unscaled(s, w)
    s = laid_out(s, windows.out)
    turned = windows.mirrored
    if turned is not None:
        return conv(s, derived(w, partial(convolution.mirror, groups=groups)), turned, groups)
    if not is_open(windows.size) and _few(w, windows, groups):
        found = by_phases(s, w, windows)
        if found is not None:
            return found
    if _is_single(w, windows):
        s, w, groups = _mixed(s, w, windows, groups)
    if is_open(windows.size):
        return _open_transpose(s, w, windows, groups)
    shape = (s.shape[0], w.shape[1] * groups, *windows.padded)
    spans = zip(windows.padded, windows.out, windows.strides, windows.dilations, windows.kernel, strict=True)
    behind = tuple(n - (m - 1) * s - d * (k - 1) - 1 for n, m, s, d, k in spans)
    fits = all(b < max(s, d) for b, s, d in zip(behind, windows.strides, windows.dilations, strict=True))
    own = windows if fits and min((*windows.begin, *windows.end)) >= 0 else None
    pads = (*own.begin, *own.end) if own else (0,) * (2 * len(windows.size))
    attributes = {**_lying(windows), "pads": pads, "output_padding": behind if fits else (0,) * len(behind)}
    inner = (*shape[:2], *(windows.size if own else windows.padded if fits else (n - b for n, b in zip(
        windows.padded, behind, strict=True))))  # fmt: skip
    found = s.trace.make("ConvTranspose", (s, w), inner, s.dtype, s.nonneg and w.nonneg, group=groups, **attributes)
    found.finite = s.finite and w.finite
    if own:
        return found
    lead = (0, 0)
    rest = (0,) * len(behind) if fits else behind
    after = tuple(r - e for r, e in zip(rest, windows.end, strict=True))
    return pad(found, (*lead, *(-b for b in windows.begin)), (*lead, *after))


def _open_transpose(s: Term, w: Term, windows: Windows, groups: int) -> Term:
    """Return the transpose of a strided convolution whose input has an open length: it is made a little longer, and cut.

    Up to stride - 1 entries lie behind the last window, as many as the length has it. So many more are made, and those
    behind the input's own cut off.
    """
    begin = (0,) * len(windows.size) if _open_frame(windows) else windows.begin
    spans = zip(windows.out, windows.strides, windows.dilations, windows.kernel, begin, strict=True)
    made = tuple((m - 1) * t + d * (k - 1) + t - b for m, t, d, k, b in spans)
    found = s.trace.make(
        "ConvTranspose", (s, w), (s.shape[0], w.shape[1] * groups, *made), s.dtype, s.nonneg and w.nonneg, group=groups,
        dilations=windows.dilations, kernel_shape=windows.kernel, strides=windows.strides,
        pads=(*begin, *(0 for _ in made)), output_padding=tuple(t - 1 for t in windows.strides),
    )  # fmt: skip
    found.finite = s.finite and w.finite
    first = tuple(b - cut for b, cut in zip(windows.begin, begin, strict=True))
    return index(found, (Ellipsis, *(slice(b, b + n) for b, n in zip(first, windows.size, strict=True))))


def _is_single(w: Term, windows: Windows) -> bool:
    """Return whether windows have one entry each, and the kernel makes sums of several channels."""
    return set(windows.kernel) == {1} and w.shape[0] > 1 and w.shape[1] > 1


def _mixed(s: Term, w: Term, windows: Windows, groups: int) -> tuple[Term, Term, int]:
    """Return s with its channels mixed by a Conv, and the kernel of ones and the groups that lay each channel's entries apart.

    Runtimes are faster at a Conv than at a ConvTranspose, and what is laid apart alike is summed before.
    """
    made = conv(s, derived(w, partial(convolution.mirror, groups=groups)), type(windows).each(windows.out), groups)
    ones = ones_of(made.shape[1], (1,) * len(windows.out), s.dtype)
    return made, s.trace.constant(ones), made.shape[1]


def _few(w: Term, windows: Windows, groups: int) -> bool:
    """Return whether all phases of a strided transpose have few channels together, so that one convolution makes them."""
    stride = set(windows.strides)
    plain = len(windows.size) == 2 and len(stride) == 1 and set(windows.dilations) == {1} and groups == 1
    return plain and w.shape[1] * max(stride) ** 2 <= FEW


def by_phases(s: Term, w: Term, windows: Windows) -> Term | None:
    """Return the transpose of a strided convolution: a convolution makes each phase of the result, which are then interleaved.

    With u = stride q + r, entry u of the result reads windows q - D .. q + D' only: r is the phase, and a channel.
    """
    (stride,) = set(windows.strides)
    ahead = tuple(-(-b // stride) for b in windows.begin)
    taps = tuple(-(-(k - b) // stride) + d for k, b, d in zip(windows.kernel, windows.begin, ahead, strict=True))
    rows = tuple(-(-n // stride) for n in windows.size)
    begin = tuple(m - 1 - d for m, d in zip(taps, ahead, strict=True))
    end = tuple(q + d - n for q, d, n in zip(rows, ahead, windows.out, strict=True))
    if min((*windows.begin, *begin, *end)) < 0:
        return None
    kernel = derived(w, partial(phased, windows=windows, taps=taps))
    ones = (1,) * len(taps)
    made = conv(s, kernel, type(windows)(windows.out, taps, ones, ones, begin, end), 1)
    shape = (s.shape[0], w.shape[1], *(stride * q for q in rows))
    found = same(made, "DepthToSpace", shape, blocksize=stride, mode="DCR")
    return index(found, (Ellipsis, *(slice(n) for n in windows.size)))


def window_sum(x: Term, windows: Windows) -> Term:
    """Return the sum over each window."""
    x = laid_out(x, windows.size)
    plain = len(x.shape) == len(windows.size) + 2 and set(windows.dilations) == {1} and _small_frame(windows)
    if plain and windows.padded and not _open_frame(windows) and min((*windows.begin, *windows.end)) >= 0:
        shape = (*x.shape[:2], *windows.out)
        found = x.trace.make(
            "AveragePool", (x,), shape, x.dtype, x.nonneg, count_include_pad=1, kernel_shape=windows.kernel,
            pads=(*windows.begin, *windows.end), strides=windows.strides,
        )  # fmt: skip
        return binary("Mul", found, x.trace.constant(np.asarray(float(prod(windows.kernel)), dtype=x.dtype)))
    lead = x.shape[: len(x.shape) - len(windows.size)]
    rows = reshape(x, (total(lead), 1, *windows.size))
    return reshape(conv(rows, _ones(x, windows), windows, 1), (*lead, *windows.out))


def _small_frame(windows: Windows) -> bool:
    edges = zip(windows.begin, windows.end, windows.kernel, strict=True)
    return all(b < k and e < k for b, e, k in edges)


def window_spread(s: Term, windows: Windows) -> Term:
    """Return s added onto every entry of its window."""
    s = laid_out(s, windows.out)
    lead = s.shape[: len(s.shape) - len(windows.size)]
    rows = reshape(s, (total(lead), 1, *windows.out))
    return reshape(conv_transpose(rows, _ones(s, windows), windows, 1), (*lead, *windows.size))


def _ones(x: Term, windows: Windows) -> Term:
    return x.trace.constant(np.ones((1, 1, *windows.kernel), dtype=x.dtype))


def max_pool(x: Term, windows: Windows) -> tuple[Term, Term]:
    """Return each window's maximum, and the number of its first entry that is the maximum among all entries of x."""
    x, windows = _closed(x, windows, -np.inf)
    rows, lead = x, x.shape[: len(x.shape) - len(windows.size)]
    if len(lead) != 2:
        rows = reshape(x, (total(lead), 1, *windows.size))
    shape = (*rows.shape[:2], *windows.out)
    found = same(rows, "MaxPool", shape, **_lying(windows))
    places = rows.trace.make("output", (found,), shape, np.int64, True, i=1)
    return reshape(found, (*lead, *windows.out)), reshape(places, (*lead, *windows.out))


def _closed(x: Term, windows: Windows, value: float) -> tuple[Term, Windows]:
    """Return x in its frame, and windows without one, where no operator makes it by itself."""
    if not _own_frame(windows):
        return x, windows
    found, zeros = framed(x, windows, value), (0,) * len(windows.size)
    found.finite = x.finite  # each window has an entry of x, which is above -inf
    return found, type(windows)(windows.padded, windows.kernel, windows.strides, windows.dilations, zeros, zeros)


def _own_frame(windows: Windows) -> bool:
    """Return whether no MaxPool makes the frame: it depends on lengths, or is as wide as the kernel, or cuts entries off."""
    if _open_frame(windows):
        return _mode(windows) is None
    return not _small_frame(windows) or min((*windows.begin, *windows.end), default=0) < 0


def picked(x: Term, places: Term, windows: Windows) -> Term:
    """Return the entries of x with these numbers; a constant has one for all along an axis of an open length."""
    x = expand(x, (*places.shape[: len(places.shape) - len(windows.size)], *windows.size))
    x, _ = _closed(x, windows, -np.inf)
    pool = places.inputs[0].inputs[0] if places.op == "output" else None
    if pool is x:
        return places.inputs[0]
    flat = same(x, "Reshape", (total(x.shape),))
    at = same(places, "Reshape", (total(places.shape),))
    found = same(x, "Gather", at.shape, (flat, at), axis=0)
    return same(found, "Reshape", places.shape)


def unpicked(s: Term, places: Term, windows: Windows, shape: Shape) -> Term:
    """Return s added up at the entries with these numbers: the transpose of `picked`."""
    if _own_frame(windows):
        _, closed = _closed(s, windows, 0)
        found = unpicked(s, places, closed, (*shape[: len(shape) - len(windows.size)], *closed.size))
        return index(found, (Ellipsis, *(slice(b, b + n) for b, n in zip(windows.begin, windows.size, strict=True))))
    plain = len(shape) == len(windows.size) + 2 and set(windows.dilations) == {1}
    frame = zip(windows.kernel, windows.begin, windows.end, strict=True)
    room = not _open_frame(windows) and all(
        k > b + e for k, b, e in frame
    )  # else an axis of one window has none to unpool
    if windows.apart and plain and room:
        return s.trace.make(
            "MaxUnpool", (s, places), shape, s.dtype, s.nonneg, kernel_shape=windows.kernel,
            pads=(*windows.begin, *windows.end), strides=windows.strides,
        )  # fmt: skip
    flat = same(s, "Reshape", (total(s.shape),))
    at = same(places, "Reshape", (total(places.shape),))
    zeros = s.trace.make("Zeros", (), (total(shape),), s.dtype, True)
    found = s.trace.make("ScatterElements", (zeros, at, flat), zeros.shape, s.dtype, s.nonneg, axis=0, reduction="add")
    return same(found, "Reshape", shape)
