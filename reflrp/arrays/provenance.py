"""Where constants come from: which are numbers of the file, and how the import computes others from them.

Exact arithmetic may take a constant only for what it is. A number of the file is the dyadic number that it is. What the import
divides or multiplies has been rounded; it keeps its recipe, by which it is computed again in fractions. Any other result of
arithmetic is a plain array, and is not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reflrp.arrays.exact import Exact
from reflrp.arrays.levels import divided, exactly

MOVING = {
    np.reshape, np.ravel, np.transpose, np.moveaxis, np.swapaxes, np.expand_dims, np.squeeze, np.broadcast_to, np.concatenate,
    np.stack, np.split, np.array_split, np.repeat, np.tile, np.flip, np.roll, np.take, np.atleast_1d, np.atleast_2d, np.copy,
    np.broadcast_arrays, np.matrix_transpose, np.permute_dims, np.shape, np.size, np.ndim,
}  # fmt: skip
"""Functions that move numbers about and compute none."""


class Own(np.ndarray):
    """An array of the file's own numbers; so are its parts and rearrangements, and nothing that is computed from it."""

    recipe: tuple[Any, ...] | None

    def __array_finalize__(self, origin: Any) -> None:
        """Forget the recipe: it makes the whole, as it was."""
        self.recipe = None

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **options: Any) -> Any:
        """Return the result as a plain array."""
        if "out" in options:
            options["out"] = tuple(map(_plain, options["out"]))
        return getattr(ufunc, method)(*map(_plain, args), **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        """Return what moves numbers about as an array of the file's own numbers, anything else as a plain one."""
        found = function(*_within(args), **{k: _within(v) for k, v in options.items()})
        return _all_own(found) if function in MOVING and all(map(_is_own, _arrays(args))) else found

    def dot(self, *args: Any, **options: Any) -> Any:
        """Return the product as a plain array."""
        return _plain(self).dot(*map(_plain, args), **options)

    def round(self, *args: Any, **options: Any) -> Any:
        """Return the rounded numbers as a plain array."""
        return _plain(self).round(*args, **options)


class Derived(Own):
    """An array that was computed from the file's numbers by a recipe; a part of it has none."""


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, Own) else x


def _within(x: Any) -> Any:
    return type(x)(map(_within, x)) if isinstance(x, tuple | list) else _plain(x)


def _arrays(x: Any) -> list[np.ndarray]:
    """Return the arrays of floats among arguments."""
    if isinstance(x, tuple | list):
        return [a for part in x for a in _arrays(part)]
    return [x] if isinstance(x, np.ndarray) and x.dtype.kind == "f" else []


def _is_own(x: np.ndarray) -> bool:
    return isinstance(x, Own) and (type(x) is Own or x.recipe is not None)


def _all_own(x: Any) -> Any:
    return type(x)(map(_all_own, x)) if isinstance(x, tuple | list) else own(x)


def own(x: Any) -> Any:
    """Return an array as one of the file's own numbers; whole numbers as they are."""
    found = np.asarray(x)
    return found.view(Own) if found.dtype.kind == "f" else found


def _derived(numbers: np.ndarray, name: str, *parts: Any) -> Derived:
    found = np.asarray(numbers, dtype=np.float64).view(Derived)
    found.recipe = (name, *parts)
    return found


def times(x: Any, y: Any) -> Derived:
    """Return x * y."""
    return _derived(np.multiply(x, y, dtype=np.float64), "times", x, y)


def over(x: Any, y: Any) -> Derived:
    """Return x / y."""
    return _derived(np.divide(x, y, dtype=np.float64), "over", x, y)


def plus(x: Any, y: Any) -> Derived:
    """Return x + y."""
    return _derived(np.add(x, y, dtype=np.float64), "plus", x, y)


RECIPES: dict[str, Callable[[Any, Any], Any]] = {
    "times": lambda x, y: x * y,
    "over": divided,
    "plus": lambda x, y: x + y,
}


class Rounded(Exception):
    """Constants that were rounded on the way from the file, by no recipe."""


def in_fractions(x: Any) -> Any:
    """Return a constant in exact numbers: whole numbers and exact ones as they are. Raises Rounded."""
    if isinstance(x, Derived) and x.recipe is not None:
        name, *parts = x.recipe
        return np.asarray(RECIPES[name](*map(in_fractions, parts)), dtype=object)
    found = np.asarray(x)
    if found.dtype.kind != "f":
        return found
    if type(x) is Own or isinstance(x, Exact) or bool((found == np.round(found)).all()):
        return exactly(found)
    raise Rounded
