"""What the command line prints of an explanation, and the list of presets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reflrp.composites import REGISTRY
from reflrp.seeds import label, value
from reflrp.show.axes import by_sample, check_told, count_of, names_of, pixels, shared, unknown
from reflrp.show.tables import Part, grid, ledger_parts, number, totals_parts

if TYPE_CHECKING:
    from reflrp.explanation import Explanation

STRONGEST = 3
"""How many inputs are named for each sample."""


def explanation(
    e: Explanation,
    output: str,
    how: str,
    notes: Sequence[str],
    samples: int,
    ledger: bool,
    time_first: bool | None = None,
) -> list[Part]:
    """Return what was explained, a line for each of the first samples, the layers, and where the relevance went."""
    check_told(e, time_first)
    count, several = count_of(e), len(e.relevances) > 1
    found = {name: by_sample(e, name, R, time_first) for name, R in e.relevances.items()}
    known = {name: R for name, R in found.items() if R is not None}
    rest = [name for name in found if name not in known]
    rows = [
        [*_explained(e, n), *([name] * several), *_relevance(R[n], *pixels(e, name, R[n], time_first))]
        for n in range(min(count, samples))
        for name, R in known.items()
    ]
    rows += [
        ["all", "-", "-", *([name] * several), *_relevance(e.relevances[name], e.relevances[name])] for name in rest
    ]
    columns = ["sample", "target", f">{e.score}", *(["input"] * several), ">relevance", ">positive", ">negative"]
    told = [f"note: {n}" for n in (*notes, *(_untold(e, name) for name in rest))]
    told += [f"advice: {text}" for text in e.advice]
    parts: list[Part] = [_head(e, output, how, bool(known)), *told, grid([*columns, "strongest inputs"], rows)]
    parts += [_legend(e, name, R[0], time_first, several) for name, R in known.items() if R.ndim > 2]
    if known and count > samples:
        parts.append(f"and {count - samples} more samples (-o keeps all)")
    if e.layers:
        parts.append(_layers(e))
    if e.uncertainty:
        parts.append(_bars(e))
    return [*parts, *(ledger_parts(e.conservation) if ledger else totals_parts(e.conservation))]


def _head(e: Explanation, output: str, how: str, by_sample: bool) -> str:
    count = count_of(e)
    logits = " (the logits before it)" if e.score == "logit" else ""
    where = f"of {count} sample{'s' * (count != 1)}" if by_sample else f"at {count} places along its first axis"
    return f"explained {output!r} {where} by {how}{logits}"


def _legend(e: Explanation, name: str, R: np.ndarray, time_first: bool | None, several: bool) -> str:
    """Return what the numbers of an entry, or of a pixel, count."""
    channels = pixels(e, name, R, time_first)[1]
    axes = ",".join(names_of(e, name, time_first))
    what = (
        f"({axes}): a pixel{f', its {channels} channels summed' * (channels > 1)}"
        if channels
        else f"[{axes}]: an entry"
    )
    return what + (f" of {name!r}" if several else "")


def _untold(e: Explanation, name: str) -> str:
    """Return why an input has one line for all samples."""
    tell = "" if shared(e, name) else ", and its sums are over all of them; --batch-first or --time-first says it"
    return unknown(e, name) + tell


def _explained(e: Explanation, n: int) -> list[str]:
    """Return the sample, its target, and what the output says of it."""
    target = label(e.target[n]) if e.target and e.target[n] != () else "-"
    return [str(n), target, number(value(e.output, n, e.target[n])) if e.target else "-"]


def _relevance(R: np.ndarray, places: np.ndarray, channels: int = 0) -> list[str]:
    """Return the sums over entries, and the strongest places: entries, or pixels of so many channels."""
    sums = [number(float(s)) for s in (R.sum(), R[R > 0].sum(), R[R < 0].sum())]
    order = np.argsort(-np.abs(places), axis=None, kind="stable")[:STRONGEST]
    left, right = "()" if channels else "[]"
    indices = [np.unravel_index(k, places.shape) for k in order]
    named = (f"{left}{','.join(str(int(i)) for i in index)}{right}={places[index]:.3g}" for index in indices)
    return [*sums, "  ".join(named)]


def _layers(e: Explanation) -> Part:
    rows = [[k, str(R.shape), number(float(R.sum())), number(float(np.abs(R).sum()))] for k, R in e.layers.items()]
    return grid(["value", "shape", ">relevance", ">absolute"], rows)


def _bars(e: Explanation) -> Part:
    """Return how large the error bars are beside the relevance, and the relevance of which entries they exceed."""
    rows = []
    for name, bar in e.uncertainty.items():
        R = abs({**e.relevances, **e.layers}[name])
        share = (bar[R > 0] / R[R > 0]).astype(float)
        middle = number(float(np.median(share))) if share.size else "-"
        rows.append([name, number(float(bar.max(initial=0))), middle, f"{int((bar > R).sum())} of {R.size}"])
    return grid(["uncertainty", ">largest", ">of an entry (median)", ">entries of no sign"], rows)


def presets() -> list[Part]:
    """Return the presets by name, with the first line of their docstrings; then the dialects' names."""
    rows = [[name, _line(make)] for name, make in sorted(REGISTRY.presets.items())]
    for library in REGISTRY.dialects:
        rows += _of_dialect(library)
    return [
        grid(["name", "rules"], rows),
        'Parameters go in brackets: "epsilon_gamma_box(low=0, high=1)". A rule has its own name: "gamma(0.25)".',
    ]


def _of_dialect(library: str) -> list[list[str]]:
    """Return the composites of a dialect; its rules are for Python."""
    made = REGISTRY.dialects[library]().COMPOSITES.values()
    return [[f"{library}.{make.__name__}", _line(make)] for make in made]


def _line(made: object) -> str:
    return (made.__doc__ or "").strip().split("\n")[0]
