"""A model and its rules make one graph, to the byte: builds can be repeated, and a hash says whether anything changed."""

import subprocess
import sys
from collections import Counter

import pytest
from models import draw, model

import reflrp

BLOCK = """{y}l = LayerNormalization <axis = -1>({x}, g) {y}q = MatMul({y}l, q) {y}k = MatMul({y}l, k)
    {y}t = Transpose <perm = [0, 2, 1]>({y}k) {y}s = MatMul({y}q, {y}t) {y}a = Softmax <axis = -1>({y}s) {y}v = MatMul({y}l, v)
    {y}o = MatMul({y}a, {y}v) {y}r = Add({x}, {y}o) {y}m = LayerNormalization <axis = -1>({y}r, g) {y}w = MatMul({y}m, w)
    {y}u = Relu({y}w) {y}z = MatMul({y}u, k) {y} = Add({y}r, {y}z)"""
PRINT = "import hashlib, sys, reflrp; print(hashlib.sha256(reflrp.compile(sys.argv[1], 'epsilon').SerializeToString()).hexdigest())"


def transformer(shape):
    blocks = " ".join(BLOCK.format(x=f"h{i - 1}" if i else "x", y=f"h{i}") for i in range(4))
    weights = {k: draw(4, 4, seed=i) for i, k in enumerate("qkvw")}
    end = " f = ReduceMean <axes = [1], keepdims = 0>(h3) y = MatMul(f, head)"
    return model(blocks + end, shape, head=(4, 3), g=draw(4), **weights)


@pytest.mark.parametrize("rules", ["attnlrp", "lrp_0"])
@pytest.mark.parametrize("shape", ["float[1,3,4] x", "float[N,T,4] x"])
def test_a_graph_is_the_same_each_time(shape, rules):
    """Wherever objects happen to lie; and what many looks for an overflow share is joined once."""
    proto, found, held = transformer(shape), list[bytes](), list[list[object]]()
    for i in range(4):
        graph = reflrp.compile(proto, rules)
        found.append(graph.SerializeToString(deterministic=True))
        held.append([object() for _ in range(997 * i)])
    assert found[1:] == found[:1] * 3
    assert Counter(n.op_type for n in graph.graph.node)["And"] <= 20


def test_a_graph_is_the_same_in_each_process(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(transformer("float[N,T,4] x").SerializeToString())
    found = {
        subprocess.run(
            [sys.executable, "-c", PRINT, str(path)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(p for p in sys.path if p)},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(found) == 1
