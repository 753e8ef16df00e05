"""zennit.core: the stabiliser, and how bounds are expanded to an input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reflrp.arrays import Array, to_host
from reflrp.errors import RuleError
from reflrp.ground.checks import shown
from reflrp.ir import Shape
from reflrp.ops import stabilizer as native


@dataclass(frozen=True)
class Stabilizer:
    """zennit's Stabilizer, a function z -> denominator.

    clip=False: z + e sgn z; clip=True: sgn z max(abs z, e), with sgn 0 = +1. e is epsilon, or with norm_scale
    epsilon sqrt(mean z^2), the mean being over the axes `dim` (default: all but the first).
    """

    epsilon: float = 1e-6
    clip: bool = False
    norm_scale: bool = False
    dim: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check epsilon."""
        native.check_epsilon(self.epsilon)

    def __call__(self, z: Array) -> Array:
        """Return st(z), of the shape of z."""
        return self._native(z)

    @property
    def looks(self) -> native.Looks:
        """What it sees beside the entry that it works on."""
        return self._native.looks

    @property
    def _native(self) -> native.Stabilizer:
        form: native.Form = "clip" if self.clip else "signed"
        return native.Stabilizer(self.epsilon, form, self.norm_scale, self.dim)

    @classmethod
    def ensure(cls, value: Any) -> native.StabilizerLike:
        """Return a number as a Stabilizer, and a function as it is. Raises RuleError for anything else."""
        if isinstance(value, (float, int)):
            return cls(float(value))
        if callable(value):
            return value  # type: ignore[no-any-return]
        raise RuleError(f"{shown(value)} is no stabilizer: use a number or a function z -> denominator")


def stabilize(
    input: Array,
    epsilon: float = 1e-6,
    clip: bool = False,
    norm_scale: bool = False,
    dim: tuple[int, ...] | None = None,
) -> Array:
    """Return the stabilised denominator: `Stabilizer(epsilon, clip, norm_scale, dim)(input)`."""
    return Stabilizer(epsilon, clip, norm_scale, dim)(input)


def expand(bound: Any, shape: Shape) -> Array:
    """Return a scalar or an array in a form that broadcasts to `shape`, by the conventions of `zennit.core.expand`."""
    x = to_host(bound)
    if 0 < x.ndim < len(shape) and all(n in (1, m) for n, m in zip(x.shape, shape, strict=False)):
        x = x.reshape(*x.shape, *(1,) * (len(shape) - x.ndim))
    if x.ndim == len(shape) and x.shape[0] > shape[0] and bool(np.all(x == x[:1])):
        x = x[:1]
    if x.ndim and (x.ndim != len(shape) or any(n not in (1, m) for n, m in zip(x.shape, shape, strict=True))):
        raise RuleError(
            f"zbox bounds of shape {x.shape} do not fit the input's {tuple(shape)}; give a scalar, or one value a "
            f"channel in the shape {(1, *shape[1:2], *(1,) * (len(shape) - 2))}"
        )
    return x
