"""Bounded memory: what a file makes us hold is counted as a sum, and what is more than the limit is refused.

What the process really takes is measured in children (memory.py), on the files of bombs.py; `python tests/bombs.py` measures
all of them.
"""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import bombs
import memory
import numpy as np
import onnx
import pytest
from models import draw, ints, model
from onnx import ModelProto, TensorProto, helper, numpy_helper

import reflrp
from reflrp import ModelError, TooLarge, limits
from reflrp.arrays.convert import converter
from reflrp.engine import prepare
from reflrp.ops.conv import WindowMean
from reflrp.ops.linear import Dense
from reflrp.ops.pointwise import Pointwise

MEASURED = (
    *("AveragePool, wide, active", "AveragePool, counted, active", "CumSum, active", "CumSum, long, active"),
    *("Conv, line, folded", "Conv, line, plumbing", "Conv, channels, folded", "Conv, dilated, active", "Erf, folded"),
    *("Einsum, active", "Exp 30 times, active", "Exp 30 times, folded", "Exp 30 times, plumbing", "GridSample, active"),
    *("GridSample, folded", "LRN, active", "Max, active", "MatMul, wide inside, active", "Mul, active", "Pad, active"),
    *("Resize, active", "STFT, folded", "Softmax, active", "Sum, active", "Tile, active", "Where, folded"),
)
"""The cases that took most before anything of this was counted, and some that are near the limit."""


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of 16 MiB."""
    monkeypatch.setattr(limits, "MEMORY", 2**24)


def test_what_the_process_takes() -> None:
    """Loading, running, the table of layers and explaining together take at most three times the limit, or refuse."""
    known = {**dict(bombs.cases()), **dict(bombs.loops())}
    names = [*MEASURED, *dict(bombs.loops())]
    found = memory.measured([memory.Case(n, known[n].SerializeToString(), bombs.feeds()) for n in names])
    assert [t for t in found if not t.fine] == []
    assert any(t.ended.startswith("TooLarge") for t in found)


# Constants


def test_folded_constants_count_together(little: None) -> None:
    """Each takes 2 MiB as it is computed with; they are let go with their last reader."""
    big = "v = ConstantOfShape(n) " + " ".join(f"c{i} = Exp({'v' if i == 0 else f'c{i - 1}'})" for i in range(20))
    chain = model(f"{big} m = ReduceMax <keepdims = 0>(c19) y = Mul(x, m)", n=ints(2**18))
    assert reflrp.load(chain).source.made < 100
    every = ", ".join(f"c{i}" for i in range(20))
    whole = model(f"{big} s = Sum({every}) m = ReduceMax <keepdims = 0>(s) y = Mul(x, m)", n=ints(2**18))
    with pytest.raises(
        TooLarge, match=r"node 'Exp_\d+' \(Exp\) needs 2 MiB, which makes 18 MiB together; the limit is 16"
    ):
        reflrp.load(whole)


def test_a_view_keeps_what_it_was_cut_from(little: None) -> None:
    cut = " ".join(f"v{i} = ConstantOfShape(n) c{i} = Slice(v{i}, zero, one)" for i in range(20))
    with pytest.raises(TooLarge, match="beside 14 MiB that are held"):
        reflrp.load(
            model(
                f"{cut} y = Sum(x, {', '.join(f'c{i}' for i in range(20))})", n=ints(2**18), zero=ints(0), one=ints(1)
            )
        )


def test_graphs_count_together(little: None) -> None:
    """What is computed at given shapes is held by the graph; older graphs give way."""
    ones = "s = Shape(x) b = Gather(s, zero) n = Mul(b, big) c = ConstantOfShape <value = float[1] {1}>(n)"
    body = f"{ones} m = ReduceMax <keepdims = 0>(c) y = Mul(x, m)"
    loaded = reflrp.load(model(body, zero=ints(0), big=ints(2**17)))
    for batch in (1, 2, 3, 4):
        assert loaded.graph({"x": (batch, 4)}).made > batch * 2**20
    assert [graph.values["x"].shape[0] for graph in loaded._graphs.values()] == [1, 2, 3, 4]
    loaded.graph({"x": (7, 4)})
    assert [graph.values["x"].shape[0] for graph in loaded._graphs.values()] == [3, 4, 7]
    with pytest.raises(TooLarge, match="ConstantOfShape"):
        loaded.graph({"x": (17, 4)})


def test_weights_of_the_file_do_not_count(little: None) -> None:
    loaded = reflrp.load(model("h = MatMul(x, w) y = MatMul(h, v)", w=(4, 2**20), v=(2**20, 2)))
    assert loaded.source.made == 0
    assert loaded.graph({"x": (1, 4)}).made < 100


# Functions


def test_functions_by_the_bytes_that_they_put_in(little: None) -> None:
    calls = " ".join(f"a{i + 1} = own.f(a{i})" for i in range(40))
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17, "own" : 1]> net (float[N,4] x) => (float[N,4] y)
        {{ a0 = Identity(x) {calls} y = Identity(a40) }}
        <domain: "own", opset_import: ["" : 17]> f (a) => (b) {{ b = Add(a, a) }}"""
    )
    assert reflrp.load(proto)
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(draw(2**18, 1)))
    proto.functions[0].node.insert(0, constant)
    with pytest.raises(TooLarge, match=r"with its functions inlined, needs 40 MiB"):
        reflrp.load(proto)


