"""Each dialect's adapter is its library's report case by case, but for differences that are named."""

from dataclasses import replace
from pathlib import Path

import pytest

from reflrp.conformance.dialects import (
    DIALECTS as ALL,
)
from reflrp.conformance.dialects import (
    FOLDER,
    Difference,
    Pair,
    adapter_of,
    counted,
    differences,
    pairs,
    reason,
    report,
)
from reflrp.conformance.report import Report, Row

REPORTS = Path(__file__).parents[1] / "conformance" / "reports"
DIALECTS = [dialect for dialect in ALL if (REPORTS / f"{dialect}.json").is_file()]
THEIRS = {dialect: Report.load(REPORTS / f"{dialect}.json") for dialect in DIALECTS}
OURS = {dialect: Report.load(REPORTS / FOLDER / f"{dialect}.json") for dialect in DIALECTS}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_stored_report_is_what_the_dialect_gives(dialect):
    now = report(THEIRS[dialect], adapter_of(dialect))
    assert [(row.case, row.word) for row in now.rows] == [(row.case, row.word) for row in OURS[dialect].rows]
    for new, old in zip(now.rows, OURS[dialect].rows, strict=True):
        assert new.error == pytest.approx(old.error, rel=0.02, nan_ok=True), new.case


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dialect_is_its_library_case_by_case(dialect):
    found = pairs(THEIRS[dialect], OURS[dialect])
    wrong = [p for p in found if not p.same and not reason(dialect, p, differences())]
    assert not wrong, [(p.theirs.case, p.theirs.word, p.ours.word) for p in wrong]
    assert counted(dialect, found, differences())["same"] > 50


def test_every_difference_is_there():
    for known in differences():
        for dialect in THEIRS.keys() & set(known.dialects):
            found = [p for p in pairs(THEIRS[dialect], OURS[dialect]) if not p.same]
            assert any(known.names(dialect, p.theirs, p.ours) for p in found), (dialect, known)


def test_a_difference_names_what_it_says_and_nothing_else():
    known = Difference(("zennit",), ("a/*",), "ERROR", "PASS", "why")
    one, other = Row("a/b", ("EPS-1",), "ERROR"), Row("a/b", ("EPS-1",), "PASS")
    assert reason("zennit", Pair(one, other), [known]) == "why"
    assert reason("lxt", Pair(one, other), [known]) == ""
    assert reason("zennit", Pair(other, one), [known]) == ""
    assert counted("lxt", [Pair(one, other), Pair(other, other)], [known]) == {"unnamed": 1, "same": 1}


def test_answers_without_a_name_are_the_same_only_with_the_same_error():
    one = Row("a/b", ("EPS-1",), "FAIL", error=0.5)
    assert Pair(one, one).same
    assert not Pair(one, replace(one, error=0.6)).same
    assert not Pair(replace(one, verdict="DEVIATES", variant="bias=full"), replace(one, verdict="DEVIATES")).same
