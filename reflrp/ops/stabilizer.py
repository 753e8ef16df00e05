"""The stabiliser: what stands in a denominator in place of z, so that nothing is divided by zero.

Clauses: STAB-1 (sgn 0 = +1), STAB-2 (x / 0 := 0 where no epsilon is asked for), STAB-3 (forms).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np

from reflrp.arrays import Array, away_from_zero, is_exact, is_symbolic, namespace, sign, where
from reflrp.arrays.blocks import signed_shares
from reflrp.arrays.levels import divided
from reflrp.arrays.namespaces import fits
from reflrp.errors import NonFiniteError, RuleError
from reflrp.ground import checks

Form = Literal["signed", "plain", "clip", "nonzero"]

Looks = Literal["", "sample", "batch"]
"""What something sees beside the entry that it works on: nothing, all of the entry's sample, or all samples of a batch."""


def looks(value: Any) -> Looks:
    """Return what a field of a rule looks at: a function of an array that does not say so may look at all samples."""
    found: Looks = getattr(value, "looks", "batch") if callable(value) else ""
    return found


@dataclass(frozen=True)
class Stabilizer:
    """A stabilised denominator st(z), as a value of its own.

    ============  =============================================  ==============================
    form          st(z)                                          as in
    ============  =============================================  ==============================
    "signed"      z + epsilon * sgn z                            the papers, zennit, captum
    "plain"       z + epsilon                                    LXT (explicit)
    "clip"        sgn z * max(abs z, epsilon)                    zennit, clip=True
    "nonzero"     z, and epsilon where z = 0                     iNNvestigate's SafeDivide
    ============  =============================================  ==============================

    with sgn 0 = +1. `norm_scale` replaces epsilon by epsilon * sqrt(mean z^2), the mean being over the axes `dim`
    (default: each sample's, over all axes but that of the samples; of an array alone, the first).

    Parameters
    ----------
    epsilon : number
        At least 0; in units of z.
    form : str
        One of the table.
    norm_scale : bool
        Scale epsilon with the root mean square of z.
    dim : tuple of int, optional
        The axes of that mean.

    Raises
    ------
    RuleError
        For a negative epsilon or an unknown form.

    """

    epsilon: Any = 1e-6
    form: Form = "signed"
    norm_scale: bool = False
    dim: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check_epsilon(self.epsilon)
        if checks.text("form", self.form, RuleError) not in ("signed", "plain", "clip", "nonzero"):
            raise RuleError(f"stabilizer form {checks.shown(self.form)} is unknown; use signed, plain, clip or nonzero")
        checks.flag("norm_scale", self.norm_scale, RuleError)
        if self.dim is not None:
            if not isinstance(self.dim, tuple | list):
                raise checks.refuse("dim", self.dim, "a tuple of axes, or None", RuleError)
            object.__setattr__(self, "dim", tuple(checks.whole("dim: an axis", i, error=RuleError) for i in self.dim))

    def __call__(self, z: Array) -> Array:
        """Return st(z), of the shape of z."""
        epsilon = self._scaled(z) if self.norm_scale else self.epsilon
        if self.form == "plain":
            return z + epsilon
        if self.form == "nonzero":
            return where(z == 0, epsilon + 0 * z, z)
        if self.form == "clip":
            return sign(z) * namespace(z).maximum(abs(z), epsilon)
        return away_from_zero(z, epsilon)

    @property
    def looks(self) -> Looks:
        """All of a sample, by its mean; over axes of the caller's own these may be of several samples."""
        return "" if not self.norm_scale else "sample" if self.dim is None else "batch"

    def _scaled(self, z: Array) -> Array:
        axes = self.dim if self.dim is not None else tuple(range(1, z.ndim))
        xp = namespace(z)
        return self.epsilon * xp.sqrt(xp.mean(z**2, axis=axes, keepdims=True))


class Overflow(NonFiniteError):
    """A denominator that is not finite; the engine says of which node."""


StabilizerLike = float | Stabilizer | Callable[[Array], Array]
"""What a rule takes as its stabiliser: an epsilon, a Stabilizer, or any function z -> denominator."""


