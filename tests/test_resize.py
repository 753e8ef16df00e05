"""Resize: the forward pass against onnxruntime and ONNX's reference code, and relevance against the dense matrix."""

import tracemalloc

import numpy as np
import oracle
import pytest
from models import draw, ints, model, onnxruntime
from onnx.reference import ReferenceEvaluator

import reflrp
from reflrp import rules

TRANSFORMATIONS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
KINDS = {
    **{f"nearest {n}": f'mode = "nearest", nearest_mode = "{n}"' for n in ("round_prefer_floor", "ceil", "floor")},
    "linear": 'mode = "linear"',
    "cubic": 'mode = "cubic", cubic_coeff_a = -0.5',
    "cubic inside": 'mode = "cubic", exclude_outside = 1',
    "linear antialias": 'mode = "linear", antialias = 1',
    "cubic antialias": 'mode = "cubic", antialias = 1',
}
EXTENTS = {
    "grown": {"sizes": (2, 3, 7, 9)},
    "shrunk": {"sizes": (2, 3, 2, 3)},
    "by scales": {"scales": (1, 1, 1.75, 0.65)},
    "length stays": {"scales": (1, 1, 1.125, 0.75)},
    "to length 1": {"sizes": (2, 3, 1, 5)},
    "to width 1": {"sizes": (2, 3, 9, 1)},
}
# Where the two differ, the standard's text decides (see reflrp/importer/windows/resampling.py).
AS_ORT = {("pytorch_half_pixel", "to length 1"), ("pytorch_half_pixel", "to width 1")}
AS_REFERENCE = {("align_corners", "by scales"), ("align_corners", "length stays")}


def resized(kind, transformation, extent):
    ((key, numbers),) = EXTENTS[extent].items()
    given = ints(*numbers) if key == "sizes" else np.array(numbers, np.float32)
    attributes = f'{KINDS[kind]}, coordinate_transformation_mode = "{transformation}"'
    body = f"y = Resize <{attributes}>(x, {', , z' if key == 'sizes' else ', z'})"
    return model(body, "float[2,3,4,5] x", opset=19, ir=9, z=given)


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_forward(kind, transformation, extent):
    proto, x = resized(kind, transformation, extent), draw(2, 3, 4, 5)
    found = reflrp.load(proto).run(x)["y"]
    theirs = onnxruntime(proto, {"x": x})["y"]
    (standard,) = ReferenceEvaluator(proto).run(None, {"x": x})
    close = [np.shape(y) == found.shape and np.abs(found - y).max() < 1e-4 for y in (theirs, standard)]
    if (transformation, extent) in AS_ORT:
        assert close[0]
    elif (transformation, extent) in AS_REFERENCE or (extent == "length stays" and "antialias" in kind):
        assert close[1]
    else:
        assert any(close) if "nearest" in kind else all(close)


@pytest.mark.parametrize("scales", [(1, 1, 0.6, 0.9), (1, 1, 1.2, 0.9), (1, 1, 2.6, 1.7), (1, 1, 0.4, 0.3)])
def test_nearest_of_opset_10(scales):
    """The standard says nothing; onnxruntime takes the entry below, or above where it shrinks."""
    proto = model("y = Resize(x, z)", "float[2,3,7,5] x", opset=10, z=np.array(scales, np.float32))
    x = draw(2, 3, 7, 5)
    assert np.array_equal(reflrp.load(proto).run(x)["y"].astype(np.float32), onnxruntime(proto, {"x": x})["y"])


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("where", ["half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric"])
def test_places_halfway_between_entries(where, rounding):
    """Their quotients are halves off by the rounding to float32: 4 / (8 / 7) is 3.4999998."""
    node = f'Resize <mode = "nearest", coordinate_transformation_mode = "{where}", nearest_mode = "{rounding}">'
    for n, m in ((3, 1), (5, 3), (7, 4), (7, 8), (7, 10), (10, 12), (14, 1), (14, 19), (38, 57)):
        proto = model(f"y = {node}(x, , , z)", f"float[1,1,{n},2] x", opset=19, z=ints(1, 1, m, 2))
        x = np.arange(2.0 * n, dtype=np.float32).reshape(1, 1, n, 2)
        assert np.array_equal(reflrp.load(proto).run(x)["y"], onnxruntime(proto, {"x": x})["y"]), (n, m)


