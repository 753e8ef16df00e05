"""The conformance suite: reflrp conforms, the vectors are what the generator gives, and every mutant is told apart."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from reflrp.cli.main import app
from reflrp.conformance import (
    Case,
    Deviation,
    Info,
    Profile,
    Report,
    Row,
    Unsupported,
    clauses,
    commands,
    judging,
    naming,
    run,
    running,
    select,
)
from reflrp.conformance.adapters import compiled, literal
from reflrp.conformance.adapters.reflrp import Adapter
from reflrp.conformance.cases import VECTORS, altered, index
from reflrp.conformance.generate import GROUPS, drafts_of
from reflrp.conformance.generate.draft import Draft
from reflrp.conformance.generate.write import Refused, files_of
from reflrp.conformance.judging import judge
from reflrp.conformance.literal.rules import NotServed
from reflrp.conformance.mutants import killers, survivors
from reflrp.conformance.page import page
from reflrp.conformance.plugin import parametrize_with_cases
from reflrp.conformance.readings import READINGS, Reading
from reflrp.conformance.render import html, junit, markdown
from reflrp.conformance.running import judge_one
from reflrp.conformance.searching import search
from reflrp.conformance.verdicts import judged
from reflrp.errors import InputError, ReflrpError

CHECKOUT = Path(__file__).parents[1]
ALL = select()


def verdicts(report: Report) -> set[str]:
    return {row.verdict for row in report.rows}


# ---------------------------------------------------------------- reflrp


@pytest.mark.parametrize("dtype", ["float64", "float32", "exact"])
def test_reflrp_conforms(dtype):
    """In fractions only what is rational; everything else in full."""
    report = run(Adapter(), dtype=dtype)
    left = {row.case for row in report.rows if row.verdict == "UNSUPPORTED"}
    assert not [str(row) for row in report.rows if not row.conforms and row.case not in left]
    assert left == ({case.id for case in ALL if not case.record["exact"]} if dtype == "exact" else set())


@pytest.mark.slow
def test_compiled_graphs_conform():
    report = run(compiled.Adapter(), dtype="float32")
    assert not [str(row) for row in report.rows if not row.conforms]


def test_reflrp_refuses_by_its_own_errors():
    for case in [c for c in ALL if c.expect == "reject"]:
        adapter = Adapter()
        with pytest.raises(ReflrpError):
            adapter.explain(adapter.load(case.model, "float64"), case.part("in"), case.part("seed"), case.rules)


# ---------------------------------------------------------------- the vectors


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.__name__.rpartition(".")[2])
def test_vectors_are_what_the_generator_gives(group):
    for draft in drafts_of(group):
        for name, data in files_of(draft).items():
            assert (VECTORS / draft.id / name).read_bytes() == data, f"{draft.id}/{name}: run `make vectors`"


def test_vectors_are_those_of_the_generator_alone():
    ids = [draft.id for group in GROUPS for draft in group.drafts()]
    folders = {str(path.parent.relative_to(VECTORS)) for path in VECTORS.rglob("case.json")}
    assert len(ids) == len(set(ids)) >= 400
    assert set(ids) == set(index()["cases"]) == folders
    assert not altered(ALL)
    assert sum(path.stat().st_size for path in VECTORS.rglob("*") if path.is_file()) < 10e6


def test_every_clause_has_vectors_and_a_mutant():
    tested = {clause for case in ALL for clause in case.clauses}
    assert tested == set(clauses())
    assert {r.clause for r in READINGS} | {"ARG-1", "COMP-2"} == set(clauses())
    assert {case.record["level"] for case in ALL} == {"C0", "C1", "C2", "C3", "C4"}


@pytest.mark.parametrize("name", ["case", "report", "profile"])
def test_schemas_hold(name, tmp_path):
    schema = json.loads((VECTORS.parents[1] / "schema" / f"{name}.schema.json").read_text("utf-8"))
    run(Adapter(), "epsilon/*").save(tmp_path / "report.json")
    records = {
        "case": [dict(case.record) for case in ALL],
        "report": [json.loads((tmp_path / "report.json").read_text("utf-8"))],
        "profile": [{"deviation": [{"case": "*", "verdict": "FAIL", "reason": "r", "url": "u", "until": "open"}]}, {}],
    }
    for record in records[name]:
        assert not list(wrong(record, schema, name))
    assert list(wrong({"colour": 1}, schema, name))


KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float), "null": type(None)}


def wrong(value, schema, place):
    """Yield what a value lacks of a schema: type, enum, required, properties, items."""
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", list(KINDS))
    if not any(isinstance(value, KINDS[k]) for k in kinds):
        yield f"{place} is no {kinds}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place} is {value!r}"
    if isinstance(value, dict):
        yield from (f"{place} lacks {key}" for key in schema.get("required", []) if key not in value)
        more = schema.get("additionalProperties", True)
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key, more)
            if inner is False:
                yield f"{place}.{key} is unknown"
            elif isinstance(inner, dict):
                yield from wrong(item, inner, f"{place}.{key}")
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            yield from wrong(item, schema["items"], f"{place}[{i}]")


def test_what_tells_nothing_apart_is_refused():
    draft = next(d for d in GROUPS[0].drafts() if d.id == "epsilon/epsilon_dense")
    with pytest.raises(Refused, match="tells none"):
        files_of(Draft(**{**vars(draft), "clauses": ("POOL-2",)}))


# ---------------------------------------------------------------- mutants


@pytest.mark.slow
def test_no_mutant_survives():
    assert not survivors()


def test_a_mutant_that_changes_nothing_would_survive():
    same = READINGS[0].__class__("EPS-1", "none", "deviation", "Nothing.", lambda oracle, specs: (oracle, specs))
    assert not list(killers(same, select("epsilon/zero*")))


def test_the_oracle_conforms_to_its_own_vectors():
    report = run(literal.Adapter(), ["epsilon/*", "graph/*", "max_pool/*", "softmax/*", "property/*"])
    assert verdicts(report) == {"PASS"}


# ---------------------------------------------------------------- verdicts


class Answers(Adapter):
    """reflrp with another answer: `change` has the relevance by name."""

    def __init__(self, change):
        self.change = change

    def explain(self, model, inputs, seed, rules):
        return self.change(dict(super().explain(model, inputs, seed, rules)))


def verdict(change, case="epsilon/epsilon_dense"):
    (row,) = run(Answers(change), case).rows
    return row


def raising(error):
    def change(found):
        raise error

    return change


def test_verdicts_on_broken_answers():
    assert verdict(lambda r: r).verdict == "PASS"
    assert verdict(lambda r: {"x": r["x"] + np.nan}).verdict == "ERROR"
    assert verdict(lambda r: {"x": r["x"][:, :2]}).verdict == "ERROR"
    assert verdict(lambda r: {"y": r["x"]}).verdict == "ERROR"
    assert verdict(lambda r: {"x": r["x"].astype(str)}).verdict == "ERROR"
    assert verdict(lambda r: {"x": np.ma.masked_array(r["x"], r["x"] > 0)}).verdict == "ERROR"
    assert verdict(lambda r: None).verdict == "ERROR"
    assert verdict(raising(KeyError("x"))).verdict == "ERROR"
    assert verdict(raising(Unsupported("no"))).verdict == "UNSUPPORTED"
    assert verdict(raising(SystemExit(0))).verdict == "ERROR", "a library that ends the process ends no run well"


@pytest.mark.parametrize("odd", [np.zeros(3), "zero", None, np.zeros((2, 4), complex), np.full((2, 4), np.nan)])
def test_an_inner_value_that_is_none_is_no_pass(odd):
    assert verdict(lambda r: {**r, "relu0_y": odd}, "composite/epsilon_mlp").verdict == "ERROR"


class Foreign(BaseException):
    """What a library may raise past `except Exception`."""


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error", [Foreign("x"), GeneratorExit(), StopIteration(), Speechless(), RecursionError()], ids=type
)
def test_no_error_of_a_library_ends_the_run(error):
    assert verdict(raising(error)).verdict == "ERROR"


class Raising(Adapter):
    """reflrp that raises in place of explaining, and may say that it refuses so."""

    def __init__(self, error, *refusals):
        self.error, self.refusals = error, refusals

    def describe(self):
        return replace(super().describe(), refusals=self.refusals)

    def explain(self, model, inputs, seed, rules):
        raise self.error


SLIPS = [AttributeError("'NoneType' has no"), TypeError("takes 2"), KeyError("relu0_y"), IndexError("out of range")]


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("no file"), ImportError("no torch"), NameError("x"), Foreign(), *SLIPS], ids=type
)
def test_a_library_that_breaks_down_refuses_nothing(error):
    """A slip of the adapter is none of its library's refusals either, unless these are said to look so."""
    assert verdicts(run(Raising(error), "reject/epsilon_on_relu")) == {"ERROR"}
    assert verdicts(run(Raising(error, ValueError), "reject/epsilon_on_relu")) == {"ERROR"}
    for refusal in (ValueError("no"), NotImplementedError("no"), RuntimeError("no"), AssertionError()):
        assert verdicts(run(Raising(refusal), "reject/epsilon_on_relu")) == {"REJECTED"}


