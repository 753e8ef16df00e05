"""What the tests in JavaScript read is written: `make web` runs it in node and in Chromium."""

import json

from web import write


def test_the_cases_are_written(tmp_path):
    write.main(tmp_path)
    cases = json.loads((tmp_path / "cases.json").read_text(encoding="utf-8"))
    assert {case["name"] for case in cases} == {*write.RULES, "target", "guard", "steps", "words"}
    assert all((tmp_path / case["file"]).stat().st_size and case["runs"] for case in cases)
