"""Where onnxruntime lays the windows of an `auto_pad` otherwise than the standard's text: such nodes are refused.

A file that is deployed there computes something else than the text says, so neither of the two is explained as the other. What the
runtime does was observed with onnxruntime 1.31 on all opsets; tests/test_runtime_windows.py asks it again. It differs in

- pools with VALID and `ceil_mode`: the text rounds down, the runtime (and ONNX's shape inference) up;
- pools with SAME and dilations: the runtime pads for the kernel as if it were not dilated;
- pools and convolutions with SAME whose strides are larger than the kernel: the runtime takes entries away in front, in place of
  padding;
- transposed convolutions with SAME whose strides are larger than the kernel: the runtime leaves the output shorter.

Where it has no kernel (MaxPool with such strides, Conv with SAME and dilations) it says so, and the text is followed.
"""

from __future__ import annotations

from collections.abc import Callable

from reflrp.arrays.kernels import Ints, Windows
from reflrp.arrays.tracing.dims import is_open
from reflrp.importer.site import Site, Unbuildable

Laid = tuple[int, int, tuple[int, ...]]
"""Padding before an axis, how many windows there are along it, and how many entries a mean counts in each of the last ones."""


def check_pool(site: Site, windows: Windows) -> None:
    """Raise Unbuildable where onnxruntime lays other windows of a pool."""
    mode, up = _mode(site), bool(site.attr("ceil_mode", 0))
    same = mode.startswith("SAME")
    if not same and not (mode == "VALID" and up):
        return
    served = not (same and site.op_type == "MaxPool" and set(windows.dilations) <= {1})

    def differs(n: int, k: int, s: int, d: int) -> bool:
        missing = 0 if mode == "VALID" else _missing(n, k, s)
        text = 0 if mode == "VALID" else max(0, _missing(n, d * (k - 1) + 1, s))
        found = (_laid(site, (n, k, s, d), total, rounded) for total, rounded in ((missing, up), (text, False)))
        return (served or missing >= 0) and len(set(found)) > 1

    _refuse(site, windows, differs)


def check_conv(site: Site, windows: Windows) -> None:
    """Raise Unbuildable where onnxruntime lays other windows of a convolution."""
    mode = _mode(site)
    if mode.startswith("SAME") and set(windows.dilations) <= {1}:
        _refuse(site, windows, lambda n, k, s, d: _cut(_missing(n, k, s), mode))


def check_transposed(site: Site, strides: Ints, span: Ints, extra: Ints) -> None:
    """Raise Unbuildable where onnxruntime makes a shorter output of a transposed convolution, at whatever length."""
    mode = _mode(site)
    short = [s - k - p for s, k, p in zip(strides, span, extra, strict=True)]
    if not mode.startswith("SAME") or site.attr("output_shape") or max(short, default=0) <= 0:
        return
    axis = next(i for i, n in enumerate(short) if n > 0)
    raise Unbuildable(
        f"its auto_pad {mode} makes, by ONNX's text, {strides[axis]} entries of each along axis {axis + 2}, and in onnxruntime "
        f"{short[axis]} fewer in all, as the strides are larger than the kernel; write pads, with output_padding for the longer one"
    )


def _mode(site: Site) -> str:
    return str(site.attr("auto_pad", "NOTSET"))


def _refuse(site: Site, windows: Windows, differs: Callable[[int, int, int, int], bool]) -> None:
    axes = zip(windows.size, windows.kernel, windows.strides, windows.dilations, strict=True)
    for axis, (n, k, s, d) in enumerate(axes):
        if any(differs(length, k, s, d) for length in _lengths(n, d * (k - 1) + 1, s)):
            up = " with ceil_mode" if site.attr("ceil_mode", 0) else ""
            raise Unbuildable(
                f"onnxruntime lays the windows of its auto_pad {_mode(site)}{up} otherwise than ONNX's text along axis {axis + 2} "
                f"of length {n}{_way_out(site, windows)}"
            )


def _lengths(n: int, span: int, stride: int) -> range | tuple[int, ...]:
    """Return a length, or for an open one as many as there are ways to divide it by the stride: the windows follow from that."""
    return range(span, span + stride) if is_open((n,)) else (n,)


def _way_out(site: Site, windows: Windows) -> str:
    pads = (*windows.begin, *windows.end)
    if is_open(pads) or is_open(windows.size):
        return "; write pads in its place, or fix the length"
    rounding = ", ceil_mode = 0" if site.attr("ceil_mode", 0) else ""
    return f"; write pads in its place: those of the text are pads = {list(pads)}{rounding}"


def _missing(n: int, k: int, s: int) -> int:
    """Return how much further the windows of SAME reach than an axis; below zero, how much they leave."""
    return (-(-n // s) - 1) * s + k - n


def _before(total: int, mode: str) -> int:
    """Return what of a padding comes first; of one below zero, the part towards zero, as the runtime divides."""
    return 0 if mode == "VALID" else int((total + (mode == "SAME_LOWER")) / 2)


def _cut(missing: int, mode: str) -> bool:
    """Return whether a convolution of the runtime takes entries away in front."""
    return missing < 0 and _before(missing + 1, mode) < 0


def _laid(site: Site, axis: tuple[int, int, int, int], total: int, up: bool) -> Laid:
    n, k, s, d = axis
    span, begin = d * (k - 1) + 1, _before(total, _mode(site))
    rest = n + total - span
    count = int((rest + up * (s - 1)) / s) + 1
    count -= up and (count - 1) * s >= n + begin
    if site.op_type != "AveragePool" or d == 1:
        return begin, count, ()
    end = n + total - begin if site.attr("count_include_pad", 0) else n + min(0, total - begin)
    last = range(max(0, count - 2 * span // s - 2), count)  # all that reach the end
    return begin, count, tuple(min(k, max(0, -((i * s - begin - end) // d))) for i in last)
