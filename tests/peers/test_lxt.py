"""reflrp against LXT 2.1, in float64: its explicit functions one by one, and four small transformers in both forms.

LXT's models cannot be imported beside transformers 5, so the networks are written here, once, with their operations
taken from a table: plain for the export, `lxt.explicit`'s functions, or `lxt.efficient`'s rules (read from its file
`efficient/rules.py`, since the package itself imports transformers) placed as its patches place them.
"""

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from peers.zennit_nets import exported
from torch import nn

import reflrp
from reflrp.dialects import lxt as dl
from reflrp.ops.normaliser import Softmax

if importlib.util.find_spec("lxt") is None:
    pytest.skip("LXT is not installed", allow_module_level=True)

import lxt.explicit.functional as lf
import lxt.explicit.rules as lr


def _efficient() -> ModuleType:
    """lxt.efficient.rules, past its package's __init__."""
    spec = importlib.util.find_spec("lxt")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "efficient" / "rules.py"
    found = importlib.util.spec_from_file_location("lxt_efficient_rules", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


le = _efficient()


def assert_close(found: np.ndarray, wanted: np.ndarray, limit: float) -> None:
    assert found.shape == wanted.shape
    scale = np.abs(wanted).max()
    assert scale > 0
    assert np.abs(found - wanted).max() <= limit * scale


# ---------------------------------------------------------------- function by function


def one_node(op: str, inputs: dict[str, np.ndarray], out: np.ndarray, constants: Any = (), **attributes: Any) -> bytes:
    """A model of one ONNX node."""
    constants = dict(constants)
    node = helper.make_node(op, [*inputs, *constants], ["y"], **attributes)
    values = [helper.make_tensor_value_info(k, TensorProto.DOUBLE, v.shape) for k, v in inputs.items()]
    result = helper.make_tensor_value_info("y", TensorProto.DOUBLE, out.shape)
    initial = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph([node], "g", values, [result], initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)]).SerializeToString()


def assert_same(
    op: str, function: Callable[..., Any], rule: Any, *xs: torch.Tensor, constants: Any = (), **at: Any
) -> None:
    """LXT's relevance of a function's inputs, and ours of the ONNX node that computes it."""
    leaves = [x.clone().requires_grad_() for x in xs]
    y = function(*leaves)
    R = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y.backward(R)
    names = dict(zip("ab", (x.numpy() for x in xs), strict=False))
    model = one_node(op, names, y.detach().numpy(), constants, **at)
    e = reflrp.Explainer(model, reflrp.composites.Composite(((reflrp.composites.anything(), rule),)), strip=False)(
        names, init=R.numpy()
    )
    assert_close(e.output, y.detach().numpy(), 1e-13)
    for name, leaf in zip(names, leaves, strict=True):
        assert leaf.grad is not None
        assert_close(e.relevances[name], leaf.grad.numpy(), 1e-11)


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


EPS = [1e-8, 1e-6, 0.3]


@pytest.mark.parametrize("epsilon", EPS)
def test_linear(epsilon: float) -> None:
    w, b = rand(4, 3), rand(4)
    constants = {"w": w.numpy(), "b": b.numpy()}
    for rule in (dl.linear_epsilon(epsilon), dl.EpsilonRule(epsilon)):
        assert_same(
            "Gemm", lambda x: lf.linear_epsilon(x, w, b, epsilon), rule, rand(5, 3), constants=constants, transB=1
        )
    layer = nn.Linear(3, 4).double()
    constants = {"w": layer.weight.detach().numpy(), "b": layer.bias.detach().numpy()}
    rule = lr.EpsilonRule(layer, epsilon)
    assert_same("Gemm", rule, dl.EpsilonRule(epsilon), rand(5, 3), constants=constants, transB=1)


def test_defaults() -> None:
    w = rand(4, 3)
    constants = {"w": w.numpy().T.copy()}
    assert_same("MatMul", lambda x: lf.linear_epsilon(x, w), dl.linear_epsilon(), rand(5, 3), constants=constants)
    assert_same("Add", lf.add2, dl.add2(), rand(5, 3), rand(5, 3))
    assert_same("MatMul", lf.matmul, dl.matmul(), rand(2, 4, 3), rand(2, 3, 5))
    assert_same("MatMul", lr.UniformEpsilonRule(torch.matmul), dl.UniformEpsilonRule(), rand(4, 3), rand(3, 5))
    assert_same("MatMul", lr.EpsilonRule(torch.matmul), dl.EpsilonRule(), rand(4, 3), rand(3, 5))


