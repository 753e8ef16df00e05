"""What all rules share: frozen data, called with a node's op, input, output and relevance.

Clauses: ARG-1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from reflrp import limits
from reflrp.arrays import Array
from reflrp.arrays.looks import Comparable, brief
from reflrp.errors import RuleError
from reflrp.ground.checks import choice, is_number, number, refuse
from reflrp.ir import Node
from reflrp.ops.stabilizer import Looks, Stabilizer, looks


class Seat(NamedTuple):
    """Which axis of a value of some rank holds the samples; None where there is one sample, whose all of the value is."""

    axis: int | None
    rank: int

    @property
    def others(self) -> tuple[int, ...]:
        """The axes of one sample."""
        return tuple(i for i in range(self.rank) if i != self.axis)


@dataclass(frozen=True)
class Rule(Comparable):
    """Base of all rules: frozen data, called with a node's op, input, output and relevance.

    Class attributes: `serves`, the kinds that the rule can stand on; `conserves`, whether bias and stabiliser are all
    that keeps relevance (else the ledger has a column `dropped`); `multiple`, whether the relevance that it gives to
    an input vanishes where the input does; `only`, in words which nodes of these kinds it can stand on, if not all.
    """

    serves: ClassVar[frozenset[str]] = frozenset()
    conserves: ClassVar[bool] = True
    multiple: ClassVar[bool] = False
    only: ClassVar[str] = ""

    def __call__(self, op: Any, x: Any, y: Array, R: Array) -> Any:
        """Return the relevance of the input."""
        raise NotImplementedError

    def box(self, a: Array) -> tuple[Array, Array] | None:
        """Return the bounds that the rule takes its input `a` to lie in; None for a rule without any."""
        return None

    def fits(self, node: Node) -> bool:
        """Return whether the rule can stand on a node."""
        return node.kind in self.serves

    @property
    def looks(self) -> Looks:
        """What the rule sees beside the sample's own entries at each output: all of the sample, or all of the batch.

        Such a rule changes with the cut of a batch, or must be told where the samples are. A rule of your own that takes a
        statistic over the batch says so here.
        """
        return furthest(getattr(self, f.name) for f in fields(self))

    def told(self, a: Seat, z: Seat) -> Self:
        """Return the same rule for a layer that holds the samples there in its input, and there in its output."""
        found = {f.name: _told(getattr(self, f.name), a, z) for f in fields(self)}
        return replace(self, **{k: v for k, v in found.items() if v is not getattr(self, k)})

    def __repr__(self) -> str:
        """Return the rule as it is written, with arrays by their dtype and shape."""
        shown = (f"{f.name}={brief(getattr(self, f.name), 200)}" for f in fields(self) if f.repr)
        return f"{type(self).__name__}({', '.join(shown)})"

    def exact(self) -> Self:
        """Return the same rule with each float in its fields as the fraction that its digits say: 0.1 is 1/10."""
        return replace(self, **{f.name: _exact(getattr(self, f.name)) for f in fields(self)})

    def plain(self) -> Self:
        """Return the same rule with NumPy's numbers as Python's, which leave the dtype of arrays that they meet alone."""
        changed = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        return replace(self, **changed) if any(v is not getattr(self, k) for k, v in changed.items()) else self


def furthest(values: Iterable[Any]) -> Looks:
    """Return how far what looks furthest among some fields or rules looks."""
    found = [v.looks if isinstance(v, Rule) else looks(v) for v in values]
    return "batch" if "batch" in found else "sample" if "sample" in found else ""


def _told(value: Any, a: Seat, z: Seat) -> Any:
    if isinstance(value, Rule):
        return value.told(a, z)
    return replace(value, dim=z.others) if callable(value) and looks(value) == "sample" else value


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return Fraction(str(float(value)))
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.vectorize(_exact, otypes=[object])(value)
    return _within(value, _exact)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else _within(value, _plain)


def _within(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a tuple or a Stabilizer with its numbers changed, others as they are."""
    if isinstance(value, tuple):
        return tuple(map(change, value)) if any(change(v) is not v for v in value) else value
    if isinstance(value, Stabilizer):
        epsilon = change(value.epsilon)
        return value if epsilon is value.epsilon else replace(value, epsilon=epsilon)
    return value


def check_numbers(field: str, value: Any) -> None:
    """Raise RuleError for what is neither a finite number nor an array of such."""
    dtype = None if isinstance(value, type) else getattr(value, "dtype", None)
    if dtype is None or not getattr(value, "ndim", 0):
        number(field, value.item() if isinstance(value, np.ndarray) else value, RuleError)
    elif isinstance(value, np.ndarray):
        limits.check_array(f"{field}, an array", value.shape, value.itemsize)
        if not _all_finite(value):
            raise refuse(field, value, "a finite number, or an array of such", RuleError)
    elif hasattr(value, "tocsr"):  # a sparse matrix of SciPy, which does not compare as an array does
        raise refuse(field, value, "a finite number, or a dense array of such", RuleError)


def _all_finite(array: np.ndarray) -> bool:
    if array.dtype.kind == "O":
        return all(map(is_number, array.flat))
    return array.dtype.kind in "fiu" and bool(np.isfinite(array).all())


def check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise RuleError for a value of a field that is none of the choices."""
    choice(field, value, choices, RuleError)