# Data that lie in other files


def external(folder: Path, count: int, parts: list[tuple[int, int]], kind: int = TensorProto.FLOAT) -> Path:
    """Write a model with so many initializers that name parts (offset, bytes) of one file of 4 MiB, in turn."""
    (folder / "w.bin").write_bytes(draw(2**20).tobytes())
    proto = model("y = Add(x, " + "w0)" if count == 1 else f"y = Sum(x, {', '.join(f'w{i}' for i in range(count))})")
    for i in range(count):
        offset, length = parts[i % len(parts)]
        size = length // helper.tensor_dtype_to_np_dtype(kind).itemsize
        tensor = TensorProto(name=f"w{i}", data_type=kind, dims=[size // 4, 4], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", "w.bin"), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        proto.graph.initializer.append(tensor)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_a_part_of_a_file_is_read_once(tmp_path: Path, little: None, kind: int) -> None:
    """Two thousand names of 4 MiB are 4 MiB."""
    constants = reflrp.load(external(tmp_path, 2000, [(0, 2**22)], kind)).source.constants
    assert len({id(limits.owner(array)) for array in constants.values()}) == 1


def test_a_byte_that_is_read_twice_counts(tmp_path: Path, little: None) -> None:
    halves = reflrp.load(external(tmp_path, 2, [(0, 2**21), (2**21, 2**21)]))
    assert halves.source.made == 0
    overlapping = [(16 * i, 2**21) for i in range(20)]
    with pytest.raises(TooLarge, match="tensor 'w10' needs 2 MiB, which makes 18"):
        reflrp.load(external(tmp_path, 20, overlapping))


def test_a_hole_in_a_file_counts(tmp_path: Path, little: None) -> None:
    path = external(tmp_path, 1, [(0, 2**26)])
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(2**26)
    with pytest.raises(TooLarge, match="tensor 'w0' needs 64 MiB"):
        reflrp.load(path)


# Tensors that say more than they hold


def sparse(dims: list[int], values: np.ndarray, index: np.ndarray) -> ModelProto:
    proto = model("m = ReduceSum <keepdims = 0>(s) y = Mul(x, m)")
    proto.graph.sparse_initializer.append(
        onnx.SparseTensorProto(
            values=numpy_helper.from_array(values, "s"), indices=numpy_helper.from_array(index), dims=dims
        )
    )
    return proto


def test_sparse_tensors() -> None:
    values = np.array([1, 2], np.float32)
    for index in (ints(1, 5), ints(0, 1, 1, 2).reshape(2, 2)):
        found = reflrp.load(sparse([2, 3], values, index)).source
        assert found.constants["m"] == 3
        assert found.made >= 8


@pytest.mark.parametrize(
    ("dims", "index", "word"),
    [
        ([2, 3], ints(1, 6), "not all of its indices"),
        ([2, 3], ints(-1, 2), "not all of its indices"),
        ([2, 3], ints(0, 3, 1, 0).reshape(2, 2), "not all of its indices"),
        ([2, 3], ints(4, 4), "there twice"),
        ([2, 3], ints(1, 1, 1, 1).reshape(2, 2), "there twice"),
        ([2, 3], ints(1), "values at indices"),
        ([2, 3], ints(0, 1, 2, 0, 1, 2).reshape(2, 3), "values at indices"),
        ([2, 3], np.array([0.0, 1.0], np.float32), "values at indices"),
        ([-2, 3], ints(0, 1), "dims"),
    ],
)
def test_sparse_tensors_that_are_wrong(dims: list[int], index: np.ndarray, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        reflrp.load(sparse(dims, np.array([1, 2], np.float32), index))


@pytest.mark.parametrize("dims", [[2**13, 2**10], [2**62, 2**62], [2**40]])
def test_sparse_tensors_of_any_size(dims: list[int], little: None) -> None:
    with pytest.raises(TooLarge, match="sparse tensor 's' needs"):
        reflrp.load(sparse(dims, np.array([1, 2], np.float32), ints(0, 1)))


@pytest.mark.parametrize("dims", [[2**40], [-1], [-1, 2], [3], [2**62, 2**62, 2**62]])
@pytest.mark.parametrize("raw", [True, False])
def test_dims_that_data_do_not_fill(dims: list[int], raw: bool) -> None:
    proto = model("y = Mul(x, w)")
    tensor = proto.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=dims)
    if raw:
        tensor.raw_data = bytes(16)
    else:
        tensor.float_data.extend([0.0] * 4)
    with pytest.raises(ModelError, match="tensor 'w'"):
        reflrp.load(proto)


def test_strings_are_as_long_as_they_are() -> None:
    """As NumPy's own strings, a thousand with a long one among them would take 4 GB."""
    texts = np.array(["long" * 2**18, *["short"] * 999], dtype=object)
    proto = model("y = Relu(x)")
    proto.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1000], [t.encode() for t in texts]))
    assert (reflrp.load(proto).source.constants["t"] == texts).all()