@pytest.mark.parametrize("error", SLIPS, ids=type)
def test_a_library_may_say_by_what_it_refuses(error):
    named = Raising(error, type(error))
    assert verdicts(run(named, "reject/epsilon_on_relu")) == {"REJECTED"}
    assert verdicts(run(named, "epsilon/epsilon_dense")) == {"ERROR"}, (
        "where an answer is asked for it is one all the same"
    )


def test_a_slip_of_a_reading_is_not_hidden(monkeypatch):
    """A reading that cannot be held to a node says so by NotServed; all else is a fault of ours, and raised."""

    def slip(oracle, specs):
        raise TypeError("a slip of ours")

    reading = Reading("EPS-1", "slip", "variant", "Nothing.", slip)
    monkeypatch.setattr(naming, "PUBLISHED", (reading,))
    with pytest.raises(TypeError, match="a slip of ours"):
        run(Answers(lambda r: {"x": -3 * r["x"]}), "epsilon/epsilon_dense", combinations=True)
    monkeypatch.setattr(naming, "PUBLISHED", (replace(reading, change=not_served),))
    assert verdicts(run(Answers(lambda r: {"x": -3 * r["x"]}), "epsilon/epsilon_dense", combinations=True)) == {"FAIL"}


def not_served(oracle, specs):
    raise NotServed("of such a node the reading says nothing")


