"""What the command line prints of an explanation, and the list of presets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reflrp.composites import REGISTRY
from reflrp.show.tables import Part, grid, ledger_parts, number, totals_parts

if TYPE_CHECKING:
    from reflrp.explanation import Explanation

STRONGEST = 3
"""How many inputs are named for each sample."""


def explanation(e: Explanation, output: str, how: str, notes: Sequence[str], samples: int, ledger: bool) -> list[Part]:
    """Return what was explained, a line for each of the first samples, the layers, and where the relevance went."""
    count = len(e.output)
    head = f"explained {output!r} of {count} sample{'s' * (count != 1)} by {how}"
    several = len(e.relevances) > 1
    batched = [name for name, R in e.relevances.items() if R.ndim and len(R) == count]
    rows = [_sample(e, n, name, several) for n in range(min(count, samples)) for name in batched]
    notes = [*notes, *(f"{name!r} is not one for each sample" for name in e.relevances if name not in batched)]
    columns = ["sample", "target", ">output", *(["input"] * several), ">relevance", ">positive", ">negative"]
    said = [*(f"note: {n}" for n in notes), *(f"advice: {text}" for text in e.advice)]
    parts: list[Part] = [head, *said, grid([*columns, "strongest inputs"], rows)]
    if count > samples:
        parts.append(f"and {count - samples} more samples (-o keeps all)")
    if e.layers:
        parts.append(_layers(e))
    return [*parts, *(ledger_parts(e.conservation) if ledger else totals_parts(e.conservation))]


def _sample(e: Explanation, n: int, name: str, several: bool) -> list[str]:
    R = e.relevances[name][n]
    index = e.target[n] if e.target else ()
    target = str(index[0] if len(index) == 1 else index) if index else "-"
    score = number(float(e.output[(n, *index)])) if e.target else "-"
    sums = [number(float(s)) for s in (R.sum(), R[R > 0].sum(), R[R < 0].sum())]
    return [str(n), target, score, *([name] * several), *sums, _strongest(R)]


def _strongest(R: np.ndarray) -> str:
    order = np.argsort(-np.abs(R), axis=None, kind="stable")[:STRONGEST]
    places = [np.unravel_index(k, R.shape) for k in order]
    return "  ".join(f"[{','.join(str(int(i)) for i in p)}]={R[p]:.3g}" for p in places)


def _layers(e: Explanation) -> Part:
    rows = [[k, str(R.shape), number(float(R.sum())), number(float(np.abs(R).sum()))] for k, R in e.layers.items()]
    return grid(["value", "shape", ">relevance", ">absolute"], rows)


def presets() -> list[Part]:
    """Return the presets by name, with the first line of their docstrings; then the dialects' names."""
    rows = [[name, _line(make)] for name, make in sorted(REGISTRY.presets.items())]
    for library in REGISTRY.dialects:
        rows += _of_dialect(library)
    return [grid(["name", "rules"], rows), 'Parameters go in brackets: "epsilon_gamma_box(low=0, high=1)".']


def _of_dialect(library: str) -> list[list[str]]:
    """Return the composites of a dialect; its rules are for Python."""
    made = REGISTRY.dialects[library]().COMPOSITES.values()
    return [[f"{library}.{make.__name__}", _line(make)] for make in made]


def _line(made: object) -> str:
    return (made.__doc__ or "").strip().split("\n")[0]
