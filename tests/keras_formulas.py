"""The formulas of iNNvestigate and SignXAI, transcribed by hand for dense matrices; and small networks to try them on.

They share no code with reflrp. A network is a chain of parts, each on flattened samples: ("kernel", W, b), ("relu",),
("batchnorm", gamma, beta, mean, variance, epsilon) with one entry a value, ("mean", W).
"""

import numpy as np
import oracle
from onnx import TensorProto, helper, numpy_helper

SAFE = 1e-7
EPSILON = 2**-10  # of the BatchNormalization, which a file keeps in float32


def plus(x):
    return np.where(x > 0, x, 0.0)


def minus(x):
    return np.where(x < 0, x, 0.0)


def safe(R, z):
    """SafeDivide: the denominator is 1e-7 where it is 0."""
    return R / np.where(z == 0, SAFE, z)


def spread(epsilon):
    def divide(R, z):
        return R / (z + np.where(z >= 0, 1.0, -1.0) * epsilon)

    return divide


def shared(parts, b, R, divide=safe):
    """R in proportion to the terms x V of all parts (x, V), with one denominator."""
    s = divide(R, sum(x @ V for x, V in parts) + b)
    return sum(x * (s @ V.T) for x, V in parts)


def z(x, W, b, R, bias=True):
    return shared([(x, W)], b if bias else 0, R)


def epsilon(x, W, b, R, epsilon=1e-7, bias=True):
    return shared([(x, W)], b if bias else 0, R, spread(epsilon))


def square(x, W, b, R, weights=np.square):
    V = weights(W)
    return safe(R, np.ones_like(x) @ V) @ V.T


def flat(x, W, b, R):
    return square(x, W, b, R, lambda W: (W != 0).astype(float))


def alpha_beta(x, W, b, R, alpha=2, beta=1, bias=True):
    """All of the bias stands in both denominators."""
    c = b if bias else 0
    one = shared([(plus(x), plus(W)), (minus(x), minus(W))], c, R)
    return alpha * one - beta * shared([(plus(x), minus(W)), (minus(x), plus(W))], c, R)


def zplus_fast(x, W, b, R):
    return shared([(x, plus(W))], 0, R)


def bounded(x, W, b, R, low=-1, high=1):
    box = [(x, W), (np.full_like(x, low), -plus(W)), (np.full_like(x, high), -minus(W))]
    s = safe(R, sum(v @ V for v, V in box))
    return sum(v * (s @ V.T) for v, V in box)


def alpha_beta_x(x, W, b, R, alpha=(0.5, 0.5), beta=(0.5, 0.5), bias=True, second=None):
    b = b if bias else 0 * b
    second = alpha[1] if second is None else second
    return (
        alpha[0] * shared([(plus(x), plus(W))], plus(b), R)
        + second * shared([(minus(x), minus(W))], minus(b), R)
        - beta[0] * shared([(plus(x), minus(W))], minus(b), R)
        - beta[1] * shared([(minus(x), plus(W))], plus(b), R)
    )


def sign(x, W, b, R, mu=0.0):
    return np.where(x >= mu, 1.0, -1.0) * (safe(R, x @ W + b) @ W.T)


def stdx(x, W, b, R, stdfactor=0.25, bias=True):
    return epsilon(x, W, b, R, x.std() * stdfactor, bias)


def gamma(x, W, b, R, gamma=0.5, bias=True):
    return shared([(x, W + gamma * plus(W))], (b + gamma * plus(b)) if bias else 0, R)


def gamma_as_released(x, W, b, R, gamma=0.5, bias=True):
    c = b + plus(b) if bias else 0
    one = shared([(plus(x), plus(W)), (x, W)], c, R)
    return gamma * one - shared([(plus(x), W), (x, plus(W))], c, R)


def surrogate(rule, mode, squared):
    """A rule on what stands for a BatchNormalization; squared: with iNNvestigate's sigma, and no gamma in the shift."""

    def back(x, gamma, beta, mean, variance, eps, R):
        sigma = np.sqrt((variance**2 if squared else variance) + eps)
        if mode == "two_linear":
            u = (x - mean) / sigma
            return rule(x, np.diag(1 / sigma), -mean / sigma, rule(u, np.diag(gamma), beta, R))
        return rule(x, np.diag(gamma / sigma), beta - mean / sigma * (1 if squared else gamma), R)

    return back


def reverse_batchnorm(x, gamma, beta, mean, variance, eps, R):
    y = gamma * (x - mean) / np.sqrt(variance + eps) + beta
    d = (x - mean) * y
    return safe(x * (y - beta) * R, d + np.where(d >= 0, 1, -1) * 1e-7)


