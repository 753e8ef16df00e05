"""ONNX operators as torch modules: layers of torch.nn where there is one, a `Function` elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as fn

from reflrp.conformance.adapters.torch_functions import FUNCTIONS, Attributes, Known
from reflrp.conformance.adapters.torch_norms import (
    batchnorm,
    group_norm,
    instance_norm,
    layer_norm,
    parameter,
    rms_norm,
    with_parameters,
)
from reflrp.conformance.adapters.torch_tensors import ROUNDED, cast, upsample, weighted_einsum
from reflrp.conformance.protocol import Unsupported


@dataclass(frozen=True)
class Step:
    """One node: its module's name, its own name, the module, what it reads and makes."""

    name: str
    node: str
    module: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Function(nn.Module):  # type: ignore[misc]
    """A function of the values that a node reads; its constants are part of it, and `title` is its operator."""

    def __init__(self, function: Callable[..., Any], known: Known) -> None:
        super().__init__()
        self.function, self.title = function, ""
        self.places = [k is None for k in known]
        for i, value in enumerate(known):
            self.register_buffer(f"constant{i}", None if value is None else torch.tensor(value))

    def forward(self, *values: Any) -> Any:
        """Return the function of values and constants, in the node's order."""
        rest = iter(values)
        return self.function(*(next(rest) if v else getattr(self, f"constant{i}") for i, v in enumerate(self.places)))


def padded(layer: nn.Module, border: Callable[[tuple[int, ...]], list[int]], value: float = 0.0) -> nn.Module:
    """Return a layer that puts a border around its input itself, as wide as `border` says of the input's size, last axis first."""
    kind = type(layer)

    def forward(self: Any, x: Any) -> Any:
        return kind.forward(self, fn.pad(x, border(tuple(x.shape[2:])), value=value))

    layer.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    return layer


def cropped(layer: nn.Module, low: list[int], high: list[int]) -> nn.Module:
    """Return a layer that cuts its output itself, by so much before and behind each axis."""
    kind = type(layer)

    def forward(self: Any, x: Any) -> Any:
        y = kind.forward(self, x)
        inner = (slice(p, n - q) for p, q, n in zip(low, high, y.shape[2:], strict=True))
        return y[(slice(None), slice(None), *inner)]

    layer.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    return layer


def _only_value(known: Known, title: str) -> None:
    if known[0] is not None or any(k is None for k in known[1:3]):
        raise Unsupported(f"{title} with parameters that are values, or of a constant, is no layer of torch")


def _linear(w: np.ndarray, b: np.ndarray | None) -> nn.Module:
    layer = nn.Linear(w.shape[1], w.shape[0], bias=b is not None)
    layer.weight = parameter(w)
    if b is not None:
        layer.bias = parameter(np.broadcast_to(np.ravel(b), (w.shape[0],)))
    return layer


