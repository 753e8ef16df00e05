"""The maximum over windows, who wins it, and what goes back to the winners."""

from __future__ import annotations

from math import inf

from reflrp.arrays.kernels import Windows, pad, unpad
from reflrp.arrays.namespaces import Array, namespace, only, twinned, where


@twinned
def pool(x: Array, windows: Windows) -> Array:
    """Return the maximum of each window."""
    padded = pad(x, windows, -inf)
    taps = windows.taps()
    out = padded[(..., *next(taps))]
    for tap in taps:
        out = namespace(out).maximum(out, padded[(..., *tap)])
    return out


@twinned
def pool_winners(x: Array, z: Array, windows: Windows) -> Array:
    """Return the first best tap of each window, whose maxima are z (symbolic arrays: the number of the winning entry)."""
    xp = namespace(x)
    padded = pad(x, windows, -inf)
    dtype = xp.int8 if windows.turns < 1 << 7 else xp.int32
    winners, open_ = xp.full(z.shape, -1, dtype=dtype), xp.ones(z.shape, dtype=xp.bool)
    for t, tap in enumerate(windows.taps()):
        here = open_ & (padded[(..., *tap)] == z)
        open_ ^= here
        winners += xp.astype(here, dtype) * (t + 1)
    return winners


@twinned
def pool_picked(x: Array, winners: Array, windows: Windows) -> Array:
    """Return the entries of x at the winners."""
    padded = pad(x, windows)
    out = namespace(x).zeros(winners.shape, dtype=x.dtype)
    for t, tap in enumerate(windows.taps()):
        out = where(winners == t, padded[(..., *tap)], out)
    return out


@twinned
def pool_unpicked(s: Array, winners: Array, windows: Windows) -> Array:
    """Return s at the winners: the transpose of `pool_picked`."""
    out = namespace(s).zeros((*s.shape[: s.ndim - len(windows.size)], *windows.padded), dtype=s.dtype)
    for t, tap in enumerate(windows.taps()):
        if windows.apart:
            out[(..., *tap)] = only(s, winners == t)
        else:
            out[(..., *tap)] += only(s, winners == t)
    return unpad(out, windows)