@pytest.mark.parametrize("outputs", [lambda y: None, lambda y: {}, lambda y: {k: v * np.nan for k, v in y.items()}])
def test_outputs_that_are_none_are_errors(outputs):
    class Broken(Adapter):
        def forward(self, model, inputs):
            return outputs(super().forward(model, inputs))

    assert verdicts(run(Broken(), "epsilon/epsilon_dense")) == {"ERROR"}


def test_adapters_that_write_into_what_they_get_change_no_verdict():
    class Writing(Adapter):
        def forward(self, model, inputs):
            found = super().forward(model, inputs)
            for array in inputs.values():
                array[...] = 0
            return found

        def explain(self, model, inputs, seed, rules):
            found = super().explain(model, inputs, seed, rules)
            for spec in rules:
                spec.params.clear()
            return found

    for _ in range(2):
        assert verdicts(run(Writing(), ["epsilon/epsilon_dense", "property/again*"])) == {"PASS"}


def test_a_run_that_judged_nothing_is_not_ok():
    class Elsewhere(Adapter):
        def forward(self, model, inputs):
            return {k: v + 1.0 for k, v in super().forward(model, inputs).items()}

    for adapter in (Elsewhere(), Answers(raising(Unsupported("no")))):
        report = run(adapter, "epsilon/epsilon_dense")
        assert not report.ok
        assert "nothing was judged" in str(report)


def test_fail_names_the_first_value_that_differs():
    def change(found):
        found["x"] = found["x"].copy()
        found["x"][1, 3] += 1.0
        return found

    row = verdict(change)
    assert (row.verdict, row.first_bad) == ("FAIL", "x[1, 3]")
    assert "expected" in row.message
    assert row.variant
    assert row.fails


def test_inner_values_count_where_they_are_offered():
    inner = verdict(lambda r: {**r, "relu0_y": r["relu0_y"] + 1.0}, "composite/epsilon_mlp")
    assert inner.verdict == "FAIL"
    assert inner.first_bad.startswith("relu0_y[")
    assert verdict(lambda r: {"x": r["x"]}, "composite/epsilon_mlp").verdict == "PASS"


def test_each_variant_is_named():
    """What a vector carries as another reading gets that reading's name."""
    for case in ALL[::5]:
        for tag, about in case.variants.items():
            found = judged(case, "float32", case.part(f"variant/{tag}"))
            assert found.verdict == {"variant": "VARIANT", "deviation": "DEVIATES"}[about["status"]]
            assert found.variant == tag


def test_another_forward_pass_is_not_judged():
    class Wrong(Adapter):
        def forward(self, model, inputs):
            return {k: v + 1.0 for k, v in super().forward(model, inputs).items()}

    assert verdicts(run(Wrong(), "epsilon/epsilon_d*")) == {"FORWARD"}


