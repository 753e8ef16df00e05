"""Random graphs: what is computed, relevance, batches, cuts, folding, precision, each in two ways that share no code.

`make differential` tries many more; the package tests/differential says how.
"""

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from differential import byvalues, literal
from differential.checks import CHECKS
from differential.generate import MAKERS
from differential.generate import case as made
from differential.judge import number, smallest, tried
from differential.shrink import text

from reflrp import rules as r
from reflrp.arrays import is_symbolic
from reflrp.ops import einsum, sums
from reflrp.ops.routing import Transpose

CASES = 150
"""How many graphs are tried here; `make differential` tries any number."""


def test_random_graphs() -> None:
    """The first cases; `python -m differential --again 0:NUMBER` tries one alone, and makes it small."""
    found, compared, operators = [], Counter[str](), set[str]()
    for n in range(CASES):
        verdict = number(0, n)
        found += [
            f"{verdict.title} {check} at {operator}: {detail[-300:]}" for check, operator, detail in verdict.faults
        ]
        compared.update(check for check, end in verdict.ends.items() if end == "same")
        operators.update(verdict.operators)
    assert not found
    least = dict.fromkeys(CHECKS, CASES // 2) | {"folded": 1} | dict.fromkeys(("batch", "cuts", "lengths"), CASES // 5)
    assert {check: compared[check] for check, n in least.items() if compared[check] < n} == {}
    assert len(operators) > 70


def test_every_maker_makes() -> None:
    makers = Counter(block.maker for n in range(700) for block in made(1, n).blocks)
    assert {make.__name__ for make, _ in MAKERS} <= set(makers)


def test_a_number_is_a_case() -> None:
    one, two = made(3, 5), made(3, 5)
    assert one.model() == two.model()
    assert all(np.array_equal(a, two.feeds[k]) for k, a in one.feeds.items())


def test_the_oracle_of_whole_graphs_knows_nothing_of_reflrp() -> None:
    rooms = Path(literal.__file__).parent
    for room in ("literal", "words", "whole", "evaluate", "case"):
        for node in ast.walk(ast.parse((rooms / f"{room}.py").read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "reflrp"], room


SIGNED = oracle.signed(0.25)
FORMULAS: dict[str, tuple[Any, Any]] = {
    "epsilon": (r.Epsilon(0.25), lambda M, a, R: oracle.epsilon(M, a, R, SIGNED)),
    "epsilon without bias": (r.Epsilon(0.25, bias="ignore"), lambda M, a, R: oracle.epsilon(M, a, R, SIGNED, "ignore")),
    "norm": (r.Norm(0.25), lambda M, a, R: oracle.norm(M, a, R, SIGNED)),
    "gamma": (r.Gamma(0.5, stabilizer=0.25), lambda M, a, R: oracle.gamma(M, a, R, SIGNED, 0.5)),
    "generalized gamma": (
        r.Gamma(0.5, generalized=True, bias="keep", stabilizer=0.25),
        lambda M, a, R: oracle.gamma(M, a, R, SIGNED, 0.5, generalized=True, bias="keep"),
    ),
    "alpha-beta": (r.AlphaBeta(2, 1, stabilizer=0.25), lambda M, a, R: oracle.alpha_beta(M, a, R, SIGNED, 2, 1)),
    "z+": (r.ZPlus(stabilizer=0.25), lambda M, a, R: oracle.z_plus(M, a, R, SIGNED)),
    "z+ raw": (
        r.ZPlus(bias="full", inputs="raw", stabilizer=0.25),
        lambda M, a, R: oracle.z_plus(M, a, R, SIGNED, "full", "raw"),
    ),
    "z^B": (r.ZBox(-4.0, 4.0, 0.25), lambda M, a, R: oracle.z_box(M, a, R, SIGNED, [-4.0] * len(a), [4.0] * len(a))),
    "w^2": (r.WSquare("square", 0.25), lambda M, a, R: oracle.w_square(M, a, R, SIGNED, "square")),
    "flat": (r.Flat(0.25), lambda M, a, R: oracle.flat(M, a, R, SIGNED)),
    "sign": (r.Sign(0.1, stabilizer=0.25), lambda M, a, R: oracle.sign(M, a, R, SIGNED, [0.1] * len(a))),
    "alpha-beta x": (
        r.AlphaBetaX((1.0, 0.5), (0.25, -0.25), stabilizer=0.25),
        lambda M, a, R: oracle.alpha_beta_x(M, a, R, SIGNED, (1.0, 0.5), (0.25, -0.25)),
    ),
    "std epsilon": (
        r.StdxEpsilon(0.25, over="batch"),
        lambda M, a, R: oracle.epsilon(M, a, R, oracle.signed(0.25 * oracle.deviation(a))),
    ),
    "gradient": (r.Gradient(), oracle.winner),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("pool", [False, True])
def test_formulas_are_the_sums_over_indices(name: str, pool: bool) -> None:
    """Two oracles: matrices at once here, loops over indices there."""
    rule, sums = FORMULAS[name]
    rng = np.random.default_rng(3)
    W, b, a, R = rng.normal(size=(5, 4)), rng.normal(size=4), rng.normal(size=5), rng.normal(size=4)
    if pool:
        W, b = np.abs(W), 0 * b
        M = oracle.Matrix(W.tolist(), [[1.0] * 4] * 5, b.tolist())
    else:
        M = oracle.Matrix([[1.0] * 4] * 5, W.tolist(), b.tolist())
    found = literal.RULES[type(rule).__name__](literal.Map(W, b, shares=pool), a, R, rule)
    assert np.allclose(found, sums(M, a.tolist(), R.tolist()), rtol=1e-12, atol=1e-12)


PLANTED = {
    "a transpose that is none": (
        Transpose,
        "transpose",
        lambda self, r, *xs: (r.reshape(xs[0].shape),),
        {"whole", "nodes"},
    ),
    "a rule that doubles": (
        r.Norm,
        "__call__",
        lambda self, L, a, z, R: 2 * L.pull(a, L.ratio(R, z, 1e-6, L.b), L.w),
        {"ledger"},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_faults_are_seen_and_made_small(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What is broken on purpose is found among the first cases, and is left alone with what shows it."""
    owner, method, broken, where = PLANTED[name]
    monkeypatch.setattr(owner, method, broken)
    for n in range(80):
        case = made(0, n)
        faults = {f[0] for f in tried(case, ["whole", "nodes", "presets"]).faults}
        if faults & where:
            break
    else:
        pytest.fail("it is not seen")
    small = smallest(case, (faults & where).pop())
    assert tried(replace(small, title=case.title)).faults
    assert len(small.nodes) <= min(3, len(case.nodes))
    assert text(small)


NORM = r.Norm.__call__

COUNTED_ONCE = 595
"""Of seed 0, a case with a rule whose constants are summed over an open axis."""


def one_more_percent(self: r.Norm, L: Any, a: Any, z: Any, R: Any) -> Any:
    """The norm rule, which is wrong on what is traced alone."""
    return NORM(self, L, a, z, R * 1.01 if is_symbolic(R) else R)


def test_faults_of_compiled_graphs_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is broken in the graph alone is found by the checks of the graph, and by no other; and is made small."""
    monkeypatch.setattr(r.Norm, "__call__", one_more_percent)
    verdicts = (tried(made(0, n), ["nodes", "presets", "single", "compiled", "lengths"]) for n in range(80))
    found = next(v for v in verdicts if v.faults)
    assert {f[0] for f in found.faults} <= {"compiled", "lengths"}
    case = made(*map(int, found.title.split(":")))
    small = smallest(case, found.faults[0][0])
    assert len(small.nodes) <= min(3, len(case.nodes))
    monkeypatch.undo()
    assert not tried(case, ["compiled", "lengths"]).faults


def test_a_constant_that_is_counted_once_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that was: along an open axis a constant has one entry, which a sum took for all of them."""
    case = made(0, COUNTED_ONCE)
    assert tried(case, ["lengths"]).ends == {"lengths": "same"}
    for room in (sums, einsum):
        monkeypatch.setattr(room, "laid", lambda x, _: x)
    assert [f[0] for f in tried(case, ["lengths"]).faults] == ["lengths"]


@pytest.mark.parametrize(
    ("seed", "n", "check"), [(40, 983, "compiled"), (41, 1183, "lengths"), (0, 348, "lengths"), (42, 82, "presets")]
)
def test_rounding_is_no_fault(seed: int, n: int, check: str) -> None:
    """A sigmoid of onnxruntime that is 0, relevance that cancels to its last digits, an account of what was divided by rounding."""
    assert not tried(made(seed, n), [check]).faults


def test_what_the_engine_says_at_the_values_of_onnxruntime_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """sqrt(sigmoid(-80)) has a finite gradient, and none where the sigmoid is 0; a finite number that differs is a fault."""
    sound = {"x": np.array([1.0]), "y": np.array([2.0, 3.0])}
    assert byvalues.agree(None, "relevance/x", np.array([np.nan]), 1e-6)
    assert not byvalues.agree(None, "relevance/x", np.array([1.0]), 1e-6)
    assert byvalues.agree(sound, "layer/y", np.array([2.0, 3.0 + 1e-7]), 1e-6)
    assert not byvalues.agree(sound, "layer/y", np.array([2.0, 3.1]), 1e-6)
    assert not byvalues.agree(sound, "layer/y", np.array([2.0, np.nan]), 1e-6)
    monkeypatch.setattr(byvalues, "agree", lambda *_: False)
    assert tried(made(41, 1183), ["lengths"]).faults
