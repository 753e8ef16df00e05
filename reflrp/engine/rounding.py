"""An exact explanation's numbers as floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.ledger import NUMBERS, Ledger, Row


def rounded(e: Any) -> dict[str, Any]:
    """Return the fields of an explanation that hold fractions, with each fraction as the nearest float64."""
    arrays = {k: {name: _floats(x) for name, x in getattr(e, k).items()} for k in ("relevances", "layers", "inputs")}
    near = {**arrays["relevances"], **arrays["layers"]}
    bars = {
        k: np.spacing(np.abs(near[k])) / 2 for k in e.uncertainty
    }  # the nearest float64 is half a last place away at most
    return {**arrays, "output": _floats(e.output), "conservation": _ledger(e.conservation), "uncertainty": bars}


def _ledger(ledger: Ledger) -> Ledger:
    rows = tuple(
        Row(r.node, r.kind, r.rule, **{k: float(getattr(r, k)) for k in (*NUMBERS, *_known(r))}) for r in ledger.rows
    )
    return Ledger(rows, float(ledger.seed), {k: float(v) for k, v in ledger.inputs.items()})


def _known(row: Row) -> list[str]:
    return [] if row.uncertainty is None else ["uncertainty"]


def _floats(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if x.dtype == object else x