@pytest.mark.parametrize("opset", [9, 17])
def test_largest_of_more_than_there_are(little: None, opset: int) -> None:
    """ONNX's code lays out as many places as are asked for before it looks at the data."""
    asked, k = ("<k = 134217728>(c", "") if opset == 9 else ("(c", ", k")
    body = f"b, i = TopK{asked}{k}) m = ReduceMax <keepdims = 0>(b) y = Mul(x, m)"
    with pytest.raises(TooLarge, match="node 'TopK_0'"):
        reflrp.load(model(body, opset=opset, c=(1, 4), k=ints(2**27)))


def test_features_that_are_filled_up(little: None) -> None:
    node = "b = ai.onnx.ml.FeatureVectorizer <inputdimensions = [134217728]>(c) m = ReduceMax <keepdims = 0>(b) y = Mul(x, m)"
    with pytest.raises(TooLarge, match="FeatureVectorizer"):
        reflrp.load(model(node, c=(2, 4)))


@pytest.mark.parametrize(("size", "error"), [(6 << 30, ModelError), (2**25, TooLarge)])
def test_files_are_measured_before_they_are_read(little: None, tmp_path: Path, size: int, error: Any) -> None:
    with (tmp_path / "m.onnx").open("wb") as file:
        file.truncate(size)
    with pytest.raises(error, match=r"m\.onnx .*(2 GiB|32 MiB)"):
        reflrp.load(tmp_path / "m.onnx")


# Long recurrent layers


def lstm(steps: int, op: str = "LSTM", gates: int = 4, more: str = "") -> reflrp.Model:
    text = f"h, l = {op} <hidden_size = 8{more}>(x, w, r, b) y = Squeeze(l)"
    return reflrp.load(
        model(text, f"float[{steps},1,3] x", w=(1, 8 * gates, 3), r=(1, 8 * gates, 8), b=(1, 16 * gates))
    )


@pytest.mark.parametrize(
    ("op", "gates", "more"), [("LSTM", 4, ""), ("GRU", 3, ""), ("GRU", 3, ", linear_before_reset = 1"), ("RNN", 1, "")]
)
def test_all_steps_share_their_weights(op: str, gates: int, more: str) -> None:
    loaded = lstm(12, op, gates, more)
    graph = loaded.graph(loaded.example_shapes())
    dense = [n for n in graph.nodes if isinstance(n.op, Dense)]
    kinds = len({n.name.rpartition(".")[2] for n in dense})
    assert len(dense) >= 12 * kinds - 1  # the first step has no state to read
    for array in ("w", "b"):
        assert len({id(getattr(n.op, array)) for n in dense}) <= kinds
    program = prepare(graph, {}, converter("numpy", "float64"))
    ops = [program.ops[n.name] for n in dense]
    assert len({id(op.w) for op in ops}) == len({id(op.derived) for op in ops}) <= kinds  # type: ignore[attr-defined]


