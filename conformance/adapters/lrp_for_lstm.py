"""The adapter of LRP_for_LSTM: its `lrp_linear` on every dense layer and every sum of a case's network.

It is no package: LRP_FOR_LSTM names a checkout (https://github.com/ArrasL/LRP_for_LSTM). Its class for bidirectional LSTMs calls
`lrp_linear` for the gates' maps, for the cell's sum (by a unit matrix) and for the output; of a product with a gate the signal
gets all, activations pass, and so they do here. What belongs to no layer (which step is read, shapes) is indexing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx.reference import ReferenceEvaluator

from reflrp.conformance.adapters.walked import Layer, Node, Walked, alone, checkout, imported, version_of
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported

FILES = checkout("LRP_FOR_LSTM", "code/LSTM/LRP_linear_layer.py") / "code" / "LSTM"

library = imported("lrp_for_lstm_linear", FILES / "LRP_linear_layer.py")

VERSIONS = {"769109806746": "1c3073b"}
"""It has no releases: the commit."""


class Adapter:
    """LRP_for_LSTM on dense layers, sums, and products with a sigmoid's output, in float64."""

    def describe(self) -> Info:
        """Return who is judged."""
        rules = frozenset({"epsilon", "norm", "pass", "signal_takes_all"})
        version = version_of(list(FILES.glob("L*.py")), VERSIONS)
        return Info("lrp_for_lstm", version, rules, frozenset(LAYERS), ("float64",), intermediates=True)

    def load(self, model: Path, dtype: str) -> Walked:
        """Return the network."""
        return Walked(model, lambda node: LAYERS[node.op_type](node))

    def forward(self, model: Walked, inputs: Arrays) -> Arrays:
        """Return the outputs by name."""
        return model.forward(inputs)

    def explain(self, model: Walked, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of all values."""
        specs = {spec.node: spec for spec in rules}
        gates = {node.output for node in model.nodes if node.op_type == "Sigmoid"}
        for node in model.nodes:
            layer = model.layers[node.name]
            if isinstance(layer, Gated):
                layer.check(gates, specs.get(node.name))
        with np.errstate(all="ignore"):
            return model.explain(inputs, seed, rules)


def linear(spec: RuleSpec | None, x: np.ndarray, w: np.ndarray, b: np.ndarray, z: np.ndarray, R: np.ndarray) -> Any:
    """Return what `lrp_linear` gives for each row. Raises Unsupported for what it has no choice of."""
    if spec is None or spec.rule not in ("epsilon", "norm"):
        raise Unsupported("LRP_for_LSTM has lrp_linear for dense layers and sums")
    given = spec.params["stabilizer"]
    if given["form"] != "signed" or given["norm_scale"] or given["epsilon"] < 0:
        raise Unsupported(f"LRP_for_LSTM has no stabiliser {given}")
    if spec.params.get("bias", "absorb") != "absorb":
        raise Unsupported("lrp_linear divides by the output as it is")
    rows = [library.lrp_linear(i, w, b, o, r, len(i), given["epsilon"]) for i, o, r in zip(x, z, R, strict=True)]
    return np.array(rows)


@dataclass(frozen=True)
class Dense:
    """A dense layer: z = x w + b."""

    w: np.ndarray
    b: np.ndarray

    def forward(self, *values: np.ndarray) -> np.ndarray:
        """Return x w + b."""
        if values[0].ndim != 2:
            raise Unsupported("lrp_linear takes vectors")
        found: np.ndarray = values[0] @ self.w + self.b
        return found

    def relevance(self, spec: RuleSpec | None, values: list[np.ndarray], y: np.ndarray, R: np.ndarray) -> list[Any]:
        """Return what lrp_linear gives."""
        return [linear(spec, values[0], self.w, self.b, y, R)]


class Sum:
    """A sum of values, by unit matrices as the cell's."""

    def forward(self, *values: np.ndarray) -> np.ndarray:
        """Return the sum."""
        if len({v.shape for v in values}) != 1:
            raise Unsupported("LRP_for_LSTM has sums of vectors of one length")
        return np.asarray(np.sum(values, axis=0))

    def relevance(self, spec: RuleSpec | None, values: list[np.ndarray], y: np.ndarray, R: np.ndarray) -> list[Any]:
        """Return what lrp_linear gives to each."""
        flat = [v.reshape(len(v), -1) for v in (*values, y, R)]
        unit, none = np.identity(flat[0].shape[1]), np.zeros(flat[0].shape[1])
        return [linear(spec, v, unit, none, *flat[-2:]).reshape(y.shape) for v in flat[:-2]]


class Gated:
    """A product of a gate and a signal, which gets all."""

    def __init__(self, node: Node) -> None:
        self.node, self.gate = node, -1

    def check(self, gates: set[str], spec: RuleSpec | None) -> None:
        """Find the gate, the one operand that a sigmoid made. Raises Unsupported where a case wants another."""
        found = [n for n, name in enumerate(self.node.inputs) if name in gates]
        if spec is None or spec.rule != "signal_takes_all" or len(found) != 1 or len(self.node.inputs) != 2:
            raise Unsupported("LRP_for_LSTM has products of a sigmoid's output and another value, which gets all")
        self.gate = found[0]
        if spec.params["signal"] not in ("auto", "activated", 1 - self.gate):
            raise Unsupported("LRP_for_LSTM gives all to the value that is no gate")

    def forward(self, *values: np.ndarray) -> np.ndarray:
        """Return the product."""
        if len(values) != 2 or values[0].shape != values[1].shape:
            raise Unsupported("LRP_for_LSTM has products of two vectors of one length")
        found: np.ndarray = values[0] * values[1]
        return found

    def relevance(self, spec: RuleSpec | None, values: list[np.ndarray], y: np.ndarray, R: np.ndarray) -> list[Any]:
        """Return R for the signal, nothing for the gate."""
        return [0 * R if n == self.gate else R for n in (0, 1)]


@dataclass(frozen=True)
class Passed:
    """An activation, which relevance passes."""

    function: Callable[[np.ndarray], np.ndarray]

    def forward(self, *values: np.ndarray) -> np.ndarray:
        """Return the function."""
        return self.function(values[0])

    def relevance(self, spec: RuleSpec | None, values: list[np.ndarray], y: np.ndarray, R: np.ndarray) -> list[Any]:
        """Return R."""
        if spec is None or spec.rule != "pass":
            raise Unsupported("LRP_for_LSTM lets relevance pass activations")
        return [R]


class Indexed:
    """Entries that are read, moved or put together: what an entry's copies have is its own."""

    def __init__(self, node: Node) -> None:
        self.run = ReferenceEvaluator(alone(node))
        self.node = node

    def forward(self, *values: np.ndarray) -> np.ndarray:
        """Return what ONNX's reference gives."""
        (found,) = self.run.run(None, dict(zip(self.node.inputs, values, strict=True)))
        return np.asarray(found)

    def relevance(self, spec: RuleSpec | None, values: list[np.ndarray], y: np.ndarray, R: np.ndarray) -> list[Any]:
        """Return the sum over copies."""
        ends = np.cumsum([0, *(v.size for v in values)])
        places = [
            np.arange(n, n + v.size, dtype=np.float64).reshape(v.shape) for n, v in zip(ends, values, strict=False)
        ]
        found, read = np.zeros(ends[-1]), self.forward(*places).ravel()
        known = self.forward(*(x + 1 for x in places)).ravel() == read + 1  # and not a constant's
        np.add.at(found, read[known].astype(int), R.ravel()[known])
        return [found[a:b].reshape(v.shape) for a, b, v in zip(ends, ends[1:], values, strict=False)]


def _dense(node: Node) -> Layer:
    w, b = node.constants.get(1), node.constants.get(2, np.zeros(()))
    node.only(alpha=1.0, beta=1.0, transA=0)
    if w is None or w.ndim != 2 or len(node.inputs) != 1:
        raise Unsupported("lrp_linear has one constant matrix")
    w = w.T if node.attributes.get("transB", 0) else w
    return Dense(w, np.broadcast_to(np.ravel(b), w.shape[1:]))


def _sum(node: Node) -> Layer:
    if node.constants:
        raise Unsupported("LRP_for_LSTM has sums of values")
    return Sum()


LAYERS: Mapping[str, Callable[[Node], Layer]] = {
    "Add": _sum,
    "Gemm": _dense,
    "MatMul": _dense,
    "Mul": Gated,
    "Relu": lambda node: Passed(lambda x: np.maximum(x, 0)),
    "Sigmoid": lambda node: Passed(lambda x: 1 / (1 + np.exp(-x))),
    "Sum": _sum,
    "Tanh": lambda node: Passed(np.tanh),
    **dict.fromkeys(
        ("Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"), Indexed
    ),
}
"""What LRP_for_LSTM's networks are made of, by operators."""
