"""Compiled graphs of quantised files go by the integers that the file's own nodes make."""

import models
import numpy as np
import onnx
import onnxruntime

import reflrp
import reflrp.rules


def run(proto, x):
    """What onnxruntime computes by the file's nodes as they are, by the outputs' names."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


def test_relevance_is_that_of_the_file_where_a_mean_is_half_way_between_two_integers():
    """The mean of 4 or of 6 integers is often a half: float32 rounds it to one side and float64 to the other.

    The model's own output goes by the first, and so does its relevance: by hand, window by window, at onnxruntime's own integers.
    """
    scale = np.float32(0.02)
    proto = models.model(
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) "
        "p = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(d) r = QuantizeLinear(p, s, z) e = DequantizeLinear(r, s, z) "
        "y = ReduceMean <axes = [2, 3], keepdims = 0>(e)",
        "float[N,1,H,W] x", s=scale, z=np.uint8(0),
    )  # fmt: skip
    x = np.random.default_rng(0).uniform(0, 200 * scale, (6, 1, 12, 11)).astype(np.float32)
    shown = onnx.ModelProto.FromString(proto.SerializeToString())
    shown.graph.output.extend(onnx.ValueInfoProto(name=k) for k in "dr")
    made = run(shown, x)
    whole, means = (made[k].astype(float) for k in "dr")
    framed, wanted = np.zeros((6, 14, 13)), np.zeros((6, 14, 13))
    framed[:, 1:-1, 1:-1] = np.rint(whole[:, 0] / scale)
    halves = 0
    for n, i, j in np.ndindex(6, 12, 11):
        rows, columns = slice(max(i, 1), min(i + 3, 13)), slice(max(j, 1), min(j + 3, 12))
        window = framed[n, rows, columns]
        halves += 2 * window.sum() % window.size == 0 and window.sum() % window.size != 0
        assert abs(window.mean() - means[n, 0, i, j]) <= 0.5 + 1e-5
        wanted[n, rows, columns] += means[n, 0, i, j] / means[n].sum() * window / window.sum()
    assert halves > 20
    graph = reflrp.compile(proto, reflrp.rules.Epsilon(epsilon=0), init="one", target=0)
    assert not [
        node for node in graph.graph.node if node.op_type == "Round"
    ]  # nothing is rounded a second time, by ours
    found = run(graph, x)["relevance/x"]
    np.testing.assert_allclose(found[:, 0], wanted[:, 1:-1, 1:-1], atol=1e-5 * np.abs(wanted).max())
