"""What a run of onnxruntime has in memory at once, and what the making of a session leaves and takes."""

import json
from collections import Counter
from pathlib import Path

import models
import numpy as np
import onnx
import onnxruntime
import pytest

import reflrp
from reflrp.compiler.sessions import inside
from reflrp.compiler.sessions.parting import reads
from reflrp.runtime import filed, measuring, running
from reflrp.runtime import sessions as sessions_


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


class Called:
    """A library that writes down what its mallopt is told."""

    def __init__(self, lacks=False):
        self.told = []
        if not lacks:
            self.mallopt = lambda *what: self.told.append(what)


@pytest.mark.parametrize("lacks", [False, True])
def test_what_is_freed_goes_back_while_a_session_is_made(monkeypatch, lacks):
    library = Called(lacks)
    monkeypatch.setattr(measuring.ctypes, "CDLL", lambda name: library)
    told = []

    @measuring.passing()
    def fails():
        told.extend(library.told)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert told == ([] if lacks else [(-3, 2**20)])
    assert library.told == told + ([] if lacks else [(-3, 2**25), (-1, 2**26)])


def blocks():
    """A network whose kernels lie in the file as large ones do: one by which layers go, one that a transposed layer reads, too."""
    return models.model(
        """a = Conv <pads = [1, 1, 1, 1]>(x, k, b) r = Relu(a) c = Conv <pads = [1, 1, 1, 1]>(r, w) s = Relu(c)
        t = ConvTranspose <pads = [1, 1, 1, 1]>(s, v) d = Conv <pads = [1, 1, 1, 1]>(t, v)
        m = ReduceMean <axes = [2, 3], keepdims = 0>(d) y = MatMul(m, u)""",
        "float[N,48,6,6] x", k=(48, 48, 3, 3), b=(48,), w=(48, 48, 3, 3), v=(48, 48, 3, 3), u=(48, 3),
    )  # fmt: skip


@pytest.fixture
def sessions(monkeypatch):
    """What each session was made of: the folder of files that it may read, and the weights that it was given."""
    made = []

    def kept(graph, weights, providers, threads, dtype, folder):
        made.append((folder, {k for k in weights if not k.startswith("reflrp/")}))
        return sessions_.session(graph, weights, providers, threads, dtype, folder)

    monkeypatch.setattr(running, "session", kept)
    monkeypatch.setattr(inside, "KERNEL", 1)
    return made


def explainer(given, rules="epsilon_plus"):
    return reflrp.Explainer(given, rules, backend="onnxruntime", dtype="float32")


def test_kernels_are_read_in_the_file_and_nowhere_twice(sessions, tmp_path):
    """A kernel that stays as it is, as that of a transposed convolution, is given: the file may be written to later."""
    x, path = models.draw(2, 48, 6, 6), tmp_path / "own" / "net.onnx"
    path.parent.mkdir()
    onnx.save(blocks(), path)
    fast = explainer(path)
    found = fast(x)
    tells = filed.mapped(path) is not None
    assert sessions == [(str(path.parent) if tells else "", {"v"} if tells else {"k", "w", "v"})]
    assert not filed.mapped(path)
    np.testing.assert_array_equal(found.relevance, explainer(blocks())(x).relevance)
    assert sessions[1] == ("", {"k", "w", "v"})
    path.write_bytes(bytes(path.stat().st_size))
    np.testing.assert_array_equal(fast(x).relevance, found.relevance)


def test_a_link_is_read_where_the_file_is(sessions, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    onnx.save(blocks(), tmp_path / "a" / "net.onnx")
    (tmp_path / "b" / "link.onnx").symlink_to(tmp_path / "a" / "net.onnx")
    x = models.draw(2, 48, 6, 6)
    found = explainer(tmp_path / "b" / "link.onnx")(x)
    assert len(sessions) == 1
    np.testing.assert_array_equal(found.relevance, explainer(blocks())(x).relevance)


@pytest.mark.parametrize("what", ["written", "mapped"])
def test_a_session_is_made_anew_where_the_file_was_written_to_or_stays_mapped(monkeypatch, sessions, tmp_path, what):
    path = tmp_path / "net.onnx"
    onnx.save(blocks(), path)
    fast, counts = explainer(path), iter([0, int(what == "mapped")])

    def mapped(path):
        found = next(counts)
        if found == 0 and sessions and what == "written":
            path.write_bytes(path.read_bytes() + b" ")
        return found

    monkeypatch.setattr(filed, "mapped", mapped)
    x = models.draw(2, 48, 6, 6)
    found = fast(x)
    assert [bool(folder) for folder, _ in sessions] == [True, False]
    np.testing.assert_array_equal(found.relevance, explainer(blocks())(x).relevance)


def test_a_file_that_is_gone_is_not_missed(monkeypatch, sessions, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(blocks(), path)
    fast, x = explainer(path), models.draw(2, 48, 6, 6)
    monkeypatch.setattr(filed, "mapped", lambda path: path.unlink(missing_ok=True) or 0)
    found = fast(x)
    assert [folder for folder, _ in sessions] == [""]
    np.testing.assert_array_equal(found.relevance, explainer(blocks())(x).relevance)


def test_where_another_file_of_that_name_is_at_hand_none_is_read(monkeypatch, sessions, tmp_path):
    """A runtime that knew nothing of the folder would read that one."""
    path, here = tmp_path / "net.onnx", tmp_path / "here"
    here.mkdir()
    onnx.save(blocks(), path)
    (here / "net.onnx").write_bytes(bytes(path.stat().st_size))
    monkeypatch.chdir(here)
    explainer(path)(models.draw(2, 48, 6, 6))
    assert [folder for folder, _ in sessions] == [""]
