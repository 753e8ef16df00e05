"""backend="onnxruntime" and models whose weights lie in files beside them, wherever the process stands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import draw, model
from onnx import ModelProto, TensorProto, helper, numpy_helper

import reflrp
from reflrp.runtime import running

X = draw(5, 40)


def net(seed: int, size: int) -> ModelProto:
    """A network with one weight of 40 x size entries, one of fewer, biases, and a table of indices."""
    rng = np.random.default_rng(seed)
    weights = {"w": rng.normal(size=(40, size)), "b": rng.normal(size=size), "v": rng.normal(size=(size, 20))}
    return model(
        "g = Gather <axis = 1>(x, i) h = MatMul(g, w) c = Add(h, b) r = Relu(c) k = MatMul(r, v) q = Relu(k) y = MatMul(q, u)",
        "float[N,40] x",
        i=rng.permutation(40),
        u=(20, 3),
        **{k: a.astype(np.float32) for k, a in weights.items()},
    )


def external(proto: ModelProto, path: Path, least: int) -> None:
    """Write a model whose weights of so many bytes lie beside it."""
    path.parent.mkdir()
    onnx.save(
        proto,
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=least,
        convert_attribute=False,
    )


def in_constants(proto: ModelProto, path: Path, least: int) -> None:
    """Write a model whose weights are those of Constant nodes, and lie beside it."""
    path.parent.mkdir()
    data, nodes = b"", []
    for own in proto.graph.initializer:
        array = numpy_helper.to_array(own)
        tensor = TensorProto(name=own.name, dims=array.shape, data_type=own.data_type)
        if array.nbytes >= least:
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in {"location": "weights.bin", "offset": len(data), "length": array.nbytes}.items():
                tensor.external_data.add(key=key, value=str(value))
            data += array.tobytes()
        else:
            tensor.CopyFrom(own)
        nodes.append(helper.make_node("Constant", [], [own.name], value=tensor))
    nodes += proto.graph.node
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.node.extend(nodes)
    (path.parent / "weights.bin").write_bytes(data)
    path.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize("write", [external, in_constants])
@pytest.mark.parametrize("least", [0, 200])
@pytest.mark.parametrize("size", [20, 300])
@pytest.mark.parametrize("stands", ["elsewhere", "other", "own"])
def test_weights_beside_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None], least: int, size: int, stands: str
) -> None:
    """Large and small, where there is no file of that name, where another is, and where their own is."""
    write(net(0, size), tmp_path / "own" / "m.onnx", least)
    write(net(1, size), tmp_path / "other" / "m.onnx", least)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / stands)
    graphs: list[ModelProto] = []
    session = running.session

    def seen(graph: bytes, *more: Any) -> Any:
        graphs.append(onnx.load_from_string(graph))
        return session(graph, *more)

    monkeypatch.setattr(running, "session", seen)
    path, wanted = tmp_path / "own" / "m.onnx", reflrp.explain(net(0, size), X, "epsilon_plus")
    backends = ("onnxruntime", "auto") if least else ("auto", "onnxruntime")
    for backend, given in zip(backends, (path, reflrp.load(path)), strict=True):
        e = reflrp.Explainer(given, "epsilon_plus", backend=backend, dtype="float32")(X)
        assert np.allclose(e.relevance, wanted.relevance, rtol=0, atol=1e-4 * np.abs(wanted.relevance).max())
        assert np.allclose(e.output, wanted.output, rtol=0, atol=1e-4 * np.abs(wanted.output).max())
        assert not any("NumPy" in note for note in e.notes)
    assert graphs
    assert not any(b"weights.bin" in graph.SerializeToString() for graph in graphs)
    assert b"weights.bin" not in reflrp.compile(path, "epsilon_plus").SerializeToString()
