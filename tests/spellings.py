"""Random spellings of known functions: each operation is written in one of several equivalent ways, by chance.

`Speller(rng).of("gelu")` is a model of one input x and one output y in float64; `disturbed` changes one thing in it.
"""

from __future__ import annotations

import numpy as np
from models import ints, model
from onnx import ModelProto, TensorProto, helper, numpy_helper

AXES = (-1, 1)


class Speller:
    """Writes nodes; each method returns the name of a value."""

    def __init__(self, rng: np.random.Generator, opset: int = 20) -> None:
        self.rng, self.opset = rng, opset
        self.lines: list[str] = []
        self.constants: dict[str, np.ndarray] = {}

    def any(self, *ways):
        """Write in one of several ways."""
        return ways[self.rng.integers(len(ways))]()

    def node(self, op: str, *args: str, attributes: str = "") -> str:
        self.lines.append(f"v{len(self.lines)} = {op} {attributes}({', '.join(args)})")
        return f"v{len(self.lines) - 1}"

    def const(self, c) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(c) if isinstance(c, np.ndarray) else np.asarray(float(c))
        return name

    # each way is the same function

    def add(self, a, b):
        return self.any(
            lambda: self.node("Add", a, b), lambda: self.node("Add", b, a), lambda: self.node("Sub", a, self.neg(b))
        )

    def sub(self, a, b):
        return self.any(lambda: self.node("Sub", a, b), lambda: self.node("Add", self.neg(b), a))

    def neg(self, a):
        return self.any(lambda: self.node("Neg", a), lambda: self.node("Mul", a, self.const(-1)))

    def plus(self, a, c):
        c = np.asarray(c, float)
        return self.any(
            lambda: self.node("Add", a, self.const(c)),
            lambda: self.node("Add", self.const(c), a),
            lambda: self.node("Sub", a, self.const(-c)),
        )

    def times(self, a, c):
        c = np.asarray(c, float)
        return self.any(
            lambda: self.node("Mul", a, self.const(c)),
            lambda: self.node("Mul", self.const(c), a),
            lambda: self.node("Div", a, self.const(1 / c)),
        )

    def mul(self, a, b):
        return self.any(lambda: self.node("Mul", a, b), lambda: self.node("Mul", b, a))

    def inverse(self, a):
        return self.any(
            lambda: self.node("Reciprocal", a),
            lambda: self.node("Div", self.const(1), a),
            lambda: self.node("Pow", a, self.const(-1)),
        )

    def div(self, a, b):
        return self.any(lambda: self.node("Div", a, b), lambda: self.mul(a, self.inverse(b)))

    def square(self, a):
        return self.any(lambda: self.mul(a, a), lambda: self.node("Pow", a, self.const(2)))

    def cube(self, a):
        return self.any(lambda: self.mul(a, self.square(a)), lambda: self.node("Pow", a, self.const(3)))

    def root(self, a):
        return self.any(lambda: self.node("Sqrt", a), lambda: self.node("Pow", a, self.const(0.5)))

    def relu(self, a):
        return self.any(lambda: self.node("Relu", a), lambda: self.node("Max", a, self.const(0)))

    def sigmoid(self, a):
        return self.any(
            lambda: self.node("Sigmoid", a),
            lambda: self.inverse(self.plus(self.node("Exp", self.neg(a)), 1)),
            lambda: self.times(self.plus(self.node("Tanh", self.times(a, 0.5)), 1), 0.5),
        )

    def tanh(self, a):
        return self.any(
            lambda: self.node("Tanh", a), lambda: self.plus(self.times(self.node("Sigmoid", self.times(a, 2)), 2), -1)
        )

    def softplus(self, a):
        return self.any(lambda: self.node("Softplus", a), lambda: self.node("Log", self.plus(self.node("Exp", a), 1)))

    def clip(self, a, low, high):
        return self.any(
            lambda: self.node("Clip", a, self.const(low), self.const(high)),
            lambda: self.node("Min", self.node("Max", a, self.const(low)), self.const(high)),
            lambda: self.node("Max", self.const(low), self.node("Min", a, self.const(high))),
        )

    def halved(self, a, b):
        """a * b / 2, the factor anywhere."""
        return self.any(
            lambda: self.times(self.mul(a, b), 0.5),
            lambda: self.mul(self.times(a, 0.5), b),
            lambda: self.mul(a, self.times(b, 0.5)),
        )

    # the known functions

    def gelu(self, x):
        return self.halved(x, self.plus(self.node("Erf", self.times(x, np.sqrt(0.5))), 1))

    def gelu_tanh(self, x):
        inner = self.any(
            lambda: self.add(x, self.times(self.cube(x), 0.044715)),
            lambda: self.mul(x, self.plus(self.times(self.square(x), 0.044715), 1)),
        )
        return self.halved(x, self.plus(self.tanh(self.times(inner, np.sqrt(2 / np.pi))), 1))

    def swish(self, x):
        return self.mul(x, self.sigmoid(self.times(x, 1.702)))

    def silu(self, x):
        return self.any(
            lambda: self.mul(x, self.sigmoid(x)), lambda: self.div(x, self.plus(self.node("Exp", self.neg(x)), 1))
        )

    def mish(self, x):
        return self.mul(x, self.tanh(self.softplus(x)))

    def hard_swish(self, x):
        return self.mul(x, self.times(self.clip(self.plus(x, 3), 0, 6), 1 / 6))

    def hard_sigmoid(self, x):
        return self.any(
            lambda: self.times(self.clip(self.plus(x, 3), 0, 6), 1 / 6),
            lambda: self.clip(self.plus(self.times(x, 1 / 6), 0.5), 0, 1),
        )

    def log_sigmoid(self, x):
        return self.any(
            lambda: self.neg(self.softplus(self.neg(x))),
            lambda: self.node("Log", self.sigmoid(x)),
            lambda: self.sub(x, self.softplus(x)),
        )

    def softsign(self, x):
        return self.div(x, self.plus(self.node("Abs", x), 1))

    def tanhshrink(self, x):
        return self.sub(x, self.tanh(x))

    def leaky_relu(self, x):
        return self.any(
            lambda: self.node("Max", x, self.times(x, 0.1)),
            lambda: self.sub(self.relu(x), self.times(self.relu(self.neg(x)), 0.1)),
        )

    def elu(self, x):
        below = self.plus(self.node("Exp", self.node("Min", x, self.const(0))), -1)
        return self.add(self.relu(x), self.times(below, 1.3))

    # reductions

    def sum(self, a):
        return self.any(
            lambda: self.node("ReduceSum", a, "axes"),
            lambda: self.node("Unsqueeze", self.node("ReduceSum", a, "axes", attributes="<keepdims = 0>"), "axes"),
        )

    def mean(self, a):
        return self.any(lambda: self.node("ReduceMean", a, "axes"), lambda: self.times(self.sum(a), 1 / 4))

    def over_root(self, a, square, scale=1.0):
        """a / sqrt(square + eps), or with the root's inverse."""
        root = self.root(self.plus(square, 1e-3))
        return self.any(lambda: self.div(a, root), lambda: self.mul(a, self.inverse(root)))

    def rms(self, x):
        return self.over_root(x, self.mean(self.square(x)))

    def layer(self, x):
        m = self.mean(x)
        d = self.sub(x, m)
        square = self.any(
            lambda: self.mean(self.square(d)), lambda: self.sub(self.mean(self.square(x)), self.square(m))
        )
        return self.over_root(d, square)

    def unit(self, x):
        norm = self.root(self.sum(self.square(x)))
        return self.div(x, self.node("Max", norm, self.const(1e-6)))

    def softmax(self, x):
        x = self.any(lambda: x, lambda: self.sub(x, self.node("ReduceMax", x, "axes")))
        e = self.node("Exp", x)
        return self.div(e, self.sum(e))

    def of(self, name: str) -> ModelProto:
        getattr(self, name)("x")
        body = "\n".join(self.lines).replace(f"v{len(self.lines) - 1} =", "y =")
        axes = {"axes": ints(AXES[self.rng.integers(2)])} if "axes" in body else {}
        return model(
            body, "double[3,4,5] x".replace("4,5", "4,4"), "double[] y", opset=self.opset, **self.constants, **axes
        )


