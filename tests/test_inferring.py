"""ONNX's inference of shapes runs in C++ on what a file holds: how much it writes is bounded before."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from models import ints, model
from onnx import ModelProto, helper

import reflrp
from reflrp.importer.nodes.affordable import Bounds, _written, affordable

LIMITED = """
import resource, sys
import reflrp
from reflrp import limits
limits.MEMORY, before = 2**27, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
try:
    loaded = reflrp.load(sys.stdin.buffer.read())
    loaded.graph({"x": (2, 4)})
except reflrp.ReflrpError as error:
    print(type(error).__name__)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
"""Builds the graph of a file in 3 GiB, and says by how many MiB the process grew."""


def doubled(times: int, copies: int = 2) -> str:
    lists = " ".join(f"s{i + 1} = Concat <axis = 0>({', '.join([f's{i}'] * copies)})" for i in range(times))
    return f"r = Relu(x) s0 = Shape(r) {lists} y = Relu(r)"


def named(length: int) -> ModelProto:
    proto = model(doubled(20))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N" * length
    return proto


LISTS = " ".join(f"g{i + 1} = Gather({f'g{i}' if i else 's'}, i)" for i in range(6))
INNER = doubled(28).replace("y =", "p =")

HOSTILE = {
    "lists that double": model(doubled(28)),
    "lists that grow sixteenfold": model(doubled(8, 16)),
    "long names of lengths": named(1000),
    "as many axes as a list has entries": model(
        f"{doubled(25)} a = ConstantOfShape(s25) b = Relu(a) c = Relu(b)",
    ),
    "a list of a length that is written": model(
        "r = Relu(x) l = ConstantOfShape(n) a = Expand(x, l) s = Shape(r) y = Relu(r)", n=ints(10**9)
    ),
    "lists of lists": model(f"r = Relu(x) s = Shape(r) {LISTS} y = Relu(r)", i=np.zeros((8, 8), np.int64)),
    "in a branch": model(
        "r = Relu(x) k = Constant <value_int = 1>() c = Cast <to = 9>(k) "
        f"y = If (c) <then_branch = a () => (float[] p) {{ {INNER} }},"
        " else_branch = b () => (float[] q) { q = Neg(x) }>"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_more_is_written_than_the_limit(name: str) -> None:
    data = HOSTILE[name].SerializeToString()
    assert len(data) < 3000
    done = subprocess.run([sys.executable, "-c", LIMITED], input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-300:]
    assert int(done.stdout.split()[-1]) < 3 * 128
    assert not affordable(HOSTILE[name].graph) or name == "lists of lists"


def sound() -> Iterator[ModelProto]:
    """Shapes as exporters compute them."""
    yield model(
        """s = Shape(x) n = Gather <axis = 0>(s, zero) u = Unsqueeze(n, zeros) t = Concat <axis = 0>(u, rest)
        ones = ConstantOfShape <value = int64[1] {1}>(two) neg = Mul(ones, minus) same = Equal(t, neg) wide = Where(same, ones, t)
        e = Expand(x, wide) y = Reshape(e, t)""",
        zero=np.int64(0), zeros=ints(0), rest=ints(4), two=ints(2), minus=np.int64(-1),
    )  # fmt: skip
    yield model("s = Shape(x) r = Shape(s) ones = ConstantOfShape <value = int64[1] {1}>(r) y = Expand(x, ones)")
    blocks = " ".join(f"h{i + 1} = Add(h{i}, x) g{i} = Concat <axis = 1>(h{i}, h{i + 1})" for i in range(500))
    yield model(f"h0 = Relu(x) {blocks} y = Identity(h500)")


@pytest.mark.parametrize("proto", [*sound()])
def test_what_exporters_write_is_inferred(proto: ModelProto) -> None:
    assert affordable(proto.graph)
    x = np.ones((3, 4), np.float32)
    assert reflrp.load(proto).run(x)["y"].shape == (3, 4)
    assert reflrp.load(proto).source.lengths


def test_the_bound_is_above_what_is_written() -> None:
    """Against what ONNX's inference writes itself: the axes of all values."""
    for times in (1, 3, 6, 9):
        proto = model(
            f"{doubled(times)} a = ConstantOfShape(s{times}) b = Relu(a) g = Gather(s{times}, i)", i=ints(0, 1)
        )
        shown = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
        axes = sum(len(v.type.tensor_type.shape.dim) for v in (*shown.value_info, *shown.output))
        found = _written(proto.graph, Bounds(), 1e9)
        assert 2 * 2**times <= axes <= found <= 40 * 2**times + 100


def test_old_names_of_lengths_stay_apart() -> None:
    """Lengths are told apart by their names, however long."""
    port = helper.make_tensor_value_info("x", 1, ["N" * 300, "N" * 300 + "1"])
    proto = model("r = Relu(x) s = Shape(r) y = Reshape(r, s)")
    proto.graph.input[0].CopyFrom(port)
    assert reflrp.load(proto).source.lengths["r"] == ("N" * 300, "N" * 300 + "1")
    assert reflrp.load(proto).run(np.ones((2, 3), np.float32))["y"].shape == (2, 3)
