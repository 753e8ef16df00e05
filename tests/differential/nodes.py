"""Relevance from value to value of reflrp's graph: each node as the matrix that its forward pass is observed to have.

What the nodes compute is held against onnxruntime elsewhere (`forward`); here nothing is taken from reflrp but the graph, which
rule stands where, and `op.forward`. No transpose, no rule, no sign that is known before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from differential import literal
from differential.literal import Map

Function = Callable[..., np.ndarray]


class Wordless(Exception):
    """A node for which there are no words here."""


def matrix(f: Function, xs: list[np.ndarray], i: int) -> np.ndarray:
    """Return the matrix of a map that is affine in input i, by unit vectors."""
    zeros = [np.zeros_like(x) if k == i else x for k, x in enumerate(xs)]
    base, rows = f(*zeros).ravel(), []
    for j in range(xs[i].size):
        unit = np.zeros(xs[i].size)
        unit[j] = 1
        rows.append(f(*[unit.reshape(x.shape) if k == i else x for k, x in enumerate(zeros)]).ravel() - base)
    return np.array(rows).reshape(xs[i].size, base.size)


def affine(f: Function, xs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return matrix and bias of a map that is affine in all its inputs together, one under the other."""
    zeros = [np.zeros_like(x) for x in xs]
    return np.concatenate([matrix(f, zeros, i) for i in range(len(xs))]), f(*zeros).ravel()


def ranks(xs: list[np.ndarray], least: bool = False) -> list[np.ndarray]:
    """Return each entry's place in order, from 1 on; of equal ones the first is the winner."""
    flat = np.concatenate([x.ravel() for x in xs])
    order = np.lexsort((np.arange(flat.size) if least else -np.arange(flat.size), flat))
    places = np.empty(flat.size)
    places[order] = np.arange(1, flat.size + 1)
    return [p.reshape(x.shape) for p, x in zip(np.split(places, np.cumsum([x.size for x in xs])[:-1]), xs, strict=True)]


def winners(op: Any, xs: list[np.ndarray]) -> np.ndarray:
    """Return the matrix of a selection at the observed inputs: a maximum of the places is the place of the maximum."""
    constants = [np.asarray(c, float) for c in getattr(op, "constants", ())]
    placed = ranks([*xs, *constants], getattr(op, "least", False))
    if constants:
        op = replace(op, constants=tuple(placed[len(xs) :]))
    placed = placed[: len(xs)]
    flat, won = np.concatenate([p.ravel() for p in placed]), op.forward(*placed).ravel()
    return (flat[:, None] == won[None, :]).astype(float)


def slopes(f: Function, x: np.ndarray) -> np.ndarray:
    """Return the derivative of a pointwise function, by differences. Raises literal.Edge at a kink, and at a border."""
    return settled(lambda h: f(x + h), f(x))


def settled(shifted: Callable[[float], np.ndarray], y: np.ndarray) -> np.ndarray:
    """Return a difference quotient that is the same for two widths, and from both sides."""

    def step(h: float) -> np.ndarray:
        return (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h)

    with np.errstate(all="ignore"):
        one, two, h = step(1e-3), step(5e-4), 1e-6
        above, below = (shifted(h) - y) / h, (y - shifted(-h)) / h
    if not (np.allclose(one, two, rtol=1e-7, atol=1e-8) and np.allclose(above, below, rtol=1e-3, atol=1e-3)):
        raise literal.Edge
    return two


