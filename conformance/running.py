"""The runner: cases, an adapter, a verdict for each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from reflrp.conformance import verdicts
from reflrp.conformance.cases import VECTORS, Case, altered, index, select
from reflrp.conformance.naming import Kept, named
from reflrp.conformance.profiles import Profile
from reflrp.conformance.properties import PROPERTIES
from reflrp.conformance.protocol import METHODS, Adapter, Info, Unsupported
from reflrp.conformance.report import Report, Row
from reflrp.conformance.verdicts import Verdict
from reflrp.errors import InputError
from reflrp.ground import checks

DTYPES = ("float64", "float32", "exact")


BREAKDOWNS = (AttributeError, ImportError, LookupError, MemoryError, NameError, OSError, RecursionError, TypeError)
"""Errors that refuse nothing, unless `Info.refusals` has them: something is missing, unreadable, too large, or a slip."""


def run(
    adapter: Adapter,
    cases: str | Sequence[str] = "*",
    dtype: str = "float64",
    profile: Profile | str | Path | None = None,
    vectors: str | Path | None = None,
    combinations: bool = False,
) -> Report:
    """Hold a library against the vectors.

    Parameters
    ----------
    adapter : Adapter
        What stands between the runner and the library.
    cases : str or sequence of str
        Globs over the cases' ids, as "alpha_beta/*".
    dtype : str
        "float64", "float32", or "exact" for libraries that compute in fractions.
    profile : Profile or path, optional
        Declared deviations; those that are no longer true fail the run.
    vectors : path, optional
        Another folder of vectors than the one that ships.
    combinations : bool
        Name a FAIL by the published readings that give it together, up to three; takes seconds for each, of large graphs a minute.

    Returns
    -------
    Report
        With a row for each case.

    Raises
    ------
    InputError
        For what is no adapter, a glob that matches no case, a file of a case that is not what the index says, an unknown dtype, or
        a profile that cannot be read or names none of the cases. What the library itself raises in a case is its verdict.

    Examples
    --------
    >>> from reflrp.conformance import run
    >>> from reflrp.conformance.adapters.reflrp import Adapter
    >>> print(run(Adapter(), "epsilon/*"))  # doctest: +SKIP

    """
    checks.flag("combinations", combinations)
    root = VECTORS if vectors is None else checks.path("vectors", vectors)
    chosen, info, declared = asked(adapter, cases, dtype, profile, root)
    rows = tuple(_row(case, adapter, info, dtype, combinations) for case in chosen)
    about = index(root)
    sha = hashlib.sha256((root / "index.json").read_bytes()).hexdigest()
    return Report(info.name, info.version, dtype, about["suite_version"], sha, declared.applied(rows))


def asked(
    adapter: Adapter, cases: str | Sequence[str], dtype: str, profile: Profile | str | Path | None, root: Path = VECTORS
) -> tuple[list[Case], Info, Profile]:
    """Return the cases, who is judged, and what it declares, each checked before anything is judged."""
    checks.choice("dtype", dtype, DTYPES)
    chosen = select(cases, root)
    changed = altered(chosen, root)
    if changed:
        raise InputError(f"{changed[0]} is not the file that index.json names; get the vectors anew")
    declared = Profile.of(profile)
    declared.check([case.id for case in chosen])
    return chosen, described(adapter), declared


def described(adapter: Adapter) -> Info:
    """Return what an adapter says of its library. Raises InputError for what is no adapter, and for what is no `Info`."""
    missing = [n for n in METHODS if isinstance(adapter, type) or not callable(getattr(adapter, n, None))]
    if missing:
        raise InputError(f"{checks.shown(adapter)} is no adapter: an object with the methods {', '.join(missing)}")
    try:
        info = adapter.describe()
    except (Exception, SystemExit) as error:
        raise InputError(f"the adapter's describe() raised {type(error).__name__}: {error}") from error
    if not isinstance(info, Info):
        raise InputError(f"the adapter's describe() returned {checks.shown(info)}, and not an Info")
    return info


def _row(case: Case, adapter: Adapter, info: Info, dtype: str, combinations: bool) -> Row:
    """Return the row of one case, with the time that it took."""
    start, kept = perf_counter(), Kept(adapter)
    found = judge_one(case, kept, info, dtype)
    seconds = round(perf_counter() - start, 4)
    return row_of(case, named(case, kept.answer, found, info.name) if combinations else found, seconds)


def row_of(case: Case, found: Verdict, seconds: float = 0.0) -> Row:
    """Return a verdict as a row of a report."""
    return Row(
        case.id,
        case.clauses,
        found.verdict,
        found.variant,
        found.error,
        found.tolerance,
        found.first_bad,
        found.message,
        "",
        seconds,
    )


def judge_one(case: Case, adapter: Adapter, info: Info, dtype: str) -> Verdict:
    """Return the verdict of one case; whatever the library raises is one too."""
    lacking = _lacking(case, info, dtype)
    if lacking:
        return Verdict("UNSUPPORTED", message=lacking)
    try:
        return JUDGES[case.expect](case, adapter, info, dtype)
    except KeyboardInterrupt:
        raise
    except Unsupported as error:
        return Verdict("UNSUPPORTED", message=_said(error))
    except BaseException as error:  # a library that ends the process would end the run, as if all were well
        return Verdict("ERROR", message=f"{type(error).__name__}: {_said(error)}")


def _said(error: BaseException) -> str:
    """Return an error's text, also of one that has none to give."""
    try:
        return str(error)
    except Exception:
        return "an error without a text"


