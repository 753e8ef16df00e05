"""A small transformer block as ONNX, and the same in numpy with its way back written out: relevance by given formulas.

x (N, T, d) -> LayerNorm -> attention with a mask -> + x -> gated MLP -> + -> mean over tokens -> dense layer. Nothing
here is taken from reflrp. `Formulas` has one method for each operation, and says by which rule its relevance goes back.
"""

import math
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper

N, T, D, H, C = 2, 4, 3, 5, 6
EPS = 2.0**-17


def weights(seed=0, bias=True, masked=True):
    rng = np.random.default_rng(seed)
    shapes = {**{f"W{k}": (D, D) for k in "qkvo"}, "Wg": (D, H), "Wu": (D, H), "Wd": (H, D), "Wh": (D, C), "wn": (D,)}
    found = {k: rng.standard_normal(s) for k, s in shapes.items()}
    for name, size in {"q": D, "k": D, "v": D, "o": D, "g": H, "u": H, "d": D, "h": C, "n": D}.items():
        found[f"b{name}"] = 0.4 * rng.standard_normal(size) * bias
    mask = np.where(np.tri(T) > 0, 0.0, -np.inf) if masked else np.zeros((T, T))
    return found | {"mask": mask, "scale": np.asarray(1 / math.sqrt(D)), "axes": np.asarray([1])}


