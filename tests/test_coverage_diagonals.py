"""Einsums that take a diagonal, which is a move of entries, and normalisation by a sum of magnitudes."""

import models
import numpy as np
import pytest
from compiled import check

import reflrp

EQUATIONS = {
    "nii->ni": ([4], 4), "nii->n": ([4], 1), "...ii->...i": ([4], 4), "nijj->nij": ([3, 2], 6), "niji->nj": ([3, 3], 3),
    "niii->ni": ([3, 3], 3),
}  # fmt: skip


def shape_of(equation, sizes):
    if equation == "niji->nj":
        return (3, 2, 3)
    return (sizes[0],) * 2 if len(sizes) == 1 else (3, 2, 2) if "jj" in equation else (3, 3, 3)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_a_diagonal_is_taken_and_gets_the_relevance(equation):
    """By the dense layer's formula on NumPy's own diagonal; entries beside it get nothing."""
    inner = shape_of(equation, EQUATIONS[equation][0])
    x = models.draw(3, *inner).astype(float)
    out = np.einsum(equation, x).reshape(3, -1)
    proto = models.model(
        f'd = Einsum <equation = "{equation}">(x) r = Reshape(d, s) y = MatMul(r, w)',
        f"float[N,{','.join(map(str, inner))}] x", w=(out.shape[1], 2), s=models.ints(-1, out.shape[1]),
    )  # fmt: skip
    feeds = {"x": x.astype(np.float32)}
    models.assert_same_as_onnxruntime(proto, feeds)
    e = reflrp.explain(proto, x, "gradient", target=1, init="one", progress=False)
    w = np.asarray(models.onnx.numpy_helper.to_array(proto.graph.initializer[0]), float)[:, 1]
    rng, step = np.random.default_rng(0), 1e-6
    for _ in range(12):  # against differences
        at = tuple(int(rng.integers(n)) for n in x.shape)
        more = x.copy()
        more[at] += step
        slope = ((np.einsum(equation, more).reshape(3, -1) - out) @ w).sum() / step
        assert e.relevance[at] == pytest.approx(slope, abs=1e-6)
    own = reflrp.explain(proto, x, "epsilon", target=1, progress=False).relevance
    np.testing.assert_allclose(own.reshape(3, -1).sum(1), out @ w, rtol=1e-4, atol=1e-4)
    for n in (1, 3):
        check(proto, {"x": models.draw(n, *inner)}, "epsilon")


def test_diagonals_of_two_operands_and_of_constants():
    proto = models.model('d = Einsum <equation = "nij,nii->nj">(x, x) y = MatMul(d, w)', "float[N,4,4] x", w=(4, 2))
    models.assert_same_as_onnxruntime(proto, {"x": models.draw(3, 4, 4)})
    check(proto, {"x": models.draw(1, 4, 4)}, "epsilon")
    proto = models.model('y = Einsum <equation = "ni,ijj->nj">(x, w)', w=(4, 3, 3))
    models.assert_same_as_onnxruntime(proto, {"x": models.draw(3, 4)})
    w = np.asarray(models.onnx.numpy_helper.to_array(proto.graph.initializer[0]), float)
    x = models.draw(2, 4).astype(float)
    dense, z = np.einsum("ijj->ij", w), np.einsum("ni,ijj->nj", x, w)
    found = reflrp.explain(proto, x, "epsilon", target=2, progress=False).relevance
    np.testing.assert_allclose(found, x * dense[:, 2] * (z[:, 2:] / (z[:, 2:] + 1e-6 * np.sign(z[:, 2:]))), rtol=1e-9)


@pytest.mark.parametrize("equation", ["nii->ni", "nij->n"])
def test_an_equation_that_does_not_fit_names_its_node(equation):
    proto = models.model(f'[ein] y = Einsum <equation = "{equation}">(x)', "float[2,3,4,5] x")
    with pytest.raises(reflrp.ReflrpError, match="ein"):
        reflrp.load(proto).run(models.draw(2, 3, 4, 5))


@pytest.mark.parametrize("axis", [1, -1])
def test_a_sum_of_magnitudes(axis):
    proto = models.model(
        f"d = LpNormalization <p = 1, axis = {axis}>(x) f = Flatten(d) y = MatMul(f, w)", "float[N,3,4] x", w=(12, 2)
    )
    x = models.draw(3, 3, 4)
    x[1], x[0, 0, 0] = 0, 0
    models.assert_same_as_onnxruntime(proto, {"x": x})
    x = models.draw(3, 3, 4).astype(float)
    w = np.asarray(models.onnx.numpy_helper.to_array(proto.graph.initializer[0]), float)[:, 0]
    scale = np.abs(x).sum(axis=axis, keepdims=True)
    R = (x / scale).reshape(3, -1) * w  # the sum held constant: all of it goes on
    z = R.sum(1, keepdims=True)
    found = reflrp.explain(proto, x, "epsilon", target=0, progress=False).relevance
    np.testing.assert_allclose(found.reshape(3, -1), R * z / (z + 1e-6 * np.sign(z)), rtol=1e-3)
    slopes = reflrp.explain(proto, x, "gradient", target=0, init="one", progress=False).relevance
    for at in np.ndindex(x.shape):
        more = x.copy()
        more[at] += 1e-6
        y = [(v / np.abs(v).sum(axis=axis, keepdims=True)).reshape(3, -1) @ w for v in (x, more)]
        assert slopes[at] == pytest.approx((y[1] - y[0]).sum() / 1e-6, abs=1e-4)
    for rule in ("epsilon", "gradient", "auto"):
        check(proto, {"x": models.draw(1, 3, 4)}, rule)
        check(proto, {"x": models.draw(3, 3, 4)}, rule)