def test_steps_are_counted_before_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of places for each of them would take hundreds of megabytes before the first step."""
    monkeypatch.setattr(limits, "NODES", 1000)
    loaded = lstm(90_000_000)
    tracemalloc.start()
    with pytest.raises(TooLarge, match="each of 90000000 steps"):
        loaded.graph(loaded.example_shapes())
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_the_table_of_layers_is_linear_in_the_steps() -> None:
    """The join of all steps has as many inputs as there are steps; its line is no longer for that."""
    short, long = (lstm(n).summary() for n in (20, 200))
    assert max(map(len, long.splitlines())) < 400
    assert len(long) < 15 * len(short)
    assert "200 x (1, 1, 1, 8)" in long


def test_long_names_are_cut_in_the_table() -> None:
    proto = model("y = Relu(x)")
    proto.graph.node[0].name = "n" * 70_000
    text = reflrp.load(proto).summary("epsilon_plus")
    assert len(text) < 5000
    assert "nnn [69,700 more] nnn" in text


# What is laid out for a moment


def test_windows_are_counted_by_formula() -> None:
    """No array of windows by taps is made to count the entries of an average's windows."""
    loaded = reflrp.load(
        model("y = AveragePool <kernel_shape = [1, 60000], pads = [0, 59999, 0, 59999]>(x)", "float[N,1,1,60000] x")
    )
    (node,) = loaded.graph({"x": (1, 1, 1, 60000)}).nodes
    assert isinstance(node.op, WindowMean)
    counts = 1 / node.op.share.reshape(-1)
    assert np.allclose(counts, np.minimum(np.arange(1, 120_000), np.arange(119_999, 0, -1)), rtol=1e-12)


def test_operators_say_what_they_lay_out(little: None) -> None:
    """A value of a few bytes, an output of a few bytes, and a transpose, a frame or a stack of many between them."""
    wide = model(
        "u = Unsqueeze(x, zero) b = MatMul(u, k) y = ReduceMax(b)", "float[2000,300] x", k=(200, 300, 1), zero=ints(0)
    )
    loaded = reflrp.load(wide)
    with pytest.raises(TooLarge, match=r"node 'MatMul_1' \(onnx MatMul\) needs 9\d+.* MiB for a moment"):
        reflrp.explain(loaded, draw(2000, 300))


# What the machine has not to give