def model(w):
    """The block as a checked model of float64 values; silu is written as x * sigmoid(x)."""
    nodes = []

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], name=f"{op}:{output}", **attributes))
        return output

    def dense(x, k, out):
        node("MatMul", [x, f"W{k}"], f"{out}_product")
        return node("Add", [f"{out}_product", f"b{k}"], out)

    node("LayerNormalization", ["x", "wn", "bn"], "n", epsilon=EPS)
    q, k, v = (dense("n", c, c) for c in "qkv")
    node("Transpose", [k], "kt", perm=[0, 2, 1])
    node("MatMul", [q, "kt"], "s")
    node("Mul", ["s", "scale"], "scaled")
    node("Add", ["scaled", "mask"], "masked")
    node("Softmax", ["masked"], "p", axis=-1)
    node("MatMul", ["p", v], "h")
    node("Add", ["x", dense("h", "o", "o")], "r")
    dense("r", "g", "g")
    node("Sigmoid", ["g"], "sigmoid")
    node("Mul", ["g", "sigmoid"], "silu")
    node("Mul", ["silu", dense("r", "u", "u")], "m")
    node("Add", ["r", dense("m", "d", "d")], "y")
    node("ReduceMean", ["y", "axes"], "z", keepdims=0)
    node("Gemm", ["z", "Wh", "bh"], "logits")
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", T, D])],
        [helper.make_tensor_value_info("logits", TensorProto.DOUBLE, ["N", C])],
        [numpy_helper.from_array(np.asarray(a), k) for k, a in w.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def signed(e):
    return lambda z: np.where(z >= 0, z + e, z - e)


def plain(e):
    return lambda z: z + e


def share(R, denominator):
    """R / denominator, 0 where the denominator is 0."""
    return np.divide(R, denominator, out=np.zeros_like(denominator * R), where=denominator != 0)


@dataclass
class Formulas:
    """AttnLRP's formulas with one stabiliser everywhere; subclasses say what another library does."""

    st: object = signed(1e-6)

    def linear(self, x, w, b, R):
        """x sum w R / st(x w + b)."""
        return x * (share(R, self.st(x @ w + b)) @ w.T)

    def add(self, a, b, R):
        s = share(R, self.st(a + b))
        return a * s, b * s

    def constant(self, x, c, R):
        """Of x + c, c being constant."""
        return np.where(np.isfinite(c), x, 0) * share(R, np.where(np.isfinite(c), self.st(x + c), 1))

    def scaled(self, x, c, R):
        return x * c * share(R, self.st(x * c))

    def softmax(self, x, p, R):
        """x (R - p sum R)."""
        return np.where(np.isfinite(x), x, 0) * (R - p * R.sum(-1, keepdims=True))

    def weigh(self, p, v, R):
        s = share(R, self.st(2 * (p @ v)))
        return p * (s @ v.swapaxes(1, 2)), v * (p.swapaxes(1, 2) @ s)

    def scores(self, q, k, R):
        s = share(R, self.st(2 * (q @ k.swapaxes(1, 2))))
        return q * (s @ k), k * (s.swapaxes(1, 2) @ q)

    def norm(self, x, w, b, R):
        return R

    def gated(self, g, u, R):
        """Of silu(g) * u: that of g and of u."""
        return R / 2, R / 2

    def mean(self, x, R):
        """Of the mean over tokens, (N, D) -> (N, T, D)."""
        return x / T * share(R, self.st(x.mean(1)))[:, None]


def silu(g):
    return g / (1 + np.exp(-g))


def forward(w, x):
    """All values by name."""
    v = {"x": x}
    deviation = np.sqrt(x.var(-1, keepdims=True) + EPS)
    v["n"] = (x - x.mean(-1, keepdims=True)) / deviation * w["wn"] + w["bn"]
    for c in "qkv":
        v[c] = v["n"] @ w[f"W{c}"] + w[f"b{c}"]
    v["s"] = v["q"] @ v["k"].swapaxes(1, 2)
    v["scaled"] = v["s"] * w["scale"]
    v["masked"] = v["scaled"] + w["mask"]
    e = np.exp(v["masked"] - v["masked"].max(-1, keepdims=True))
    v["p"] = e / e.sum(-1, keepdims=True)
    v["h"] = v["p"] @ v["v"]
    v["o"] = v["h"] @ w["Wo"] + w["bo"]
    v["r"] = x + v["o"]
    v["g"], v["u"] = v["r"] @ w["Wg"] + w["bg"], v["r"] @ w["Wu"] + w["bu"]
    v["m"] = silu(v["g"]) * v["u"]
    v["d"] = v["m"] @ w["Wd"] + w["bd"]
    v["y"] = v["r"] + v["d"]
    v["z"] = v["y"].mean(1)
    v["logits"] = v["z"] @ w["Wh"] + w["bh"]
    return v


def backward(w, v, R, f):
    """The relevance of x, and of every inner value by name, from that of the logits."""
    R = {"logits": R}
    R["z"] = f.linear(v["z"], w["Wh"], w["bh"], R["logits"])
    R["y"] = f.mean(v["y"], R["z"])
    r0, R["d"] = f.add(v["r"], v["d"], R["y"])
    R["m"] = f.linear(v["m"], w["Wd"], w["bd"], R["d"])
    R["g"], R["u"] = f.gated(v["g"], v["u"], R["m"])
    R["r"] = r0 + sum(f.linear(v["r"], w[f"W{c}"], w[f"b{c}"], R[c]) for c in "gu")
    x0, R["o"] = f.add(v["x"], v["o"], R["r"])
    R["h"] = f.linear(v["h"], w["Wo"], w["bo"], R["o"])
    R["p"], R["v"] = f.weigh(v["p"], v["v"], R["h"])
    R["masked"] = f.softmax(v["masked"], v["p"], R["p"])
    masked = np.any(w["mask"])  # the import leaves out a sum with 0
    R["scaled"] = f.constant(v["scaled"], w["mask"], R["masked"]) if masked else R["masked"]
    R["s"] = f.scaled(v["s"], w["scale"], R["scaled"])
    R["q"], R["k"] = f.scores(v["q"], v["k"], R["s"])
    R["n"] = sum(f.linear(v["n"], w[f"W{c}"], w[f"b{c}"], R[c]) for c in "qkv")
    R["x"] = x0 + f.norm(v["x"], w["wn"], w["bn"], R["n"])
    return R


def held(x, w, b, R, st, ddof=0):
    """x * J^T (R / st(y)) of a LayerNorm whose deviation is constant: J = diag(w / sigma)(I - 1/n), row by row."""
    found = np.zeros_like(x)
    n = x.shape[-1]
    for i in np.ndindex(x.shape[:-1]):
        row = x[i]
        sigma = math.sqrt(((row - row.mean()) ** 2).sum() / (n - ddof) + EPS)
        J = np.diag(w / sigma) @ (np.eye(n) - np.ones((n, n)) / n)
        found[i] = row * (J.T @ (R[i] / st(J @ row + b)))
    return found


def sample(seed=7):
    return np.random.default_rng(seed).standard_normal((N, T, D))


def seed_of(logits, target, one=False):
    R = np.zeros_like(logits)
    R[range(len(target)), target] = 1.0 if one else logits[range(len(target)), target]
    return R
