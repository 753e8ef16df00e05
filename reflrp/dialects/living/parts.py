"""A torch module as its nodes show it: which operator it writes, and with which numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reflrp.arrays import ZERO
from reflrp.composites.matchers import Matcher, op_type
from reflrp.dialects.zennit import naming, types
from reflrp.errors import RuleError
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.linear import Dense, Diagonal, LinearMap

OWN: dict[tuple[str, str], Matcher] = {
    ("zennit", "Sum"): types.Sum | op_type("ReduceSum"),
    ("captum", "Addition_Module"): types.Sum,
    ("torch", "AdaptiveAvgPool1d"): types.AvgPool,
    ("torch", "AdaptiveAvgPool2d"): types.AvgPool,
    ("torch", "AdaptiveAvgPool3d"): types.AvgPool,
    ("torch", "AdaptiveMaxPool1d"): types.MaxPool,
    ("torch", "AdaptiveMaxPool2d"): types.MaxPool,
    ("torch", "AdaptiveMaxPool3d"): types.MaxPool,
}
"""Modules that write other operators than the class of this name in a layer map fits."""

WEIGHTED = frozenset({
    "Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
})  # fmt: skip

Border = tuple[tuple[int, ...], tuple[int, ...]]

CLOSE = {8: 1e-12, 4: 1e-6, 2: 1e-2}
"""How far weights may be off that were rounded or scaled on their way into the file: by the bytes of a number there."""


@dataclass(frozen=True, eq=False)
class Part:
    """One module of a network, by its name."""

    name: str
    module: Any

    def __repr__(self) -> str:
        """Return `'features.0' (Conv2d)`."""
        return f"{self.name!r} ({self.title})"

    @property
    def title(self) -> str:
        """The name of the module's class."""
        return type(self.module).__name__

    @cached_property
    def bases(self) -> frozenset[tuple[str, str]]:
        """The library and the name of the module's class and of all that it inherits from."""
        return frozenset((c.__module__.partition(".")[0], c.__name__) for c in type(self.module).__mro__)

    @cached_property
    def matcher(self) -> Matcher | None:
        """What fits the one node that the module writes; None for a class of which that is not known."""
        for base, own in OWN.items():
            if base in self.bases:
                return own
        try:
            return naming.matcher(type(self.module))
        except RuleError:
            return None

    @property
    def is_weighted(self) -> bool:
        """Whether it is a convolution or nn.Linear, or inherits from one."""
        return any(("torch", title) in self.bases for title in WEIGHTED)

    @property
    def is_batchnorm(self) -> bool:
        """Whether it has running statistics."""
        return ("torch", "_BatchNorm") in self.bases or ("torchvision", "FrozenBatchNorm2d") in self.bases

    @property
    def border(self) -> Border:
        """How many zeros a convolution puts before and after each axis; what it pads with otherwise, it does beforehand."""
        module, zeros = self.module, (0,) * len(self.module.kernel_size)
        if module.padding == "valid" or module.padding_mode != "zeros":
            return zeros, zeros
        if module.padding != "same":
            return tuple(module.padding), tuple(module.padding)
        whole = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return tuple(n // 2 for n in whole), tuple(n - n // 2 for n in whole)

    def array(self, name: str, size: int, default: float) -> np.ndarray:
        """Return a parameter or buffer in float64; where the module has none, `size` times the default."""
        value = getattr(self.module, name, None)
        return np.full(size, default) if value is None else numbers(value)

    def scale(self, rounded: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return a BatchNorm as a scale and a shift a channel: s = weight / sqrt(var + eps), t = bias - mean s.

        ONNX keeps eps in float32: `rounded` is with that.
        """
        mean, var = numbers(self.module.running_mean), numbers(self.module.running_var)
        eps = float(np.float32(self.module.eps)) if rounded else float(self.module.eps)
        s = self.array("weight", mean.size, 1.0) / np.sqrt(var + eps)
        return s, self.array("bias", mean.size, 0.0) - mean * s

    def computes(self, op: LinearMap, merged: Part | None = None) -> bool:
        """Return whether a node has the module's weights and bias, with a BatchNorm merged into them or none."""
        return any(self._computes(op, merged, rounded) for rounded in (False, True))

    def _computes(self, op: LinearMap, merged: Part | None, rounded: bool) -> bool:
        if self.is_batchnorm:
            s, t = self.scale(rounded)
            return isinstance(op, Diagonal) and close(op.w, s) and close(op.b, t)
        w, b, channels = numbers(self.module.weight), *_bias_of(op)
        if w.shape != (op.w.T if isinstance(op, Dense) else op.w).shape:
            return False
        bias = self.array("bias", channels, 0.0)
        if merged is not None:
            s, t = merged.scale(rounded)
            if s.size != channels:
                return False
            w, bias = w * _along_outputs(s, op), bias * s + t
        return close(op.w.T if isinstance(op, Dense) else op.w, w) and close(b, bias)


def border_of(op: Conv) -> Border:
    """Return how many zeros a node puts before and after each axis."""
    return tuple(op.windows.begin), tuple(op.windows.end)


def numbers(value: Any) -> np.ndarray:
    """Return a tensor's numbers in float64. Raises RuleError for what is no tensor."""
    try:
        return np.asarray(value.detach().cpu().double().numpy())
    except (AttributeError, TypeError, RuntimeError) as error:
        raise RuleError(f"the numbers of a {type(value).__name__} cannot be read: {error}") from error


def close(got: Any, want: np.ndarray) -> bool:
    """Return whether the numbers of a file are these, to the rounding of the file's type, relative to the largest."""
    got = np.zeros(want.shape) if got is ZERO else np.asarray(got)
    if got.size == 1 and want.size > 1:
        got = np.full(want.size, got.ravel()[0])
    if got.size != want.size:
        return False
    limit = CLOSE.get(got.dtype.itemsize, 0.0) * np.max(np.abs(want), initial=0.0)
    return bool(np.all(np.abs(got.ravel() - want.ravel()) <= limit))


def _bias_of(op: LinearMap) -> tuple[np.ndarray, int]:
    """Return a layer's bias as a vector, and how many output channels there are."""
    if isinstance(op, ConvTranspose):
        channels = op.w.shape[1] * op.groups
    else:
        channels = op.w.shape[-1] if isinstance(op, Dense) else op.w.shape[0]
    return np.zeros(channels) if op.b is ZERO else np.ravel(op.b), channels


def _along_outputs(s: np.ndarray, op: LinearMap) -> np.ndarray:
    """Return a factor for each output channel, shaped to multiply a torch module's weights."""
    if not isinstance(op, ConvTranspose):
        return s.reshape(-1, *(1,) * (np.ndim(op.w) - 1))
    of_inputs = np.repeat(s.reshape(op.groups, -1), op.w.shape[0] // op.groups, axis=0)
    return of_inputs.reshape(*op.w.shape[:2], *(1,) * (np.ndim(op.w) - 2))
