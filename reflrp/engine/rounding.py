"""An exact explanation's numbers as floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.ledger import NUMBERS, Ledger, Row


def rounded(e: Any) -> dict[str, Any]:
    """Return the fields of an explanation that hold fractions, with each fraction as the nearest float64."""
    arrays = {k: {name: _floats(x) for name, x in getattr(e, k).items()} for k in ("relevances", "layers", "inputs")}
    return {**arrays, "output": _floats(e.output), "conservation": _ledger(e.conservation)}


def _ledger(ledger: Ledger) -> Ledger:
    rows = tuple(Row(r.node, r.kind, r.rule, *(float(getattr(r, k)) for k in NUMBERS)) for r in ledger.rows)
    return Ledger(rows, float(ledger.seed), {k: float(v) for k, v in ledger.inputs.items()})


def _floats(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if x.dtype == object else x
