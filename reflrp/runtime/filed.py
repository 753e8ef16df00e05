"""Sessions that read kernels in the model's own file, while they lay them out anew: no copy of them is made for that."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reflrp.errors import ReflrpError
from reflrp.explainer.backends import Wishes, stamp_of

BLOCKED = ("x86_64", "amd64")
"""The machines for which onnxruntime lays kernels out anew."""

Make = Callable[[Any, Mapping[str, np.ndarray], str], Any]
"""Makes a session of a graph, of weights beside it, and of the folder of the files that it names."""


def by_file(
    make: Make, proto: Any, weights: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray], wishes: Wishes
) -> Any:
    """Return a session that has read kernels in the file that was loaded; None where it cannot, or would go on reading there.

    `own` are the arrays of the loaded model. What is written to the file later must change no explanation: so it must be what it
    was when it was loaded, afterwards too, and no part of it may stay mapped into memory.
    """
    from reflrp.compiler.sessions.inside import inside

    if wishes.stamp is None or wishes.stamp != stamp_of(wishes.given):
        return None
    path = Path(wishes.given).resolve()
    if Path(path.name).exists() and Path(path.name).resolve() != path:  # another file of that name is at hand
        return None
    before = mapped(path)
    if before is None:
        return None
    try:
        graph, there = inside(proto, weights, own, path)
        if not there:
            return None
        live = make(graph, {k: a for k, a in weights.items() if k not in there}, str(path.parent))
    except (
        ReflrpError,
        OSError,
        UnicodeError,
    ):  # the file is gone, or the graph is wrong, which is said without the file
        return None
    return live if mapped(path) == before and wishes.stamp == stamp_of(wishes.given) else None


def mapped(path: Path) -> int | None:
    """Return how many parts of a file are mapped into this process; None where the system does not tell (Linux does)."""
    if platform.machine().lower() not in BLOCKED:
        return None
    try:
        lines = Path("/proc/self/maps").read_bytes().splitlines()
    except OSError:
        return None
    name = bytes(path).replace(b"\n", b"\\012")
    return sum(line.endswith(b" " + name) for line in lines)
