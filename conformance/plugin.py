"""For pytest: every case as a test of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reflrp.conformance.profiles import Profile
from reflrp.conformance.protocol import Adapter
from reflrp.conformance.running import asked, judge_one, row_of


def parametrize_with_cases(
    adapter: Adapter,
    cases: str | Sequence[str] = "*",
    dtype: str = "float64",
    profile: Profile | str | Path | None = None,
) -> Callable[[Any], Any]:
    """Return a decorator that calls a test once for each case, with a function `check` that raises where it fails.

    Examples
    --------
    >>> from reflrp.conformance.plugin import parametrize_with_cases
    >>> @parametrize_with_cases(MyAdapter(), "epsilon/*")  # doctest: +SKIP
    ... def test_conformance(check):
    ...     check()

    """
    import pytest

    chosen, info, declared = asked(adapter, cases, dtype, profile)

    def check_of(case: Any) -> Callable[[], None]:
        def check() -> None:
            row = row_of(case, judge_one(case, adapter, info, dtype))
            (row,) = Profile(tuple(d for d in declared.deviations if d.matches(case.id))).applied((row,))
            if row.verdict == "UNSUPPORTED":
                pytest.skip(f"{row.verdict}: {row.message}")
            if row.fails:
                pytest.fail(f"{case.id}: {row.word} {row.message}", pytrace=False)

        return check

    return pytest.mark.parametrize("check", [check_of(case) for case in chosen], ids=[case.id for case in chosen])
