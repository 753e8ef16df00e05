"""The adapters of torch libraries: their networks compute what the vectors' files do, and the libraries answer for themselves."""

import collections
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from reflrp.conformance import Unsupported, run
from reflrp.conformance.adapters import captum, lxt, reflrp, zennit
from reflrp.conformance.adapters.torch_modules import Network, forward
from reflrp.conformance.cases import Case, select
from reflrp.conformance.protocol import RuleSpec

CHECKOUT = Path(__file__).parents[2]
CASES = [case for case in select("*") if case.expect != "reject"]


NOT_BUILT = {"GRU", "LSTM", "RNN"}
"""Operators that the adapters make no modules of: no library on torch has a rule for what is inside them."""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_networks_compute_what_the_files_do(dtype: str) -> None:
    built = collections.Counter[str]()
    for case in CASES:
        try:
            network = Network(case.model, dtype)
            got = forward(network, case.part("in"))
        except Unsupported:
            built["no operator" if NOT_BUILT & set(case.record["requires"]["ops"]) else "not built"] += 1
            continue
        assert not NOT_BUILT & set(case.record["requires"]["ops"]), f"{case}: its operators are built by now"
        built["built"] += 1
        for name, want in case.part("out").items():
            limit = {"float64": 1e-14, "float32": 1e-5}[dtype] * max(np.abs(want).max(), 1)
            assert np.abs(got[name] - want).max() <= limit, case
    said = f"of {len(CASES)} cases that are not refusals, {built['built']} are built"
    assert said in " ".join((CHECKOUT / "docs" / "conformance.md").read_text("utf-8").split())


def verdicts(adapter: object, cases: str) -> collections.Counter[str]:
    report = run(adapter, cases)  # type: ignore[arg-type]
    return collections.Counter(f"{row.verdict} {row.variant or ''}".strip() for row in report.rows)


@pytest.mark.parametrize(
    "cases", ["z_plus/*conv2d*", "alpha_beta/*conv1d*", "flat/*", "epsilon/*dense*", "composite/*"]
)
def test_zennit_answers_as_expected(cases: str) -> None:
    """Where it has the rule it is right, but for what it has none for, and sums of zero over zero."""
    found = verdicts(zennit.Adapter(), cases)
    assert found["PASS"] > 0
    assert set(found) <= {"PASS", "UNSUPPORTED", "ERROR"}
    assert found["ERROR"] <= 2


def test_zennit_knows_no_split_on_a_pool() -> None:
    assert verdicts(zennit.Adapter(), "average_pool/z_plus_plain") == {"VARIANT inputs=raw": 1}


def test_captum_does_not_scale_the_bias_in_gamma() -> None:
    assert verdicts(captum.Adapter(), "gamma/gamma_dense") == {"VARIANT bias=keep": 1}
    assert verdicts(captum.Adapter(), "epsilon/*dense*")["PASS"] > 0


def test_captum_loses_what_reaches_a_maximum_of_0() -> None:
    assert verdicts(captum.Adapter(), "max_pool/ties") == {"DEVIATES lost at 0": 1}


def test_hooks_are_gone_afterwards() -> None:
    case = next(case for case in CASES if case.id.startswith("composite/epsilon_plus"))
    adapter = zennit.Adapter()
    model = adapter.load(case.model, "float64")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    adapter.explain(model, case.part("in"), case.part("seed"), case.rules)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def unsigned(case: Case) -> list[RuleSpec]:
    """The rules of a case with LXT's stabiliser, which does not look at the sign."""
    found = []
    for spec in case.rules:
        given = spec.params.get("stabilizer")
        more = {"stabilizer": {**given, "form": "plain"}} if given and given["form"] == "signed" else {}
        found.append(RuleSpec(spec.node, spec.rule, {**spec.params, **more}))
    return found


DIFFERENT = {
    "matmul/decision_half": "LXT's matmul gives an operand its half, whether the other one carries relevance or not",
    "matmul/decision_first_epsilon_uniform": "UniformEpsilonRule raises where the first operand needs no gradient",
    **{
        f"norm/{kind}_{rule}": "EpsilonRule differentiates a norm's deviation"
        for kind in ("group", "instance")
        for rule in ("epsilon", "norm")
    },
    "softmax/axis_1": "LXT sums over the last axis, whichever the softmax's is",
    "softmax/masked_columns": "LXT sums over the last axis, whichever the softmax's is",
    "reduction/reducesum_epsilon": "EpsilonRule multiplies an expanded gradient in place, and raises",
    "reduction/reducesum_norm": "EpsilonRule multiplies an expanded gradient in place, and raises",
}
"""Cases in which LXT does something else."""


def test_lxt_is_reflrp_with_an_unsigned_stabiliser() -> None:
    """Case by case, but where sums are 0 (LXT divides by 0) and where LXT differs in more than that."""
    ours, theirs, agreed = reflrp.Adapter(), lxt.Adapter(), 0
    for case in CASES:
        inputs, seed = case.part("in"), case.part("seed")
        if case.expect != "match" or case.id in DIFFERENT or "zero" in case.id or "epsilon_0" in case.id:
            continue
        try:
            got = theirs.explain(theirs.load(case.model, "float64"), inputs, seed, case.rules)
        except Unsupported:
            continue
        want = ours.explain(ours.load(case.model, "float64"), inputs, seed, unsigned(case))
        for name in (k for k, x in inputs.items() if x.dtype.kind == "f"):
            assert np.abs(got[name] - want[name]).max() <= 1e-9 * max(np.abs(want[name]).max(), 1), case
        agreed += 1
    assert agreed > 200


def test_pnpxai_sums_and_normalises_in_its_own_way() -> None:
    """Its packages import much that LRP has no use for, so its modules are read past their packages' __init__."""
    spec = importlib.util.find_spec("pnpxai")
    assert spec is not None
    assert spec.origin is not None
    packages = {name: types.ModuleType(name) for name in ("pnpxai", "pnpxai.explainers", "pnpxai.explainers.zennit")}
    for name, package in packages.items():
        package.__path__ = [str(Path(spec.origin).parent.joinpath(*name.split(".")[1:]))]
    with patch.dict(sys.modules, packages):
        pnpxai = importlib.import_module("reflrp.conformance.adapters.pnpxai")
    assert verdicts(pnpxai.Adapter(), "epsilon/*dense*") == verdicts(zennit.Adapter(), "epsilon/*dense*")
    assert verdicts(pnpxai.Adapter(), "graph/residual")["PASS"] == 1
    assert verdicts(pnpxai.Adapter(), "layer_norm/epsilon")["PASS"] == 0