@pytest.mark.parametrize("epsilon", EPS)
def test_sums_and_products(epsilon: float) -> None:
    a, b, wide = rand(2, 5, 3), rand(2, 5, 3) + 0.1, rand(3)
    assert_same("Add", lambda x, y: lf.add2(x, y, False, epsilon), dl.add2(epsilon), a, b)
    assert_same("Add", lambda x, y: lf.add2(x, y.expand_as(x), False, epsilon), dl.add2(epsilon), a, wide)
    c, d = rand(2, 4, 3), rand(2, 3, 6)
    assert_same("MatMul", lambda x, y: lf.matmul(x, y, False, epsilon), dl.matmul(epsilon), c, d)
    assert_same("MatMul", lr.UniformEpsilonRule(torch.matmul, epsilon), dl.UniformEpsilonRule(epsilon), c, d)
    assert_same("MatMul", lr.EpsilonRule(torch.matmul, epsilon), dl.EpsilonRule(epsilon), c, d)
    assert_same("Mul", lr.EpsilonRule(torch.mul, epsilon), dl.EpsilonRule(epsilon), a, b)
    assert_same("Mul", lr.UniformEpsilonRule(torch.mul, epsilon), dl.UniformEpsilonRule(epsilon), a, b)


def test_elementwise_products() -> None:
    a, b = rand(5, 3), rand(5, 3) - 0.2
    assert_same("Mul", lf.mul2, dl.mul2(), a, b)
    assert_same("Mul", lr.UniformRule(torch.mul), dl.UniformRule(), a, b)
    constant = {"k": np.asarray(3.0)}
    assert_same("Mul", lambda x: lf.mul2(x, 3.0), dl.mul2(), a, constants=constant)


@pytest.mark.parametrize("dim", [1, 2])
def test_softmax(dim: int) -> None:
    """The sum goes over the last axis, also where the softmax does not."""
    assert_same("Softmax", lambda u: lf.softmax(u, dim), dl.softmax(), rand(2, 3, 4), axis=dim)


@pytest.mark.parametrize("dim", [1, 2])
def test_masked_softmax(dim: int) -> None:
    x, R = rand(2, 3, 4), rand(2, 3, 4).numpy()
    x[0, 1, 2] = -math.inf
    leaf = x.clone().requires_grad_()
    lf.softmax(leaf, dim).backward(torch.from_numpy(R))
    assert leaf.grad is not None
    op = Softmax((dim,))
    assert_close(dl.softmax()(op, x.numpy(), op.forward(x.numpy()), R), leaf.grad.numpy(), 1e-13)


@pytest.mark.parametrize("epsilon", [1e-6, 0.2])
@pytest.mark.parametrize("keep", [False, True])
def test_mean(epsilon: float, keep: bool) -> None:
    """keep_dim=False crashes in LXT for an axis of size 1, and gives a squeezed relevance for others."""
    x, axes = rand(2, 5, 3), {"axes": np.asarray([1])}
    wanted = lambda u: lf.mean(u, 1, keep, epsilon)  # noqa: E731
    assert_same("ReduceMean", wanted, dl.mean(epsilon), x, constants=axes, keepdims=int(keep))


def test_normalisations() -> None:
    x, w, b = rand(2, 5, 6), rand(6), rand(6) * 0.5
    both = {"w": w.numpy(), "b": b.numpy()}
    eps = 2.0**-17
    assert_same(
        "LayerNormalization",
        lambda u: lf.layer_norm(u, w.clone(), b, eps),
        dl.layer_norm(),
        x,
        constants=both,
        epsilon=eps,
    )
    ours = dl.EpsilonRule(1e-6)  # the true Jacobian, the deviation's own change included
    norm = nn.LayerNorm(6, eps).double()
    with torch.no_grad():
        norm.weight.copy_(w)
        norm.bias.copy_(b)
    assert_same("LayerNormalization", lr.EpsilonRule(norm, 1e-6), ours, x, constants=both, epsilon=eps)
    assert_same("LpNormalization", lambda u: lf.normalize(u, dim=-1), dl.normalize(), x, axis=-1, p=2)


@pytest.mark.parametrize(("op", "function"), [("Gelu", nn.GELU()), ("Tanh", torch.tanh), ("Relu", torch.relu)])
def test_activations(op: str, function: Callable[..., Any]) -> None:
    x = rand(5, 3)
    x[0, 0] = 0
    assert_same(op, lr.IdentityRule(function), dl.IdentityRule(), x)
    assert_same(op, lr.EpsilonRule(function, 0.1), dl.EpsilonRule(0.1), x)


