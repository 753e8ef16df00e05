"""The backends that stand above this room: each enters itself here, as `reflrp/runtime` does for "onnxruntime" and "auto".

NumPy and CuPy run a `Program` on arrays; a backend from above makes of the programs of an explainer what runs instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflrp.errors import InputError
from reflrp.explainer.programs import Programs
from reflrp.ground import checks


@dataclass(frozen=True, eq=False)
class Wishes:
    """What an explainer is told of the runtime.

    Attributes
    ----------
    given : path, bytes, ModelProto or Model
        What it was given as a model.
    providers : tuple, optional
        The execution providers, best first.
    threads : int, optional
        How many threads compute.
    stamp : tuple of int, optional
        The size of the file that was given, and when it was written, at the time it was loaded.

    """

    given: Any
    providers: tuple[Any, ...] | None = None
    threads: int | None = None
    stamp: tuple[int, int] | None = None


MANY = 1024
"""More threads than these are a mistake."""

BACKENDS: dict[str, Callable[[Programs, Wishes], Programs]] = {}
"""Name -> what runs an explainer's programs; filled by `reflrp/runtime/__init__.py`."""


def arrays_of(backend: str, dtype: str) -> str:
    """Return the arrays that a backend stands on. Raises InputError for exact numbers on a runtime."""
    if backend == "onnxruntime" and dtype == "exact":
        raise InputError("dtype='exact' computes with fractions, which only backend='numpy' does")
    return "numpy" if backend in BACKENDS else backend


def stamp_of(given: Any) -> tuple[int, int] | None:
    """Return the size of a file and when it was written; None for what is no file."""
    try:
        found = Path(given).stat() if isinstance(given, str | Path) else None
    except (OSError, ValueError):
        return None
    return None if found is None else (found.st_size, found.st_mtime_ns)


def running(
    backend: str, programs: Programs, given: Any, stamp: tuple[int, int] | None, providers: Any, threads: Any
) -> Programs:
    """Return what runs the programs: themselves, or what a backend from above makes of them.

    `stamp` is that of the file `given` before it was loaded.
    """
    listed = None if providers is None else _providers(providers)
    count = None if threads is None else checks.whole("threads", threads, 1)
    if count is not None and count > MANY:
        raise checks.refuse("threads", threads, f"an int of at most {MANY}")
    if backend in BACKENDS:
        return BACKENDS[backend](programs, Wishes(given, listed, count, stamp))
    if providers is not None or threads is not None:
        name = "providers" if providers is not None else "threads"
        raise InputError(f"{name}= is for backend='onnxruntime' or 'auto', not for {backend!r}")
    return programs


def _providers(value: Any) -> tuple[Any, ...]:
    wanted = "a list of onnxruntime's providers, as ['CUDAExecutionProvider', 'CPUExecutionProvider']"
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not len(value):
        raise checks.refuse("providers", value, wanted)
    for one in value:
        pair = isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) and isinstance(one[1], dict)
        if not isinstance(one, str) and not pair:
            raise checks.refuse("providers", value, wanted)
    return tuple(value)
