"""The linear rules. To read the rule for X, search `class X`.

Each rule is called as `rule(L, a, z, R)`: the node's linear map, its input, its output (with bias), and the
relevance of the output. It returns the relevance of the input. Throughout,

    x+ = max(x, 0),  x- = min(x, 0),  sgn 0 = +1,  st(z) = z + epsilon sgn z,  x / 0 := 0 where epsilon = 0,

`L(x, w)` is the map with parameter w and without bias, `L.T(s, w)` its transpose, `L.pull(a, s, w)` is a * L.T(s, w),
`L.by_sign(x)` is L(x, w+) and L(x, w-), `L.pull_by_sign(a, s, t)` is a * (L.T(s, w+) + L.T(t, w-)),
`L.plus(z, b)` is z + b in the memory of z, which L just made, and
`L.ratio(R, z, stabilizer, bias)` is R / st(z), which also enters in the ledger what bias and stabiliser keep.
Shapes: a and the result (N, *in), z and R (N, *out). Points on which libraries differ are fields; their defaults are
the papers'.

Sources
-------
Bach2015 : Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
    Propagation", PLoS ONE 10(7), 2015.
Montavon2017 : Montavon et al., "Explaining nonlinear classification decisions with deep Taylor decomposition",
    Pattern Recognition 65, 2017.
Montavon2019 : Montavon et al., "Layer-Wise Relevance Propagation: An Overview", in: Explainable AI, LNCS 11700, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from reflrp.arrays import ZERO, Array, add, full_like, namespace, neg, ones_like, only, pos, sign, square
from reflrp.errors import RuleError
from reflrp.ground.checks import flag, number, refuse
from reflrp.ir import LINEAR, Node
from reflrp.ops.linear import LinearMap
from reflrp.ops.norms import Standardise, Statistic
from reflrp.ops.stabilizer import Looks, StabilizerLike, check_epsilon, check_stabilizer
from reflrp.rules.base import Rule, Seat, check_choice, check_numbers

Pair = tuple[Array, Array]
"""An input and the parameter it meets."""


@dataclass(frozen=True)
class LinearRule(Rule):
    """Base of the rules for linear maps: dense, conv, diagonal, sum, pool and max nodes.

    On a normalisation by a statistic (LayerNorm, RMSNorm, ...) a linear rule means: the statistic held constant, which
    makes y = w (x - mean x) / sigma + b a linear map (Ali et al., "XAI for Transformers: Better Explanations through
    Conservative Propagation", ICML 2022). Clauses: NORM-2.

    Class attribute: `reweights`, whether the rule calls L with a function of w (w+, w^2, 1). It then cannot stand on a
    normalisation that subtracts the mean, whose coefficients w_k (1[j=k] - 1/n) / sigma have other signs than w.
    """

    serves: ClassVar[frozenset[str]] = frozenset({*LINEAR, "normaliser"})
    reweights: ClassVar[bool] = True
    only: ClassVar[str] = "normalisations by a statistic (Epsilon, Norm, Sign, StdxEpsilon), or those without a mean"

    def fits(self, node: Node) -> bool:
        """Return whether the node is a linear map, or is one with its statistic held."""
        if isinstance(node.op, Standardise) and node.op.center:
            return not self.reweights
        return node.kind in LINEAR or isinstance(node.op, Statistic)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        raise NotImplementedError


@dataclass(frozen=True)
class Epsilon(LinearRule):
    """LRP-epsilon:  R_j = a_j sum_k w_jk R_k / (z_k + epsilon sgn z_k),  z = a w + b.

    epsilon = 0 is LRP-0. bias="ignore" leaves b out of z. With `stabilizer` given, st(z) is that instead.

    Conserves: sum R_j = sum R_k (z_k - b_k) / (z_k + epsilon sgn z_k): bias and stabiliser absorb the rest.
    Raises RuleError for epsilon < 0. Source: Bach2015, eq. 58. Clauses: EPS-1, EPS-2, EPS-3, STAB-1, STAB-2.
    """

    epsilon: Any = 1e-6
    bias: Literal["absorb", "ignore"] = "absorb"
    stabilizer: StabilizerLike | None = None
    reweights: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        check_epsilon(self.epsilon)
        if self.stabilizer is not None:
            check_stabilizer(self.stabilizer)
        check_choice("bias", self.bias, ("absorb", "ignore"))

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        st = self.epsilon if self.stabilizer is None else self.stabilizer
        if self.bias == "ignore" and L.b is not ZERO:
            s = L.ratio(R, L(a, L.w), st)
        else:
            s = L.ratio(R, z, st, L.b)
        return L.pull(a, s, L.w)


@dataclass(frozen=True)
class Gamma(LinearRule):
    """LRP-gamma, which favours positive contributions.

    Plain:  R_j = a_j sum_k (w_jk + gamma w+_jk) R_k / st(sum_j a_j (w_jk + gamma w+_jk) + b_k + gamma b+_k).

    generalized=True also serves inputs and outputs of any sign: where z_k > 0 it raises the positive contributions,
    a+ (w + gamma w+) + a- (w + gamma w-) with b + gamma b+; where z_k < 0 the negative ones,
    a+ (w + gamma w-) + a- (w + gamma w+) with b + gamma b-; where z_k = 0 no relevance passes. For a >= 0 and
    z > 0 the two are the same. gamma = 0 is LRP-epsilon (but for z = 0).

    bias: "scale" (b + gamma b+, the papers'), "keep" (b, as captum), "ignore".

    Conserves up to bias and stabiliser. Raises RuleError for gamma < 0.
    Source: Montavon2019 (plain); Andéol et al., "Learning Domain Invariant Representations by Joint Wasserstein
    Distance Minimization", 2021, as zennit 0.5 has it (generalized). Clauses: GAMMA-1, GAMMA-2, GAMMA-3, GAMMA-4.
    """

    gamma: Any = 0.25
    generalized: bool = False
    bias: Literal["scale", "keep", "ignore"] = "scale"
    stabilizer: StabilizerLike = 1e-6
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        check_epsilon(self.gamma, "gamma")
        flag("generalized", self.generalized, RuleError)
        check_stabilizer(self.stabilizer)
        check_choice("bias", self.bias, ("scale", "keep", "ignore"))

    def raised(self, x: Array) -> Array:
        """Return x + gamma x+."""
        return x + self.gamma * pos(x)

    def lowered(self, x: Array) -> Array:
        """Return x + gamma x-."""
        return x + self.gamma * neg(x)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        up, b = L.weights(self.raised), self._bias(L.b, self.raised)
        ap, an = L.split(a) if self.generalized else (a, ZERO)
        if not self.generalized or (L.gated and an is ZERO):
            return share(L, R, (ap, up), (ZERO, ZERO), b, self.stabilizer)
        down, c = L.weights(self.lowered), self._bias(L.b, self.lowered)
        if L.gated:
            return share(L, R, (ap, up), (an, down), b, self.stabilizer)
        above = share(L, only(R, z > 0), (ap, up), (an, down), b, self.stabilizer)
        L.keep(only(R, z == 0))
        return add(above, share(L, only(R, z < 0), (ap, down), (an, up), c, self.stabilizer))

    def _bias(self, b: Array, change: Any) -> Array:
        return ZERO if self.bias == "ignore" or b is ZERO else b if self.bias == "keep" else change(b)


@dataclass(frozen=True)
class AlphaBeta(LinearRule):
    """LRP-alpha-beta:  R_j = sum_k (alpha (a_j w_jk)+ / z+_k  -  beta (a_j w_jk)- / z-_k) R_k.

    z+_k = sum_j (a_j w_jk)+ + b+_k and z-_k = sum_j (a_j w_jk)- + b-_k, where (a w)+ = a+ w+ + a- w-.
    bias: "split" (b+ and b- as above), "full" (all of b in both denominators, as iNNvestigate), "ignore".

    Conserves up to bias and stabiliser; an empty part leaves its share in the latter: the sum is alpha R or -beta R.
    Raises RuleError unless alpha, beta >= 0 and alpha - beta = 1 exactly.
    Source: Bach2015, eq. 60. Clauses: AB-1, AB-2, AB-3.
    """

    alpha: Any = 2.0
    beta: Any = 1.0
    bias: Literal["split", "full", "ignore"] = "split"
    stabilizer: StabilizerLike = 1e-6
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        check_epsilon(self.alpha, "alpha")
        check_epsilon(self.beta, "beta")
        if self.alpha - self.beta != 1:
            raise RuleError(f"alpha - beta must be 1, but {self.alpha} - {self.beta} = {self.alpha - self.beta}")
        check_stabilizer(self.stabilizer)
        check_choice("bias", self.bias, ("split", "full", "ignore"))

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        (ap, an), bp, bn, side = L.split(a), self._bias(L.b, pos), self._bias(L.b, neg), int(self.bias != "full")
        if self.beta == 0:
            return share(L, self.alpha * R, (ap, L.weights(pos)), (an, L.weights(neg)), bp, self.stabilizer, side)
        (pos_pos, pos_neg), (neg_pos, neg_neg) = L.by_sign(ap), L.by_sign(an)
        s = L.ratio(self.alpha * R, L.plus(pos_pos, neg_neg, bp), self.stabilizer, bp, side)
        t = L.ratio(-self.beta * R, L.plus(pos_neg, neg_pos, bn), self.stabilizer, bn, -side)
        return add(L.pull_by_sign(ap, s, t), L.pull_by_sign(an, t, s))

    def _bias(self, b: Array, part: Any) -> Array:
        return ZERO if self.bias == "ignore" else b if self.bias == "full" else part(b)


def share(L: LinearMap, R: Array, one: Pair, two: Pair, b: Array, stabilizer: StabilizerLike, side: int = 0) -> Array:
    """Return R shared among the contributions x v of two pairs (x, v), with one denominator st(sum of both + b)."""
    s = L.ratio(R, L.plus(L(*one), L(*two), b), stabilizer, b, side)
    return add(L.pull(one[0], s, one[1]), L.pull(two[0], s, two[1]))


@dataclass(frozen=True)
class ZPlus(LinearRule):
    """The z+ rule:  R_j = sum_k (a_j w_jk)+ / st(sum_j (a_j w_jk)+ + b+_k) R_k,  (a w)+ = a+ w+ + a- w-.

    It is AlphaBeta with alpha 1, beta 0. bias: "split" (b+), "full" (b), "ignore". inputs="raw" does not split the
    input by sign: R_j = a_j sum_k w+_jk R_k / st(a w+ + b) (iNNvestigate's ZPlusFast, captum's Alpha1_Beta0).

    Conserves up to bias and stabiliser. Source: Montavon2017 (without bias). Clauses: ZP-1, ZP-2, ZP-3.
    """

    bias: Literal["split", "full", "ignore"] = "split"
    inputs: Literal["split", "raw"] = "split"
    stabilizer: StabilizerLike = 1e-6
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)
        check_choice("bias", self.bias, ("split", "full", "ignore"))
        check_choice("inputs", self.inputs, ("split", "raw"))

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        ap, an = L.split(a) if self.inputs == "split" else (a, ZERO)
        b = {"split": pos(L.b), "full": L.b, "ignore": ZERO}[self.bias]
        side = int(self.inputs == "split" and self.bias != "full")
        return share(L, R, (ap, L.weights(pos)), (an, L.weights(neg)), b, self.stabilizer, side)


@dataclass(frozen=True)
class ZBox(LinearRule):
    """The z^B rule for inputs in a box [low, high], usually on the first layer.

    R_j = sum_k (a_j w_jk - low_j w+_jk - high_j w-_jk) / st(sum_j of the same) R_k.

    low and high are scalars, or arrays that broadcast against the input (one a channel: shape (C, 1, 1)).
    The bias cancels (b - b+ - b- = 0). With w = w+ + w-, two transposes serve. It is iNNvestigate's "Bounded".

    Conserves up to the stabiliser. Raises RuleError where low > high.
    Source: Montavon2017. Clauses: ZB-1, ZB-2.
    """

    low: Any = -1.0
    high: Any = 1.0
    stabilizer: StabilizerLike = 1e-6

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)
        check_numbers("low", self.low)
        check_numbers("high", self.high)
        try:
            outside = self.low > self.high
        except ValueError as error:
            raise RuleError(f"zbox needs low and high of one shape: {error}") from error
        if outside if isinstance(outside, bool) else outside.any():
            raise RuleError(f"zbox needs low <= high, not low={self.low!r}, high={self.high!r}")

    def box(self, a: Array) -> tuple[Array, Array]:
        """Return low and high."""
        return full_like(a, self.low), full_like(a, self.high)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        low, high = self.box(a)
        wp, wn = L.weights(pos), L.weights(neg)
        s = L.ratio(R, add(L(a, L.w), -add(L(low, wp), L(high, wn))), self.stabilizer)
        return add(L.pull(a - low, s, wp), L.pull(a - high, s, wn))


@dataclass(frozen=True)
class WSquare(LinearRule):
    """The w^2 rule:  R_j = sum_k w_jk^2 R_k / st(sum_j w_jk^2), for unbounded inputs; a is not used.

    Inputs outside the border do not count. bias: "ignore" (the paper's), "square" (b^2 in the sum, as zennit).

    Conserves up to the stabiliser (and b^2). Source: Montavon2017. Clauses: WSQ-1, WSQ-2.
    """

    bias: Literal["ignore", "square"] = "ignore"
    stabilizer: StabilizerLike = 1e-6

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)
        check_choice("bias", self.bias, ("ignore", "square"))

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        b = L.b**2 if self.bias == "square" else ZERO
        s = L.ratio(R, add(L(ones_like(a), L.weights(square)), b), self.stabilizer, b)
        return L.T(s, L.weights(square))


@dataclass(frozen=True)
class Flat(LinearRule):
    """The flat rule: each output's relevance in equal parts to the inputs that it has inside the border.

    R_j = sum_k R_k / st(number of inputs of k). Neither a nor w is used.

    Conserves up to the stabiliser. Source: Lapuschkin et al., "Unmasking Clever Hans predictors and assessing what
    machines really learn", Nature Communications 10, 2019. Clauses: FLAT-1, FLAT-2.
    """

    stabilizer: StabilizerLike = 1e-6

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        L, R = (L, R) if callable(self.stabilizer) else L.alike(R)
        ones = L.weights(ones_like)
        return L.T(L.ratio(R, L(ones_like(a), ones), self.stabilizer), ones)


@dataclass(frozen=True)
class Norm(LinearRule):
    """Shares in proportion to the contributions of a map that has no parameters: sums and pools.

    R_j = a_j sum_k w_jk R_k / st(z_k). The same formula as LRP-epsilon, under the name that zennit gives it.

    Conserves up to bias and stabiliser. Clauses: EPS-1, NORM-1.
    """

    stabilizer: StabilizerLike = 1e-6
    reweights: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return L.pull(a, L.ratio(R, z, self.stabilizer, L.b), L.w)


@dataclass(frozen=True)
class Sign(LinearRule):
    """LRP-SIGN and LRP-SIGN-mu:  R_j = sgn(a_j - mu) sum_k w_jk R_k / st(z_k),  sgn 0 = +1.

    mu is a scalar or an array that broadcasts against the input; mu = 0 is SIGN. bias="ignore" leaves b out of z.
    It does not conserve: the ledger calls the difference `dropped`.
    Source: Gumpfer et al., "SIGNed explanations: Unveiling relevant features by reducing bias", Information
    Fusion 99, 2023. Clauses: SIGN-1, SIGN-2.
    """

    mu: Any = 0.0
    bias: Literal["absorb", "ignore"] = "absorb"
    stabilizer: StabilizerLike = 1e-6
    conserves: ClassVar[bool] = False
    reweights: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        check_numbers("mu", self.mu)
        check_stabilizer(self.stabilizer)
        check_choice("bias", self.bias, ("absorb", "ignore"))

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        z = z if self.bias == "absorb" else L(a, L.w)
        s = L.ratio(R, z, self.stabilizer, L.b if self.bias == "absorb" else ZERO)
        return L.pull(sign(a - full_like(a, self.mu)), s, L.w)


@dataclass(frozen=True)
class StdxEpsilon(LinearRule):
    """LRP-epsilon with epsilon = factor * std(a), the population standard deviation of the layer's input.

    over: "sample" (each sample's own), "batch" (all entries of the batch, as SignXAI; then samples of one batch
    change one another's relevance). bias="ignore" leaves b out of z. `seats` says where the layer's input and output hold
    the samples, and is set where the rule stands on a node; without it they are on the first axis.

    Conserves up to bias and stabiliser. Raises RuleError for factor < 0. Clauses: STDX-1, STDX-2.
    """

    factor: Any = 0.25
    over: Literal["sample", "batch"] = "sample"
    bias: Literal["absorb", "ignore"] = "absorb"
    seats: tuple[Seat, Seat] | None = field(default=None, repr=False, compare=False)
    reweights: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        check_epsilon(self.factor, "factor")
        check_choice("over", self.over, ("sample", "batch"))
        check_choice("bias", self.bias, ("absorb", "ignore"))

    @property
    def looks(self) -> Looks:
        """What the standard deviation is over."""
        return self.over

    def told(self, a: Seat, z: Seat) -> Self:
        """Return the same rule for a layer that holds the samples there in its input, and there in its output."""
        return replace(self, seats=(a, z))

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        xp = namespace(a)
        one, two = self.seats or (Seat(1 if L.stacked else 0, a.ndim), Seat(0, z.ndim))
        axes = tuple(range(a.ndim)) if self.over == "batch" else one.others
        spread = xp.std(a, axis=axes, keepdims=True)
        epsilon = self.factor * xp.reshape(spread, tuple(-1 if i == (two.axis or 0) else 1 for i in range(z.ndim)))
        z = z if self.bias == "absorb" else L(a, L.w)
        s = L.ratio(R, z, lambda z: z + epsilon * sign(z), L.b if self.bias == "absorb" else ZERO)
        return L.pull(a, s, L.w)


def _check_pair(field: str, value: Any) -> None:
    """Raise RuleError for what is no pair of numbers."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise refuse(field, value, "a pair of numbers", RuleError)
    for factor in value:
        number(field, factor, RuleError)


@dataclass(frozen=True)
class AlphaBetaX(LinearRule):
    """The four parts of a contribution by the signs of input and weight, each with a denominator of its own.

    R = alpha[0] G(a+, w+, b+) + alpha[1] G(a-, w-, b-) - beta[0] G(a+, w-, b-) - beta[1] G(a-, w+, b+),
    with G(x, v, c)_j = x_j sum_k v_jk R_k / st((x v)_k + c_k).

    second="beta" takes beta[1] for alpha[1], as iNNvestigate 2.1.2 does. Presets: `x1000()`, `x1010()`, `x1001()`,
    `x2m100()`. It conserves only for some alpha, beta; the ledger calls the difference `dropped`.
    Source: iNNvestigate (no paper). Clauses: ABX-1, ABX-2.
    """

    alpha: tuple[Any, Any] = (0.5, 0.5)
    beta: tuple[Any, Any] = (0.5, 0.5)
    bias: Literal["split", "ignore"] = "split"
    second: Literal["alpha", "beta"] = "alpha"
    stabilizer: StabilizerLike = 1e-6
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        for part in ("alpha", "beta"):
            _check_pair(part, getattr(self, part))
        check_stabilizer(self.stabilizer)
        check_choice("bias", self.bias, ("split", "ignore"))
        check_choice("second", self.second, ("alpha", "beta"))

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        (ap, an), wp, wn = L.split(a), L.weights(pos), L.weights(neg)
        bp, bn = (pos(L.b), neg(L.b)) if self.bias == "split" else (ZERO, ZERO)
        second = self.alpha[1] if self.second == "alpha" else self.beta[1]
        parts = (
            (self.alpha[0], ap, wp, bp),
            (second, an, wn, bn),
            (-self.beta[0], ap, wn, bn),
            (-self.beta[1], an, wp, bp),
        )
        found: Array = ZERO
        for factor, x, w, b in parts:
            if factor != 0:
                found = add(found, share(L, factor * R, (x, w), (ZERO, ZERO), b, self.stabilizer))
        return found

    @classmethod
    def x1000(cls, **fields: Any) -> AlphaBetaX:
        """Return alpha (1, 0), beta (0, 0)."""
        return cls((1.0, 0.0), (0.0, 0.0), **fields)

    @classmethod
    def x1010(cls, **fields: Any) -> AlphaBetaX:
        """Return alpha (1, 0), beta (0, -1)."""
        return cls((1.0, 0.0), (0.0, -1.0), **fields)

    @classmethod
    def x1001(cls, **fields: Any) -> AlphaBetaX:
        """Return alpha (1, 1), beta (0, 0)."""
        return cls((1.0, 1.0), (0.0, 0.0), **fields)

    @classmethod
    def x2m100(cls, **fields: Any) -> AlphaBetaX:
        """Return alpha (2, 0), beta (1, 0)."""
        return cls((2.0, 0.0), (1.0, 0.0), **fields)