def test_one_forward_pass_that_differs_fails_the_run():
    """Another network was explained, so nothing of the case is known: no run is a good one with it, unless declared."""

    class Off(Adapter):
        def load(self, model, dtype):
            self.off = model.parent.name == "epsilon_dense"
            return super().load(model, dtype)

        def forward(self, model, inputs):
            return {k: v + self.off for k, v in super().forward(model, inputs).items()}

    cases = ["epsilon/epsilon_dense", "epsilon/epsilon_conv1d"]
    report = run(Off(), cases)
    assert [row.verdict for row in report.rows] == ["PASS", "FORWARD"]
    assert not report.ok
    assert "epsilon/epsilon_dense: FORWARD the outputs differ by" in str(report)
    assert 'failures="1" skipped="0"' in junit([report])
    assert report.clauses()["EPS-1"] == "inconclusive"
    declared = run(Off(), cases, profile=profile(verdict="FORWARD"))
    assert declared.ok
    assert 'failures="0" skipped="1"' in junit([declared])
    (check,) = parametrize_with_cases(Off(), cases[0]).args[1]
    with pytest.raises(pytest.fail.Exception, match="FORWARD"):
        check()


def test_what_a_library_lacks_is_not_tried():
    class Lacking(Adapter):
        def describe(self):
            info = super().describe()
            return type(info)("lacking", "0", frozenset({"epsilon"}), frozenset({"Gemm"}), ("float64",))

    report = run(Lacking(), ["epsilon/epsilon_conv1d", "epsilon/epsilon_dense", "flat/flat_dense"])
    assert {row.case: row.verdict for row in report.rows} == {
        "epsilon/epsilon_conv1d": "UNSUPPORTED",
        "epsilon/epsilon_dense": "PASS",
        "flat/flat_dense": "UNSUPPORTED",
    }
    assert verdicts(run(Lacking(), "epsilon/epsilon_dense", "float32")) == {"UNSUPPORTED"}


def test_properties_are_told_apart():
    class Mixed(Adapter):
        def explain(self, model, inputs, seed, rules):
            found = super().explain(model, inputs, seed, rules)
            return {k: v + v.mean(axis=0, keepdims=True) for k, v in found.items()}

    assert verdicts(run(Mixed(), "property/batch*")) == {"FAIL"}

    class Overwriting(Adapter):
        def explain(self, model, inputs, seed, rules):
            found = super().explain(model, inputs, seed, rules)
            for array in inputs.values():
                array += 1.0
            return found

    assert verdicts(run(Overwriting(), "property/again*")) == {"FAIL"}


def test_a_library_that_answers_in_one_buffer_is_no_less_judged():
    """Its answers are copied: else the second would stand in for the first, and any two would be the same."""

    class Reusing(Adapter):
        def __init__(self):
            self.calls, self.buffers = 0, {}

        def explain(self, model, inputs, seed, rules):
            self.calls += 1
            for key, found in super().explain(model, inputs, seed, rules).items():
                buffer = self.buffers.setdefault((key, found.shape), np.empty(found.shape))
                buffer[...] = self.calls * found
            return {key: b for (key, shape), b in self.buffers.items() if shape == inputs.get(key, b).shape}

    assert verdicts(run(Reusing(), ["property/again*", "property/linear*"])) == {"FAIL"}


@pytest.mark.parametrize("odd", [None, "reflrp", object(), Adapter])
def test_what_is_no_adapter_is_refused(odd):
    for held in (run, parametrize_with_cases):
        with pytest.raises(InputError, match="is no adapter"):
            held(odd, "epsilon/epsilon_dense")


def test_what_an_adapter_says_of_itself_is_checked():
    class Says(Adapter):
        def __init__(self, describe):
            self.describe = describe

    for wrong in (lambda: None, lambda: {"name": "x"}, raising(OSError("q")), raising(SystemExit(0))):
        with pytest.raises(InputError, match="describe"):
            run(Says(lambda w=wrong: w() if w.__code__.co_argcount == 0 else w(None)), "epsilon/epsilon_dense")
    odd = [{"refusals": ValueError}, {"refusals": [3]}, {"refusals": [Exception]}, {"refusals": [KeyboardInterrupt]}]
    for fields in ({"dtypes": None}, {"rules": 3}, {"ops": [1]}, {"name": None}, {"version": 1.0}, *odd):
        with pytest.raises(InputError, match=next(iter(fields))):
            Info(**{"name": "l", "version": "1", **fields})
    info = Info("l", "1", rules=["epsilon"], ops=["Relu"], dtypes="float64")
    assert (info.rules, info.ops, info.dtypes) == ({"epsilon"}, {"Relu"}, ("float64",))
    assert verdicts(run(Says(lambda: info), "epsilon/epsilon_dense")) == {"UNSUPPORTED"}


# ---------------------------------------------------------------- profiles, reports, files


