"""captum.attr._utils.lrp_rules: captum's four rules, by its names and with its arguments.

Each is R = a * W'^T (R / st(z')), st(z) = z + epsilon sgn z with sgn 0 = +1, where W', b' are changed parameters and
z' = W' a + b' the layer's output with them. The input is never split by sign. Where epsilon is 0 and z' is 0, captum
gives NaN, these rules 0.

captum multiplies by the input in a hook on the tensor, not in the layer; `hooks` says what comes of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from reflrp import rules as r
from reflrp.arrays import ZERO, Array, add, namespace, pos
from reflrp.errors import RuleError
from reflrp.ground.checks import flag
from reflrp.ir import LINEAR, WEIGHTED, Node
from reflrp.ops.linear import LinearMap
from reflrp.ops.stabilizer import check_epsilon, ratio

STABILITY_FACTOR = 1e-9
"""The epsilon of the rules that have no argument for it."""

Way = Literal["times", "raw", "pass", "pass times", "drop"]
"""How what a reader gives back arrives at the value that it read; see `hooks`."""


class CaptumRule(r.Rule):
    """What captum's rules share; `composites.py` says what a bare one means as `rules=`."""

    serves: ClassVar[frozenset[str]] = frozenset({*LINEAR, "pointwise", "normaliser"})
    multiple: ClassVar[bool] = True
    epsilon: Any = STABILITY_FACTOR

    @property
    def reweights(self) -> bool:
        """Whether the rule changes a layer's parameters."""
        return False

    def changed(self, L: LinearMap) -> tuple[Array, Array]:
        """Return W' and b'."""
        return L.w, L.b

    def ratio(self, L: LinearMap, a: Array, z: Array, R: Array) -> tuple[Array, Array]:
        """Return R / st(z'), and W'."""
        w, b = self.changed(L)
        out = z if w is L.w and b is L.b else add(L(a, w), b)
        return L.ratio(R, out, self.epsilon, b), w

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input; on a function a f'(a) R / st(f(a))."""
        if not isinstance(L, LinearMap):
            found: Array = a * r.Gradient()(L, a, z, ratio(R, z, self.epsilon))
            return found
        s, w = self.ratio(L, a, z, R)
        return L.pull(a, s, w)


class Reweighting(CaptumRule):
    """A rule that changes a layer's parameters. On a layer without any it is EpsilonRule with epsilon 1e-9."""

    only: ClassVar[str] = "dense and conv nodes, and nodes without parameters"
    set_bias_to_zero: bool

    def __post_init__(self) -> None:
        """Check the flag."""
        flag("set_bias_to_zero", self.set_bias_to_zero, RuleError)

    def fits(self, node: Node) -> bool:
        """Return whether the node's parameters are those of the module (of a BatchNorm, ONNX keeps others)."""
        return node.kind in (*WEIGHTED, "sum", "pool", "max") or (node.kind == "pointwise" and node.op_type != "PRelu")

    @property
    def reweights(self) -> bool:
        """Whether the rule changes a layer's parameters."""
        return True

    def weight(self, w: Array) -> Array:
        """Return the changed weight."""
        raise NotImplementedError

    def changed(self, L: LinearMap) -> tuple[Array, Array]:
        """Return W' and b'."""
        if L.kind not in WEIGHTED:
            return L.w, L.b
        return L.weights(self.weight), ZERO if self.set_bias_to_zero else L.b


@dataclass(frozen=True)
class EpsilonRule(CaptumRule):
    """R_j = a_j sum_k w_jk R_k / st(z_k),  z = a w + b."""

    epsilon: Any = STABILITY_FACTOR

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.epsilon)


@dataclass(frozen=True)
class GammaRule(Reweighting):
    """The same with w + gamma w+ in place of w. The bias is b, unchanged, or 0."""

    gamma: Any = 0.25
    set_bias_to_zero: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        check_epsilon(self.gamma, "gamma")

    def weight(self, w: Array) -> Array:
        """Return w + gamma w+."""
        return w + self.gamma * pos(w)


@dataclass(frozen=True)
class Alpha1_Beta0_Rule(Reweighting):  # noqa: N801
    """The same with w+ in place of w. The bias is b with its sign, or 0; the input keeps its sign, too."""

    set_bias_to_zero: bool = False

    def weight(self, w: Array) -> Array:
        """Return w+."""
        return pos(w)


@dataclass(frozen=True)
class IdentityRule(EpsilonRule):
    """R_j = R_j, in place of all that arrives at the input, also from other readers of it.

    It is EpsilonRule where another layer has read the same value before, or where a ReLU, Tanh or Dropout made it.
    """

    multiple: ClassVar[bool] = False

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return R, for each input."""
        stacked = isinstance(L, LinearMap) and L.stacked
        return namespace(R).broadcast_to(R[None, ...], a.shape) if stacked else R


@dataclass(frozen=True)
class Hooked(r.Rule):
    """A rule where captum's hooks do not end as the rule says: one way for each input of the layer.

    "times" is the rule, "raw" the rule without the product with the input, "pass" the layer's relevance unchanged.
    """

    serves: ClassVar[frozenset[str]] = CaptumRule.serves
    conserves: ClassVar[bool] = False
    rule: CaptumRule
    ways: tuple[Way, ...]

    def __call__(self, op: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input, or of the stacked inputs."""
        if self.ways == ("pass",):
            return R
        if not isinstance(op, LinearMap):
            g = r.Gradient()(op, a, z, ratio(R, z, self.rule.epsilon))
            return g if self.ways == ("raw",) else a * g
        s, w = self.rule.ratio(op, a, z, R)
        if set(self.ways) == {"raw"}:
            return op.T(s, w)
        if set(self.ways) == {"times"}:
            return op.pull(a, s, w)
        raw, times = op.T(s, w), op.pull(a, s, w)
        given = {"raw": lambda i: raw[i, ...], "times": lambda i: times[i, ...]}
        return namespace(R).stack([given.get(way, lambda _: R)(i) for i, way in enumerate(self.ways)])


@dataclass(frozen=True)
class TimesInput(r.Rule):
    """R_j = a_j R_j: captum's hook on a tensor multiplies what comes back on every way, also past the layer."""

    serves: ClassVar[frozenset[str]] = frozenset({"diagonal"})
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return a R."""
        return a * R


@dataclass(frozen=True)
class Overwritten(r.Rule):
    """No relevance: captum's hook puts something else in its place."""

    serves: ClassVar[frozenset[str]] = frozenset({"diagonal"})
    conserves: ClassVar[bool] = False

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return nothing."""
        return ZERO
