"""What a run of onnxruntime has in memory at once."""

import json
from collections import Counter
from pathlib import Path

import models
import numpy as np
import onnx
import onnxruntime
import pytest

import reflrp
from reflrp.compiler.parting import reads
from reflrp.runtime import running


def deep(count):
    """A chain of so many layers of one size."""
    text = " ".join(f"z{i} = Conv <pads = [1, 1, 1, 1]>(r{i}, w{i}) r{i + 1} = Relu(z{i})" for i in range(count))
    weights = {f"w{i}": (4, 4, 3, 3) for i in range(count)}
    text = f"r0 = Relu(x) {text} m = ReduceMean <axes = [2, 3], keepdims = 0>(r{count}) y = MatMul(m, v)"
    return models.model(text, "float[N,4,16,16] x", v=(4, 3), **weights)


def explained(monkeypatch, proto, x, rules):
    """The graph that an explanation is made by."""
    graphs, live = [], running.Graphs._live

    def kept(self, graph, weights):
        graphs.append(graph)
        return live(self, graph, weights)

    monkeypatch.setattr(running.Graphs, "_live", kept)
    reflrp.explain(proto, x, rules, backend="onnxruntime", dtype="float32")
    (graph,) = graphs
    for tensor in graph.graph.initializer:
        assert tensor.data_location != onnx.TensorProto.EXTERNAL
    return graph


def at_once(proto, x, folder):
    """The most values that wait for a reader at one time, in the order in which onnxruntime runs the nodes."""
    for i, node in enumerate(proto.graph.node):
        node.name = f"n{i}"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "run")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    numbers = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": bool}
    ports = {i.name: ([1 if isinstance(n, str) else n for n in i.shape], numbers[i.type]) for i in session.get_inputs()}
    session.run(None, {k: np.zeros(*port) for k, port in ports.items()} | {"x": x})
    events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    ran = [e for e in events if e["name"].endswith("_kernel_time")]
    nodes = {n.name: n for n in proto.graph.node}
    assert len(ran) == len(nodes)
    left = Counter(name for n in nodes.values() for name in set(reads(n)))
    now, most = set(), 0
    for event in ran:
        node = nodes[event["name"].removesuffix("_kernel_time")]
        if int(event["args"]["output_size"]) >= x.nbytes:
            now.update(node.output)
        most = max(most, len(now))
        for name in set(reads(node)):
            left[name] -= 1
            if not left[name]:
                now.discard(name)
    return most


@pytest.mark.parametrize("rules", ["epsilon", "epsilon_plus", "epsilon_alpha2_beta1", "gamma(0.25)"])
def test_no_relevance_waits_for_the_ledger(monkeypatch, tmp_path, rules):
    """A layer more is two values more to hold at once, what goes in and what comes out: the sums are made on the way back."""
    x = models.draw(1, 4, 16, 16)
    found = [at_once(explained(monkeypatch, deep(n), x, rules), x, tmp_path) for n in (4, 8)]
    assert found[1] - found[0] <= 2 * 4
