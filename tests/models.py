"""Small ONNX models, written in ONNX's own text form, and the reference they are held against: onnxruntime.

`model("y = MatMul(x, w)", w=(4, 3))` is a whole model. Keyword arguments are the weights, a tuple the shape of random
ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

Weights = dict[str, np.ndarray]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers in float32, the same at every call."""
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def model(
    body: str,
    inputs: str = "float[N,4] x",
    outputs: str = "float[] y",
    opset: int = 17,
    ir: int = 8,
    **weights: Any,
) -> ModelProto:
    """Return the model `(inputs) => (outputs) { body }`; weights are initializers."""
    text = f'<ir_version: {ir}, opset_import: ["" : {opset}]> net ({inputs}) => ({outputs}) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    for name, value in weights.items():
        array = draw(*value) if isinstance(value, tuple) else np.asarray(value)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def feeds_of(proto: ModelProto, batch: int = 2, other: int = 5) -> dict[str, np.ndarray]:
    """Return random inputs: `batch` for a named first dimension, `other` for other named ones."""
    found = {}
    known = {t.name for t in proto.graph.initializer}
    for i, info in enumerate(p for p in proto.graph.input if p.name not in known):
        tensor = info.type.tensor_type
        dims = [d.dim_value or (other if k else batch) for k, d in enumerate(tensor.shape.dim)]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        found[info.name] = (draw(*dims, seed=i + 1) * (1 if dtype.kind == "f" else 3)).astype(dtype)
    return found


