"""An exact explanation's numbers as floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.errors import NonFiniteError
from reflrp.ledger import NUMBERS, Ledger, Row


def rounded(e: Any) -> dict[str, Any]:
    """Return the fields of an explanation that hold fractions, with each fraction as the nearest float64.

    One beyond the largest float64 becomes an infinity.
    """
    arrays = {k: {name: _floats(x) for name, x in getattr(e, k).items()} for k in ("relevances", "layers", "inputs")}
    near = {**arrays["relevances"], **arrays["layers"]}
    bars = {
        k: np.spacing(np.abs(near[k])) / 2 for k in e.uncertainty
    }  # the nearest float64 is half a last place away at most
    return {**arrays, "output": _floats(e.output), "conservation": _ledger(e.conservation), "uncertainty": bars}


def within(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what `rounded` gave. Raises NonFiniteError where a fraction was beyond the largest float64."""
    arrays = {**fields["inputs"], "the output": fields["output"], **fields["relevances"], **fields["layers"]}
    for name, x in arrays.items():
        if np.isinf(x).any():
            raise NonFiniteError(f"fractions of {name!r} are beyond the largest float64: take them as they are")
    return fields


def _ledger(ledger: Ledger) -> Ledger:
    rows = tuple(
        Row(r.node, r.kind, r.rule, **{k: float(getattr(r, k)) for k in (*NUMBERS, *_known(r))}) for r in ledger.rows
    )
    return Ledger(rows, float(ledger.seed), {k: float(v) for k, v in ledger.inputs.items()})


def _known(row: Row) -> list[str]:
    return [] if row.uncertainty is None else ["uncertainty"]


def _floats(x: np.ndarray) -> np.ndarray:
    if x.dtype != object:
        return x
    return np.array([_nearest(v) for v in x.ravel()], dtype=np.float64).reshape(x.shape)


def _nearest(v: Any) -> float:
    try:
        return float(v)
    except OverflowError:  # a Fraction, as an input may hold
        return np.inf if v > 0 else -np.inf