def test_the_batch_is_not_resized():
    proto = model('y = Resize <mode = "linear">(x, , z)', "float[2,3,4] x", z=np.array([1.2, 1, 2], np.float32))
    with pytest.raises(reflrp.UnsupportedOperator, match="it resizes the batch axis"):
        reflrp.load(proto).run(draw(2, 3, 4))


RULES = {
    "AlphaBeta(2, 1)": (rules.AlphaBeta(2, 1), lambda M, a, R, st: oracle.alpha_beta(M, a, R, st, 2, 1)),
    "ZPlus": (rules.ZPlus(), oracle.z_plus),
    "Gamma": (rules.Gamma(0.25), lambda M, a, R, st: oracle.gamma(M, a, R, st, 0.25)),
    "WSquare": (rules.WSquare(), oracle.w_square),
    "Flat": (rules.Flat(), oracle.flat),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_rules_see_the_coefficients(kind, rule):
    """The dense matrix is read off onnxruntime on unit vectors; a cubic one has entries of both signs."""
    ours, theirs = RULES[rule]
    body = f'y = Resize <mode = "{kind}">(x, , , z)'
    x = draw(2, 1, 3, 4).astype(float)
    units = np.eye(12, dtype=np.float32).reshape(12, 1, 3, 4)
    of_units = model(body, "float[12,1,3,4] x", z=ints(12, 1, 5, 7))
    W = np.where(abs(found := onnxruntime(of_units, {"x": units})["y"].reshape(12, 35)) < 1e-6, 0, found).tolist()
    M = oracle.Matrix((np.array(W) != 0).astype(float).tolist(), W, [0.0] * 35)
    R = draw(2, 1, 5, 7, seed=2)
    e = reflrp.explain(model(body, "float[N,1,3,4] x", z=ints(2, 1, 5, 7)), x, {"*": ours}, init=R)
    for n in range(2):
        wanted = theirs(M, x[n].ravel().tolist(), R[n].ravel().tolist(), oracle.signed(1e-6))
        scale = np.abs(wanted).max()
        assert np.abs(e.relevance[n].ravel() - wanted).max() < 1e-4 * scale


def test_a_resize_too_large_is_refused_before_its_weights_are_worked_out(monkeypatch):
    proto = model(
        'y = Resize<mode = "linear">(x, s)', "float[1,1,9,1048576] x", opset=10, s=np.array([1, 1, 2, 3], np.float32)
    )
    loaded = reflrp.load(proto)
    monkeypatch.setattr(reflrp.limits, "MEMORY", 64 * 2**20)
    tracemalloc.start()
    with pytest.raises(reflrp.TooLarge, match="Resize"):
        loaded.graph({"x": (1, 1, 9, 1048576)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("where", ["pytorch_half_pixel", "half_pixel", "align_corners", "asymmetric"])
def test_a_table_is_resized_as_a_value_is(where, mode, size):
    """Of constants, too, the standard's text is followed, where ONNX's reference code is not."""
    node = f'Resize <mode = "{mode}", coordinate_transformation_mode = "{where}">'
    x, table = draw(1, 1, size, size), draw(1, 1, 3, 4, seed=1)
    sizes = ints(1, 1, size, size)
    ours = reflrp.explain(
        model(f"q = {node}(t, , , z) y = Add(x, q)", "float[1,1,A,A] x", t=table, z=sizes), x, "epsilon", init=x
    )
    theirs = reflrp.explain(
        model(f"q = {node}(t, , , z) y = Add(x, q)", "float[1,1,A,A] x, float[1,1,3,4] t", z=sizes),
        {"x": x, "t": table}, "epsilon", init=x,
    )  # fmt: skip
    np.testing.assert_allclose(ours.output, theirs.output, atol=1e-6)