def onnxruntime(proto: ModelProto | str, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what onnxruntime makes of a model, without its optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    source = proto if isinstance(proto, str) else proto.SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def assert_same_as_onnxruntime(proto: ModelProto, feeds: dict[str, np.ndarray], rtol: float = 1e-5) -> None:
    import reflrp

    found = reflrp.load(proto).run(feeds)
    for name, want in onnxruntime(proto, feeds).items():
        assert found[name].shape == want.shape, name
        scale = np.abs(want[np.isfinite(want)]).max(initial=0) if want.size else 0
        np.testing.assert_allclose(found[name].astype(float), want.astype(float), rtol=rtol, atol=rtol * scale)


IMAGE = "float[N,4,9,8] x"
ROW = "float[N,4,11] x"
CUBE = "float[N,2,5,6,4] x"
WORDS = "float[N,5,4] x"


def cases() -> Iterator[tuple[str, ModelProto]]:
    """Yield the name and the model of every case that must agree with onnxruntime."""
    for group in (dense, convolutions, transposed, pools, arithmetic, reductions, activations, routing):
        yield from ((f"{group.__name__}: {name}", proto) for name, proto in group().items())


def dense() -> dict[str, ModelProto]:
    return {
        "gemm": model("y = Gemm(x, w, b)", w=(4, 3), b=(3,)),
        "gemm transposed": model("y = Gemm <transB = 1>(x, w, b)", w=(3, 4), b=(3,)),
        "gemm without bias": model("y = Gemm(x, w)", w=(4, 3)),
        "gemm scaled": model("y = Gemm <alpha = 0.5, beta = -2.0>(x, w, b)", w=(4, 3), b=(1, 3)),
        "gemm of the right operand": model("t = Transpose(x) y = Gemm(w, t, b)", w=(3, 4), b=(3, 1)),
        "gemm transposes its input": model("y = Gemm <transA = 1>(x, w)", "float[4,N] x", w=(4, 3)),
        "gemm of two values": model("t = Relu(x) y = Gemm <transB = 1, alpha = 2.0>(x, t)"),
        "gemm adds a value": model("t = Relu(x) y = Gemm <beta = 0.5>(x, w, t)", w=(4, 4)),
        "matmul": model("y = MatMul(x, w)", w=(4, 3)),
        "matmul of sequences": model("y = MatMul(x, w)", WORDS, w=(4, 3)),
        "matmul by a stack": model("y = MatMul(x, w)", "float[N,3,5,4] x", w=(3, 4, 2)),
        "matmul broadcasts the input": model("y = MatMul(x, w)", "float[N,1,5,4] x", w=(3, 4, 2)),
        "matmul by a vector": model("y = MatMul(x, w)", WORDS, w=(4,)),
        "matmul from the left": model("y = MatMul(w, x)", WORDS, w=(3, 5)),
        "matmul from the left by a vector": model("y = MatMul(w, x)", WORDS, w=(5,)),
        "matmul of two values": model("t = Transpose <perm = [0, 2, 1]>(x) y = MatMul(x, t)", WORDS),
        "matmul of a vector": model("y = MatMul(x, w)", "float[4] x", w=(4, 3)),
        "bias on the right": model("z = MatMul(x, w) y = Add(z, b)", WORDS, w=(4, 3), b=(3,)),
        "bias on the left": model("z = MatMul(x, w) y = Add(b, z)", WORDS, w=(4, 3), b=(3,)),
        "bias in two parts": model("z = MatMul(x, w) t = Add(z, b) y = Add(b, t)", w=(4, 3), b=(3,)),
        "bias for each place": model("z = MatMul(x, w) y = Add(z, b)", WORDS, w=(4, 3), b=(5, 3)),
        "bias subtracted": model("z = MatMul(x, w) y = Sub(z, b)", w=(4, 3), b=(3,)),
        "batch norm of a row": model("y = BatchNormalization(x, w, b, m, v)", w=(4,), b=(4,), m=(4,), v=draw(4) ** 2),
    }


def convolutions() -> dict[str, ModelProto]:
    grouped = {"w": (6, 2, 3, 3), "b": (6,)}
    return {
        "plain": model("y = Conv(x, w, b)", IMAGE, w=(3, 4, 3, 2), b=(3,)),
        "one tap": model("y = Conv(x, w)", IMAGE, w=(3, 4, 1, 1)),
        "one tap, strided": model("y = Conv <strides = [2, 3]>(x, w)", IMAGE, w=(3, 4, 1, 1)),
        "strides": model("y = Conv <strides = [2, 3]>(x, w)", IMAGE, w=(3, 4, 3, 3)),
        "dilations": model("y = Conv <dilations = [2, 3]>(x, w)", IMAGE, w=(3, 4, 3, 2)),
        "uneven padding": model("y = Conv <pads = [2, 0, 1, 3]>(x, w, b)", IMAGE, w=(3, 4, 3, 3), b=(3,)),
        "groups": model("y = Conv <group = 2, pads = [1, 1, 1, 1]>(x, w, b)", IMAGE, **grouped),
        "depthwise": model("y = Conv <group = 4>(x, w)", IMAGE, w=(4, 1, 3, 3)),
        "depthwise, two each": model("y = Conv <group = 4, strides = [2, 1]>(x, w)", IMAGE, w=(8, 1, 3, 3)),
        "kernel shape": model("y = Conv <kernel_shape = [3, 3]>(x, w)", IMAGE, w=(3, 4, 3, 3)),
        "1d": model("y = Conv <strides = [2], pads = [1, 2]>(x, w, b)", ROW, w=(3, 4, 3), b=(3,)),
        "3d": model("y = Conv <pads = [1, 0, 1, 1, 0, 1]>(x, w)", CUBE, w=(3, 2, 2, 3, 2)),
        **{
            f"auto_pad {mode} {k}x{k} stride {s}": model(
                f'y = Conv <auto_pad = "{mode}", strides = [{s}, {s}]>(x, w)', IMAGE, w=(3, 4, k, k)
            )
            for mode in ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
            for k, s in ((3, 1), (2, 1), (2, 2), (1, 3), (3, 2))
        },
        "bias added": model("z = Conv(x, w) y = Add(z, b)", IMAGE, w=(3, 4, 3, 3), b=(3, 1, 1)),
        "bias added, left": model("z = Conv(x, w) y = Add(b, z)", IMAGE, w=(3, 4, 3, 3), b=(1, 3, 1, 1)),
        "batch norm": model(
            "z = Conv(x, w) y = BatchNormalization <epsilon = 0.01>(z, g, b, m, v)",
            IMAGE, w=(3, 4, 3, 3), g=(3,), b=(3,), m=(3,), v=draw(3) ** 2,
        ),
        "keras 1d": keras_conv1d(),
    }  # fmt: skip


def keras_conv1d() -> ModelProto:
    """How tf2onnx writes a Conv1D: a Conv on images of height 1, and the bias behind it."""
    return model(
        "t = Transpose <perm = [0, 2, 1]>(x) u = Unsqueeze(t, two) z = Conv(u, w) s = Squeeze(z, two)"
        "r = Transpose <perm = [0, 2, 1]>(s) y = Add(r, b)",
        "float[N,7,4] x", w=(3, 4, 1, 2), b=(3,), two=ints(2),
    )  # fmt: skip


def transposed() -> dict[str, ModelProto]:
    def make(attributes: str = "", inputs: str = IMAGE, **weights: Any) -> ModelProto:
        return model(f"y = ConvTranspose {attributes}(x, w, b)", inputs, **{"w": (4, 3, 3, 3), "b": (3,), **weights})

    return {
        "plain": make(),
        "strides": make("<strides = [2, 3]>"),
        "padding": make("<strides = [2, 2], pads = [1, 0, 2, 1]>"),
        "output padding": make("<strides = [2, 3], output_padding = [1, 2], pads = [1, 1, 1, 1]>"),
        "output shape": make("<strides = [2, 3], output_shape = [19, 25]>"),
        "output shape, smaller": make("<strides = [2, 2], output_shape = [17, 14]>"),
        "dilations": make("<dilations = [2, 2]>"),
        "groups": make("<group = 2, strides = [2, 2]>", w=(4, 3, 2, 2), b=(6,)),
        "same upper": make('<auto_pad = "SAME_UPPER", strides = [2, 2]>'),
        "same lower": make('<auto_pad = "SAME_LOWER", strides = [2, 2]>'),
        "stride beyond the kernel": make("<strides = [4, 4]>", w=(4, 3, 2, 2)),
        "1d": make("<strides = [2]>", ROW, w=(4, 3, 3)),
        "3d": make("<strides = [1, 2, 1]>", CUBE, w=(2, 3, 2, 2, 2)),
    }


def pools() -> dict[str, ModelProto]:
    shapes = {
        "plain": "kernel_shape = [2, 2], strides = [2, 2]",
        "overlapping": "kernel_shape = [3, 3], strides = [1, 2]",
        "padding": "kernel_shape = [3, 3], pads = [1, 0, 2, 1]",
        "ceil": "kernel_shape = [3, 2], strides = [2, 3], ceil_mode = 1",
        "ceil and padding": "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1",
        "dilations": "kernel_shape = [2, 3], dilations = [3, 2]",
        "same upper": 'kernel_shape = [2, 2], auto_pad = "SAME_UPPER", strides = [2, 2]',
        "same lower": 'kernel_shape = [2, 2], auto_pad = "SAME_LOWER"',
    }
    found = {f"MaxPool {k}": model(f"y = MaxPool <{v}>(x)", IMAGE, opset=22) for k, v in shapes.items()}
    found |= {f"AveragePool {k}": model(f"y = AveragePool <{v}>(x)", IMAGE, opset=22) for k, v in shapes.items()}
    counted = ("padding", "ceil and padding", "same lower")
    found |= {
        f"AveragePool {k}, counted": model(f"y = AveragePool <{shapes[k]}, count_include_pad = 1>(x)", IMAGE, opset=19)
        for k in counted
    }
    found |= {f"Global{k}": model(f"y = Global{k}(x)", IMAGE) for k in ("AveragePool", "MaxPool", "LpPool")}
    found |= {f"LpPool {p}": model(f"y = LpPool <p = {p}, kernel_shape = [2, 3]>(x)", IMAGE) for p in (1, 2, 3)}
    return found | {
        "MaxPool of a row": model("y = MaxPool <kernel_shape = [3], pads = [1, 1], strides = [2]>(x)", ROW),
        "MaxPool of a cube": model("y = MaxPool <kernel_shape = [2, 2, 2]>(x)", CUBE),
        **{
            f"MaxPool and places, order {k}": model(
                f"y, i = MaxPool <kernel_shape = [3, 2], pads = [1, 0, 1, 0], storage_order = {k}>(x)",
                IMAGE, "float[] y, int64[] i",
            )
            for k in (0, 1)
        },
        "GlobalAveragePool of a cube": model("y = GlobalAveragePool(x)", CUBE),
    }  # fmt: skip


def arithmetic() -> dict[str, ModelProto]:
    found = {}
    for op in ("Add", "Sub", "Mul", "Div"):
        found[f"{op} of a constant"] = model(f"y = {op}(x, c)", WORDS, c=(4,))
        found[f"{op} from a constant"] = model(f"y = {op}(c, x)", WORDS, c=(5, 1))
        found[f"{op} of a larger constant"] = model(f"y = {op}(x, c)", WORDS, c=(3, 1, 5, 4))
        found[f"{op} of two values"] = model(f"t = Sigmoid(x) y = {op}(x, t)", WORDS)
        found[f"{op} of values, broadcast"] = model(f"t = ReduceMean <axes = [2]>(x) y = {op}(t, x)", WORDS)
    for op in ("Sum", "Mean", "Max", "Min"):
        found[f"{op} of values and constants"] = model(f"t = Tanh(x) y = {op}(x, c, t, d)", WORDS, c=(4,), d=(5, 1))
        found[f"{op} of one"] = model(f"y = {op}(x)", WORDS)
    found["Max of a scalar"] = model("y = Max(x, c)", WORDS, c=np.float32(0.3))
    found["Neg"] = model("y = Neg(x)")
    found["a value twice"] = model("t = Mul(x, x) u = Add(t, t) y = Concat <axis = 1>(u, u)")
    found["Pow"] = model("t = Abs(x) y = Pow(t, c)", c=np.float32(1.5))
    found["Pow, an exponent each"] = model("t = Abs(x) y = Pow(t, c)", c=ints(0, 1, 2, 3))
    found["Pow of a base"] = model("y = Pow(c, x)", c=np.array([0.5, 1, 2, 3], np.float32))
    found["Where"] = model("c = Greater(x, b) y = Where(c, x, b)", b=np.float32(0.1))
    found["Clip, one bound"] = model("y = Clip(x, , b)", b=np.float32(0.2))
    return found


def reductions() -> dict[str, ModelProto]:
    found = {}
    names = "Mean Sum Max Min L1 L2 SumSquare LogSumExp"
    for op in [f"Reduce{k}" for k in names.split()]:
        found[op] = model(f"y = {op} <axes = [1], keepdims = 0>(x)", WORDS, opset=11)
        found[f"{op} of two axes"] = model(f"y = {op}(x, axes)", WORDS, axes=ints(-1, 1), opset=18)
        found[f"{op} of all"] = model(f"y = {op}(x)", WORDS)
        noop = f"y = {op} <noop_with_empty_axes = 1>(x)"
        if op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"):
            found[f"{op} of none"] = model(noop, WORDS, opset=18)
    return found


def activations() -> dict[str, ModelProto]:
    plain = [
        "Relu", "Sigmoid", "HardSwish", "Tanh", "Softplus", "Softsign", "Mish", "Erf", "Exp", "Abs", "Sin",
        "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh", "LeakyRelu", "ThresholdedRelu", "Elu", "Selu", "Celu",
        "HardSigmoid", "Shrink", "Softmax", "LogSoftmax", "Floor", "Ceil", "Round", "Sign", "Gelu",
    ]  # fmt: skip
    found = {op: model(f"y = {op}(x)", WORDS, opset=20) for op in plain}
    between = {op: model(f"t = Sigmoid(x) y = {op}(t)", WORDS) for op in ("Log", "Sqrt", "Reciprocal", "Asin", "Acos")}
    between |= {"Atanh": model("t = Sigmoid(x) y = Atanh(t)"), "Acosh": model("t = Cosh(x) y = Acosh(t)")}
    return found | between | {
        "LeakyRelu alpha": model("y = LeakyRelu <alpha = 0.3>(x)"),
        "Elu alpha": model("y = Elu <alpha = 0.5>(x)"),
        "Celu alpha": model("y = Celu <alpha = 0.5>(x)"),
        "Selu parameters": model("y = Selu <alpha = 1.5, gamma = 0.5>(x)"),
        "HardSigmoid parameters": model("y = HardSigmoid <alpha = 0.5, beta = 0.4>(x)"),
        "ThresholdedRelu alpha": model("y = ThresholdedRelu <alpha = 0.3>(x)"),
        "Shrink parameters": model("y = Shrink <lambd = 0.3, bias = 0.1>(x)"),
        "Gelu by tanh": model('y = Gelu <approximate = "tanh">(x)', opset=20),
        "PRelu of channels": model("y = PRelu(x, s)", IMAGE, s=(4, 1, 1)),
        "PRelu of one": model("y = PRelu(x, s)", IMAGE, s=(1,)),
        "Softmax of channels": model("y = Softmax <axis = 1>(x)", IMAGE),
        "Softmax of old": model("y = Softmax <axis = 1>(x)", IMAGE, opset=11),
        "LogSoftmax of old": model("y = LogSoftmax(x)", IMAGE, opset=11),
    }  # fmt: skip


def routing() -> dict[str, ModelProto]:
    return {
        "Reshape": model("y = Reshape(x, s)", IMAGE, s=ints(0, -1, 4)),
        "Flatten": model("y = Flatten(x)", IMAGE),
        "Flatten behind": model("y = Flatten <axis = -1>(x)", IMAGE),
        "Flatten all": model("y = Flatten <axis = 0>(x)", IMAGE),
        "Transpose": model("y = Transpose <perm = [2, 0, 3, 1]>(x)", IMAGE),
        "Transpose reversed": model("y = Transpose(x)", IMAGE),
        "Squeeze all": model("t = Unsqueeze(x, a) y = Squeeze(t)", a=ints(1, -1)),
        "Concat": model("t = Relu(x) y = Concat <axis = -1>(c, x, t)", "float[2,4] x", c=(2, 3)),
        "Split": model("y, t, z = Split <axis = 1>(x, s)", IMAGE, "float[] y, float[] z", s=ints(1, 2, 1)),
        "Split evenly": model("y, z = Split <axis = 2, num_outputs = 2>(x)", IMAGE, "float[] y, float[] z", opset=18),
        "Slice": model("y = Slice(x, s, e, a)", IMAGE, s=ints(1, -3), e=ints(2**62, -1), a=ints(2, 3)),
        "Slice backwards": model(
            "y = Slice(x, s, e, a, k)", IMAGE, s=ints(-1), e=ints(-(2**62)), a=ints(1), k=ints(-2)
        ),
        "Slice steps": model(
            "y = Slice(x, s, e, a, k)", IMAGE, s=ints(-100, 7), e=ints(8, 1), a=ints(2, 3), k=ints(3, -2)
        ),
        "Gather": model("y = Gather <axis = 2>(x, i)", IMAGE, i=ints(3, 0, 3, -1)),
        "Gather one": model("y = Gather <axis = 1>(x, i)", IMAGE, i=np.int64(-1)),
        "Gather a matrix": model("y = Gather <axis = 1>(x, i)", IMAGE, i=np.array([[0, 1], [3, 3]])),
        "Embedding": model("y = Gather(w, i)", "int64[N,3] i", w=(7, 4)),
        "Pad": model("y = Pad(x, p, v)", IMAGE, p=ints(0, 0, 1, 2, 0, 0, 3, 0), v=np.float32(0.5)),
        "Pad crops": model("y = Pad(x, p)", IMAGE, p=ints(0, 0, -1, 2, 0, 0, 3, -2)),
        "Pad axes": model("y = Pad(x, p, , a)", IMAGE, p=ints(1, 2), a=ints(-1), opset=18),
        **{
            f"Pad {mode}": model(f'y = Pad <mode = "{mode}">(x, p)', IMAGE, p=ints(0, 0, 1, 2, 0, 0, 3, 1), opset=19)
            for mode in ("reflect", "edge", "wrap")
        },
        "Expand": model("y = Expand(x, s)", "float[N,1,4] x", s=ints(3, 1, 5, 1)),
        "Upsample 7": model("y = Upsample <scales = [1.0, 1.0, 2.0, 1.5]>(x)", IMAGE, opset=7, ir=3),
        "Upsample 9, linear": model(
            'y = Upsample <mode = "linear">(x, s)', IMAGE, opset=9, s=np.array([1, 1, 2, 2], np.float32)
        ),
        "Resize 10": model("y = Resize(x, s)", IMAGE, opset=10, s=np.array([1, 1, 2, 0.5], np.float32)),
        "Resize 10, linear": model(
            'y = Resize <mode = "linear">(x, s)', IMAGE, opset=10, s=np.array([1, 1, 2, 3], np.float32)
        ),
        "Tile": model("y = Tile(x, r)", WORDS, r=ints(1, 2, 3)),
        "DepthToSpace DCR": model("y = DepthToSpace <blocksize = 2>(x)", IMAGE),
        "DepthToSpace CRD": model('y = DepthToSpace <blocksize = 2, mode = "CRD">(x)', IMAGE),
        "SpaceToDepth": model("y = SpaceToDepth <blocksize = 2>(x)", "float[N,3,4,6] x"),
        "GatherElements": model(
            "y = GatherElements <axis = 1>(x, i)", "float[2,4] x", i=np.array([[0, 1, 1], [3, 2, 2]])
        ),
        "GatherElements, fewer": model("y = GatherElements <axis = 1>(x, i)", WORDS, i=np.array([[[0, 2], [-1, 4]]])),
        "GatherND": model("y = GatherND(x, i)", "float[2,4] x", i=np.array([[0, 1], [1, 3]])),
        "Identity": model("t = Identity(x) y = Identity(t)"),
        "Cast": model("t = Cast <to = 11>(x) y = Cast <to = 1>(t)"),
        "Dropout": model("y, m = Dropout(x)", WORDS, "float[] y, bool[] m"),
    }