def check_epsilon(epsilon: Any, name: str = "epsilon") -> None:
    """Raise RuleError for a negative, infinite or non-numeric epsilon."""
    if not checks.is_number(epsilon) or epsilon < 0:
        raise RuleError(f"{name} must be a number >= 0, not {checks.shown(epsilon)}")


def check_stabilizer(value: Any) -> None:
    """Raise RuleError for what is neither a number >= 0, a Stabilizer, nor a callable."""
    if not callable(value):
        check_epsilon(value, "stabilizer")


def stabilize(z: Array, stabilizer: StabilizerLike = 1e-6, side: int = 0) -> Array:
    """Return the stabilised denominator st(z): z + epsilon * sgn z with sgn 0 = +1, unless told otherwise.

    `side` is 1 or -1 for what has no entry of the other sign: a graph then need not look, and takes it for sgn 0, too.
    Shapes: z and result (N, *out). Clauses: STAB-1, STAB-3.
    """
    if callable(stabilizer):
        found = stabilizer(z)
        if isinstance(found, np.ndarray) and not fits(found.shape, z.shape):
            raise RuleError(f"the stabilizer gives the shape {found.shape} for values of the shape {z.shape}")
        return found
    if side and stabilizer != 0 and is_symbolic(z):
        return z + stabilizer if side > 0 else z - stabilizer
    return away_from_zero(z, stabilizer) if stabilizer != 0 else z


def safe_div(x: Array, y: Array) -> Array:
    """Return x / y, and 0 where y = 0 (clause STAB-2)."""
    zero = y == 0
    return where(zero, 0 * x, x / where(zero, y + 1, y))


def ratio(R: Array, z: Array, stabilizer: StabilizerLike = 1e-6, side: int = 0) -> Array:
    """Return R / st(z), and 0 where st(z) = 0: the share of R that each unit of z carries.

    `side` is that of `stabilize`. Shapes: R, z, result (N, *out). Raises NonFiniteError where st(z) is infinite.
    Clauses: STAB-1, STAB-2.
    """
    denominator = stabilize(z, stabilizer, side)
    if is_exact(R):
        return divided(R, denominator)
    _check(denominator, R)
    stable = isinstance(stabilizer, Real) and stabilizer > 0
    found = _quotient(R, denominator) if stable else safe_div(R, denominator)
    if is_symbolic(denominator) and is_symbolic(found):  # the graph that it becomes has to look at it
        namespace(denominator).divided(found, R, denominator)
    return found


def shares(R: Array, z: Array, stabilizer: StabilizerLike, side: int = 0) -> tuple[Array, float | None]:
    """Return `ratio`, and the sum of z * ratio where that was found on the way, as it is on NumPy for an epsilon."""
    small = isinstance(stabilizer, Real) and 0 < stabilizer <= 1
    found = signed_shares(R, z, stabilizer) if small else None
    return (ratio(R, z, stabilizer, side), None) if found is None else found


def _quotient(R: Array, denominator: Array) -> Array:
    """Return R / denominator; on NumPy in the memory of the denominator, which nobody else has."""
    if not isinstance(R, np.ndarray) or not isinstance(denominator, np.ndarray) or not R.ndim:
        return R / denominator
    alike = (R.shape, R.dtype) == (denominator.shape, denominator.dtype)
    return np.divide(R, denominator, out=denominator) if alike else R / denominator


def held(divisor: Array) -> Array:
    """Return what an op divides by. Raises Overflow where it is infinite: what is divided would be 0 without a word."""
    xp = namespace(divisor)
    if is_symbolic(divisor) or divisor.dtype == object or bool(xp.isfinite(xp.sum(divisor))):
        return divisor
    if bool(xp.any(xp.isinf(divisor))):
        raise Overflow(
            "an infinity arose in the statistic, as a sum of squares does beyond the root of the largest number,"
        )
    return divisor


def _check(denominator: Array, R: Array) -> None:
    """Raise NonFiniteError where relevance meets a denominator that overflowed, and would vanish without a word."""
    xp = namespace(denominator)
    if is_symbolic(denominator) or denominator.dtype == object or bool(xp.isfinite(xp.sum(denominator))):
        return
    if bool(xp.any(~xp.isfinite(denominator) & (is_symbolic(R) or R != 0))):
        raise Overflow("an infinity arose in a denominator")