def profile(**fields):
    base = {"case": "epsilon/epsilon_dense", "verdict": "ERROR", "reason": "why", "url": "u", "until": "open"}
    return Profile((Deviation(**{**base, **fields}),))


def test_profiles_declare_and_expire():
    broken = Answers(raising(ValueError("broken")))
    assert not run(broken, "epsilon/epsilon_dense").ok
    assert run(broken, "epsilon/epsilon_dense", profile=profile()).ok
    late = run(Adapter(), "epsilon/epsilon_dense", profile=profile())
    assert not late.ok
    assert verdicts(late) == {"XPASS"}
    other = run(broken, "epsilon/epsilon_dense", profile=profile(verdict="FAIL"))
    assert verdicts(other) == {"XPASS"}
    with pytest.raises(InputError, match="matches none"):
        run(broken, "epsilon/epsilon_dense", profile=profile(case="nothing/*"))


@pytest.mark.parametrize("text", ["[[deviation]]\ncase = 'a'", "x = 1", "[[deviation", "deviation = 3"])
def test_profiles_are_read_strictly(text, tmp_path):
    (tmp_path / "p.toml").write_text(text, "utf-8")
    with pytest.raises(InputError):
        Profile.load(tmp_path / "p.toml")


def test_reports_are_saved_and_rendered(tmp_path):
    report = run(Answers(lambda r: {"x": -r["x"]}), ["epsilon/epsilon_dense", "relu/pass"])
    report.save(tmp_path / "r.json")
    again = Report.load(tmp_path / "r.json")
    assert again.rows[0].word == report.rows[0].word
    assert "deviates" in html([again])
    assert "| EPS-1 | ✗ |" in markdown([again])
    assert '<failure message="' in junit([again])
    (tmp_path / "r.json").write_text("{}", "utf-8")
    with pytest.raises(InputError):
        Report.load(tmp_path / "r.json")


def test_reports_are_read_strictly(tmp_path):
    run(Adapter(), "epsilon/epsilon_dense").save(tmp_path / "r.json")
    good = json.loads((tmp_path / "r.json").read_text("utf-8"))
    rows = [{"verdict": "GREAT"}, {"seconds": "x"}, {"error": "a"}, {"clauses": [3]}, {"message": None}, {"case": 1}]
    for wrong in [*({"rows": [{**good["rows"][0], **row}]} for row in rows), {"library": 3}, {"rows": None}]:
        (tmp_path / "r.json").write_text(json.dumps({**good, **wrong}), "utf-8")
        with pytest.raises(InputError, match="is no report"):
            Report.load(tmp_path / "r.json")


def test_a_clause_conforms_only_if_all_of_its_cases_do():
    rows = (Row("a", ("EPS-1",), "PASS"), Row("b", ("EPS-1",), "FAIL"), Row("c", ("EPS-2",), "UNSUPPORTED"))
    report = Report("l", "1", "float64", "s", "i", rows)
    assert report.clauses() == {"EPS-1": "deviates", "EPS-2": "unsupported"}


def test_a_clause_answers_for_its_own_deviations_alone():
    both, third = ("EPS-1", "EPS-2"), ("EPS-1", "EPS-2", "STAB-1")
    passed, failed = Row("a", ("EPS-1", "STAB-1"), "PASS"), Row("b", both, "FAIL")

    def states(*rows):
        return Report("l", "1", "float64", "s", "i", rows).clauses()

    assert states(passed, failed) == {"EPS-1": "conforms", "STAB-1": "conforms", "EPS-2": "deviates"}
    named = Row("c", third, "DEVIATES", "bias spread")
    assert states(passed, named) == {"EPS-1": "conforms", "STAB-1": "conforms", "EPS-2": "deviates"}
    cleared = Row("d", ("EPS-2",), "PASS")
    assert states(passed, cleared, failed) == {"EPS-1": "inconclusive", "STAB-1": "conforms", "EPS-2": "inconclusive"}
    assert states(failed) == {"EPS-1": "deviates", "EPS-2": "deviates"}, "nothing clears either"
    assert states(passed, cleared, failed, named)["EPS-1"] == "conforms", "EPS-2 accounts for what failed"
    plain = Row("e", ("EPS-1", "STAB-3"), "VARIANT", "form=plain")
    assert states(plain) == {"EPS-1": "conforms", "STAB-3": "variant"}
    assert states(Row("f", both, "ERROR", message="x holds a NaN"), passed)["EPS-1"] == "conforms"
    assert states(Row("g", both, "NOT_REJECTED")) == {"EPS-1": "deviates", "EPS-2": "inconclusive"}
    raised = Row("h", ("STAB-1",), "ERROR", message="TypeError: no")
    assert states(raised) == {"STAB-1": "inconclusive"}
    assert states(passed, raised)["STAB-1"] == "conforms"
    assert states(Row("i", ("STAB-1", "RATIO-1"), "ERROR", message="TypeError: no"))["RATIO-1"] == "deviates"
    elsewhere = Row("j", ("EPS-1", "STAB-3"), "DEVIATES", "form=plain + bias spread")
    assert states(passed, elsewhere) == {"EPS-1": "conforms", "STAB-1": "conforms", "STAB-3": "variant"}


