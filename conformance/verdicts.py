"""The verdicts: what a library's answer to a case is worth. The comparator decides, never the adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reflrp.conformance.cases import Case
from reflrp.conformance.protocol import Arrays

CONFORM = frozenset({"PASS", "VARIANT", "REJECTED"})
"""The verdicts that count as conforming."""

FAILING = frozenset({"DEVIATES", "FAIL", "NOT_REJECTED", "ERROR"})
"""The verdicts on a wrong answer."""

STOPPING = FAILING | {"FORWARD"}
"""The verdicts that fail a run, unless a profile declares them. FORWARD speaks against no clause: relevance was not looked at."""


@dataclass(frozen=True)
class Verdict:
    """What came of one case.

    Attributes
    ----------
    verdict : str
        PASS, VARIANT, DEVIATES, FAIL, FORWARD, REJECTED, NOT_REJECTED, UNSUPPORTED or ERROR.
    variant : str
        The tag of the variant that the answer equals; of a FAIL the nearest one.
    error : float
        The largest difference to the expected relevance, in units of its largest entry. NaN where there is none.
    tolerance : float
        The largest error that passes, in the same units.
    first_bad : str
        The first value that differs, from the output backwards.
    message : str
        What a reader should know.

    """

    verdict: str
    variant: str = ""
    error: float = float("nan")
    tolerance: float = float("nan")
    first_bad: str = ""
    message: str = ""


def distance(found: Arrays, expected: Arrays) -> float:
    """Return the largest difference of two dicts of arrays, over the largest entry of the expected (1 where all are 0)."""
    return max((float(np.abs(found[k] - v).max(initial=0.0)) for k, v in expected.items()), default=0.0) / _unit(
        expected
    )


def _unit(arrays: Arrays) -> float:
    return max((float(np.abs(v).max(initial=0.0)) for v in arrays.values()), default=0.0) or 1.0


def numbers_of(value: Any) -> np.ndarray:
    """Return an answer's array; what it masks is no number, whatever lies under the mask."""
    return np.asarray(value.filled(np.nan)) if isinstance(value, np.ma.MaskedArray) else np.asarray(value)


def malformed(found: Any, expected: Arrays) -> str:
    """Return what is wrong with an answer as such: no dict, a missing value, another shape, NaN; "" for a sound one."""
    if not isinstance(found, Mapping):
        return f"explain returned {type(found).__name__}, not a dict of arrays by input name"
    for name, wanted in expected.items():
        if name not in found:
            return f"no relevance of {name!r}; there is {', '.join(map(str, found)) or 'none'}"
        array = numbers_of(found[name])
        if array.shape != wanted.shape:
            return f"relevance of {name!r} has the shape {array.shape}, not {wanted.shape}"
        if array.dtype.kind not in "fiu":
            return f"relevance of {name!r} holds {array.dtype}, not floats"
        if not np.isfinite(array).all():
            return f"relevance of {name!r} holds a NaN or an infinity"
    return ""


def judged(case: Case, dtype: str, found: Any) -> Verdict:
    """Return the verdict on the relevance that a library found for a case whose forward pass agrees."""
    expected, tolerance = case.part("expected"), case.tolerance(dtype)
    answer = {k: numbers_of(v) for k, v in found.items()} if isinstance(found, Mapping) else found
    inner = {k: v for k, v in case.part("relevance").items() if isinstance(found, Mapping) and k in found}
    wrong = malformed(answer, expected) or malformed(answer, inner)
    if wrong:
        return Verdict("ERROR", tolerance=tolerance, message=wrong)
    error, place = distance(answer, expected), _first(case, answer, tolerance)
    if error <= tolerance:
        apart = f"the inputs agree, but {place} does not" if place else ""
        return Verdict("FAIL" if apart else "PASS", "", error, tolerance, place, apart)
    return _known(case, answer, error, tolerance, place)


def _known(case: Case, answer: Arrays, error: float, tolerance: float, place: str) -> Verdict:
    """Return the verdict on another answer than the expected one: a known one, or the place of the first difference."""
    apart = {tag: distance(answer, case.part(f"variant/{tag}")) for tag in case.variants}
    nearest = min(apart, key=lambda tag: apart[tag], default="")
    if nearest and apart[nearest] <= tolerance:
        about = case.variants[nearest]
        word = "VARIANT" if about["status"] == "variant" else "DEVIATES"
        return Verdict(word, nearest, error, tolerance, place, str(about["text"]))
    near = f"; the nearest known answer is {nearest}, {apart[nearest]:.2g} away" if nearest else ""
    return Verdict("FAIL", nearest, error, tolerance, place, f"{_numbers(case, answer, place)}{near}")


def _first(case: Case, answer: Arrays, tolerance: float) -> str:
    """Return the first value that differs, from the output backwards, with the first entry of it: relu0[0, 3]."""
    expected = case.part("expected")
    unit = _unit(expected)
    for name, wanted in {**case.part("relevance"), **expected}.items():
        found = answer.get(name)
        if found is None:
            continue
        limit = tolerance * (unit if name in expected else _unit({name: wanted}))
        bad = np.argwhere(~(np.abs(found - wanted) <= limit))
        if len(bad):
            return f"{name}[{', '.join(map(str, bad[0]))}]"
    return ""


def _numbers(case: Case, answer: Arrays, place: str) -> str:
    """Return what stands at the first difference, and the sums over the inputs."""
    name, _, at = place.rpartition("[")
    expected = case.part("expected")
    wanted = {**case.part("relevance"), **expected}[name]
    index = tuple(int(i) for i in at.rstrip("]").split(",") if i.strip())
    sums = [sum(float(group[k].sum()) for k in expected) for group in (answer, expected)]
    here = f"{place} is {answer[name][index]:.6g}, expected {wanted[index]:.6g}"
    return f"{here}; the inputs' relevance sums to {sums[0]:.6g}, expected {sums[1]:.6g}"


def forward(case: Case, dtype: str, found: Any) -> Verdict | None:
    """Return the verdict FORWARD where the outputs differ, so that relevance is not judged, ERROR where there are none."""
    expected = case.part("out")
    limit = {"float64": 1e-9, "exact": 1e-12}.get(dtype, 2e-4)
    wrong = malformed(found, expected).replace("relevance of", "output").replace("explain returned", "forward returned")
    if wrong:
        return Verdict("ERROR", message=wrong)
    error = distance({k: np.asarray(found[k], np.float64) for k in expected}, expected)
    if error <= limit:
        return None
    said = f"the outputs differ by {error:.2g} of the largest, more than {limit:.0e}; relevance is not judged"
    return Verdict("FORWARD", error=error, tolerance=limit, message=said)