class Exhausted:
    """Something that runs out of memory, as NumPy does."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        return np.empty(2**60, dtype=np.uint8)


SMALL = "h = MatMul(x, w) a = Relu(h) y = Sigmoid(a)"


def test_no_memory_error_escapes_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = reflrp.load(model(SMALL, w=(4, 3)))
    monkeypatch.setattr(Pointwise, "forward", Exhausted())
    for do in (loaded.run, lambda x: reflrp.explain(loaded, x)):
        with pytest.raises(TooLarge, match=r"node 'Relu_1' \(onnx Relu\) needs more memory than this machine"):
            do(draw(1, 4))


def test_no_memory_error_escapes_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = reflrp.load(model(SMALL, w=(4, 3)))
    monkeypatch.setattr(Dense, "adjoint", Exhausted())
    with pytest.raises(TooLarge, match=r"the relevance of node 'MatMul_0' \(onnx MatMul\) needs more memory"):
        reflrp.explain(loaded, draw(1, 4))


@pytest.mark.parametrize(("module", "name"), [("parse", "evaluate"), ("files.read", "widened"), ("parse", "Labels")])
def test_no_memory_error_escapes_from_loading(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    monkeypatch.setattr(import_module(f"reflrp.importer.{module}"), name, Exhausted())
    with pytest.raises(TooLarge, match="needs more memory than this machine"):
        reflrp.load(model("c = Exp(k) y = Add(x, c)", k=(4,)))


def test_no_memory_error_escapes_from_the_graph_and_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = reflrp.load(model(SMALL, w=(4, 3)))
    monkeypatch.setattr("reflrp.show.tables.grid", Exhausted())
    with pytest.raises(TooLarge, match="the table of layers needs more memory"):
        loaded.summary()
    for where in ("reflrp.model.recognise", "reflrp.importer.builders.linear.product_of"):
        loaded = reflrp.load(model(SMALL, w=(4, 3)))
        monkeypatch.setattr(where, Exhausted())
        with pytest.raises(TooLarge, match="needs more memory"):
            loaded.summary()


def test_what_is_nested_too_deep_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(*args: Any) -> Any:
        return deep(*args)

    loaded = reflrp.load(model(SMALL, w=(4, 3)))
    monkeypatch.setattr("reflrp.model.recognise", deep)
    with pytest.raises(ModelError, match="nested too deep"):
        loaded.run(draw(1, 4))
    monkeypatch.setattr(import_module("reflrp.importer.parse"), "Labels", deep)
    with pytest.raises(ModelError, match="nested too deep"):
        reflrp.load(model(SMALL, w=(4, 3)))


# ---------------------------------------------------------------- weights


LAYERS = 6


def wide(folder: Path) -> Path:
    """A network of six layers of 1 MiB each, whose weights lie in a file beside it."""
    width = 512
    body = " ".join(f"h{i} = MatMul({'x' if i == 0 else f'r{i - 1}'}, w{i}) r{i} = Relu(h{i})" for i in range(LAYERS))
    weights = {f"w{i}": draw(width, width, seed=i) / 16 for i in range(LAYERS)}
    proto = model(f"{body} y = MatMul(r{LAYERS - 1}, v)", f"float[N,{width}] x", v=draw(width, 3), **weights)
    path = folder / "wide.onnx"
    onnx.save(
        proto, path, save_as_external_data=True, all_tensors_to_one_file=True, location="wide.data", size_threshold=1000
    )
    return path


def test_weights_in_large_files_are_mapped_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflrp.importer.files.external.MAPPED", 2**20)
    constants = reflrp.load(wide(tmp_path)).source.constants
    for i in range(LAYERS):
        assert isinstance(constants[f"w{i}"].base.base, np.memmap)
        assert np.array_equal(constants[f"w{i}"], draw(512, 512, seed=i) / 16)


def test_a_mapped_file_that_is_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where its length stays: its name is told, whoever asks. One that is replaced or removed is mapped as it was."""
    monkeypatch.setattr("reflrp.importer.files.external.MAPPED", 2**20)
    x, file = draw(2, 512), tmp_path / "wide.data"
    explainer = reflrp.Explainer(wide(tmp_path), "epsilon", dtype="float32")
    before, sent = explainer(x), pickle.loads(pickle.dumps(explainer.model))
    replaced = tmp_path / "other"
    replaced.write_bytes(bytes(file.stat().st_size))
    kept = file.rename(tmp_path / "kept")
    replaced.rename(file)
    assert explainer(x) == before
    kept.rename(file)
    with file.open("r+b") as written:
        written.write(bytes(2**20))
    asked: dict[str, Callable[[], Any]] = {  # compile reads the file anew
        "explain": lambda: explainer(x),
        "each": lambda: explainer.each(x, [0, 1]),
        "map": lambda: list(explainer.map(x)),
        "run": lambda: explainer.model.run(x),
        "summary": explainer.model.summary,
    }
    for ask in asked.values():
        with pytest.raises(reflrp.ModelError, match=r"wide\.data.* was changed since the model was loaded"):
            ask()
    assert reflrp.explain(sent, x, "epsilon", dtype="float32") == before
    assert reflrp.explain(tmp_path / "wide.onnx", x, "epsilon", dtype="float32") != before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rules", ["alphabeta", "epsilon", "gamma"])
def test_a_budget_of_weights_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: str, dtype: str
) -> None:
    """Of any budget, no more is kept than it has, and the answer is the same."""
    path, x = wide(tmp_path), draw(2, 512)
    whole = reflrp.explain(path, x, rules, dtype=dtype)
    for mib in (0, 1, 3, 7):
        monkeypatch.setattr(reflrp.limits, "WEIGHTS", mib * 2**20)
        explainer = reflrp.Explainer(path, rules, dtype=dtype)
        assert all(explainer(x) == whole for _ in range(2))
        ops = explainer.program(x).ops
        arrays = [a for op in ops.kept.values() if hasattr(op, "derived") for a in (op.w, *op.derived.values())]
        given = list(explainer.model.source.constants.values())
        own = {id(a): a.nbytes for a in arrays if not any(np.may_share_memory(a, c) for c in given)}
        assert sum(own.values()) <= mib * 2**20
        assert explainer._programs._allowance.left >= 0


def test_a_program_that_is_let_go_gives_its_weights_back(tmp_path: Path) -> None:
    explainer = reflrp.Explainer(wide(tmp_path), "alphabeta")
    left = []
    for n in range(1, 6):
        explainer(draw(n, 512))
        gc.collect()
        left.append(explainer._programs._allowance.left)
    assert left[0] > left[1] == left[2] == left[3] == left[4]