def test_a_mutant_speaks_against_its_clause_alone():
    """By name, though each case tests several clauses."""
    several = ["epsilon/epsilon_dense", "epsilon/epsilon_conv1d", "epsilon/epsilon_conv2d_pad"]
    for tag, clause in (
        ("bias spread", "EPS-2"),
        ("towards 0", "STAB-1"),
        ("absolute", "EPS-1"),
        ("kernel mirrored", "LAYER-1"),
    ):
        reading = next(r for r in READINGS if (r.clause, r.tag) == (clause, tag))
        found = run(literal.Adapter(reading), several).clauses()
        assert [c for c, state in found.items() if state == "deviates"] == [clause]


def test_files_of_other_languages_are_judged(tmp_path):
    wanted = ["epsilon/epsilon_dense", "epsilon/epsilon_conv1d", "epsilon/epsilon_0_dense", "reject/alpha_nearly"]
    case: Case
    for case in select(wanted[:1]):
        (tmp_path / "epsilon").mkdir()
        arrays = {f"relevance/{k}": v for k, v in case.part("expected").items()}
        np.savez(tmp_path / f"{case.id}.npz", **arrays, **{f"out/{k}": v for k, v in case.part("out").items()})
    (tmp_path / "epsilon/epsilon_conv1d.txt").write_text("unsupported: no convolutions", "utf-8")
    (tmp_path / "reject").mkdir()
    (tmp_path / "reject/alpha_nearly.txt").write_text("rejected: alpha", "utf-8")
    found = {row.case: row.verdict for row in judge(tmp_path, wanted).rows}
    assert found == dict(zip(wanted, ["PASS", "UNSUPPORTED", "UNSUPPORTED", "REJECTED"], strict=True))
    with pytest.raises(InputError):
        judge(tmp_path / "nowhere")


def test_half_a_file_is_no_refusal(tmp_path):
    """An answer that cannot be read is an error, also where the library should have refused."""
    (tmp_path / "reject").mkdir()
    for content in (b"", b"PK damaged", b"\x93NUMPY"):
        (tmp_path / "reject/alpha_nearly.npz").write_bytes(content)
        assert verdicts(judge(tmp_path, "reject/alpha_nearly")) == {"ERROR"}


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("rejected: UnboundLocalError: cannot access local variable 'rule'", "ERROR"),
        ("rejected: KeyError: 'relu0_y'", "ERROR"),
        ("rejected: ValueError: alpha", "REJECTED"),
        ("rejected: DimensionMismatch: 2 and 3", "REJECTED"),
        ("rejected: print: no", "REJECTED"),
        ("rejected", "REJECTED"),
        ("unsupported: TypeError: no", "UNSUPPORTED"),
    ],
)
def test_a_text_that_names_a_breakdown_is_no_refusal(text, verdict, tmp_path):
    (tmp_path / "reject").mkdir()
    (tmp_path / "reject/alpha_nearly.txt").write_text(text, "utf-8")
    assert verdicts(judge(tmp_path, "reject/alpha_nearly")) == {verdict}


def test_the_answer_to_another_case_is_none(tmp_path):
    one, other = select(["epsilon/epsilon_dense", "epsilon/epsilon_0_dense"])
    (tmp_path / "epsilon").mkdir()
    arrays = {f"relevance/{k}": v for k, v in other.part("expected").items()}
    np.savez(tmp_path / f"{one.id}.npz", **arrays, **{f"out/{k}": v for k, v in other.part("out").items()})
    assert not judge(tmp_path, one.id).ok
    np.savez(tmp_path / f"{one.id}.npz", **arrays)
    assert verdicts(judge(tmp_path, one.id)) == {"ERROR"}


def test_profiles_declare_what_a_run_can_say():
    for word in ("PASS", "ERORR", "", "DEVIATES bias=full"):
        with pytest.raises(InputError, match="can be declared"):
            Deviation("epsilon/*", word, "why", "https://example.org", "open")
    with pytest.raises(InputError, match="reason"):
        Deviation("epsilon/*", "FAIL", None, "https://example.org", "open")


