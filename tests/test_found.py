"""What the differential fuzzer found (tests/differential), each as small as it can be."""

import numpy as np
import pytest
from models import assert_same_as_onnxruntime, draw, feeds_of, model

import reflrp

CHANNELS = {"g": (3,), "b": (3,), "m": (3,), "v": draw(3) ** 2 + np.float32(0.1)}


@pytest.mark.parametrize("op", ["Elu", "Selu", "Celu", "HardSigmoid", "LeakyRelu", "Softplus"])
def test_batch_norm_behind_an_activation(op: str) -> None:
    """Its scale and shift, one a channel, were taken for a parameter of the activation: a raw error."""
    proto = model(f"a = {op}(x) y = BatchNormalization(a, g, b, m, v)", "float[N,3,4] x", **CHANNELS)
    assert_same_as_onnxruntime(proto, feeds_of(proto))
    kinds = [n.kind for n in reflrp.load(proto).graph({"x": (2, 3, 4)}).nodes]
    assert kinds == ["pointwise", "diagonal"]


@pytest.mark.parametrize("op", ["GRU", "RNN"])
def test_cuts_join_values_that_the_output_does_not_need(op: str) -> None:
    """The last state, which nobody reads, was put together along its first axis, which had the length of a cut by chance."""
    gates = 3 if op == "GRU" else 1
    proto = model(
        f"t = Transpose<perm = [1, 0, 2]>(x) h, l = {op}<hidden_size = 2>(t, w, r) y = Transpose<perm = [2, 0, 1, 3]>(h)",
        "float[N,4,3] x", w=(1, gates * 2, 3), r=(1, gates * 2, 2),
    )  # fmt: skip
    x = draw(3, 4, 3)
    init = np.ones((3, 4, 1, 2))
    whole = reflrp.Explainer(proto, "epsilon")(x, init=init, layers=True)
    cut = reflrp.Explainer(proto, "epsilon", batch_size=1)(x, init=init, layers=True)
    assert whole.layers.keys() == cut.layers.keys()
    for k, R in whole.layers.items():
        assert cut.layers[k].shape == R.shape, k
        assert np.allclose(cut.layers[k], R, rtol=1e-9, atol=1e-12), k


def test_cuts_and_values_beside_the_output() -> None:
    """Where a reshape beside the way to the output put the samples last, cuts were put together to another shape."""
    beside = model(
        "v = Reshape(x, s) y = Relu(x)", "float[N,2,4] x", "float[] y, float[] v", s=np.array([2, 4, -1], np.int64)
    )
    x, init = draw(2, 2, 4), np.ones((2, 2, 4))
    whole = reflrp.Explainer(beside, "epsilon", output="y")(x, init=init, layers=True)
    assert set(whole.layers) == {"y"}, "values beside the way have no relevance"
    cut = reflrp.Explainer(beside, "epsilon", output="y", batch_size=1)
    for e in (cut(x, init=init, layers=True), cut(x, init=init, layers="y"), cut(x, init=init)):
        assert np.array_equal(e.relevance, whole.relevance)
        assert e.layers.keys() <= {"y"}


@pytest.mark.parametrize("node", ["m = ReduceMax<axes = [0]>(h) z = Add(h, m)", "v, z = TopK(h, two)"])
def test_what_meets_beside_the_way_forbids_no_cut(node: str) -> None:
    """Values there can be asked for by nobody, and are in no explanation of this output; of the other one they forbid it."""
    proto = model(
        f"h = MatMul(x, w) {node} y = Relu(h)", outputs=f"float[] y, {'int64' if 'TopK' in node else 'float'}[] z", w=(4, 3),
        two=np.array([2], np.int64),
    )  # fmt: skip
    x = draw(6, 4)
    whole = reflrp.Explainer(proto, "epsilon", output="y")(x, layers=True)
    for size in (1, 4):
        explainer = reflrp.Explainer(proto, "epsilon", output="y", batch_size=size)
        assert explainer(x, layers=True).layers.keys() == whole.layers.keys() == {"h", "y"}
        for k, R in explainer(x, layers=True).layers.items():
            np.testing.assert_allclose(R, whole.layers[k], rtol=1e-12)
        with pytest.raises(reflrp.InputError, match="on the way to the output"):
            explainer(x, layers="z")
    if "ReduceMax" in node:
        with pytest.raises(reflrp.InputError, match="samples meet in node 'ReduceMax"):
            reflrp.Explainer(proto, "epsilon", output="z", batch_size=1)(x, init=np.ones((6, 3)))


def test_cuts_of_values_that_hold_samples_last() -> None:
    """On the way to the output, such a value keeps a batch from being cut."""
    shapes = {"s": np.array([2, 4, -1], np.int64), "t": np.array([-1, 2, 4], np.int64)}
    proto = model("v = Reshape(x, s) u = Reshape(v, t) y = Relu(u)", "float[N,2,4] x", "float[] y", **shapes)
    x, init = draw(2, 2, 4), np.ones((2, 2, 4))
    assert reflrp.explain(proto, x, "epsilon", init=init, layers=True).layers["v"].shape == (2, 4, 2)
    with pytest.raises(reflrp.InputError, match="batch_size=1 would change the answer"):
        reflrp.Explainer(proto, "epsilon", batch_size=1)(x, init=init, layers=True)
