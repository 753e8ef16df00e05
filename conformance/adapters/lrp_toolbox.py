"""The adapter of the LRP Toolbox, its NumPy part: its modules in the place of a case's nodes, one after the other.

The toolbox is no package: LRP_TOOLBOX names a checkout (https://github.com/sebastian-lapuschkin/lrp_toolbox). It has chains of
Linear, Convolution, SumPool, MaxPool, Flatten, Rect, Tanh and SoftMax, with channels last, which the adapter turns round. An
average is its SumPool over the square root of the count. Its stabiliser of 1e-16 stands in the code: where a case has another
one for alpha-beta, the code runs with that number in its place. "flat" and "ww" have none.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reflrp.conformance.adapters.walked import Node, Walked, checkout, imported, version_of
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported

Params = Mapping[str, Any]

MODULES = checkout("LRP_TOOLBOX", "python/modules/__init__.py") / "python" / "modules"

toolbox = imported("lrp_toolbox_modules", MODULES / "__init__.py")

VERSIONS = {"97b159a17384": "1.3.1"}

WEAK = 1e-16
"""The constant in the toolbox's code."""


class Adapter:
    """The LRP Toolbox on chains of its modules, in float64."""

    def describe(self) -> Info:
        """Return who is judged."""
        version = version_of(list(MODULES.glob("*.py")), VERSIONS)
        return Info("lrp_toolbox", version, frozenset(RULES), frozenset(LAYERS), ("float64",), intermediates=True)

    def load(self, model: Path, dtype: str) -> Walked:
        """Return the chain. Raises Unsupported for graphs that are none."""
        found = Walked(model, _layer)
        if any(len(node.inputs) != 1 for node in found.nodes) or max(found.readers.values()) > 1:
            raise Unsupported("the toolbox has chains only")
        return found

    def forward(self, model: Walked, inputs: Arrays) -> Arrays:
        """Return the outputs by name."""
        with _floats():
            return model.forward(inputs)

    def explain(self, model: Walked, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of all values."""
        with _floats():
            return model.explain(inputs, seed, rules)


@contextmanager
def _floats() -> Iterator[None]:
    """Give the toolbox the name np.float, which NumPy no longer has; and let it divide 0 by 0, as it does."""
    vars(np)["float"] = float
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        del vars(np)["float"]


# ---------------------------------------------------------------- layers


@dataclass(frozen=True)
class Module:
    """A module of the toolbox. `images`: channels are last there; `scale`: what its output is multiplied with here."""

    node: Node
    inner: Any
    images: bool = False
    scale: float = 1.0

    def _turned(self, x: np.ndarray) -> np.ndarray:
        return x.transpose(0, 2, 3, 1) if self.images else x

    def _back(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if self.images else x

    def forward(self, *values: np.ndarray) -> np.ndarray:
        """Return the module's output."""
        (x,) = values
        if self.images and x.ndim != 4:
            raise Unsupported("the toolbox has layers for images of two axes only")
        if isinstance(self.inner, toolbox.Linear) and x.ndim != 2:
            raise Unsupported("the toolbox's Linear takes rows only")
        return self._back(np.asarray(self.inner.forward(self._turned(x)))) * self.scale

    def relevance(
        self, spec: RuleSpec | None, values: list[np.ndarray], y: np.ndarray, R: np.ndarray
    ) -> list[np.ndarray]:
        """Return what the module's `lrp` gives; without a rule that is its simple variant."""
        variant, param, constant = (None, None, WEAK) if spec is None else RULES[spec.rule](self.node, spec.params)
        with _constant(self.inner, constant):
            return [self._back(np.asarray(self.inner.lrp(self._turned(R), variant, param)))]


@contextmanager
def _constant(module: Any, value: float) -> Iterator[None]:
    """Run a module's alpha-beta with another number in the place of 1e-16."""
    code = type(module)._alphabeta_lrp.__code__
    if value == WEAK or WEAK not in code.co_consts:
        yield
        return
    other = code.replace(co_consts=tuple(value if c == WEAK else c for c in code.co_consts))
    function = types.FunctionType(other, type(module)._alphabeta_lrp.__globals__)
    module._alphabeta_lrp = types.MethodType(function, module)
    try:
        yield
    finally:
        del module._alphabeta_lrp


def _layer(node: Node) -> Module:
    if node.op_type not in LAYERS:
        raise Unsupported(f"the toolbox has no {node.op_type}")
    return LAYERS[node.op_type](node)


def _linear(node: Node) -> Module:
    w = node.constants.get(1)
    node.only(alpha=1.0, beta=1.0, transA=0)
    if w is None or w.ndim != 2:
        raise Unsupported("the toolbox's Linear has one constant matrix")
    w = w.T if node.attributes.get("transB", 0) else w
    inner = toolbox.Linear(*w.shape)
    inner.W, inner.B = w, np.broadcast_to(np.ravel(node.constants.get(2, np.zeros(()))), w.shape[1:])
    return Module(node, inner)


def _plain(node: Node, rank: int) -> tuple[int, int]:
    """Return the strides of windows over two axes that lie inside. Raises Unsupported for others."""
    if rank != 2:
        raise Unsupported("the toolbox has layers for images of two axes only")
    node.only(pads=[0] * 4, dilations=[1, 1], ceil_mode=0, group=1, auto_pad="NOTSET")
    down, right = node.attributes.get("strides", (1, 1))
    return int(down), int(right)


def _convolution(node: Node) -> Module:
    w = node.constants.get(1)
    if w is None:
        raise Unsupported("the toolbox's Convolution has a constant kernel")
    strides = _plain(node, w.ndim - 2)
    inner = toolbox.Convolution((*w.shape[2:], w.shape[1], w.shape[0]), strides)
    inner.W, inner.B = w.transpose(2, 3, 1, 0), node.constants.get(2, np.zeros(w.shape[0]))
    return Module(node, inner, images=True)


def _pool(node: Node) -> Module:
    window = tuple(int(n) for n in node.attributes["kernel_shape"])
    strides = _plain(node, len(window))
    if node.op_type == "MaxPool":
        return Module(node, toolbox.MaxPool(window, strides), images=True)
    return Module(node, toolbox.SumPool(window, strides), True, 1 / np.sqrt(np.prod(window)))


def _flatten(node: Node) -> Module:
    node.only(axis=1)
    return Module(node, toolbox.Flatten())


def _softmax(node: Node) -> Module:
    node.only(axis=-1)
    return Module(node, toolbox.SoftMax())


LAYERS: Mapping[str, Callable[[Node], Module]] = {
    "AveragePool": _pool,
    "Conv": _convolution,
    "Flatten": _flatten,
    "Gemm": _linear,
    "MatMul": _linear,
    "MaxPool": _pool,
    "Relu": lambda node: Module(node, toolbox.Rect()),
    "Softmax": _softmax,
    "Tanh": lambda node: Module(node, toolbox.Tanh()),
}
"""The toolbox's modules by the operators that they compute."""


# ---------------------------------------------------------------- rules

Variant = tuple[str | None, float | None, float]
"""lrp_var, param, and the number in the place of 1e-16."""


def _epsilon_of(params: Params) -> float:
    given = params["stabilizer"]
    if given["form"] != "signed" or given["norm_scale"] or given["epsilon"] < 0:
        raise Unsupported(f"the toolbox has no stabiliser {given}")
    return float(given["epsilon"])


def _only(params: Params, **wanted: Any) -> None:
    for key, value in wanted.items():
        if params.get(key, value) != value:
            raise Unsupported(f"the toolbox has no {key}={params[key]!r}")


def _epsilon(node: Node, params: Params) -> Variant:
    _only(params, bias="absorb")
    _on(node, "Gemm", "MatMul", "Conv", "AveragePool")
    return "epsilon", _epsilon_of(params), WEAK


def _alpha_beta(node: Node, params: Params) -> Variant:
    _only(params, bias="split", inputs="split", beta=params.get("alpha", 1) - 1)
    _on(node, "Gemm", "MatMul", "Conv", "AveragePool")
    return "alphabeta", params.get("alpha", 1), _epsilon_of(params)


def _without_weights(variant: str) -> Callable[[Node, Params], Variant]:
    def rule(node: Node, params: Params) -> Variant:
        _only(params, bias="ignore")
        _epsilon_of(params)
        _on(node, "Gemm", "MatMul", "Conv", "AveragePool")
        return variant, None, WEAK

    return rule


def _winner(node: Node, params: Params) -> Variant:
    _on(node, "MaxPool")
    return "simple", None, WEAK


def _pass(node: Node, params: Params) -> Variant:
    _on(node, "Relu", "Tanh", "Softmax")
    return None, None, WEAK


def _on(node: Node, *op_types: str) -> None:
    if node.op_type not in op_types:
        raise Unsupported(f"the toolbox has no such rule for {node.op_type}")


RULES: Mapping[str, Callable[[Node, Params], Variant]] = {
    "alpha_beta": _alpha_beta,
    "epsilon": _epsilon,
    "flat": _without_weights("flat"),
    "norm": _epsilon,
    "pass": _pass,
    "w_square": _without_weights("ww"),
    "winner_takes_all": _winner,
    "z_plus": _alpha_beta,
}
"""The variants that the toolbox has, by the names that cases give to rules."""
