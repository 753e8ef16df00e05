"""Nodes of old opsets, of every operator whose meaning was changed since, in all of its settings."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import models
import numpy as np
from models import draw, ints
from onnx import ModelProto

IMAGE, WORDS = "float[N,4,9,8] x", "float[N,5,4] x"


@dataclass(frozen=True)
class Old:
    """A body that makes y of x by a node of an opset."""

    op: str
    body: str
    opset: int
    inputs: str = WORDS
    weights: dict[str, Any] = field(default_factory=dict)

    def model(self) -> ModelProto:
        return models.model(self.body, self.inputs, opset=self.opset, **self.weights)


def said(**attributes: Any) -> str:
    """Attributes as text; those that are None are left out."""

    def one(value: Any) -> str:
        return f'"{value}"' if isinstance(value, str) else repr(list(value) if isinstance(value, tuple) else value)

    given = ", ".join(f"{k} = {one(v)}" for k, v in attributes.items() if v is not None)
    return f" <{given}> " if given else ""


def every(op: str, given: str = "x", **choices: tuple[Any, ...]) -> Iterator[str]:
    """All ways to say a node's attributes."""
    for chosen in itertools.product(*choices.values()):
        yield f"y = {op}{said(**dict(zip(choices, chosen, strict=True)))}({given})"


def old(
    op: str, opsets: tuple[int, ...], given: str = "x", inputs: str = WORDS, weights: Any = None, **choices: Any
) -> Iterator[Old]:
    for opset, body in itertools.product(opsets, every(op, given, **choices)):
        yield Old(op, body, opset, inputs, weights or {})


def normalisers() -> Iterator[Old]:
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        yield from old(op, (8, 11, 12), inputs=IMAGE, axis=(None, 0, 1, 2, 3))
        yield from old(op, (11, 12), inputs=IMAGE, axis=(-1, -2, -3, -4))
        yield from old(op, (8, 11, 12), inputs="float[N,4] x", axis=(None, 0, 1))
    weights = {k: np.abs(draw(4, seed=i)) + 0.5 for i, k in enumerate("gbmv")}
    for opsets, spatial in (((8,), (None, 1)), ((9, 12, 13), (None,))):
        given = {"epsilon": (None, 0.1), "momentum": (0.5,), "spatial": spatial}
        yield from old("BatchNormalization", opsets, "x, g, b, m, v", IMAGE, weights, **given)


def bounds() -> Iterator[Old]:
    yield from old("Clip", (7, 10), min=(None, -0.5), max=(None, 0.25))
    yield from old("Dropout", (8, 10, 11), ratio=(None, 0.9))
    yield from (Old("Dropout", "y, mask = Dropout(x)", opset) for opset in (8, 10, 11))
    pads = ((0, 0, 1, 2, 0, 0, 3, 1), (0, 0, -1, 2, 0, 0, 3, -2))
    yield from old("Pad", (8, 10), inputs=IMAGE, pads=pads, mode=(None, "constant"), value=(None, 0.5, -2.0))
    yield from old("Pad", (8, 10), inputs=IMAGE, pads=pads[:1], mode=("reflect", "edge"))


def reductions() -> Iterator[Old]:
    for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
        for opset in (8, 11, 12) if name == "Sum" else (8, 11, 12, 17):
            axes = (None, (0,), (1, 2), (2, 1), *(((-1,), (-1, 0)) if opset >= 11 else ()))
            inputs = "float[N,4,2] x" if name == "Prod" else WORDS
            for body in every(f"Reduce{name}", "p", axes=axes, keepdims=(None, 0, 1)):
                yield Old(f"Reduce{name}", f"p = Abs(x) {body}", opset, inputs)


def resized() -> Iterator[Old]:
    larger = [(1, 1, 2, 1.5), (1, 1, 1, 1), (1, 1, 3, 1), (1, 1, 2, 2)]
    others = [(1, 1, 0.6, 0.5), (1, 1, 0.5, 2.5), (1, 1, 1.7, 0.7), (1, 1, 1, 0.3)]
    modes = (None, "nearest", "linear")
    floats = tuple(tuple(map(float, s)) for s in larger)
    yield from old("Upsample", (7, 8), inputs=IMAGE, mode=modes, scales=floats)
    for op, opset, scales in (("Upsample", 9, larger), ("Resize", 10, larger + others)):
        for one in scales:
            yield from old(op, (opset,), "x, s", IMAGE, {"s": np.array(one, np.float32)}, mode=modes)


