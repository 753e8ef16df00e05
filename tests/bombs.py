"""Small files that ask for much memory: every operator whose sizes come from attributes or inputs, in three places.

The operand `v` is a constant that the file computes (`folded`), a value that carries relevance (`active`), or one that
carries none (`plumbing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from models import draw, ints, model
from onnx import ModelProto

OPSET = 22

PLACES = {
    "folded": "v = ConstantOfShape <value = float[1] {0.5}>(shape)",
    "active": "one = ReduceSum <keepdims = 0>(x) v = Expand(one, shape)",
    "plumbing": "i = Cast <to = 7>(x) one = ReduceMax <keepdims = 0>(i) f = Cast <to = 1>(one) v = Expand(f, shape)",
}

MIB8, MIB32 = (1, 1, 1024, 1024), (1, 1, 2048, 2048)


OPERATORS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "AffineGrid": (
        "t = ReduceMean(v, all) z = Expand(t, theta) b = AffineGrid(z, size)",
        MIB8,
        {"theta": ints(1, 2, 3), "size": ints(1, 1, 2800, 2800)},
    ),
    "AveragePool": ("b = AveragePool <kernel_shape = [2000, 2], pads = [1999, 1, 1999, 1]>(v)", (1, 1, 8, 1000), {}),
    "AveragePool, wide": (
        "b = AveragePool <kernel_shape = [1, 60000], pads = [0, 59999, 0, 59999]>(v)",
        (1, 1, 1, 60000),
        {},
    ),
    "AveragePool, counted": (
        "b = AveragePool <kernel_shape = [300, 300], pads = [299, 299, 299, 299], count_include_pad = 1>(v)",
        (1, 1, 3000, 3000),
        {},
    ),
    "Col2Im": (
        "b = Col2Im <pads = [0, 0, 0, 0]>(v, size, block)",
        (1, 9, 998 * 998),
        {"size": ints(1000, 1000), "block": ints(3, 3)},
    ),
    "CenterCropPad": ("b = CenterCropPad(v, size)", (1, 1, 8, 8), {"size": ints(1, 1, 3000, 3000)}),
    "Compress": ("c = Cast <to = 9>(v) w = Flatten <axis = 0>(c) q = Squeeze(w) b = Compress(v, q)", MIB8, {}),
    "Concat": ("b = Concat <axis = 0>(v, v, v, v)", MIB8, {}),
    "ConstantOfShape": (
        "s = Shape(v) p = Mul(s, four) q = ConstantOfShape(p) m = ReduceMax <keepdims = 0>(q) b = Add(v, m)",
        MIB8,
        {"four": ints(1, 1, 2, 4)},
    ),
    "Conv": ("b = Conv(v, k)", (1, 1, 600, 600), {"k": (1, 1, 200, 200)}),
    "Conv, channels": ("b = Conv(v, k)", (1, 512, 64, 64), {"k": (2, 512, 9, 9)}),
    "Conv, line": ("b = Conv(v, k)", (1, 1, 4_000_000), {"k": (1, 1, 64)}),
    "Conv, padded": (
        "b = Conv <strides = [4000, 4000], pads = [2000, 2000, 2000, 2000]>(v, k)",
        (1, 1, 8, 8),
        {"k": (1, 1, 3, 3)},
    ),
    "Conv, dilated": (
        "b = Conv <dilations = [3000, 3000], pads = [3000, 3000, 3000, 3000]>(v, k)",
        (1, 1, 8, 8),
        {"k": (1, 1, 3, 3)},
    ),
    "Conv, three axes": ("b = Conv(v, k)", (1, 1, 100, 100, 100), {"k": (1, 1, 25, 25, 25)}),
    "Conv, in groups": ("b = Conv <group = 64>(v, k)", (1, 64, 250, 250), {"k": (64, 1, 11, 11)}),
    "ConvTranspose": ("b = ConvTranspose <strides = [3, 3]>(v, k)", (1, 4, 300, 300), {"k": (4, 4, 50, 50)}),
    "ConvTranspose, far": ("b = ConvTranspose <strides = [500, 500]>(v, k)", (1, 1, 8, 8), {"k": (1, 1, 3, 3)}),
    "ConvTranspose, dilated": ("b = ConvTranspose <dilations = [1500, 1500]>(v, k)", (1, 1, 8, 8), {"k": (1, 1, 3, 3)}),
    "ConvTranspose, cut": (
        "b = ConvTranspose <dilations = [3000, 3000], pads = [3000, 3000, 3000, 3000]>(v, k)",
        (1, 1, 8, 8),
        {"k": (1, 1, 3, 3)},
    ),
    "CumSum": ("b = CumSum(v, last)", (1, 1, 1, 12000), {"last": np.int64(3)}),
    "CumSum, long": ("b = CumSum(v, last)", (1, 1, 1, 60000), {"last": np.int64(3)}),
    "DepthToSpace": ("b = DepthToSpace <blocksize = 2>(v)", (1, 4, 1000, 1000), {}),
    "DFT": (
        "w = Reshape(v, signal) b = DFT(w, long)",
        (1, 1, 64, 64),
        {"signal": ints(1, -1, 1), "long": np.int64(6_000_000)},
    ),
    "Einsum": ('w = Squeeze(v) b = Einsum <equation = "i,j->ij">(w, w)', (3500,), {}),
    "Einsum, three": ('w = Squeeze(v) b = Einsum <equation = "i,j,k->i">(w, w, w)', (300,), {}),
    "Einsum, inner": (
        'w = Reshape(v, row) u = Reshape(v, column) b = Einsum <equation = "ij,jk->ik">(u, w)',
        (3500,),
        {"row": ints(1, -1), "column": ints(-1, 1)},
    ),
    "Expand": ("b = Expand(v, large)", (1, 1, 1, 64), {"large": ints(64, 1000, 1, 64)}),
    "EyeLike": ("e = EyeLike(v) b = Add(v, e)", (2000, 2000), {}),
    "Gather": ("b = Gather <axis = 0>(v, often)", (1, 8), {"often": np.zeros(1_000_000, np.int8).astype(np.int32)}),
    "GatherElements": ("s = Shape(v) g = ConstantOfShape <value = int64[1] {0}>(s) b = GatherElements(v, g)", MIB8, {}),
    "GlobalMaxPool": ("w = GlobalMaxPool(v) b = Add(w, v)", MIB8, {}),
    "GridSample": ("g = ConstantOfShape(grid) b = GridSample(v, g)", (1, 8, 64, 64), {"grid": ints(1, 1000, 1000, 2)}),
    "GridSample, cubic": (
        'g = ConstantOfShape(grid) b = GridSample <mode = "cubic">(v, g)',
        (1, 1, 64, 64),
        {"grid": ints(1, 1000, 1000, 2)},
    ),
    "GridSample, linear in three": (
        "g = ConstantOfShape(grid) b = GridSample(v, g)",
        (1, 1, 16, 16, 16),
        {"grid": ints(1, 100, 100, 100, 3)},
    ),
    "HannWindow": (
        "h = HannWindow(long) m = ReduceMax <keepdims = 0>(h) b = Add(v, m)",
        (4, 4),
        {"long": np.int64(14_000_000)},
    ),
    "InstanceNormalization": ("b = InstanceNormalization(v, k, k)", MIB32, {"k": (1,)}),
    "LayerNormalization": ("b = LayerNormalization(v, k)", MIB32, {"k": (2048,)}),
    "LpPool": ("b = LpPool <kernel_shape = [2000, 2], pads = [1999, 1, 1999, 1]>(v)", (1, 1, 8, 1000), {}),
    "LRN": ("b = LRN <size = 15000001>(v)", (1, 2, 1, 1), {}),
    "LSTM": (
        "h, l = LSTM <hidden_size = 64>(v, k, r) b = Squeeze(h)",
        (1500, 1, 8),
        {"k": (1, 256, 8), "r": (1, 256, 64)},
    ),
    "GRU, two ways": (
        'h, l = GRU <hidden_size = 16, direction = "bidirectional">(v, k, r) b = Squeeze(h)',
        (1500, 1, 8),
        {"k": (2, 48, 8), "r": (2, 48, 16)},
    ),
    "MatMul": (
        "w = Reshape(v, column) u = Reshape(v, row) b = MatMul(w, u)",
        (3500,),
        {"row": ints(1, -1), "column": ints(-1, 1)},
    ),
    "MatMul, wide inside": (
        "w = Unsqueeze(v, zero) b = MatMul(w, k)",
        (2000, 300),
        {"k": (200, 300, 1), "zero": ints(0)},
    ),
    "MatMul, stack on the left": (
        "w = Unsqueeze(v, zero) b = MatMul(k, w)",
        (300, 2000),
        {"k": (200, 1, 300), "zero": ints(0)},
    ),
    "Max": ("b = Max(v, v, v, v, v, v, v, v)", MIB8, {}),
    "MaxPool": ("b = MaxPool <kernel_shape = [1, 1], pads = [0, 0, 0, 0]>(v)", MIB32, {}),
    "MaxPool, padded": (
        "b = MaxPool <kernel_shape = [1500, 1500], strides = [1500, 1500], pads = [1499, 1499, 1499, 1499]>(v)",
        (1, 1, 1500, 1500),
        {},
    ),
    "MaxPool, places": ("b, p = MaxPool <kernel_shape = [2, 2]>(v)", MIB8, {}),
    "MeanVarianceNormalization": ("b = MeanVarianceNormalization(v)", MIB32, {}),
    "Mul": ("w = Reshape(v, column) b = Mul(v, w)", (3500,), {"column": ints(-1, 1)}),
    "NonZero": (
        "z = NonZero(v) c = Cast <to = 1>(z) m = ReduceMax <keepdims = 0>(c) b = Add(v, m)",
        (1, 1, 1, 1, 1, 1, 1, 1, 1024, 1024),
        {},
    ),
    "OneHot": (
        "c = Cast <to = 7>(v) b = OneHot(c, deep, two)",
        (64, 64),
        {"deep": np.int64(3000), "two": np.array([0, 1], np.float32)},
    ),
    "Pad": ("b = Pad(v, pads)", (1, 1, 8, 8), {"pads": ints(0, 0, 1800, 1800, 0, 0, 1800, 1800)}),
    "Pad, reflected": (
        'b = Pad <mode = "reflect">(v, pads)',
        (1, 1, 8, 8),
        {"pads": ints(0, 0, 1800, 1800, 0, 0, 1800, 1800)},
    ),
    "Range": (
        "g = Range(nought, long, unit) m = ReduceMax <keepdims = 0>(g) f2 = Cast <to = 1>(m) b = Add(v, f2)",
        (4, 4),
        {"nought": np.int64(0), "long": np.int64(14_000_000), "unit": np.int64(1)},
    ),
    "ReduceLogSumExp": ("w = ReduceLogSumExp(v) b = Add(w, v)", MIB32, {}),
    "ReduceProd": ("b = ReduceProd(v, last)", MIB8, {"last": ints(3)}),
    "Resize": ('b = Resize <mode = "linear">(v, , , size)', (1, 1, 6000, 1), {"size": ints(1, 1, 7000, 1)}),
    "Resize, cubic": ('b = Resize <mode = "cubic">(v, , , size)', (1, 1, 1, 3000), {"size": ints(1, 1, 1, 3500)}),
    "Resize, nearest": ("b = Resize(v, , factors)", (1, 1, 8, 20), {"factors": np.array([1, 1, 1, 700], np.float32)}),
    "RoiAlign": (
        "b = RoiAlign <output_height = 200, output_width = 200, sampling_ratio = 2>(v, rois, which)",
        (1, 64, 8, 8),
        {"rois": np.array([[0, 0, 4, 4]], np.float32), "which": ints(0)},
    ),
    "ScatterElements": (
        "s = Shape(v) g = ConstantOfShape <value = int64[1] {0}>(s) b = ScatterElements(v, g, v)",
        (1, 1, 300, 300),
        {},
    ),
    "ScatterND": (
        "b = ScatterND(v, where, what)",
        (4000, 1000),
        {"where": ints(0, 1).reshape(2, 1), "what": (2, 1000)},
    ),
    "ScatterND, added": (
        'b = ScatterND <reduction = "add">(v, where, what)',
        (4000, 1000),
        {"where": ints(0, 1).reshape(2, 1), "what": (2, 1000)},
    ),
    "Slice": ("b = Slice(v, from, to, along)", MIB32, {"from": ints(1), "to": ints(9999), "along": ints(3)}),
    "Softmax": ("b = Softmax(v)", MIB32, {}),
    "Split": ("p, q, r, s, t, u = Split <axis = 3, num_outputs = 6>(v) b = Max(p, r)", MIB32, {}),
    "STFT": (
        "w = Reshape(v, signal) b = STFT(w, hop, , frame)",
        (1, 1, 64, 64),
        {"signal": ints(1, -1, 1), "hop": np.int64(1), "frame": np.int64(1024)},
    ),
    "Sum": ("b = Sum(v, v, v, v, v, v, v, v)", MIB8, {}),
    "Tile": ("b = Tile(v, often)", (1, 1, 1, 64), {"often": ints(64, 1000, 1, 1)}),
    "TopK": ("b, p = TopK(v, k)", MIB8, {"k": ints(1000)}),
    "Transpose": ("b = Transpose(v)", MIB32, {}),
    "Trilu": ("b = Trilu(v)", MIB32, {}),
    "Unique": ("p, q, r, s = Unique(v) m = ReduceMax <keepdims = 0>(p) b = Add(v, m)", MIB8, {}),
    "Upsample": ("b = Resize(v, , factors)", (1, 1, 2, 2), {"factors": np.array([1, 1, 1500, 1500], np.float32)}),
    "Where": ("c = Cast <to = 9>(v) w = Reshape(v, column) b = Where(c, v, w)", (3500,), {"column": ints(-1, 1)}),
}

ENTRYWISE = "Abs Acos Atan Ceil Celu Clip Cos Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log LogSoftmax Mish Neg"
ENTRYWISE += " Reciprocal Relu Selu Sigmoid Sign Sin Softplus Softsign Sqrt Tanh Round Identity Hardmax LpNormalization"
"""Operators of one operand whose output is as large."""


def cases() -> Iterator[tuple[str, ModelProto]]:
    """Yield a name and a model for each operator in each place; what is as large as its input many times as well."""
    for where, start in PLACES.items():
        for name, (body, shape, more) in OPERATORS.items():
            yield f"{name}, {where}", bomb(start, body, shape, more)
        for op in ENTRYWISE.split():
            yield f"{op}, {where}", bomb(start, f"b = {op}(v)", MIB32, {})
        for op in ("Relu", "Exp", "Transpose"):
            steps = " ".join(f"b{i} = {op}(b{i - 1})" for i in range(1, 30))
            rows = ", ".join(f"b{i}" for i in range(30))
            yield f"{op} 30 times, {where}", bomb(start, f"b0 = {op}(v) {steps} b = Sum({rows})", MIB8, {})


def bomb(start: str, body: str, shape: tuple[int, ...], more: dict[str, Any]) -> ModelProto:
    """Return a model of `x` whose output depends on what the body makes."""
    end = "m9 = ReduceMean <keepdims = 0>(b) y = Mul(x, m9)"
    return model(f"{start} {body} {end}", opset=OPSET, ir=10, shape=ints(*shape), all=ints(0, 1, 2, 3), **more)


BODY = "<body = a (int64 k, bool c, float[N] h) => (bool d, float[N] g{more}) {{ d = Identity(c) {inside} }}>"
WHILE = "i = Cast <to = 7>(x) r = ReduceMax(i) p0 = Abs(r) p1 = Min(p0, nought) p = Add(p1, turns)"
"""How often a loop turns is found in the run, so that ONNX's evaluator runs it."""