@pytest.mark.parametrize(("op", "function"), [("Gelu", nn.GELU()), ("Tanh", torch.tanh), ("Relu", torch.relu)])
def test_implicit_identity(op: str, function: Callable[..., Any]) -> None:
    """The efficient form carries R / value: what comes out is x times the gradient."""
    x = rand(5, 3)
    x[0, 0] = 0
    leaf = x.clone().requires_grad_()
    y = le.identity_rule_implicit(function, leaf)
    carried = rand(5, 3) + 0.3
    y.backward(carried)
    assert leaf.grad is not None
    model = one_node(op, {"a": x.numpy()}, x.numpy())
    R = (carried * y.detach()).numpy()
    rules = reflrp.composites.Composite(((reflrp.composites.anything(), dl.identity_rule_implicit()),))
    e = reflrp.explain(model, x.numpy(), rules=rules, init=R)
    assert_close(e.relevance, (x * leaf.grad).numpy(), 1e-12)
    assert e.relevance[0, 0] == 0


# ---------------------------------------------------------------- four small transformers


@dataclass(frozen=True)
class Ops:
    """The operations of a network without LRP."""

    def linear(self, layer: nn.Module, x: Any) -> Any:
        return layer(x)

    def act(self, function: Any, x: Any) -> Any:
        return function(x)

    def norm(self, layer: nn.LayerNorm, x: Any) -> Any:
        return layer(x)

    def rms(self, weight: Any, x: Any) -> Any:
        return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 2**-17))

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def scale(self, x: Any, k: Any) -> Any:
        return x * k

    def gated(self, function: Any, gate: Any, up: Any) -> Any:
        return function(gate) * up

    def attend(self, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return torch.softmax(scores if mask is None else scores + mask, -1) @ v

    def mean(self, x: Any) -> Any:
        return x.mean(1)


@dataclass(frozen=True)
class Efficient(Ops):
    """As lxt.efficient.patches: its forwards of norms, MLPs and attention, and their cp_ forms."""

    cp: bool

    def act(self, function: Any, x: Any) -> Any:
        return le.identity_rule_implicit(function, x)

    def norm(self, layer: nn.LayerNorm, x: Any) -> Any:
        centred = x - x.mean(-1, keepdim=True)
        std = ((centred**2).mean(-1, keepdim=True) + layer.eps).sqrt()
        return centred / le.stop_gradient(std) * layer.weight + layer.bias

    def rms(self, weight: Any, x: Any) -> Any:
        return weight * (x * le.stop_gradient(torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 2**-17)))

    def gated(self, function: Any, gate: Any, up: Any) -> Any:
        if self.cp:
            return function(le.stop_gradient(gate)) * up
        return le.divide_gradient(le.identity_rule_implicit(function, gate) * up, 2)

    def attend(self, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        if self.cp:
            return super().attend(le.stop_gradient(q), le.stop_gradient(k), v, mask)
        return super().attend(le.divide_gradient(q, 4), le.divide_gradient(k, 4), le.divide_gradient(v, 2), mask)


@dataclass(frozen=True)
class Explicit(Ops):
    """As LXT's composites of explicit rules: EpsilonRule(1e-8) on nn.Linear, IdentityRule on activations, and so on."""

    cp: bool

    def linear(self, layer: nn.Module, x: Any) -> Any:
        return lr.EpsilonRule(layer)(x)

    def act(self, function: Any, x: Any) -> Any:
        return lr.IdentityRule(function)(x)

    def norm(self, layer: nn.LayerNorm, x: Any) -> Any:
        return lf.layer_norm(x, layer.weight.detach(), layer.bias.detach(), layer.eps)

    def rms(self, weight: Any, x: Any) -> Any:
        return lr.IdentityRule(lambda u: super(Explicit, self).rms(weight, u))(x)

    def add(self, a: Any, b: Any) -> Any:
        return lf.add2(a, b.expand_as(a))

    def scale(self, x: Any, k: Any) -> Any:
        return lf.mul2(x, k)

    def gated(self, function: Any, gate: Any, up: Any) -> Any:
        if self.cp:
            return lr.EpsilonRule(torch.mul)(lr.StopRelevanceRule(function)(gate), up)
        return lr.UniformRule(torch.mul)(lr.IdentityRule(function)(gate), up)

    def attend(self, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        scores = lf.mul2(lf.matmul(q, k.transpose(-1, -2)), 1 / math.sqrt(q.shape[-1]))
        if mask is not None:
            scores = lf.add2(scores, mask.expand_as(scores))
        if self.cp:
            return lr.EpsilonRule(torch.matmul)(lr.StopRelevanceRule(nn.Softmax(-1))(scores), v)
        return lr.UniformEpsilonRule(torch.matmul)(lf.softmax(scores, -1), v)

    def mean(self, x: Any) -> Any:
        return lf.mean(x, 1, True).squeeze(1)


class Net(nn.Module):
    """A network whose operations can be exchanged."""

    ops: Ops = Ops()


def heads(x: torch.Tensor, n: int) -> torch.Tensor:
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def joined(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(2)


def causal(t: int) -> torch.Tensor:
    return torch.zeros(t, t, dtype=torch.float64).masked_fill(~torch.tril(torch.ones(t, t)).bool(), -math.inf)


class Llama(Net):
    """RMSNorm, rotary positions, grouped queries, SwiGLU; no biases."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict(self._block()) for _ in range(2))
        self.last, self.head = nn.Parameter(1 + 0.3 * rand(8)), nn.Linear(8, 7, False)
        angle = torch.arange(5).double()[:, None] * 0.5 ** torch.arange(2).double()[None]
        self.cos, self.sin = (f(torch.cat([angle, angle], -1)) for f in (torch.cos, torch.sin))

    @staticmethod
    def _block() -> dict[str, nn.Module]:
        sizes = {"q": (8, 16), "k": (8, 8), "v": (8, 8), "o": (16, 8), "gate": (8, 12), "up": (8, 12), "down": (12, 8)}
        norms = nn.ParameterList([1 + 0.3 * rand(8), 1 - 0.2 * rand(8)])
        return {**{k: nn.Linear(a, b, False) for k, (a, b) in sizes.items()}, "norms": norms}

    def _turn(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        turned = torch.cat([self.ops.scale(b, -1.0), a], -1)
        return self.ops.add(self.ops.scale(x, self.cos), self.ops.scale(turned, self.sin))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        o = self.ops
        for b in self.blocks:
            h = o.rms(b["norms"][0], x)
            q, k, v = (heads(o.linear(b[n], h), m) for n, m in (("q", 4), ("k", 2), ("v", 2)))
            k, v = (u.repeat_interleave(2, 1) for u in (self._turn(k), v))
            x = o.add(x, o.linear(b["o"], joined(o.attend(self._turn(q), k, v, causal(5)))))
            h = o.rms(b["norms"][1], x)
            x = o.add(x, o.linear(b["down"], o.gated(nn.functional.silu, o.linear(b["gate"], h), o.linear(b["up"], h))))
        return o.linear(self.head, o.rms(self.last, x)[:, -1])


class Encoder(Net):
    """LayerNorm before or after, biases everywhere, GELU."""

    def __init__(self, pre: bool, blocks: int = 2) -> None:
        super().__init__()
        self.pre, self.blocks = pre, nn.ModuleList(nn.ModuleDict(self._block()) for _ in range(blocks))

    @staticmethod
    def _block() -> dict[str, nn.Module]:
        sizes = {"q": (8, 8), "k": (8, 8), "v": (8, 8), "o": (8, 8), "up": (8, 12), "down": (12, 8)}
        norms = {"n1": nn.LayerNorm(8, 2**-17), "n2": nn.LayerNorm(8, 2**-17)}
        return {**{k: nn.Linear(a, b) for k, (a, b) in sizes.items()}, **norms}

    def _attention(self, b: Any, x: torch.Tensor, mask: Any) -> torch.Tensor:
        q, k, v = (heads(self.ops.linear(b[n], x), 2) for n in "qkv")
        return self.ops.linear(b["o"], joined(self.ops.attend(q, k, v, mask)))

    def _mlp(self, b: Any, x: torch.Tensor) -> torch.Tensor:
        return self.ops.linear(b["down"], self.ops.act(nn.functional.gelu, self.ops.linear(b["up"], x)))

    def encode(self, x: torch.Tensor, mask: Any = None) -> torch.Tensor:
        o = self.ops
        for b in self.blocks:
            if self.pre:
                x = o.add(x, self._attention(b, o.norm(b["n1"], x), mask))
                x = o.add(x, self._mlp(b, o.norm(b["n2"], x)))
            else:
                x = o.norm(b["n1"], o.add(x, self._attention(b, x, mask)))
                x = o.norm(b["n2"], o.add(x, self._mlp(b, x)))
        return x


class Bert(Encoder):
    """Positions, a LayerNorm first, a padding mask, a pooler with tanh."""

    def __init__(self) -> None:
        super().__init__(pre=False)
        self.place, self.first = nn.Parameter(rand(5, 8) * 0.5), nn.LayerNorm(8, 2**-17)
        self.pooler, self.head = nn.Linear(8, 8), nn.Linear(8, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.tensor([0.0, 0, 0, 0, -1e4], dtype=torch.float64)
        x = self.encode(self.ops.norm(self.first, self.ops.add(x, self.place)), mask)
        return self.ops.linear(self.head, self.ops.act(torch.tanh, self.ops.linear(self.pooler, x[:, 0])))


class Gpt2(Encoder):
    """Pre-norm blocks, a causal mask of -inf, tied to no head bias."""

    def __init__(self) -> None:
        super().__init__(pre=True)
        self.place, self.last, self.head = nn.Parameter(rand(5, 8)), nn.LayerNorm(8, 2**-17), nn.Linear(8, 7, False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.encode(self.ops.add(x, self.place), causal(5))
        return self.ops.linear(self.head, self.ops.norm(self.last, x)[:, -1])


class Vit(Encoder):
    """Patches by a convolution, a class token, positions; the mean of all tokens beside the class token."""

    def __init__(self) -> None:
        super().__init__(pre=True)
        self.patches, self.last = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8, 2**-17)
        self.cls, self.place = nn.Parameter(rand(1, 1, 8)), nn.Parameter(rand(10, 8))
        self.head, self.other = nn.Linear(8, 7), nn.Linear(8, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        o = self.ops
        h = o.linear(self.patches, x).flatten(2).transpose(1, 2)
        h = torch.cat([self.cls.expand(x.shape[0], -1, -1), h], 1)
        h = o.norm(self.last, self.encode(o.add(h, self.place)))
        return o.add(o.linear(self.head, h[:, 0]), o.linear(self.other, o.mean(h)))


NETS = {"llama": (Llama, (5, 8)), "bert": (Bert, (5, 8)), "gpt2": (Gpt2, (5, 8)), "vit": (Vit, (3, 12, 12))}


@dataclass(frozen=True)
class Case:
    net: Net
    x: torch.Tensor
    onnx: bytes


@pytest.fixture(scope="module", params=NETS)
def case(request: pytest.FixtureRequest) -> Case:
    make, shape = NETS[request.param]
    torch.manual_seed(0)
    net = make().double().eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm) and module.bias is not None:
                module.bias.normal_(std=0.3)
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.weight *= 2
    for p in net.parameters():
        p.requires_grad_(False)
    x = torch.randn(2, *shape, dtype=torch.float64)
    model = exported(net, x)
    onnx.checker.check_model(onnx.load_from_string(model))
    return Case(net, x, model)


def run(case: Case, ops: Ops) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the chosen outputs and x.grad, the tape begun with R = logit (explicit) or with 1 (efficient)."""
    case.net.ops = ops
    try:
        x = case.x.clone().requires_grad_()
        y = case.net(x).amax(1)
        y.backward(y.detach() if isinstance(ops, Explicit) else torch.ones_like(y))
    finally:
        case.net.ops = Ops()
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize("cp", [False, True])
def test_efficient(case: Case, cp: bool) -> None:
    y, grad = run(case, Efficient(cp))
    e = reflrp.explain(case.onnx, case.x.numpy(), rules=dl.CP_LRP() if cp else dl.AttnLRP())
    assert_close(e.output.max(1), y.numpy(), 1e-12)
    assert_close(e.relevance, (case.x * grad).numpy(), 1e-12)
    assert e.conservation.worst < 1e-9


@pytest.mark.parametrize("cp", [False, True])
def test_explicit(case: Case, cp: bool) -> None:
    y, grad = run(case, Explicit(cp))
    e = reflrp.explain(case.onnx, case.x.numpy(), rules=(dl.CP_LRP if cp else dl.AttnLRP)("explicit"))
    assert_close(e.output.max(1), y.numpy(), 1e-12)
    assert_close(e.relevance, grad.numpy(), 1e-11)


@pytest.mark.parametrize("rules", [dl.AttnLRP, dl.CP_LRP])
def test_the_forms_agree_up_to_epsilon(case: Case, rules: Callable[..., Any]) -> None:
    one, two = (reflrp.explain(case.onnx, case.x.numpy(), rules=rules(form)) for form in ("efficient", "explicit"))
    assert_close(one.relevance, two.relevance, 1e-3)
