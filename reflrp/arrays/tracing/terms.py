"""Terms: the nodes of a traced graph. Equal ones are one object, so that nothing is written twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Any, NamedTuple

import numpy as np

from reflrp.arrays.tracing.dims import Dim

Shape = tuple[int, ...]
Attributes = tuple[tuple[str, Hashable], ...]

SMALL = 64
"""Constants of at most so many entries are compared by what they hold, larger ones by being the same object."""


@dataclass(eq=False)
class Term:
    """An ONNX operator on other terms, a named value, or a constant; with all that is known of what it makes.

    Attributes
    ----------
    op : str
        An ONNX operator; "value" (the attribute `name` says which), "constant", or "output" (number `i` of its input).
    value : array, optional
        What a constant holds. On axes of a length that depends on N it has one entry.
    nonneg, finite : bool
        Whether no entry is < 0, and whether none is infinite unless numbers overflow in the run; known for certain, or not.

    """

    trace: Trace = field(repr=False)
    op: str
    inputs: tuple[Term, ...]
    attributes: Attributes
    shape: Shape
    dtype: np.dtype[Any]
    nonneg: bool = False
    finite: bool = False
    value: np.ndarray | None = field(default=None, repr=False)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return dict(self.attributes).get(name, default)

    @cached_property
    def uniform(self) -> Any:
        """The number that all entries of a constant are; None where they differ, or are not known."""
        if self.value is None or not self.value.size:
            return None
        first = self.value.reshape(-1)[0]
        return first.item() if bool((self.value == first).all()) else None

    @property
    def doubling(self) -> bool:
        """Whether it is a power of two, or its negative, in all entries: products with it are exact."""
        return self.is_float and bool(self.uniform) and abs(float(np.frexp(self.uniform)[0])) == 0.5

    @property
    def is_float(self) -> bool:
        """Whether it holds floating numbers."""
        return self.dtype.kind == "f"


class Divided(NamedTuple):
    """A term by which relevance was divided, and that relevance; None: values were, whether relevance meets it or not.

    With `of`, the term is finite where no entry of that other one is larger than `most`.
    """

    z: Term
    R: Term | None
    of: Term | None = None
    most: float = inf


@dataclass(eq=False)
class Trace:
    """All terms of one graph, each once.

    `lengths` says for each symbol of a length which named value shows it, on which axis, and by how much that axis is longer
    than how many times the symbol;
    `most` how large a symbol may be, `alike` which other axes must be as long, of a value that is longer by as much.

    `real` is the dtype of its floating numbers. `origins` says of constants that were derived from others by a function how: by
    the constant's id the array itself, the function and the other array.

    `affine` has the values of layers that are known with their weights (`tracing/affine.py`), `known` the same by the id of a
    value's term. `gates` has, by the id of a term, others and a sign: it vanishes where they have not that sign.

    `denominators` has each term by which something was divided; `shown` by the id of what the body of a loop
    reads the term of which it is an entry; `loops` the loops, by the terms of their first outputs, in whose bodies relevance was
    divided, with these denominators.
    """

    lengths: dict[str, tuple[Term, int, int, int]] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    alike: dict[str, list[tuple[Term, int]]] = field(default_factory=dict)
    real: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))
    terms: dict[Hashable, Term] = field(default_factory=dict, repr=False)
    origins: dict[int, tuple[np.ndarray, Callable[[Any], Any], np.ndarray]] = field(default_factory=dict, repr=False)
    affine: dict[Hashable, list[Any]] = field(default_factory=dict, repr=False)
    known: dict[int, Any] = field(default_factory=dict, repr=False)
    gates: dict[int, list[tuple[Term, int]]] = field(default_factory=dict, repr=False)
    denominators: list[Divided] = field(default_factory=list, repr=False)
    shown: dict[int, Term] = field(default_factory=dict, repr=False)
    loops: list[tuple[Term, list[Divided]]] = field(default_factory=list, repr=False)

    def make(
        self,
        op: str,
        inputs: tuple[Term, ...],
        shape: Shape,
        dtype: Any = None,
        nonneg: bool = False,
        **attributes: Any,
    ) -> Term:
        """Return the term of an operator; the one there is, where it was made before."""
        listed = tuple(sorted(attributes.items()))
        dtype = np.dtype(dtype if dtype is not None else inputs[0].dtype)
        key = (op, tuple(map(id, inputs)), listed, shape, dtype)
        found = self.terms.get(key)
        if found is None:
            found = self.terms[key] = Term(self, op, inputs, listed, shape, dtype, nonneg)
        return found

    def again(self, terms: tuple[Term, ...], inputs: tuple[Term, ...]) -> Term:
        """Return the operator of some terms, which is one, for other inputs; known of it is what is known of each of the terms."""
        first, nonneg = terms[0], all(t.nonneg for t in terms)
        attributes: dict[str, Any] = dict(first.attributes)
        found = self.make(first.op, inputs, first.shape, first.dtype, nonneg, **attributes)
        found.finite = all(t.finite for t in terms)
        return found

    def named(self, name: str, shape: Shape, dtype: Any, nonneg: bool = False, finite: bool = False) -> Term:
        """Return the term of a value that the graph has already."""
        found = self.make("value", (), shape, dtype, nonneg, name=name)
        found.finite = finite
        return found

    def constant(self, array: Any, dtype: Any = None) -> Term:
        """Return the term of a constant."""
        value = np.asarray(array)
        if dtype is not None and value.dtype != dtype:
            with np.errstate(over="ignore"):
                value = value.astype(dtype)
        small = value.size <= SMALL
        data = value.tobytes() if small else id(value)
        key = ("constant", data, value.shape, value.dtype, small)
        found = self.terms.get(key)
        if found is None:
            known = value.dtype.kind in "biu" or bool(np.isfinite(value).all())
            nonneg = value.dtype.kind in "bu" or bool((value >= 0).all())
            found = Term(self, "constant", (), (), value.shape, value.dtype, nonneg, known, value)
            self.terms[key] = found
        return found

    def shows(self, symbol: str, value: Term, axis: int, plus: int = 0, times: int = 1) -> None:
        """Remember that an axis of a named value shows a symbol's length; the first one is read, others must be as long."""
        if symbol in self.lengths:
            self.alike.setdefault(symbol, []).append((value, axis))
        else:
            self.lengths[symbol] = value, axis, plus, times

    def length(self, n: int, dtype: Any = None) -> Term:
        """Return the term of an open length as a number."""
        whole = self.make("Length", (), (), np.int64, True, of=(n,))
        whole.finite = True
        if dtype is None or np.dtype(dtype) == np.int64:
            return whole
        found = self.make("Cast", (whole,), (), dtype, True)
        found.finite = True
        return found

    def alias(self, op: str, operand: Term, value: Term) -> None:
        """Remember that a value that the graph has already is what an operator makes of an operand."""
        self.terms.setdefault((op, (id(operand),), (), value.shape, value.dtype), value)

    def derive(self, array: np.ndarray, function: Callable[[Any], Any], base: np.ndarray) -> np.ndarray:
        """Remember that a constant is a function of another, and return it."""
        self.origins[id(array)] = array, function, base
        return array


CURRENT: ContextVar[Trace] = ContextVar("trace")
"""The trace that constants enter where they meet nothing but an open length."""


def still(shape: Shape) -> Shape:
    """Return a shape for a constant: one entry on each axis of a length that depends on N."""
    return tuple(1 if isinstance(n, Dim) else int(n) for n in shape)
