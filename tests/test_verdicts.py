"""The verdicts on other libraries: answers of several readings together are named, and the page is what the reports say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reflrp.conformance import Row, run
from reflrp.conformance.adapters.literal import Adapter
from reflrp.conformance.cases import VECTORS, index, load_case
from reflrp.conformance.libraries import LIBRARIES as JUDGED
from reflrp.conformance.libraries import PROFILES, WRITTEN, written
from reflrp.conformance.naming import explained
from reflrp.conformance.profiles import Profile
from reflrp.conformance.readings import PUBLISHED
from reflrp.conformance.readings.keras import KERAS
from reflrp.conformance.readings.libraries import LIBRARIES
from reflrp.conformance.verdict_page import page, reports, state, unnamed
from reflrp.conformance.verdicts import judged
from reflrp.errors import InputError

CHECKOUT = Path(__file__).parents[1]
REPORTS = reports(CHECKOUT / "conformance" / "reports")
DIALECTS = reports(CHECKOUT / "conformance" / "reports" / "dialects")


def test_readings_are_named_together():
    raw = next(r for r in PUBLISHED if r.tag == "inputs=raw")
    full = next(r for r in PUBLISHED if (r.clause, r.tag) == ("ZP-2", "bias=full"))
    both = Adapter(replace(raw, change=lambda oracle, specs: full.change(*raw.change(oracle, specs))))
    cases = ["z_plus/z_plus_dense", "z_plus/z_plus_conv1d"]
    assert {row.word for row in run(both, cases).rows} == {"FAIL"}
    assert {row.word for row in run(both, cases, combinations=True).rows} == {"VARIANT(bias=full + inputs=raw)"}


@pytest.mark.parametrize("reading", LIBRARIES, ids=lambda reading: reading.tag)
def test_what_libraries_do_is_named(reading):
    cases = {"AB-1": "graph/sum_alpha_beta", "AB-2": "batchnorm/alone_alpha_beta", "NORM-2": "layer_norm/epsilon"}
    cases |= {"BN-2": "batchnorm/after_dense_fold", "BN-1": "batchnorm/after_dense_norm"}
    cases |= {"NORM-1": "average_pool/epsilon_plain", "FLAT-1": "composite/epsilon_plus_flat_mlp"}
    cases |= {"WSQ-1": "composite/w_square_plus_mlp", "GAMMA-3": "average_pool/gamma_generalized"}
    cases |= {"GUIDED-1": "sigmoid/guided_backprop_signs", "ZP-1": "resize/cubic_z_plus", "GRAPH-1": "routing/cast"}
    case = "alpha_beta/alpha2beta1_dense" if reading.tag == "2 epsilon" else cases[reading.clause]
    (row,) = run(Adapter(reading), case, combinations=True).rows
    assert row.word == f"{'VARIANT' if reading.status == 'variant' else 'DEVIATES'}({reading.tag})"


SHOWING = {
    "0 counts as 1e-7": "epsilon/zero_sums_epsilon_0",
    "added to itself, doubled": "graph/added_to_itself",
    "variance squared": "batchnorm/alone_norm",
    "nothing": "z_box/z_box_dense",
    "gamma A - B": "gamma/gamma_epsilon_0_conv2d_pad",
    "form=nonzero but EpsilonRule": "graph/residual",
}


@pytest.mark.parametrize("reading", KERAS, ids=lambda reading: reading.tag)
def test_what_keras_libraries_do_is_named(reading):
    (row,) = run(Adapter(reading), SHOWING[reading.tag], combinations=True).rows
    assert row.word == f"{'VARIANT' if reading.status == 'variant' else 'DEVIATES'}({reading.tag})"


def test_a_library_is_told_by_its_own_readings():
    """Where |z| is above epsilon the forms clip and nonzero are one: the name is the one that the library has."""
    case = load_case(VECTORS / "gamma" / "gamma_dense")
    nonzero = next(r for r in PUBLISHED if r.tag == "form=nonzero")
    adapter = Adapter(nonzero)
    answer = adapter.explain(adapter.load(case.model, "float64"), case.part("in"), case.part("seed"), case.rules)
    found = [explained(case, answer, 1e-12, library)[0].tag for library in ("zennit", "innvestigate", "signxai")]
    assert found == ["form=clip", "form=nonzero", "form=nonzero"]


def test_answers_in_files_are_judged_as_their_library(tmp_path):
    case = load_case(VECTORS / "z_plus" / "z_plus_dense")
    (tmp_path / "about.json").write_text('{"library": "signxai", "version": "0.14.1"}', "utf-8")
    (tmp_path / "z_plus").mkdir()
    arrays = {**{f"out/{k}": y for k, y in case.part("out").items()}, "relevance/x": case.part("expected")["x"]}
    np.savez(tmp_path / "z_plus" / "z_plus_dense.npz", **arrays)
    found = run(written(tmp_path), "z_plus/*", combinations=True)
    assert (found.library, found.version) == ("signxai", "0.14.1")
    assert {row.case: row.verdict for row in found.rows if row.verdict != "UNSUPPORTED"} == {case.id: "PASS"}


def test_combinations_are_a_yes_or_no():
    with pytest.raises(InputError, match="combinations"):
        run(Adapter(), "epsilon/*", combinations="yes")


@pytest.mark.parametrize("case", ["norm/rms_z_plus", "norm/rms_alpha2beta1", "norm/group_epsilon", "norm/layer_norm"])
def test_norms_that_libraries_differentiate_are_named(case):
    reading = next(r for r in LIBRARIES if r.tag == "deviation differentiated")
    (row,) = run(Adapter(reading), case, combinations=True).rows
    assert row.word == "DEVIATES(deviation differentiated)"


def test_inner_values_are_named_where_the_inputs_say_nothing():
    """Behind a rule that stops relevance a reading shows in inner values alone; it must give all that are on offer."""
    plain = next(r for r in PUBLISHED if r.tag == "form=plain")
    (row,) = run(Adapter(plain), "relu/stop_inner", combinations=True).rows
    assert row.word == "VARIANT(form=plain)"


def test_noise_gets_no_name():
    case = load_case(VECTORS / "epsilon" / "epsilon_dense")
    answer = {k: v + 1e-3 for k, v in case.part("expected").items()}
    assert explained(case, answer, 1e-9) == ()


def test_an_answer_near_a_known_one_is_not_that_one():
    """By up to the tolerance it is; by ten times that it is a FAIL, which only says what is near."""
    case = next(
        c for c in (load_case(p.parent) for p in sorted((VECTORS / "epsilon").glob("*/case.json"))) if c.variants
    )
    tag, tolerance = next(iter(case.variants)), case.tolerance("float64")
    near = case.part(f"variant/{tag}")
    for times, wanted in ((0.5, ("VARIANT", "DEVIATES")), (10.0, ("FAIL",))):
        found = judged(case, "float64", {k: v + times * tolerance * np.abs(v).max() for k, v in near.items()})
        assert found.verdict in wanted
        assert found.variant == tag


def test_the_page_is_what_the_reports_say():
    assert (CHECKOUT / "docs" / "verdicts.md").read_text("utf-8") == page(REPORTS, DIALECTS), "run `make verdicts`"


def test_reports_are_of_all_these_vectors():
    assert [report.library for report in REPORTS] == sorted((*JUDGED, *WRITTEN))
    for report in REPORTS:
        assert [row.case for row in report.rows] == list(index()["cases"])
        assert {row.case: row.clauses for row in report.rows} == {
            c: load_case(VECTORS / c).clauses for c in index()["cases"]
        }


def test_no_deviation_is_unnamed():
    for report in REPORTS:
        assert not unnamed(report), report.library
        assert all(row.declared for row in report.rows if row.verdict in ("DEVIATES", "ERROR", "NOT_REJECTED", "FAIL"))
    found = Row("epsilon/epsilon_dense", ("EPS-1",), "FAIL")
    assert unnamed(replace(REPORTS[0], rows=(found,))) == [found]


def test_an_answer_speaks_against_what_it_reads_otherwise():
    cases = ("EPS-1", "STAB-1", "STAB-3")
    rows = (Row("a/b", cases, "VARIANT", "form=plain"), Row("a/c", ("STAB-2",), "ERROR", message="holds a NaN"))
    found = replace(REPORTS[0], rows=rows)
    states = ["conforms", "conforms", "variant", "deviates", ""]
    assert [state(found, clause) for clause in (*cases, "STAB-2", "EPS-2")] == states


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.library)
def test_profiles_say_how_and_give_an_example(report):
    profile = Profile.load(PROFILES / f"{report.library}.toml")
    declared = {row.case for row in report.rows if row.declared}
    assert {deviation.case for deviation in profile.deviations} == declared
    assert all(" By hand: " in deviation.reason for deviation in profile.deviations)