def forward(parts, x):
    """All values, from the input to the output."""
    values = [x]
    for kind, *given in parts:
        h = values[-1]
        if kind == "relu":
            values.append(plus(h))
        elif kind == "batchnorm":
            gamma, beta, mean, variance, eps = given
            values.append(gamma * (h - mean) / np.sqrt(variance + eps) + beta)
        else:
            values.append(h @ given[0] + (given[1] if kind == "kernel" else 0))
    return values


def backward(parts, x, R, rules, batchnorm=None):
    """Relevance of the input: one rule for each kernel, from the input on; ReLUs pass, means have the Z-rule."""
    values, rules = forward(parts, x), list(rules)
    for (kind, *given), h in zip(reversed(parts), reversed(values[:-1]), strict=True):
        if kind == "kernel":
            R = rules.pop()(h, *given, R)
        elif kind == "batchnorm":
            R = batchnorm(h, *given, R)
        elif kind == "mean":
            R = z(h, given[0], 0, R)
    return R


def dense_of(matrix):
    return np.asarray(matrix.full, dtype=float), np.asarray(matrix.b, dtype=float)


def conv_net(seed=0):
    """Conv, ReLU, BatchNormalization, AveragePool, Conv, Flatten, Dense: (ONNX file, parts, Keras config, weights, input)."""
    rng = np.random.default_rng(seed)
    w1, b1, w2, b2 = (rng.standard_normal(s) for s in ((3, 2, 2, 2), 3, (2, 3, 2, 2), 2))
    stats = [rng.standard_normal(3), rng.standard_normal(3), rng.standard_normal(3), rng.uniform(0.3, 2, 3)]
    w3, b3 = rng.standard_normal((8, 4)), rng.standard_normal(4)
    x = rng.standard_normal((3, 2, 5, 5))
    shape = {"strides": (1, 1), "begin": (0, 0), "end": (0, 0), "dilations": (1, 1)}
    parts = [
        ("kernel", *dense_of(oracle.conv((5, 5), w1, b1[:, None, None], groups=1, **shape))),
        ("relu",),
        ("batchnorm", *(np.repeat(s, 16) for s in stats), EPSILON),
        ("mean", dense_of(oracle.average_pool(3, (4, 4), (2, 2), include_pad=False, **shape))[0]),
        ("kernel", *dense_of(oracle.conv((3, 3), w2, b2[:, None, None], groups=1, **shape))),
        ("kernel", w3, b3),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "net/c1/Conv2D"),
        helper.make_node("Relu", ["c1"], ["r1"], "net/c1/Relu"),
        helper.make_node("BatchNormalization", ["r1", *"gbmv"], ["n1"], "net/bn/FusedBatchNormV3", epsilon=EPSILON),
        helper.make_node("AveragePool", ["n1"], ["p1"], "net/ap/AvgPool", kernel_shape=[2, 2]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], "net/c2/Conv2D"),
        helper.make_node("Flatten", ["c2"], ["f"], "net/flat/Reshape"),
        helper.make_node("MatMul", ["f", "w3"], ["d"], "net/out/MatMul"),
        helper.make_node("Add", ["d", "b3"], ["y"], "net/out/BiasAdd"),
    ]
    constants = {"w1": w1, "b1": b1, "w2": w2, "b2": b2, "w3": w3, "b3": b3, **dict(zip("gbmv", stats, strict=True))}
    chain = [("x", "InputLayer"), ("c1", "Conv2D"), ("bn", "BatchNormalization"), ("ap", "AveragePooling2D")]
    chain += [("c2", "Conv2D"), ("flat", "Flatten"), ("out", "Dense")]
    model = {"config": config(chain), "weights": {"bn": stats}}
    return file(nodes, (2, 5, 5), 4, constants), parts, model, x


def file(nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", *inputs])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["N", outputs])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def config(chain, **inbound):
    """What Keras 2 writes down of layers in a row; `inbound` names what else a layer reads."""
    before, layers = None, []
    for name, kind in chain:
        reads = inbound.get(name, [before] if before else [])
        calls = [[[r, 0, 0, {}] for r in reads]] if reads else []
        layers.append(
            {"class_name": kind, "name": name, "config": {"name": name, "epsilon": EPSILON}, "inbound_nodes": calls}
        )
        before = name
    return {"name": "net", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [[before, 0, 0]]}


def dense_net(W, b, name="out"):
    """One dense layer."""
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["d"], f"net/{name}/MatMul"),
        helper.make_node("Add", ["d", "b"], ["y"], f"net/{name}/BiasAdd"),
    ]
    return file(nodes, W.shape[:1], W.shape[1], {"W": W, "b": b})
