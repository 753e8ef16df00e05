"""Symbolic arrays: what a formula calculates with while it is traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.arrays.namespaces import Symbolic
from reflrp.arrays.tracing import arithmetic, moves
from reflrp.arrays.tracing.dims import Dim
from reflrp.arrays.tracing.reductions import matmul, transposed
from reflrp.arrays.tracing.terms import CURRENT, Shape, Term, Trace


class SymbolicArray(Symbolic):
    """An array of a known shape whose numbers are those of a term.

    NumPy arrays that it meets are constants of the graph.
    """

    __array_ufunc__ = None
    __array_priority__ = 100
    __slots__ = ("term",)

    def __init__(self, term: Term) -> None:
        self.term = term

    @property
    def shape(self) -> Shape:
        """The shape; lengths may depend on the batch size."""
        return self.term.shape

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.term.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype."""
        return self.term.dtype

    @property
    def T(self) -> Any:
        """The array with its last two axes exchanged."""
        return array(transposed(self.term))

    def __repr__(self) -> str:
        """Return the operator, dtype and shape."""
        return f"SymbolicArray({self.term.op}, {self.dtype}, {self.shape})"

    def __bool__(self) -> bool:
        """Refuse: nothing is known of the numbers."""
        raise TypeError("a formula asks for the numbers of a symbolic array")

    __hash__ = object.__hash__

    def __getitem__(self, key: Any) -> Any:
        """Return the entries at a key of integers and slices."""
        return array(moves.index(self.term, key))

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Return the array in a dtype."""
        return array(arithmetic.cast(self.term, dtype))

    def __add__(self, other: Any) -> Any:
        """Return the sum."""
        return combined("Add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        """Return the difference."""
        return combined("Sub", self, other)

    def __rsub__(self, other: Any) -> Any:
        """Return the difference."""
        return combined("Sub", other, self)

    def __mul__(self, other: Any) -> Any:
        """Return the product."""
        return combined("Mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        """Return the quotient."""
        return combined("Div", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        """Return the quotient."""
        return combined("Div", other, self)

    def __pow__(self, other: Any) -> Any:
        """Return the power."""
        return combined("Pow", self, other)

    def __mod__(self, other: Any) -> Any:
        """Return the remainder, with the sign of the divisor."""
        if np.result_type(self.dtype, getattr(other, "dtype", type(other))).kind == "f":
            quotient = SymbolicArray(arithmetic.unary("Floor", (self / other).term))
            return self - quotient * other  # ONNX's Mod has the divisor's sign for integers only
        return combined("Mod", self, other)

    def __matmul__(self, other: Any) -> Any:
        """Return the matrix product."""
        return array(matmul(*_pair(self, other)))

    def __rmatmul__(self, other: Any) -> Any:
        """Return the matrix product."""
        return array(matmul(*_pair(other, self)))

    def __neg__(self) -> Any:
        """Return the negative."""
        return array(arithmetic.unary("Neg", self.term))

    def __abs__(self) -> Any:
        """Return the absolute value."""
        return array(arithmetic.unary("Abs", self.term))

    def __invert__(self) -> Any:
        """Return the opposite of booleans."""
        return array(arithmetic.unary("Not", self.term))

    def __and__(self, other: Any) -> Any:
        """Return whether both hold."""
        return combined("And", self, other)

    __rand__ = __and__

    def __or__(self, other: Any) -> Any:
        """Return whether either holds."""
        return combined("Or", self, other)

    __ror__ = __or__

    def __eq__(self, other: Any) -> Any:
        """Return where both are equal."""
        return combined("Equal", self, other)

    def __ne__(self, other: Any) -> Any:
        """Return where they are not equal."""
        return ~combined("Equal", self, other)

    def __lt__(self, other: Any) -> Any:
        """Return where it is smaller."""
        return combined("Less", self, other)

    def __le__(self, other: Any) -> Any:
        """Return where it is at most as large."""
        return combined("LessOrEqual", self, other)

    def __gt__(self, other: Any) -> Any:
        """Return where it is larger."""
        return combined("Greater", self, other)

    def __ge__(self, other: Any) -> Any:
        """Return where it is at least as large."""
        return combined("GreaterOrEqual", self, other)


def array(term: Term) -> Any:
    """Return a term as an array: a constant as NumPy's, anything else as a symbolic one."""
    return term.value if term.value is not None else SymbolicArray(term)


class Numbers(Symbolic):
    """0, 1 .. up to an open length: no term yet, as no trace is known."""

    def __init__(self, count: Dim) -> None:
        self.count = count

    dtype = np.dtype(np.int64)
    ndim = 1

    @property
    def shape(self) -> Shape:
        """The shape."""
        return (self.count,)

    __hash__ = object.__hash__

    def __eq__(self, other: Any) -> Any:
        """Return where the numbers are those of another array."""
        return combined("Equal", other, self)


def term_of(x: Any, trace: Trace, dtype: Any = None) -> Term:
    """Return the term of an array or a number; of constants in a dtype, if one is given."""
    if isinstance(x, SymbolicArray):
        return x.term
    if isinstance(x, Dim):
        return trace.length(x, dtype)
    if isinstance(x, Numbers):
        found = trace.make("Range", (), (x.count,), np.int64, True, of=(x.count,))
        return found if dtype is None or np.dtype(dtype) == np.int64 else arithmetic.cast(found, dtype)
    value = np.asarray(x)
    return trace.constant(value, dtype if dtype is not None and value.dtype != dtype else None)


def trace_of(*arrays: Any) -> Trace:
    """Return the trace that the symbolic arrays among some belong to."""
    found = next((x.term.trace for x in arrays if isinstance(x, SymbolicArray)), None)
    return CURRENT.get() if found is None else found


def _common(terms: list[Any]) -> np.dtype[Any]:
    """Return the dtype in which arrays and numbers meet: the symbolic floats' own, where any are; else NumPy's, or a float."""
    floats = [x.dtype for x in terms if isinstance(x, SymbolicArray) and x.dtype.kind == "f"]
    if floats:
        return floats[0]
    found = np.result_type(*(np.int64 if isinstance(x, Dim) else getattr(x, "dtype", x) for x in terms))
    return trace_of(*terms).real if found.kind == "f" else found


def together(*operands: Any) -> list[Term]:
    """Return the terms of arrays and numbers in one dtype."""
    trace, dtype = trace_of(*operands), _common(list(operands))
    return [arithmetic.cast(term_of(x, trace, dtype), dtype) for x in operands]


def _pair(x: Any, y: Any) -> tuple[Term, Term]:
    one, two = together(x, y)
    return one, two


LOGICAL = {"Add": "Or", "Mul": "And", "Max": "Or", "Min": "And"}
"""What arithmetic does to booleans."""


def combined(op: str, x: Any, y: Any) -> Any:
    """Return an operator of two arrays or numbers. What is known to vanish (`arrays.ZERO`) has its own word in it."""
    if not _is_array(x) or not _is_array(y):
        return NotImplemented
    one, two = _pair(x, y)
    if op == "Div" and not one.is_float:  # ONNX's quotient of integers is one, rounded
        one, two = (arithmetic.cast(t, one.trace.real) for t in (one, two))
    return array(arithmetic.binary(LOGICAL.get(op, op) if one.dtype.kind == "b" else op, one, two))


def _is_array(x: Any) -> bool:
    return isinstance(x, SymbolicArray | Numbers | np.ndarray | np.generic | int | float | bool)
