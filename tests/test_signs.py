"""What reflrp takes for proven about signs changes no answer: the same with nothing taken for proven."""

from dataclasses import replace

import numpy as np
import pytest
from models import draw, model

import reflrp
from reflrp import engine
from reflrp import rules as r
from reflrp.composites import Composite, defaults, first, kind
from reflrp.dialects import lczerolens, lxt
from reflrp.explainer import programs
from reflrp.ground.caches import Cache
from reflrp.ops.linear import LinearMap

X = draw(3, 4, seed=1)
GAMMA = r.Gamma(0.5, generalized=True)
F32 = np.float32


def unproven(graph, rules, convert, allowance=None):
    program = engine.prepare(graph, rules, convert, allowance)
    ops = {
        k: replace(op, positive=False, gated=False, derived=Cache()) if isinstance(op, LinearMap) else op
        for k, op in program.ops.items()
    }
    return engine.Program(program.graph, ops, program.rules)


def assert_same(proto, rules, monkeypatch, x=X):
    one = reflrp.Explainer(proto, rules, canonize=())(x).relevance
    monkeypatch.setattr(programs, "prepare", unproven)
    two = reflrp.Explainer(proto, rules, canonize=())(x).relevance
    assert two.any()
    assert np.abs(one - two).max() < 1e-6 * np.abs(two).max()


SIGNED = {
    "clip from below zero only": ("a = Relu(x) b = Clip(a, , h) y = MatMul(b, w)", {"h": F32(-0.5)}),
    "clip with its bounds swapped": ("b = Clip(x, l, h) y = MatMul(b, w)", {"l": F32(0), "h": F32(-0.5)}),
    "selu upside down": ("a = Relu(x) b = Selu<gamma = -1.0>(a) y = MatMul(b, w)", {}),
    "clip from zero": ("b = Clip(x, l, h) y = MatMul(b, w)", {"l": F32(0), "h": F32(0.5)}),
    "zero points of channels": (
        "g = Gemm(x, v) q = QuantizeLinear<axis = 1>(g, s, z) d = DequantizeLinear<axis = 1>(q, s, z) y = MatMul(d, w)",
        {"v": draw(4, 4), "s": np.full(4, 0.05, F32), "z": np.array([0, 128, 0, 100], np.uint8)},
    ),
    "rectifier": ("g = Gemm(x, v) a = Relu(g) m = MatMul(a, v) b = Relu(m) y = MatMul(b, w)", {"v": draw(4, 4)}),
}


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("rule", [r.ZPlus(), r.AlphaBeta(), r.AlphaBetaX(), GAMMA, r.Epsilon()])
def test_rules_on_what_is_or_seems_positive(name, rule, monkeypatch):
    body, weights = SIGNED[name]
    assert_same(model(body, opset=20, w=draw(4, 3, seed=2), **weights), rule, monkeypatch)


class Shifted(r.LinearRule):
    """Relevance also where the input is zero, and nothing said of it."""

    def __call__(self, L, a, z, R):
        """Return the transpose."""
        return L.T(R, L.weights(abs))


@pytest.mark.parametrize("rule", [lczerolens.MulUniform(), lxt.Mul2(), r.Flat(), r.WSquare(), r.Sign(), Shifted()])
def test_rules_that_give_relevance_where_the_input_is_zero(rule, monkeypatch):
    """Behind a rectifier they send relevance to where it is off; the rule before may not take that for impossible."""
    on = kind("diagonal") if not isinstance(rule, r.LinearRule) else kind("dense") & ~first()
    pairs = ((on, rule), (first(), GAMMA), (kind("dense"), r.Flat()), *defaults())
    proto = model(
        "g = Gemm(x, v, b) a = Relu(g) c = Mul(a, k) y = MatMul(c, w)",
        v=draw(4, 4),
        b=draw(4, seed=3),
        k=draw(4, seed=4),
        w=draw(4, 3, seed=2),
    )
    assert_same(proto, Composite(pairs, "mixed", canonize=()), monkeypatch)