def gemm(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """Return alpha A' B' + beta C as nn.Linear, factors in the weights."""
    _only_value(known, "Gemm")
    if a.get("transA", 0):
        raise Unsupported("Gemm of a transposed input is no layer of torch")
    w = np.asarray(known[1]) if a.get("transB", 0) else np.asarray(known[1]).T
    b = known[2] if len(known) > 2 else None
    if b is not None and np.size(b) not in (1, w.shape[0]):
        raise Unsupported("Gemm adds another constant to each sample")
    return _linear(a.get("alpha", 1.0) * w, None if b is None else a.get("beta", 1.0) * b)


def matmul(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """nn.Linear by a constant matrix on the right, else torch.matmul."""
    if known[0] is None and known[1] is not None and known[1].ndim == 2:
        return _linear(known[1].T, None)
    return Function(torch.matmul, known)


def einsum(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """torch.einsum: with a weight for a constant, else a function."""
    return weighted_einsum(a, known) or Function(partial(torch.einsum, a["equation"]), known)


def _pads(a: Attributes, rank: int) -> tuple[list[int], list[int]] | None:
    """Return how wide the border is before and behind each axis; None where that hangs on the input's size."""
    way = a.get("auto_pad", "NOTSET")
    pads = list(a.get("pads", [0] * 2 * rank)) if way == "NOTSET" else [0] * 2 * rank
    return None if way.startswith("SAME") else (pads[:rank], pads[rank:])


def _same(a: Attributes, kernel: tuple[int, ...]) -> Callable[[tuple[int, ...]], list[int]]:
    """Return the border of auto_pad: as many outputs as the input's size over the stride, rounded up."""
    strides, dilations = _tuple(a, "strides", len(kernel)), _tuple(a, "dilations", len(kernel))

    def border(size: tuple[int, ...]) -> list[int]:
        found: list[int] = []
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
            whole = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            less, more = whole // 2, whole - whole // 2
            found = [*((less, more) if a["auto_pad"] == "SAME_UPPER" else (more, less)), *found]
        return found

    return border


def _given(low: list[int], high: list[int]) -> Callable[[tuple[int, ...]], list[int]]:
    border = [n for pair in zip(reversed(low), reversed(high), strict=True) for n in pair]
    return lambda size: border


def conv(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """nn.Conv1d to nn.Conv3d."""
    _only_value(known, "Conv")
    w, b = np.asarray(known[1]), known[2] if len(known) > 2 else None
    rank, groups = w.ndim - 2, a.get("group", 1)
    pads = _pads(a, rank)
    more = {"stride": _tuple(a, "strides", rank), "dilation": _tuple(a, "dilations", rank), "groups": groups}
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
    even = pads is not None and pads[0] == pads[1]
    own = tuple(pads[0]) if pads is not None and even else 0
    layer = kind(w.shape[1] * groups, w.shape[0], w.shape[2:], padding=own, bias=b is not None, **more)
    with_parameters(layer, w, b)
    return layer if even else padded(layer, _same(a, w.shape[2:]) if pads is None else _given(*pads))


def conv_transpose(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """nn.ConvTranspose1d to nn.ConvTranspose3d."""
    _only_value(known, "ConvTranspose")
    w, b = np.asarray(known[1]), known[2] if len(known) > 2 else None
    rank, groups = w.ndim - 2, a.get("group", 1)
    pads = _pads(a, rank)
    if pads is None or "output_shape" in a:
        raise Unsupported("a ConvTranspose whose pads follow from its output's shape is not built")
    even = pads[0] == pads[1]
    more = {"stride": _tuple(a, "strides", rank), "dilation": _tuple(a, "dilations", rank), "groups": groups}
    kind = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[rank]
    extra = tuple(a.get("output_padding", [0] * rank))
    layer = kind(
        w.shape[0],
        w.shape[1] * groups,
        w.shape[2:],
        padding=tuple(pads[0]) if even else 0,
        output_padding=extra,
        bias=b is not None,
        **more,
    )
    with_parameters(layer, w, b)
    return layer if even else cropped(layer, *pads)


def _tuple(a: Attributes, name: str, rank: int) -> tuple[int, ...]:
    return tuple(a.get(name, [1] * rank))


def pool(kinds: Sequence[Any], a: Attributes, known: Known, outputs: int) -> nn.Module:
    """nn.MaxPool or nn.AvgPool in one to three dimensions."""
    kernel = tuple(a["kernel_shape"])
    pads = _pads(a, len(kernel))
    is_average = kinds[0] is nn.AvgPool1d
    more: dict[str, Any] = {"stride": _tuple(a, "strides", len(kernel)), "ceil_mode": bool(a.get("ceil_mode", 0))}
    if is_average:
        more["count_include_pad"] = bool(a.get("count_include_pad", 0))
        if set(_tuple(a, "dilations", len(kernel))) != {1}:
            raise Unsupported("torch's AvgPool has no dilation")
    else:
        more["dilation"] = _tuple(a, "dilations", len(kernel))
    if outputs > 1 or a.get("storage_order", 0):
        raise Unsupported("the indices of a MaxPool are no value of a network")
    kind = kinds[len(kernel) - 1]
    if pads is not None and pads[0] == pads[1] and all(2 * p <= k for p, k in zip(pads[0], kernel, strict=True)):
        return kind(kernel, padding=tuple(pads[0]), **more)
    if is_average and not more["count_include_pad"]:
        raise Unsupported("an average pool with uneven pads that do not count is no layer of torch")
    border = _same(a, kernel) if pads is None else _given(*pads)
    return padded(kind(kernel, **more), border, 0.0 if is_average else -float("inf"))


def global_pool(function: Callable[..., Any], a: Attributes, known: Known, outputs: int) -> nn.Module:
    """The mean or maximum over all axes after batch and channels."""
    return Function(lambda x: function(x, tuple(range(2, x.ndim)), keepdim=True), known)


def activation(make: Callable[[Attributes], Any], a: Attributes, known: Known, outputs: int) -> nn.Module:
    """A function of torch.nn."""
    return make(a)


def function(make: Callable[[Attributes], Callable[..., Any]], a: Attributes, known: Known, outputs: int) -> nn.Module:
    """A function of tensors."""
    return Function(make(a), known)


OPERATORS: dict[str, Callable[[Attributes, Known, int], Any]] = {
    "Gemm": gemm,
    "MatMul": matmul,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "AveragePool": partial(pool, (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)),
    "MaxPool": partial(pool, (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)),
    "GlobalAveragePool": partial(global_pool, torch.mean),
    "GlobalMaxPool": partial(global_pool, torch.amax),
    "BatchNormalization": batchnorm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "RMSNormalization": rms_norm,
    "Einsum": einsum,
    "Resize": upsample,
    "Cast": cast,
    **{
        name: partial(activation, make)
        for name, make in {
            "Relu": lambda a: nn.ReLU(),
            "Sigmoid": lambda a: nn.Sigmoid(),
            "Tanh": lambda a: nn.Tanh(),
            "LeakyRelu": lambda a: nn.LeakyReLU(a.get("alpha", 0.01)),
            "Elu": lambda a: nn.ELU(a.get("alpha", 1.0)),
            "Softplus": lambda a: nn.Softplus(),
            "Gelu": lambda a: nn.GELU(a.get("approximate", "none")),
            "Softmax": lambda a: nn.Softmax(a.get("axis", -1)),
            "Dropout": lambda a: nn.Dropout(0.0),
            "Identity": lambda a: nn.Identity(),
        }.items()
    },
    **{name: partial(function, make) for name, make in (FUNCTIONS | ROUNDED).items()},
}
"""The operators that are built: (attributes, constants, number of outputs) -> module."""