def backward(program: Any, values: Mapping[str, np.ndarray], R: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the relevance of every value, from that of the output. Raises Wordless, and literal.Edge."""
    graph = program.graph
    for node in reversed(graph.nodes):
        r = R.get(node.output)
        if r is None or not graph.values[node.output].active:
            continue
        xs = [np.asarray(values[i]) for i in node.inputs]
        on = [graph.values[i].active for i in node.inputs]
        parts = shares(
            node, program.ops[node.name], program.rules.get(node.name), xs, on, np.asarray(values[node.output]), r
        )
        for name, part, active in zip(node.inputs, parts, on, strict=True):
            if active or node.kind == "embedding":
                R[name] = R.get(name, 0) + part
    return R


def shares(
    node: Any, op: Any, rule: Any, xs: list[np.ndarray], on: list[bool], y: np.ndarray, r: np.ndarray
) -> list[np.ndarray]:
    """Return what a node gives to each of its inputs."""
    name = type(rule).__name__
    if node.kind == "embedding":
        found = looked_up(xs, on, y, r)
    elif node.kind == "routing":
        found = routed(op, xs, on, r.ravel())
    elif node.kind == "product":
        found = multiplied(op, name, rule, xs, on, r)
    elif name in ("Pass", "Stop"):
        found = [r if name == "Pass" else 0 * x for x in xs]
    elif node.kind in ("pointwise", "normaliser"):
        found = [entrywise(op, name, rule, xs[0], y, r)]
    else:
        found = mapped(node.kind, op, name, rule, xs, y, r)
    return found


def looked_up(xs: list[np.ndarray], on: list[bool], y: np.ndarray, r: np.ndarray) -> list[np.ndarray]:
    """Return for each token id the relevance of its row."""
    ids = next(x for x, active in zip(xs, on, strict=True) if not active)
    if y.shape[: ids.ndim] != ids.shape:
        raise Wordless("embedding")
    return [r.reshape(*x.shape, -1).sum(axis=-1) for x in xs]


def multiplied(op: Any, name: str, rule: Any, xs: list[np.ndarray], on: list[bool], r: np.ndarray) -> list[np.ndarray]:
    """Return what a rule for products gives to both operands."""
    if name == "SignalTakesAll" and isinstance(rule.signal, str):
        raise Wordless("a gate")
    even = type(op).__name__ == "Multiply" and name in ("Half", "Uniform", "SignalTakesAll")
    J = [matrix(op.forward, [np.ones_like(x) for x in xs] if even else xs, i) for i in range(2)]
    return reshaped(literal.product(name, J, [x.ravel() for x in xs], (on[0], on[1]), r.ravel(), rule, even), xs)


def mapped(
    kind: str, op: Any, name: str, rule: Any, xs: list[np.ndarray], y: np.ndarray, r: np.ndarray
) -> list[np.ndarray]:
    """Return what a rule for linear maps gives."""
    if name not in literal.RULES or (name == "StdxEpsilon" and rule.over != "batch"):
        raise Wordless(name)
    W, b = (winners(op, xs), np.zeros(y.size)) if kind == "max" else affine(op.forward, xs)
    if name == "Flat" and kind in ("dense", "conv", "diagonal"):  # a weight of 0 is a weight
        W = affine(replace(op, w=np.ones_like(op.w)).forward, xs)[0]
    M = Map(W, b, shares=kind == "pool" and np.ndim(op.w) == 0)
    found = literal.RULES[name](M, np.concatenate([x.ravel() for x in xs]), r.ravel(), rule)
    return reshaped(np.split(found, np.cumsum([x.size for x in xs])[:-1]), xs)


def routed(op: Any, xs: list[np.ndarray], on: list[bool], r: np.ndarray) -> list[np.ndarray]:
    """Return the transpose of an index map at r, for the inputs that carry relevance."""
    return [(matrix(op.forward, xs, i) @ r).reshape(x.shape) if on[i] else 0 * x for i, x in enumerate(xs)]


def reshaped(parts: Any, xs: list[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(p).reshape(x.shape) for p, x in zip(parts, xs, strict=True)]


def entrywise(op: Any, name: str, rule: Any, x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return what a rule for functions of one value gives."""
    if name == "Taylor":
        total = r.sum(axis=op.axes if rule.over == "own" else -1, keepdims=True)
        return x * (r - y * total)
    if name == "DeconvNet":
        return literal.pos(r)
    if name == "GuidedBackprop":
        return np.where(x > 0, literal.pos(r), 0)
    if name == "BetaSmooth":
        return r / (1 + np.exp(-rule.beta * x))
    if name in ("Gradient", "Ratio") and op.kind == "pointwise":
        s = r if name == "Gradient" else r / literal.stable(y, rule.stabilizer)
        return (x if name == "Ratio" else 1) * slopes(op.forward, x) * s
    if name in ("Gradient", "Ratio"):
        s = r if name == "Gradient" else r / literal.stable(y, rule.stabilizer)
        return (x if name == "Ratio" else 1) * (jacobian(op.forward, x) @ s.ravel()).reshape(x.shape)
    raise Wordless(f"{name} on a {op.kind}")


def jacobian(f: Function, x: np.ndarray) -> np.ndarray:
    """Return the Jacobian of any function, by differences: (inputs, outputs)."""
    y, rows = f(x), []
    for unit in np.eye(x.size):
        rows.append(settled(lambda h, u=unit: f(x + h * u.reshape(x.shape)), y).ravel())
    return np.array(rows)