def _lacking(case: Case, info: Info, dtype: str) -> str:
    """Return what the library says that it does not have, or ""."""
    if dtype not in info.dtypes:
        return f"no {dtype}"
    if dtype == "exact" and not case.record["exact"]:
        return "not rational: there is no exact answer"
    rules = {spec.rule for spec in case.rules} - (
        info.rules if info.rules is not None else {s.rule for s in case.rules}
    )
    ops = set(case.record["requires"]["ops"]) - (
        info.ops if info.ops is not None else set(case.record["requires"]["ops"])
    )
    return f"no {', '.join(sorted(rules | ops))}" if rules | ops else ""


def _match(case: Case, adapter: Adapter, info: Info, dtype: str) -> Verdict:
    """Relevance is compared, where the forward pass agrees."""
    model = adapter.load(case.model, dtype)
    differs = verdicts.forward(case, dtype, adapter.forward(model, case.part("in")))
    return differs or verdicts.judged(
        case, dtype, adapter.explain(model, case.part("in"), case.part("seed"), case.rules)
    )


def _reject(case: Case, adapter: Adapter, info: Info, dtype: str) -> Verdict:
    """The model or the rule must be refused, by an error that the library names, or any but those of one that broke down."""
    try:
        model = adapter.load(case.model, dtype)
        adapter.explain(model, case.part("in"), case.part("seed"), case.rules)
    except Unsupported:
        raise
    except Exception as error:
        if isinstance(error, BREAKDOWNS) and not isinstance(error, info.refusals):
            raise
        return Verdict("REJECTED", message=f"{type(error).__name__}: {_said(error)}")
    return Verdict("NOT_REJECTED", message=f"an answer came back, though: {case.record['comment']}")


def _property(case: Case, adapter: Adapter, info: Info, dtype: str) -> Verdict:
    """The library's answers are compared with one another."""
    model = adapter.load(case.model, dtype)
    differs = verdicts.forward(case, dtype, adapter.forward(model, case.part("in")))
    if differs:
        return differs
    tolerance = case.tolerance(dtype)
    error, message = PROPERTIES[case.record["property"]](case, adapter, model)
    word = "PASS" if error <= tolerance else "FAIL"
    return Verdict(
        word, "", error, tolerance, "" if word == "PASS" else case.record["property"], "" if word == "PASS" else message
    )


JUDGES: dict[str, Callable[[Case, Any, Info, str], Verdict]] = {
    "match": _match,
    "reject": _reject,
    "property": _property,
}
"""How a case is judged, by what it expects."""