def loops() -> Iterator[tuple[str, ModelProto]]:
    """Yield loops whose length depends on the data, and whose bodies make much."""
    insides = {
        "expand": ("e = Expand(h, large) m = ReduceMax <keepdims = 0>(e) g = Add(h, m)", "", "", {"large": ints(2**36)}),
        "many": (
            " ".join(f"e{i} = Expand(h, some)" for i in range(20))
            + f" s = Sum({', '.join(f'e{i}' for i in range(20))}) m = ReduceMax <keepdims = 0>(s) g = Add(h, m)",
            "", "", {"some": ints(10**7)},
        ),
        "grown": ("g = Concat <axis = 0>(h, h)", "", "", {}),
        "piled": ("g = Identity(h) q = Expand(h, some)", ", float[M] q", ", piles", {"some": ints(1, 10**6)}),
    }  # fmt: skip
    for name, (inside, more, outputs, constants) in insides.items():
        body = BODY.format(inside=inside, more=more)
        end = "m9 = ReduceMax <keepdims = 0>(b) y = Mul(x, m9)"
        text = f"{WHILE} q0 = Squeeze(p) b{outputs} = Loop (q0, yes, start) {body} {end}"
        yield (
            f"loop, {name}",
            model(
                text,
                opset=OPSET,
                ir=10,
                nought=np.int64(0),
                turns=np.int64(100),
                start=np.ones(1, np.float32),
                yes=np.array(True),
                **constants,
            ),
        )


def feeds() -> dict[str, np.ndarray]:
    """Return the input of all of them."""
    return {"x": np.abs(draw(1, 4))}


def main() -> None:
    """Measure all of them, and print what each takes."""
    import memory

    found = [memory.Case(name, proto.SerializeToString(), feeds()) for name, proto in (*loops(), *cases())]
    for i in range(0, len(found), 10):
        for taken in memory.measured(found[i : i + 10]):
            print(
                f"{taken.grown / 2**20:6.0f} MiB {' ' if taken.fine else '!'} {taken.name}: {taken.ended[:150]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