def cuts() -> Iterator[Old]:
    for starts, ends, axes in (
        ((1,), (100,), None), ((0, 1), (2, 3), None), ((1,), (-1,), (2,)), ((-2, -3), (2**63 - 1, -1), (2, 1)),
        ((-100,), (-1,), (1,)), ((3, 0, 1), (4, 2, 2), (1, 0, 2)), ((1, 1), (2, 3), (2, 1)),
    ):  # fmt: skip
        yield from old("Slice", (7, 9), inputs="float[2,5,4] x", starts=(starts,), ends=(ends,), axes=(axes,))
    for opset in (10, 12):
        for sizes in ("", ", split = [1, 3]", ", split = [3, 1]"):
            yield Old("Split", f"a, b = Split <axis = 2{sizes}>(x) y = Relu(b)", opset)
        yield Old("Split", "a, b = Split(x) y = Sub(b, a)", opset, "float[4,3] x")
    yield from (Old("Split", "a, b = Split <axis = 2>(x) y = Sub(b, a)", opset) for opset in (13, 17))
    yield Old("Split", "a, b = Split <axis = 2>(x, s) y = Relu(b)", 17, weights={"s": ints(1, 3)})
    for axis, opset in itertools.product((None, 0, 1, 2), (8, 9)):
        yield Old("TopK", f"v, i = TopK{said(axis=axis, k=2)}(x) y = Relu(v)", opset)


def ones() -> Iterator[Old]:
    """Axes of length 1 that come and go."""
    yield from old("Squeeze", (10, 12), inputs="float[2,1,3,1] x", axes=((1,), (1, 3), (3, 1), None))
    yield from old("Squeeze", (11, 12), inputs="float[2,1,3,1] x", axes=((-1,), (-1, 1), (1, -1), (-3, -1)))
    yield from old("Unsqueeze", (10, 12), inputs="float[2,3,4] x", axes=((0,), (1, 3), (4, 0), (1, 0), (3, 2, 0)))
    yield from old("Unsqueeze", (11, 12), inputs="float[2,3,4] x", axes=((-1,), (-1, 1), (1, -2), (-4, -5)))


def indexed() -> Iterator[Old]:
    places = {"i": ints(*([1, 0] * 5)).reshape(2, 5), "u": (2, 5)}
    yield from old("Scatter", (9, 10), "x, i, u", "float[2,5] x", places, axis=(None, 0, 1))
    weights = {"i": ints(0, 2, 5, 3), "d": np.int64(4), "v": np.float32([-1, 2])}
    for opset, axis in itertools.product((9, 10), (None, 0, 1, -1)):
        yield Old("OneHot", f"h = OneHot{said(axis=axis)}(i, d, v) y = Mul(x, h)", opset, "float[N,4,4] x", weights)
    choices = {"padding_mode": (None, "border", "reflection"), "align_corners": (None, 1)}
    modes = (None, "bilinear", "nearest", "bicubic")
    yield from old("GridSample", (16, 19), "x, g", "float[2,4,9,8] x", {"g": draw(2, 3, 5, 2)}, mode=modes, **choices)


def signals() -> Iterator[Old]:
    yield from old("DFT", (17, 19), inputs="float[2,4,5,1] x", axis=(None, 1, 2, -2), onesided=(None, 1))
    yield from old("DFT", (17, 19), inputs="float[2,4,5,2] x", axis=(None, 1, 2, -3), inverse=(None, 1))
    yield from old("DFT", (17,), "x, n", "float[2,4,5,1] x", {"n": np.int64(4)}, axis=(1, 2))
    weights, given = {"w": (4, 3, 3, 2), "b": (3,)}, "x, w, b"
    settings: dict[str, Any] = {"auto_pad": (None, "VALID"), "strides": (None, (2, 3)), "dilations": (None, (2, 1))}
    yield from old("ConvTranspose", (8, 10), given, IMAGE, weights, **settings)
    settings = {"pads": ((1, 0, 0, 1),), "strides": ((2, 3),), "output_padding": (None, (1, 2))}
    yield from old("ConvTranspose", (8, 10), given, IMAGE, weights, **settings)


def all_nodes() -> dict[str, list[Old]]:
    """All nodes by their operator."""
    found: dict[str, list[Old]] = {}
    for group in (normalisers, bounds, reductions, resized, cuts, ones, indexed, signals):
        for node in group():
            found.setdefault(node.op, []).append(node)
    return found