def test_altered_vectors_judge_nobody(tmp_path):
    (source,) = select("epsilon/epsilon_dense")
    folder = tmp_path / source.id
    folder.mkdir(parents=True)
    for file in source.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    sums = {"suite_version": "t", "cases": {source.id: index()["cases"][source.id]}}
    (tmp_path / "index.json").write_text(json.dumps(sums), "utf-8")
    assert run(Adapter(), vectors=tmp_path).ok
    (folder / "case.json").write_text(json.dumps({**source.record, "comment": "another"}), "utf-8")
    with pytest.raises(InputError, match="not the file that index"):
        run(Adapter(), vectors=tmp_path)


@pytest.mark.parametrize("harm", ["list", "no cases", "no sums", "no version", "no data", "no fields"])
def test_broken_vectors_are_refused(harm, tmp_path):
    (source,) = select("epsilon/epsilon_dense")
    folder = tmp_path / source.id
    folder.mkdir(parents=True)
    for file in source.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    whole = {"suite_version": "t", "cases": {source.id: index()["cases"][source.id]}}
    wrong = {"list": [], "no cases": {"suite_version": "t"}, "no version": {"cases": whole["cases"]}}
    wrong["no sums"] = {"suite_version": "t", "cases": {source.id: {}}}
    (tmp_path / "index.json").write_text(json.dumps(wrong.get(harm, whole)), "utf-8")
    if harm == "no data":
        (folder / "data.npz").unlink()
    if harm == "no fields":
        (folder / "case.json").write_text("{}", "utf-8")
    with pytest.raises(InputError):
        run(Adapter(), vectors=tmp_path)


def test_nothing_is_not_conform(tmp_path):
    """No case, no file of a case, and no profile where one was named are errors, and not a run in which nothing fails."""
    with pytest.raises(InputError, match="nothing would be judged"):
        run(Adapter(), [])
    with pytest.raises(InputError, match="holds none of the cases"):
        judge(tmp_path)
    with pytest.raises(InputError):
        run(Adapter(), "epsilon/epsilon_dense", profile="")
    with pytest.raises(InputError, match="Deviation"):
        Profile((1,))
    with pytest.raises(InputError, match="matches none"):
        parametrize_with_cases(Adapter(), "epsilon/epsilon_dense", profile=profile(case="nothing/*"))
    (tmp_path / "epsilon").mkdir()
    (tmp_path / "epsilon/epsilon_dense.npz").write_bytes(b"PK damaged")
    assert verdicts(judge(tmp_path, "epsilon/epsilon_dense")) == {"ERROR"}


def test_globs_that_match_nothing_are_errors():
    with pytest.raises(InputError, match="matches no case"):
        run(Adapter(), "epsilon/nothing*")
    with pytest.raises(InputError):
        run(Adapter(), dtype="float16")


def test_a_place_that_cannot_be_written_is_found_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "run", lambda *given: pytest.fail("it ran"))
    monkeypatch.setattr(judging, "judge", lambda *given: pytest.fail("it ran"))
    bad, worse = tmp_path / "none" / "report.json", tmp_path / "none" / "report.md"
    with pytest.raises(InputError, match="none does not exist"):
        commands.run("reflrp.conformance.adapters.reflrp:Adapter", out=bad)
    with pytest.raises(InputError, match="none does not exist"):
        commands.judge(tmp_path, out=bad)
    with pytest.raises(InputError, match="none does not exist"):
        commands.report([], out=worse)


