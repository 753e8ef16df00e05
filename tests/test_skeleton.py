"""A file is read without its large weights, which stay there until they are asked for: what is loaded is what its bytes hold."""

import models
import numpy as np
import onnx
import pytest
from models import model
from onnx import TensorProto, numpy_helper

import reflrp
from reflrp.importer.files.skeleton import GRAPH, INITIALIZER, LARGE, Inside, _message, skeleton


def large(kind=np.float32):
    """A network with weights on both sides of the limit, the larger one of any kind of number."""
    proto = model("h = MatMul(x, w) y = MatMul(h, v)", w=(200, 100), v=(100, 3), inputs="float[N,200] x")
    w = numpy_helper.to_array(proto.graph.initializer[0])
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(w.astype(kind), "w"))
    assert len(proto.graph.initializer[0].raw_data) >= LARGE / 2
    return proto


def loaded(source):
    """All that was read of a model, as plain values."""
    source = reflrp.load(source).source
    return {k: (a.dtype, a.tobytes()) for k, a in source.constants.items()}, [str(n.proto) for n in source.nodes]


def put(tmp_path, data):
    """A file of these bytes."""
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    return path


def test_the_pieces_are_what_is_missing(tmp_path):
    proto = large()
    data, inside = skeleton(put(tmp_path, proto.SerializeToString()))
    assert [*inside.pieces] == [0]
    assert len(data) < LARGE
    found = onnx.load_from_string(data)
    assert not found.graph.initializer[0].raw_data
    found.graph.initializer[0].raw_data = inside.read(0)
    assert found == proto


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_what_is_loaded_is_what_the_bytes_hold(tmp_path, kind):
    proto = large(kind)
    if kind != np.float32:  # a matrix product of one type: the weight is cast to it
        proto.graph.initializer[0].name = "stored"
        proto.graph.node.insert(0, onnx.helper.make_node("Cast", ["stored"], ["w"], to=TensorProto.FLOAT))
    data = proto.SerializeToString()
    assert loaded(put(tmp_path, data)) == loaded(data)


def test_every_operator_s_case_is_taken_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("reflrp.importer.files.skeleton.LARGE", 16)
    for _, proto in models.cases():
        data, inside = skeleton(put(tmp_path, proto.SerializeToString()))
        found = onnx.load_from_string(data)
        for i in inside.pieces:
            found.graph.initializer[i].raw_data = inside.read(i)
        assert found == proto


def test_numbers_that_are_not_raw_stay(tmp_path):
    proto = large()
    w = numpy_helper.to_array(proto.graph.initializer[0])
    flat = onnx.helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.reshape(-1))
    assert not flat.raw_data
    proto.graph.initializer[0].CopyFrom(flat)
    data = proto.SerializeToString()
    assert skeleton(put(tmp_path, data))[1].pieces == {}
    assert loaded(put(tmp_path, data)) == loaded(data)


def test_what_is_laid_out_otherwise_is_parsed_as_a_whole(tmp_path):
    """A message may come in parts, of which the later ones are merged into the first: ours would number the tensors anew."""
    first, second = large(), onnx.ModelProto()
    second.graph.initializer.append(first.graph.initializer[1])
    del first.graph.initializer[1]
    data = first.SerializeToString() + second.SerializeToString()
    assert skeleton(put(tmp_path, data)) is None
    assert loaded(put(tmp_path, data)) == loaded(data)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_what_is_truncated_is_refused_as_before(tmp_path, part):
    data = large().SerializeToString()
    with pytest.raises(reflrp.ModelError, match="truncated"):
        reflrp.load(put(tmp_path, data[: int(part * len(data))]))


@pytest.mark.parametrize("data", [b"", b"\x3a", b"\xff" * 12, b"\x3a\xff\xff\xff\xff\x0f", b"\x3b", b"no model"])
def test_what_is_no_message_is_none(tmp_path, data):
    found = skeleton(put(tmp_path, data))
    assert found is None or found == (b"", Inside(tmp_path / "m.onnx"))
    with pytest.raises(reflrp.ModelError):
        reflrp.load(put(tmp_path, data))


def test_data_that_do_not_fit_their_dims_are_refused(tmp_path):
    proto = large()
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]
    with pytest.raises(reflrp.ModelError, match="'w' cannot be read"):
        reflrp.load(put(tmp_path, proto.SerializeToString()))


def test_of_data_that_are_there_twice_the_last_count(tmp_path):
    data = large().SerializeToString()
    tensor = large().graph.initializer[0].SerializeToString()
    for more in (b"1234", bytes(len(tensor))):
        twice = TensorProto(raw_data=more).SerializeToString()
        path = put(tmp_path, _with_first(data, tensor + twice))
        assert skeleton(path) is None


def _with_first(data, tensor):
    """A model whose first initializer has these bytes."""
    proto = onnx.load_from_string(data)
    graph = onnx.GraphProto()
    graph.CopyFrom(proto.graph)
    del graph.initializer[0]
    proto.ClearField("graph")
    return proto.SerializeToString() + _message(GRAPH, _message(INITIALIZER, tensor) + graph.SerializeToString())