KNOWN = {
    "gelu": "gelu", "gelu_tanh": "gelu_tanh", "swish": "swish(1.702)", "silu": "swish(1)", "mish": "mish",
    "hard_swish": "hard_swish", "hard_sigmoid": "hard_sigmoid(0.166667, 0.5)", "log_sigmoid": "log_sigmoid",
    "softsign": "softsign", "tanhshrink": "tanhshrink", "leaky_relu": "leaky_relu(0.1)", "elu": "elu(1.3)",
    "rms": "rms, axes ", "layer": "axes ", "unit": "norm, axes ", "softmax": "axis ",
}  # fmt: skip
"""The functions, with what their op says of itself."""


def disturbed(proto: ModelProto, rng: np.random.Generator) -> ModelProto:
    """Return the model with one constant, one operand, or one axis changed, or with one more term."""
    found = ModelProto()
    found.CopyFrom(proto)
    graph = found.graph
    kind = rng.choice(["constant", "operand", "axis", "term"])
    constants = [t for t in graph.initializer if t.data_type == TensorProto.DOUBLE]
    if kind == "constant" and constants:
        tensor = constants[rng.integers(len(constants))]
        value = numpy_helper.to_array(tensor) * rng.choice([1.0001, 0.99, -1]) + rng.choice([0, 1e-3])
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    elif kind == "axis" and any(t.name == "axes" for t in graph.initializer):
        reductions = [n for n in graph.node if n.op_type.startswith("Reduce")]
        reductions[rng.integers(len(reductions))].input[1] = "other"
        axis = numpy_helper.to_array(next(t for t in graph.initializer if t.name == "axes"))
        graph.initializer.append(numpy_helper.from_array(np.array([1 if axis[0] == -1 else 2]), "other"))
    elif kind == "operand":
        places = [(i, k) for i, n in enumerate(graph.node) for k, a in enumerate(n.input) if a[0] in "xv"]
        i, k = places[rng.integers(len(places))]
        graph.node[i].input[k] = rng.choice(["x", *(n.output[0] for n in graph.node[:i])])
    else:
        graph.node[-1].output[0] = "f"
        graph.initializer.append(numpy_helper.from_array(np.float64(rng.choice([1e-9, 1e-3])), "small"))
        graph.initializer.append(numpy_helper.from_array(np.float64(rng.choice([0, 20])), "far"))
        graph.node.extend(
            [
                helper.make_node("Sub", ["x", "far"], ["g"]), helper.make_node("Relu", ["g"], ["h"]),
                helper.make_node("Mul", ["h", "small"], ["k"]), helper.make_node("Add", ["f", "k"], ["y"]),
            ]
        )  # fmt: skip
    return found