OURS = "--adapter=reflrp.conformance.adapters.reflrp:Adapter"
EXITS = {
    "nothing fails": (f"run {OURS} --cases=epsilon/epsilon_dense -o new.json", 0, "1 PASS"),
    "something fails": ("judge half --cases=epsilon/epsilon_dense", 1, "1 ERROR"),
    "nothing is judged": ("judge half --cases=epsilon/epsilon_dense --dtype=exact", 1, "nothing was judged"),
    "no adapter": ("run --adapter nope", 2, "MODULE:CLASS"),
    "no module": ("run --adapter nope:Adapter", 2, "cannot be made"),
    "no class": (f"run {OURS}s", 2, "cannot be made"),
    "a class that is none": ("run --adapter pathlib:Path", 2, "has no describe"),
    "no option": ("run", 2, "--adapter"),
    "no command": ("", 2, "Missing command"),
    "unknown command": ("ran", 2, "ran"),
    "unknown option": (f"run {OURS} --case a", 2, "--case"),
    "no case": (f"run {OURS} --cases nope", 2, "matches no case"),
    "unknown dtype": (f"run {OURS} --dtype float16", 2, "--dtype"),
    "another format": (f"run {OURS} -o new.html", 2, "conformance report"),
    "no folder": (f"run {OURS} -o none/new.json", 1, "none does not exist"),
    "no profile": (f"run {OURS} --profile no.toml", 1, "no.toml"),
    "over the profile": (f"run {OURS} --profile r.json -o r.json", 2, "is read"),
    "no results": ("judge nowhere", 1, "nowhere is no folder"),
    "results of nothing": ("judge .", 1, "none of the cases"),
    "judge: no case": ("judge half --cases nope", 2, "matches no case"),
    "judge: unknown dtype": ("judge half --dtype float16", 2, "--dtype"),
    "judge: another format": ("judge half -o new.md", 2, ".json"),
    "no report": ("report no.json", 1, "no.json"),
    "report: nothing": ("report", 2, "REPORT"),
    "report: unknown format": ("report r.json --format pdf", 2, "'markdown', 'html' or 'junit'"),
    "report: unknown ending": ("report r.json -o new.foo", 2, ".md (markdown), .markdown (markdown), .html (html)"),
    "report: no ending": ("report r.json --format html -o new", 2, ".xml (junit)"),
    "report: two formats": ("report r.json --format html -o new.md", 2, "markdown"),
    "report: over itself": ("report r.md -o r.md", 2, "is read"),
    "list: no case": ("list --cases nope", 2, "matches no case"),
    "list: no clause": ("list --cases epsilon/* --clause ZZ-1", 2, "ZZ-1"),
    "explain: no case": ("explain nope", 2, "matches no case"),
}


@pytest.mark.parametrize("case", EXITS)
def test_exit_codes_of_the_command(case, tmp_path, monkeypatch):
    """0 nothing fails, 1 something does or a file cannot be read or written, 2 wrong usage; nothing is written but after work."""
    monkeypatch.chdir(tmp_path)
    run(Adapter(), "epsilon/epsilon_dense").save("r.json")
    Path("r.md").write_bytes(Path("r.json").read_bytes())
    Path("half/epsilon").mkdir(parents=True)
    Path("half/epsilon/epsilon_dense.npz").write_bytes(b"PK damaged")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    words, code, said = EXITS[case]
    done = CliRunner().invoke(app, ["conformance", *words.split()])
    assert isinstance(done.exception, SystemExit | None), repr(done.exception)
    assert done.exit_code == code, done.output
    assert said in done.output
    if code:
        assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("name", "begins"), [("a.md", "# "), ("a.HTML", "<!doctype"), ("a.htm", "<!doctype"), ("a.xml", "<?xml")]
)
def test_a_report_is_written_as_its_name_ends(name, begins, tmp_path):
    run(Adapter(), "epsilon/epsilon_dense").save(tmp_path / "r.json")
    commands.report([tmp_path / "r.json"], out=tmp_path / name)
    assert (tmp_path / name).read_text("utf-8").startswith(begins)


@parametrize_with_cases(Adapter(), "graph/residual*")
def test_cases_are_tests(check):
    check()


# ---------------------------------------------------------------- searching, the page


def test_search_finds_nothing_in_reflrp():
    assert search(Adapter(), examples=60) == 60


def test_search_shrinks_what_it_finds():
    reading = next(r for r in READINGS if r.tag == "sgn 0 = -1" and r.clause == "STAB-1")
    with pytest.raises(AssertionError) as found:
        search(literal.Adapter(reading), examples=200)
    assert len(re.findall(r" = Gemm\(", str(found.value))) == 1, "one layer is enough"


def test_search_shrinks_what_raises():
    with pytest.raises(AssertionError, match="it raises KeyError: 'x'"):
        search(Answers(raising(KeyError("x"))), examples=5)


def test_the_numbers_of_the_guide_are_those_of_the_vectors():
    said = " ".join((CHECKOUT / "docs" / "conformance.md").read_text("utf-8").split())
    rational = sum(case.expect == "match" and case.record["exact"] for case in ALL)
    for number in (f"{len(ALL)} small networks", f"rational ({rational} cases)", f"{len(READINGS)} of them"):
        assert number in said, number


def test_the_page_is_up_to_date():
    assert (CHECKOUT / "docs" / "spec.md").read_text("utf-8") == page(), "run `make spec`"


def test_judging_one_case_never_raises():
    """Whatever the library does is a verdict."""

    class Odd(Adapter):
        def load(self, model, dtype):
            raise SystemError("odd")

    (case,) = select("epsilon/epsilon_dense")
    assert judge_one(case, Odd(), Odd().describe(), "float64").verdict == "ERROR"
