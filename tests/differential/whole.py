"""Relevance of the inputs from the ONNX nodes alone: no line of reflrp is run, and nothing of its graph is read.

Each node of the oracle's words is observed on unit vectors (linear maps), on numbered entries (routing) or on places in order
(maxima), by ONNX's reference code or onnxruntime, and then shares its relevance by the literal formula of its rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto

from differential import literal, words
from differential.case import Case
from differential.literal import Map
from differential.nodes import Wordless, affine, matrix, ranks, reshaped

Function = Callable[..., np.ndarray]


def inputs(node: NodeProto) -> list[str]:
    """Return what a node reads, by place."""
    return [k for k in node.input if k]


@dataclass(frozen=True)
class Chosen:
    """The rules of the network: of convolutions, of dense layers, of other linear maps, of products."""

    conv: Any
    dense: Any
    norm: Any
    product: Any


@dataclass
class Whole:
    """A case in the oracle's words, with all its values; `known` are those that shapes and constants tell."""

    case: Case
    values: dict[str, np.ndarray]
    nodes: list[NodeProto] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Compute the values that only the words have."""
        self.known = set(self.case.constants)
        self.active = {k for k, a in self.case.feeds.items() if a.dtype.kind == "f"}
        for block in self.case.blocks:
            if block.literal is None:
                raise Wordless(block.maker)
            for node in block.literal:
                self._add(node)

    def _add(self, node: NodeProto) -> None:
        self.nodes.append(node)
        names = inputs(node)
        if node.output[0] not in self.values:
            self.values[node.output[0]] = words.runner(node, self.values, self.case)(*(self.values[k] for k in names))
        outputs = [o for o in node.output if o]
        if node.op_type in ("Shape", "Size") or all(k in self.known for k in names):
            self.known |= set(outputs)
        elif any(k in self.active for k in names) or self._embeds(node):
            self.active |= {k for k in outputs if self.values[k].dtype.kind == "f"}

    def _embeds(self, node: NodeProto) -> bool:
        return node.op_type == "Gather" and node.input[0] in self.known and node.input[1] in self.case.feeds

    def relevance(self, R: dict[str, np.ndarray], chosen: Chosen) -> dict[str, np.ndarray]:
        """Return the relevance of every value, from that of an output."""
        for node in reversed(self.nodes):
            r = self._arrived(node, R)
            if r is None:
                continue
            names = inputs(node)
            for k, part in zip(names, self._shares(node, names, r, chosen), strict=True):
                if k in self.active or (self._embeds(node) and k == node.input[1]):
                    R[k] = R.get(k, 0) + part
        return R

    def _arrived(self, node: NodeProto, R: dict[str, np.ndarray]) -> np.ndarray | None:
        """Return the relevance of a node's output; of several outputs, that of all, one after the other."""
        outputs = [o for o in node.output if o in R and o in self.active]
        if not outputs or node.op_type != "Split":
            return R[outputs[0]] if outputs else None
        return np.concatenate([R.get(o, 0 * self.values[o]).ravel() for o in node.output])

    def _shares(self, node: NodeProto, names: list[str], r: np.ndarray, chosen: Chosen) -> list[Any]:
        xs = [self.values[k] for k in names]
        on = [i for i, k in enumerate(names) if k in self.active]
        parts: list[Any] = [0.0] * len(names)
        for i, part in zip(on, self._parts(node, xs, on, r, chosen), strict=True):
            parts[i] = part
        if self._embeds(node):
            parts[names.index(node.input[1])] = r.reshape(*self.values[node.input[1]].shape, -1).sum(axis=-1)
        return parts

    def _parts(self, node: NodeProto, xs: list[np.ndarray], on: list[int], r: np.ndarray, chosen: Chosen) -> Any:
        """Return what goes to each input that carries relevance."""
        op = node.op_type
        if self._embeds(node):
            return []
        if op in words.PASSED or self._clips(op, xs, on):
            return [r]
        if op in words.SOFTMAX:
            return [self._taylor(node, xs[0], r)]
        mine, f = [xs[i] for i in on], words.runner(node, self.values, self.case)

        def g(*moved: np.ndarray) -> np.ndarray:
            inner = list(xs)
            for i, x in zip(on, moved, strict=True):
                inner[i] = x
            return f(*inner)

        masks = [k for k in inputs(node) if k not in self.active and k not in self.known]
        if op in ("Mul", "MatMul", "Einsum") and len(on) == 2:
            return self._product(node, g, mine, r, chosen.product)
        if op in words.MAXIMA:
            W = self._won(op, f, xs, on)
        elif op == "Mul" and masks:  # all to the value
            W = matrix(lambda x: np.broadcast_to(x, r.shape) + 0.0, mine, 0)
        elif self._moves(node):
            W = self._moved(f, xs, on)
        else:
            return self._linear(node, g, mine, r, chosen)
        return reshaped_parts(W @ r.ravel(), mine)

    def _clips(self, op: str, xs: list[np.ndarray], on: list[int]) -> bool:
        """Return whether a Max or Min only bounds a value by numbers."""
        numbers = all(x.size == 1 for i, x in enumerate(xs) if i not in on)
        return op in ("Max", "Min") and len(on) == 1 < len(xs) and numbers

    def _moves(self, node: NodeProto) -> bool:
        """Return whether a node is routing."""
        op, given = node.op_type, words.attributes(node)
        if op in ("Resize", "Upsample"):
            return bool(given.get("mode", b"nearest") == b"nearest")
        if op in words.ADDING:
            return given.get("reduction") != b"add"
        return op in words.ROUTING

    def _linear(self, node: NodeProto, g: Function, xs: list[np.ndarray], r: np.ndarray, chosen: Chosen) -> Any:
        op = node.op_type
        if op not in (*words.DENSE, *words.CONV, *words.SHARED, *words.LINEAR, *words.ADDING):
            raise Wordless(op)
        if op in words.ADDING and len(xs) == 2:
            raise Wordless("updates that are summed")
        rule = chosen.conv if op in words.CONV else chosen.dense if op in words.DENSE else chosen.norm
        W, b = affine(g, xs)
        flat = r.ravel()
        if len(xs) > 1 and b.any():  # the values are a sum, and the constants its bias: two nodes
            z = np.concatenate([x.ravel() for x in xs]) @ W
            flat, b = literal.norm(Map(np.eye(z.size), b), z, flat, chosen.norm), 0 * b
        M = Map(W, b, shares=op in words.SHARED)
        found = literal.RULES[type(rule).__name__](M, np.concatenate([x.ravel() for x in xs]), flat, rule)
        return reshaped_parts(found, xs)

    def _gate(self, name: str) -> int:
        """Return how much of a gate a value is: 3 out of a sigmoid or softmax, 2 out of a tanh, 1 out of another function.

        Through what hands a value on: routing, a scale, a mask, a shift by constants, as in 1 - z.
        """
        node = next((n for n in self.nodes if name in n.output), None)
        if node is None or self._embeds(node):
            return 0
        op, on = node.op_type, [k for k in inputs(node) if k in self.active]
        lone = op == "BatchNormalization" and self.values[on[0]].shape[1] == 1
        if lone or (len(on) == 1 and (op in ("Mul", "Div", "Add", "Sub", "Sum", "Neg") or self._moves(node))):
            return self._gate(on[0])
        if op in ("Mul", "ReduceSum", "SumOver", "Reciprocal") and all(self._gate(k) == 3 for k in on):
            return 3
        if op in (*words.SOFTMAX, "Sigmoid", "HardSigmoid"):
            return 3
        if op in words.NORMS or op == "Reciprocal" or node.name == "norm":
            return 0
        clips = self._clips(
            op, [self.values[k] for k in inputs(node)], [i for i, k in enumerate(inputs(node)) if k in on]
        )
        return 2 if op == "Tanh" else int(op in words.PASSED or clips)

    def _product(self, node: NodeProto, g: Function, xs: list[np.ndarray], r: np.ndarray, rule: Any) -> Any:
        op, on = node.op_type, (True, True)
        if getattr(rule, "signal", None) in ("auto", "activated"):
            one, two = (self._gate(k) for k in inputs(node))
            if one != two and max(one, two) >= (2 if rule.signal == "auto" else 1):
                on = (one < two, two < one)
        J = [matrix(g, [np.ones_like(x) for x in xs] if op == "Mul" else xs, i) for i in range(2)]
        found = literal.product("Half", J, [x.ravel() for x in xs], on, r.ravel(), rule, op == "Mul")
        return reshaped(found, xs)

    def _taylor(self, node: NodeProto, x: np.ndarray, r: np.ndarray) -> np.ndarray:
        y, axis = self.values[node.output[0]], words.attributes(node).get("axis", -1 if self.case.opset >= 13 else 1)
        flat = self.case.opset < 13 and node.op_type == "Softmax"
        axes = tuple(range(axis % x.ndim, x.ndim)) if flat else axis
        return x * (r - y * r.sum(axis=axes, keepdims=True))

    def _won(self, op: str, f: Function, xs: list[np.ndarray], on: list[int]) -> np.ndarray:
        """Return the matrix of a maximum at the observed inputs: the maximum of places is the place of the maximum."""
        several = op in ("Max", "Min")  # values stand before constants
        order = [*on, *(i for i in range(len(xs)) if i not in on)] if several else on
        places = dict(zip(order, ranks([xs[i] for i in order], least=op == "Min"), strict=True))
        won = f(*(places.get(i, x) for i, x in enumerate(xs))).ravel()
        return (np.concatenate([places[i].ravel() for i in on])[:, None] == won[None, :]).astype(float)

    def _moved(self, f: Function, xs: list[np.ndarray], on: list[int]) -> np.ndarray:
        """Return the matrix of an index map: each entry gets a number, and is looked for in what comes out."""
        start, numbered, inputs = 1000.25, list(xs), []
        for i, x in enumerate(xs):
            if i in on:
                numbered[i] = start + np.arange(x.size, dtype=float).reshape(x.shape)
                start += x.size
                inputs.append(numbered[i].ravel())
        return (np.concatenate(inputs)[:, None] == f(*numbered).ravel()[None, :]).astype(float)


def reshaped_parts(found: np.ndarray, xs: list[np.ndarray]) -> list[np.ndarray]:
    return reshaped(np.split(found, np.cumsum([x.size for x in xs])[:-1]), xs)
