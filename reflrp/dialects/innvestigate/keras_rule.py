"""What iNNvestigate's rules share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from reflrp import rules as r
from reflrp.arrays import Array
from reflrp.errors import InputError, RuleError
from reflrp.ground.caches import Kept
from reflrp.ground.checks import is_number, shown
from reflrp.ir import WEIGHTED
from reflrp.ops.linear import LinearMap

SAFE = r.Stabilizer(1e-7, "nonzero")
"""The library's SafeDivide: 1e-7, which is K.epsilon(), where the denominator is 0."""


@dataclass(frozen=True)
class KerasRule(r.LinearRule):
    """Base of the rules: what stands on layers with a kernel, and on what stands for a BatchNormalization."""

    serves: ClassVar[frozenset[str]] = frozenset({*WEIGHTED, "diagonal"})

    @property
    def formula(self) -> r.Rule:
        """The rule of `reflrp.rules` that this one is."""
        raise NotImplementedError(f"{type(self).__name__} is a base of rules and has no formula: take one of them")

    @Kept
    def _formula(self) -> r.Rule:
        return self.formula

    def fits(self, node: Any) -> bool:
        """Return whether a node is of these kinds."""
        return node.kind in self.serves

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Any:
        """Return the relevance of the input."""
        return self._formula(L, a, z, R)


def check_positive(epsilon: Any) -> None:
    """Raise RuleError unless epsilon is a number > 0."""
    if not (is_number(epsilon) or isinstance(epsilon, bool)) or epsilon <= 0:
        raise RuleError(f"epsilon must be a number > 0, not {shown(epsilon)}")


def laid_out(value: Any, a: Array, L: LinearMap) -> Any:
    """Return a number, or an array as the layer has its input in ONNX: Keras has the channels last, a convolution second.

    Raises InputError for an array that does not fit.
    """
    if not isinstance(value, np.ndarray) or not value.ndim or L.kind != "conv":
        return value
    shape = (a.shape[0], *a.shape[2:], a.shape[1])
    try:
        return np.moveaxis(np.broadcast_to(value, shape), -1, 1)
    except ValueError as error:
        raise InputError(
            f"an array of shape {value.shape} does not fit values of shape {shape}, channels last"
        ) from error
