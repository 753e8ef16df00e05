"""The verdicts on other libraries: answers of several readings together are named, and the page is what the reports say."""

from dataclasses import replace

import pytest

from reflrp.conformance import run
from reflrp.conformance.adapters.literal import Adapter
from reflrp.conformance.cases import VECTORS, load_case
from reflrp.conformance.naming import explained
from reflrp.conformance.readings import PUBLISHED
from reflrp.conformance.readings.libraries import LIBRARIES


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
    (row,) = run(Adapter(reading), cases.get(reading.clause, "batchnorm/after_dense_fold"), combinations=True).rows
    assert row.word == f"DEVIATES({reading.tag})"


def test_noise_gets_no_name():
    case = load_case(VECTORS / "epsilon" / "epsilon_dense")
    answer = {k: v + 1e-3 for k, v in case.part("expected").items()}
    assert explained(case, answer, 1e-9) == ()
