"""How objects that hold arrays look in a `repr`, and when two of them are the same.

A `repr` says what an object is in a few lines; arrays show their dtype and shape, and not their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from textwrap import wrap
from typing import Any

import numpy as np

from reflrp.arrays.namespaces import Array, to_host

WIDTH = 100
"""Characters of a line."""

LINES = 10
"""Lines of a repr."""


def is_array(x: Any) -> bool:
    """Return whether x is an array of any library (NumPy's scalars are none)."""
    return isinstance(x, np.ndarray) or (hasattr(x, "__array_namespace__") and not isinstance(x, np.generic))


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal as one bool: arrays by shape and entries (NaN as NaN), the rest as `==` says."""
    if is_array(a) or is_array(b):
        return is_array(a) and is_array(b) and _same_arrays(to_host(a), to_host(b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, tuple | list) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def _same_arrays(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f")


def hash_of(value: Any) -> int:
    """Return a hash that is equal wherever `same` holds. Raises TypeError for what has none, as a dict."""
    if is_array(value):
        return hash(tuple(value.shape))
    return hash(tuple(map(hash_of, value))) if isinstance(value, tuple) else hash(value)


def brief(value: Any, width: int = 60) -> str:
    """Return a value as one short line; an array of more than a few numbers by its dtype and shape."""
    if is_array(value) and not isinstance(value, type):
        few = value.size <= 4 and value.dtype.kind in "fiub"
        return f"array({to_host(value).tolist()})" if few else f"<{described(value)}>"
    if isinstance(value, tuple) and any(is_array(v) and not isinstance(v, type) for v in value):
        return shortened(f"({', '.join(map(brief, value))}{',' if len(value) == 1 else ''})", width)
    return shortened(repr(value), width)


def described(x: Array) -> str:
    """Return an array's dtype and shape: `float64 (2, 3)`."""
    return f"{x.dtype} {tuple(x.shape)}"


def shortened(text: str, width: int = WIDTH) -> str:
    """Return the text as one line of at most so many characters, with what does not print as its code."""
    line = " ".join(text[: 4 * width].split())
    line = line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= width else line[: width - 4] + " ..."


def ended(text: str, width: int = 40) -> str:
    """Return the end of a long text: of a path, the part that tells it from others."""
    return shortened(text if len(text) <= width else f"... {text[4 - width :]}")


def listed(items: Iterable[str], most: int = 3, width: int = 30) -> str:
    """Return the first few of many texts, and how many more there are."""
    found = list(items)
    more = [f"{len(found) - most} more"] if len(found) > most else []
    return ", ".join([*(shortened(text, width) for text in found[:most]), *more]) or "none"


def counted(items: Iterable[str], most: int = 6) -> str:
    """Return how often each text occurs, the most frequent first: `Conv 5, Relu 4`."""
    counts: dict[str, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    order = sorted(counts, key=lambda k: -counts[k])
    return listed((f"{k} {counts[k]}" for k in order), most)


def block(head: str, rows: Mapping[str, str] | Iterable[str]) -> str:
    """Return `head(` and a line for each row, `)`: at most LINES lines of at most WIDTH characters."""
    given = [f"{k}: {v}" for k, v in rows.items()] if isinstance(rows, Mapping) else list(rows)
    kept = given if len(given) <= LINES - 2 else [*given[: LINES - 3], f"... and {len(given) - LINES + 3} more"]
    return "\n".join([f"{shortened(head, WIDTH - 1)}(", *(f"  {shortened(row, WIDTH - 2)}" for row in kept), ")"])


def _inherit(cls: type, method: str) -> None:
    if method not in vars(cls):
        setattr(cls, method, getattr(super(cls, cls), method))


class Brief:
    """Base of dataclasses that hold arrays: their repr stays short.

    A dataclass writes methods of its own into each class unless it finds them there, so they are put there first.
    """

    def __init_subclass__(cls) -> None:
        """Give a subclass the methods that it does not define."""
        super().__init_subclass__()
        _inherit(cls, "__repr__")

    def __repr__(self) -> str:
        """Return the class with its fields, without those that have nothing in them, on a few lines."""
        shown = ((f.name, getattr(self, f.name)) for f in fields(self) if f.repr)  # type: ignore[arg-type]
        text = f"{type(self).__name__}({', '.join(f'{k}={brief(v)}' for k, v in shown)})"
        lines = wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        return "\n".join(lines if len(lines) <= LINES else [*lines[: LINES - 1], "  ...)"])


class Comparable(Brief):
    """Base of dataclasses whose fields may be arrays: `==` gives one bool, and equal objects have equal hashes."""

    def __init_subclass__(cls) -> None:
        """Give a subclass the methods that it does not define."""
        super().__init_subclass__()
        own_equality = "__eq__" in vars(cls)
        _inherit(cls, "__eq__")
        if not own_equality:
            _inherit(cls, "__hash__")

    def __eq__(self, other: object) -> bool:
        """Return whether the other is of the same class and its fields are the same."""
        if type(other) is not type(self):
            return NotImplemented
        return all(same(getattr(self, f.name), getattr(other, f.name)) for f in self._compared())

    def __hash__(self) -> int:
        """Return a hash of the fields."""
        return hash((type(self), *(hash_of(getattr(self, f.name)) for f in self._compared())))

    def _compared(self) -> list[Field[Any]]:
        return [f for f in fields(self) if f.compare]  # type: ignore[arg-type]
