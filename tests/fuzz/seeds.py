"""Sound models to start from: what is mutated was fine, so that a mutation reaches what is behind the first checks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import models
import numpy as np
import onnx
from models import ints, model
from onnx import ModelProto


@cache
def seeds() -> tuple[bytes, ...]:
    """Return sound models: one for each operator and spelling that the importer is tested with, and larger ones."""
    protos = [*dict(models.cases()).values(), *_bodies(), *_folded(), *_larger()]
    return tuple(proto.SerializeToString() for proto in protos)


def _bodies() -> Iterator[ModelProto]:
    """Yield models with functions and subgraphs."""
    yield onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "own" : 1]> net (float[N,4] x) => (float[N,4] y)
        { t = own.twice(x) y = own.once(t) }
        <domain: "own", opset_import: ["" : 17, "own" : 1]> twice (a) => (b) { t = own.once(a) b = own.once(t) }
        <domain: "own", opset_import: ["" : 17]> once (a) => (b) { c = Constant <value = float {0.5}>() t = Mul(a, c)
        b = Tanh(t) }"""
    )
    branch = (
        "<then_branch = a () => (float[N,4] p) { p = Relu(x) }, else_branch = b () => (float[N,4] q) { q = Neg(x) }>"
    )
    yield model(f"y = If (c) {branch}", c=np.array(True))
    body = "<body = a (int64 i, bool c, float[N,4] h) => (bool d, float[N,4] g) { d = Identity(c) g = Tanh(h) }>"
    yield model(f"y = Loop (n, , x) {body}", n=np.int64(3))
    body = "<num_scan_inputs = 1, body = a (float[4] s, float[4] r) => (float[4] t, float[4] u) { t = Add(s, r) u = Tanh(t) }>"
    yield model(f"z, y = Scan (w, x) {body}", "float[3,4] x", w=(4,))


def _folded() -> Iterator[ModelProto]:
    """Yield models whose shapes and constants are computed."""
    yield model(
        """o = ConstantOfShape <value = float[1] {0.5}>(s) e = Expand(o, s) t = Tile(e, r) a = Range(z, n, k)
        f = Cast <to = 1>(a) g = Mul(f, t) p = Pad(g, pads) y = Add(x, p)""",
        s=ints(1), r=ints(1), z=np.int64(0), n=np.int64(4), k=np.int64(1), pads=ints(0, 0),
    )  # fmt: skip
    yield model(
        """s = Shape(x) b = Gather(s, zero) u = Unsqueeze(b, first) t = Concat <axis = 0>(u, rest) r = Reshape(x, t)
        o = ConstantOfShape(t) h = OneHot(ids, four, values) q = MatMul(r, h) y = Add(q, o)""",
        zero=np.int64(0), first=ints(0), rest=ints(4), ids=ints(0, 2, 1, 3), four=np.int64(4), values=np.array([0, 1], "f"),
    )  # fmt: skip


def _larger() -> Iterator[ModelProto]:
    """Yield small networks of the usual kinds."""
    from test_importer import small_net

    yield from (small_net(9), small_net(13), small_net(18))
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        yield model(
            f"h, l = {op} <hidden_size = 3>(x, w, r, b) y = Squeeze(h, a)", "float[T,2,4] x",
            w=(1, 3 * gates, 4), r=(1, 3 * gates, 3), b=(1, 6 * gates), a=ints(1),
        )  # fmt: skip
    yield model(
        """e = Gather(table, ids) n = LayerNormalization(e, g, b) q = MatMul(n, wq) k = MatMul(n, wk)
        t = Transpose <perm = [0, 2, 1]>(k) s = MatMul(q, t) m = Softmax(s) v = MatMul(m, n) r = Add(v, e)
        u = MatMul(r, up) h = Gelu(u) d = MatMul(h, down) f = Add(d, r) c = ReduceMean(f, axes) y = MatMul(c, head)""",
        "int64[N,3] ids", opset=20, table=(9, 4), g=(4,), b=(4,), wq=(4, 4), wk=(4, 4), up=(4, 8), down=(8, 4),
        axes=ints(1), head=(4, 2),
    )  # fmt: skip
    yield model(
        """q = QuantizeLinear(w, s, z) d = DequantizeLinear(q, s, z) m = MatMul(x, d) p = QuantizeLinear(m, s, z)
        t = DequantizeLinear(p, s, z) y = Relu(t)""",
        opset=21, ir=10, w=(4, 3), s=np.float32(0.1), z=np.int8(0),
    )  # fmt: skip
    yield model("z = Mul(a, b) y = MatMul(z, w)", "float[N,4] a, float[N,4] b", w=(4, 3))
    yield model(
        'a = Einsum <equation = "bij,bkj->bik">(x, x) y = Einsum <equation = "bij,jk->bik">(a, w)',
        models.WORDS,
        w=(5, 2),
    )
