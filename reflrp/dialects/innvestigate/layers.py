"""How iNNvestigate goes back through layers without a kernel: BatchNormalization, Add, average and maximum pools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from reflrp import rules as r
from reflrp.arrays import Array, add, away_from_zero, full_like, namespace, where
from reflrp.composites.matchers import Matcher, Survey
from reflrp.dialects.innvestigate.keras_rule import SAFE
from reflrp.errors import RuleError
from reflrp.ground.caches import Cache
from reflrp.ground.checks import choice, flag
from reflrp.ir import Node
from reflrp.ops.linear import LinearMap
from reflrp.ops.selection import MaxAxes
from reflrp.ops.stabilizer import ratio

FuseMode = Literal["one_linear", "two_linear"]


@dataclass(frozen=True)
class Statistics:
    """A BatchNormalization's parameters, one entry a channel: y = gamma (x - mean) / sqrt(variance + epsilon) + beta."""

    gamma: Any
    beta: Any
    mean: Any
    variance: Any
    epsilon: float

    def scales(self, squared: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return 1 / sigma and -mean / sigma; squared takes variance^2 for the variance, as iNNvestigate does."""
        power = 2 if squared else 1
        sigma = np.sqrt(np.asarray(self.variance, dtype=np.float64) ** power + self.epsilon)
        return 1 / sigma, -np.asarray(self.mean) / sigma


@dataclass(frozen=True)
class FusedBatchNormalization(r.LinearRule):
    """`rule` on the linear layer k x + c that stands for a BatchNormalization, or on the two that it is made of.

    fuse_mode: "one_linear" (k = gamma / sigma, c = beta - mean k), "two_linear" (first gamma u + beta, then
    (x - mean) / sigma). as_released=True takes what iNNvestigate 2.1.2 computes: sigma = sqrt(variance^2 + epsilon), and
    c = beta - mean / sigma, without gamma. `statistics` are needed for all but "one_linear" as it is meant.
    """

    rule: r.Rule
    fuse_mode: FuseMode = "one_linear"
    as_released: bool = False
    statistics: Statistics | None = None
    serves: ClassVar[frozenset[str]] = frozenset({"diagonal"})
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        choice("bn_layer_fuse_mode", self.fuse_mode, ("one_linear", "two_linear"), RuleError)
        flag("as_released", self.as_released, RuleError)
        if self.statistics is None and (self.as_released or self.fuse_mode == "two_linear"):
            raise RuleError(
                "the statistics of a BatchNormalization are not in the ONNX file: give model=, the Keras model"
            )

    def fits(self, node: Node) -> bool:
        """Return whether a node is a BatchNormalization."""
        return node.kind == "diagonal"

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if self.statistics is None or (self.fuse_mode == "one_linear" and not self.as_released):
            return self._on(L, a, R)
        scale, shift = self.statistics.scales(self.as_released)
        gamma, beta = np.asarray(self.statistics.gamma), np.asarray(self.statistics.beta)
        if self.fuse_mode == "one_linear":
            return self._on(_scaling(L, gamma * scale, shift + beta), a, R)
        inner = _scaling(L, scale, shift)
        u = add(inner(a, inner.w), inner.b)
        return self._on(inner, a, self._on(_scaling(L, gamma, beta), u, R))

    def _on(self, L: LinearMap, a: Array, R: Array) -> Any:
        return self.rule(L, a, add(L(a, L.w), L.b), R)


def _scaling(L: LinearMap, scale: np.ndarray, shift: np.ndarray) -> LinearMap:
    """Return x -> scale x + shift a channel, on arrays like those of L."""
    return replace(L, w=_channels(L, scale), b=_channels(L, shift), positive=False, gated=False, derived=Cache())


def _channels(L: LinearMap, values: np.ndarray) -> Array:
    """Return one number a channel as the map has its scale."""
    if L.w.size != values.size:
        raise RuleError(f"{values.size} channels of the Keras layer stand for {L.w.size} of the node")
    return full_like(L.w, values.reshape(L.w.shape))


@dataclass(frozen=True)
class BatchNormalizationReverseLayer(r.LinearRule):
    """The Z-rule:  R_j = x_j k_j R_j / y_j, with y = k x + c.

    With `statistics` it is what the libraries write: x (y - beta) R / st((x - mean) y), st(z) = z + 1e-7 sgn z, which is
    the same up to the stabiliser, and 0 where x is the mean. (iNNvestigate 2.1.2 raises there, SignXAI does not.)
    """

    statistics: Statistics | None = None
    serves: ClassVar[frozenset[str]] = frozenset({"diagonal"})
    reweights: ClassVar[bool] = False
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def fits(self, node: Node) -> bool:
        """Return whether a node is a BatchNormalization."""
        return node.kind == "diagonal"

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if self.statistics is None:
            return r.Norm(SAFE)(L, a, z, R)
        beta, mean = (_channels(L, np.asarray(v)) for v in (self.statistics.beta, self.statistics.mean))
        return ratio(a * (z - beta) * R, away_from_zero((a - mean) * z, 1e-7), SAFE)


@dataclass(frozen=True)
class AddReverseLayer(r.LinearRule):
    """The Z-rule on a sum:  R_i = x_i R / z. times=2 gives each of the summands so much, as where both are one tensor."""

    times: int = 1
    serves: ClassVar[frozenset[str]] = frozenset({"sum"})
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def fits(self, node: Node) -> bool:
        """Return whether a node is a sum."""
        return node.kind == "sum"

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the summands."""
        found: Array = r.Norm(SAFE)(L, a, z, R)
        return self.times * found if self.times != 1 else found


@dataclass(frozen=True)
class AveragePoolingReverseLayer(r.LinearRule):
    """The Z-rule on a mean:  R_j = x_j / n R_k / z_k."""

    serves: ClassVar[frozenset[str]] = frozenset({"pool"})
    multiple: ClassVar[bool] = True

    def fits(self, node: Node) -> bool:
        """Return whether a node is a pool."""
        return node.kind == "pool"

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return r.Norm(SAFE)(L, a, z, R)


@dataclass(frozen=True)
class SharedMaximum(r.Rule):
    """The gradient of TensorFlow's reduce_max: where several are the maximum, in equal parts to all of them."""

    serves: ClassVar[frozenset[str]] = frozenset({"max"})
    only: ClassVar[str] = "maxima over axes"

    def fits(self, node: Node) -> bool:
        """Return whether a node is a maximum over axes."""
        return isinstance(node.op, MaxAxes)

    def __call__(self, L: MaxAxes, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        xp = namespace(a)
        kept = tuple(1 if i in L.axes else n for i, n in enumerate(a.shape))
        hits = where(a == xp.reshape(z, kept), 0 * a + 1, 0 * a)
        return hits * xp.reshape(R, kept) / xp.sum(hits, axis=L.axes, keepdims=True)


@dataclass(frozen=True)
class SameTensor(Matcher):
    """The sums whose summands are one tensor. Raises RuleError where only some of them are."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether all inputs are one."""
        if len(set(node.inputs)) == 1:
            return True
        chained = [n for n in survey.graph.nodes if n.output in node.inputs and n.kind == "sum"]
        several = len(set(node.inputs)) < len(node.inputs)
        if several or any(set(n.inputs) & set(node.inputs) for n in chained):
            raise RuleError(
                f"node {node.name!r} adds a tensor to itself and to others: what Keras gives it is not known"
            )
        return False
