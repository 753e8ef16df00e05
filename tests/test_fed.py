"""Large matrices that are only ever multiplied with are fed to a session, which then has no copy of them."""

import models
import numpy as np
import onnx
import pytest
from models import draw, model

import reflrp
from reflrp.compiler.sessions import fed
from reflrp.compiler.sessions.fed import feed
from reflrp.runtime import running


def taken(proto, *names):
    """The names of the weights that are fed, of these, and what is left of the graph."""
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    found = feed(proto, weights)
    assert {*found, *weights} == {*names}
    assert not {*found} & {t.name for t in proto.graph.initializer}
    assert {*found} <= {i.name for i in proto.graph.input}
    return {*found}


def test_factors_of_products_alone_are_fed(monkeypatch):
    monkeypatch.setattr(fed, "MATRIX", 1)
    both = model("h = MatMul(x, w) t = Transpose(v) y = MatMul(h, t)", w=(4, 3), v=(3, 3), inputs="float[N,4] x")
    assert taken(both, "w", "v") == {"w"}  # the optimiser turns v round once, and not in each run
    gemm = model("h = Gemm(x, w, b) y = Add(h, v)", w=(4, 3), b=(3,), v=(1, 3), inputs="float[N,4] x")
    assert taken(gemm, "w", "b", "v") == {"w"}
    gemm.graph.output[0].name = "w"
    assert taken(gemm, "b", "v") == set()


def test_small_matrices_are_not():
    proto = model("y = MatMul(x, w)", w=(4, 3), inputs="float[N,4] x")
    assert taken(proto, "w") == set()


def test_what_a_subgraph_may_read_is_not(monkeypatch):
    monkeypatch.setattr(fed, "MATRIX", 1)
    for name, proto in models.cases():
        if any(a.HasField("g") for n in proto.graph.node for a in n.attribute):
            assert taken(proto, *(t.name for t in proto.graph.initializer)) == set(), name


@pytest.mark.parametrize("rules", ["epsilon", "epsilon_alpha2_beta1", "gamma(0.25)"])
def test_explanations_are_the_same(monkeypatch, rules):
    """Matrices that the file has transposed are read as they lie, both ways; those of signs are the session's own."""
    text = "h = Gemm<transB=1>(x, w, c) r = Relu(h) y = Gemm<transB=1>(r, v, b)"
    proto = model(text, w=(50, 60), c=(50,), v=(40, 50), b=(40,), inputs="float[N,60] x")
    ways, x = {"backend": "onnxruntime", "dtype": "float32"}, draw(3, 60)
    wanted = reflrp.Explainer(proto, rules, **ways)(x)
    monkeypatch.setattr(fed, "MATRIX", 1)
    monkeypatch.setattr(running, "LARGE", 0)
    explainer = reflrp.Explainer(proto, rules, **ways)
    found = explainer(x)
    np.testing.assert_allclose(found.relevance, wanted.relevance, rtol=0, atol=1e-6 * np.abs(wanted.relevance).max())
    own = explainer.model.source.constants
    (ready,) = explainer._programs.sessions.values()
    assert all(np.shares_memory(a, own[k]) for k, a in ready.weights.items() if k in own)
    assert rules != "epsilon" or {*ready.weights} == {"w", "v"}
