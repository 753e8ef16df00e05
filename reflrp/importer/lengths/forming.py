"""Whole numbers that a file makes of open lengths, as formulas of these: sizes to reshape to, and counts to divide by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from reflrp.arrays import ZERO
from reflrp.arrays.measured import Formulas, Measured, formulas
from reflrp.arrays.tracing.dims import Dim, example
from reflrp.errors import InputError
from reflrp.importer.dtypes import dtype_of
from reflrp.importer.lengths.formulas import counted
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.site import Arg, Ref, Unbuildable, Work
from reflrp.ir import Op
from reflrp.ops.linear import Diagonal
from reflrp.ops.product import Multiply


def keep_counts(node: OnnxNode, args: tuple[Arg, ...], made: Ref, work: Work) -> None:
    """Keep the formulas of what a graph with open lengths finds in the run: there a number of entries is no constant."""
    given = tuple(work.names.counts.get(a.name) if isinstance(a, Ref) else a for a in args)
    shape = tuple(map(example, made.shape))
    if prod(shape) <= FEW and all(isinstance(a, np.ndarray) for a in given):
        found = formed(node, given, np.empty(shape, made.value.dtype), work, checked=False)
        if isinstance(found, np.ndarray):
            work.names.counts[made.name] = found


def by_names(x: Arg, work: Work) -> Arg:
    """Return a value at formulas of its lengths, None where these are not known."""
    if not isinstance(x, Ref) or x.name in work.sized_by_data:
        return None
    return Ref(x.name, replace(x.value, shape=work.names.dims(x.value.lengths, x.shape), open_as=()))


WIDE = 4
"""In numbers of fewer bytes, large lengths are rounded or cut off."""

FEW = 64
"""Of larger constants, and behind longer chains of what is not yet known, no formulas are sought."""


@dataclass(frozen=True, eq=False)
class _Pending:
    """Formulas that lack what is not known of the lengths so far, as that they are long enough for a window that comes later."""

    node: OnnxNode
    args: tuple[Any, ...]
    made: np.ndarray
    work: Work
    depth: int
    checked: bool

    def __call__(self) -> np.ndarray | None:
        given = tuple(_whole(formulas(a)) if isinstance(a, np.ndarray) else a for a in self.args)
        if any(a is None for a in given):
            return None
        try:
            with self.work.names.alone():
                found = given[0] if self.node.op_type == "Cast" else counted(self.node, given)
        except (Unbuildable, InputError):  # what it makes differs from length to length
            return None
        if found is None or found.shape != self.made.shape:
            return None
        return found if not self.checked or all(map(_equal, found.flat, self.made.flat)) else None


def formed(node: OnnxNode, args: tuple[Arg, ...], made: Any, work: Work, checked: bool = True) -> Formulas:
    """Return the whole numbers that a node makes as formulas of open lengths; None where it makes others, or no law is written."""
    found = np.asarray(made)
    deep = 1 + max(
        (a.formulas.depth for a in args if isinstance(a, Measured) and isinstance(a.formulas, _Pending)), default=0
    )
    to = dtype_of(node.attributes.get("to", 0)) if node.op_type == "Cast" else np.dtype(np.int64)
    narrow = to is None or to.itemsize < WIDE
    if found.size > FEW or deep > FEW or narrow or (found.dtype.kind == "f" and node.op_type not in ALIKE):
        return None
    if any(a is None or (isinstance(a, Measured) and a.formulas is None) for a in args):
        return None
    pending = _Pending(node, args, found, work, deep, checked)
    now = pending() if deep == 1 else None
    return pending if now is None else now


ALIKE = frozenset(
    ["Add", "Cast", "Concat", "Gather", "Identity", "Max", "Min", "Mul", "ReduceProd", "Reshape", "Slice", "Squeeze"]
    + ["Sub", "Unsqueeze"]
)
"""Operators that do the same to whole numbers, whether these are held as integers or as floats."""


def _whole(x: np.ndarray | None) -> np.ndarray | None:
    """Return floats that are whole numbers as integers, and None for others; integers and formulas as they are."""
    if x is None or x.dtype.kind != "f":
        return x
    return x.astype(np.int64) if bool((abs(x) <= EXACT).all()) and bool((x == np.round(x)).all()) else None


EXACT = 2**53
"""Up to here, floats hold all whole numbers."""


def counts_of(node: OnnxNode, op: Op, work: Work) -> tuple[int, int] | None:
    """Return what a product with one number that is made of open lengths multiplies and divides by, as formulas of these."""
    scales = isinstance(op, Multiply) or (isinstance(op, Diagonal) and op.b is ZERO)
    if not scales or node.domain != "" or node.op_type not in ("Mul", "Div"):
        return None
    one, two = (_number(work.known.get(i), work) for i in node.inputs)
    if (one is None) == (two is None):
        return None
    return (1, two) if node.op_type == "Div" and two is not None else (one or two or 1, 1)


def _number(a: Arg, work: Work) -> int | None:
    """Return the formula of a single number; None where it has none, or depends on no length."""
    found = formulas(a) if isinstance(a, np.ndarray) else work.names.counts.get(a.name) if isinstance(a, Ref) else None
    n = found.item() if found is not None and found.size == 1 else None
    return n if isinstance(n, Dim) else None


def _equal(n: Any, m: Any) -> bool:
    return bool(example(n) == example(m))
