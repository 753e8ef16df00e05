"""The engine: forward, and the walk back that hands each node's relevance to its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import isfinite
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays import ZERO, Array, backend_namespace, magnitude, namespace, total
from reflrp.errors import InputError, ModelError, NonFiniteError, ReflrpError, TooLarge
from reflrp.ir import UNRULED, Graph, Node, Op
from reflrp.ledger import Row
from reflrp.ops.linear import Absorbed, LinearMap
from reflrp.ops.norms import Statistic
from reflrp.ops.picking import MovedIds
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import Product
from reflrp.ops.selection import Selection
from reflrp.rules import LinearRule
from reflrp.rules.base import Rule
from reflrp.rules.other import Pass

Values = dict[str, Array]
Step = Callable[[], None]

EVERYWHERE: Mapping[str, Array] = {}
"""No masks: relevance goes through all neurons."""


@lru_cache(maxsize=16)
def converter(backend: str, dtype: str) -> Callable[[Array], Array]:
    """Return the function that brings a constant or input to a backend and dtype; integers keep theirs.

    Raises InputError for an unknown backend or dtype.
    """
    xp = backend_namespace(backend)
    if dtype not in ("float64", "float32"):
        raise InputError(f"dtype={dtype!r} is unknown; use 'float64' or 'float32'")
    wanted = getattr(xp, dtype)

    def convert(array: Array) -> Array:
        floating = np.dtype(array.dtype).kind == "f"
        with np.errstate(invalid="ignore", over="ignore"):  # the forward pass reports what is not finite
            return xp.asarray(array, dtype=wanted if floating else None)

    return convert


@dataclass(frozen=True)
class Program:
    """A graph made ready: its ops on the chosen arrays, and the rule of each node."""

    graph: Graph
    ops: Mapping[str, Op]
    rules: Mapping[str, Rule]

    def forward(self, inputs: Values, step: Step | None = None, keep: bool = True) -> Values:
        """Return every value by name, or (keep=False) the outputs only.

        Raises NonFiniteError with the node where a NaN or +infinity arises.
        """
        values = dict(inputs)
        last = {} if keep else {i: node.name for node in self.graph.nodes for i in node.inputs}
        wanted = {self.graph.resolve(o) for o in self.graph.outputs}
        for node in self.graph.nodes:
            values[node.output] = self._output(node, values)
            for name in node.inputs if not keep else ():
                if last[name] == node.name and name not in wanted:
                    values.pop(name, None)
            if step:
                step()
        return values

    def _output(self, node: Node, values: Values) -> Array:
        try:
            with np.errstate(all="ignore"):  # a NaN or an infinity is reported below, with the node's name
                y = self.ops[node.name].forward(*(values[i] for i in node.inputs))
        except ReflrpError:
            raise
        except Exception as error:
            raise ModelError(f"node {node.name!r} (onnx {node.op_type}) cannot be computed: {error}") from error
        value = self.graph.values[node.output]
        if value.active:
            if tuple(y.shape) != value.shape:
                raise ModelError(
                    f"node {node.name!r} (onnx {node.op_type}) makes the shape {tuple(y.shape)}, and not {value.shape}"
                )
            check_finite(y, node, "value", allow_minus_infinity=True)
        return y

    def backward(
        self,
        values: Values,
        R: Values,
        keep: Callable[[str], bool],
        step: Step | None = None,
        masks: Mapping[str, Array] = EVERYWHERE,
    ) -> tuple[Values, list[Row]]:
        """Return the relevance of the inputs and of the values to `keep`, and the nodes' accounts.

        `R` holds the initial relevance by value name, `masks` what to multiply a value's relevance with on the way.
        A value's memory is given back after its last use.
        """
        kept, rows = {name: r for name, r in R.items() if keep(name)}, []
        for node in reversed(self.graph.nodes):
            r = R.pop(node.output, None)
            if r is not None and node.output in masks:
                r, row = restricted(node.output, r, masks[node.output])
                rows.append(row)
                kept.update({node.output: r} if keep(node.output) else {})
            active = self.graph.values[node.output].active
            if r is not None and (active or isinstance(node.op, MovedIds)):
                parts, row = self._share(node, values, r)
                rows.append(row)
                self._hand_down(node, parts, R)
                kept.update({i: R[i] for i in node.inputs if i in R and keep(i)})
            elif active:
                rows.append(Row(node.name, node.kind, rule_name(self.rules.get(node.name)), 0.0, 0.0))
            values.pop(node.output)
            if step:
                step()
        for name in [i for i in self.graph.inputs if i in R and i in masks]:
            R[name], row = restricted(name, R[name], masks[name])
            rows.append(row)
        return {**kept, **{i: R[i] for i in self.graph.inputs if i in R}}, rows

    def _hand_down(self, node: Node, parts: tuple[Array, ...], R: Values) -> None:
        """Add each part to its input's relevance: all that residuals and shared values need."""
        for name, part in zip(node.inputs, parts, strict=True):
            if part is ZERO or part is None:
                continue
            if self._reached(node, name):
                R[name] = R[name] + part if name in R else part

    def _share(self, node: Node, values: Values, r: Array) -> tuple[tuple[Array, ...], Row]:
        """Return what a node gives to each of its inputs, and its account."""
        op, rule = self.ops[node.name], self.rules.get(node.name)
        xs = tuple(values[i] for i in node.inputs)
        y = values[node.output]
        absorbed: list[Any] = []
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported with the node's name
                parts = self._parts(op, rule, xs, y, r, absorbed)
        except NonFiniteError as error:
            raise NonFiniteError(
                f"{error} of node {node.name!r} ({node.kind}, onnx {node.op_type}, rule {rule_name(rule)}); "
                "use dtype='float64', or check the model's weights and the input's scale"
            ) from error
        return parts, self._account(node, rule, r, parts, absorbed)

    @staticmethod
    def _parts(
        op: Op, rule: Rule | None, xs: tuple[Array, ...], y: Array, r: Array, absorbed: list[Any]
    ) -> tuple[Array, ...]:
        """Return what a rule gives to each input; its notes for the ledger end in `absorbed`."""
        parts: tuple[Array, ...]
        if rule is None:
            parts = op.transpose(r, *xs)  # type: ignore[attr-defined]
        elif isinstance(op, LinearMap) or (isinstance(op, Statistic) and isinstance(rule, LinearRule)):
            parts = _share_linear(op, rule, xs, y, r, absorbed)
        elif isinstance(op, Product):
            parts = rule(replace(op, absorbed=absorbed), xs, y, r)
        else:
            parts = (rule(op, xs[0], y, r),)
        return parts

    def _reached(self, node: Node, name: str) -> bool:
        """Return whether relevance goes from a node to an input: to what is active, and to token ids."""
        if self.graph.values[name].active:
            return True
        return (node.kind == "embedding" or isinstance(node.op, MovedIds)) and name in self._tokens

    @cached_property
    def carriers(self) -> frozenset[str]:
        """The inputs that relevance can reach: those that are active, and token ids on their way to a table."""
        found = {i for n in self.graph.nodes if n.kind == "embedding" for i in n.inputs}
        for node in reversed(self.graph.nodes):
            if node.output in found and isinstance(node.op, MovedIds):
                found.update(node.inputs[i] for i in node.op.tokens)
        return frozenset(i for i in self.graph.inputs if i in found or self.graph.values[i].active)

    @cached_property
    def _tokens(self) -> frozenset[str]:
        """The token ids: inputs, and what they are cast, moved or shifted to."""
        moved = (n.output for n in self.graph.nodes if isinstance(n.op, MovedIds))
        return frozenset([*self.graph.inputs, *moved])

    def _account(self, node: Node, rule: Rule | None, r: Array, parts: tuple[Array, ...], absorbed: list[Any]) -> Row:
        received = total(r)
        given = [0 if p is None else received if p is r else total(p) for p in parts]
        if not isfinite(sum(given)):
            for part in parts:
                if part is not None and part is not ZERO:
                    check_finite(part, node, "relevance")
        reaches = [self._reached(node, i) for i in node.inputs]
        passed = sum(g for g, ok in zip(given, reaches, strict=True) if ok)
        bias = sum(a.bias for a in absorbed) + sum(given) - passed
        stabilizer = sum(a.stabilizer for a in absorbed)
        rest = received - passed - bias - stabilizer
        if node.op.keeps:
            bias, rest = bias + rest, 0 * rest
        conserves = rule is None or rule.conserves
        return Row(
            node.name, node.kind, rule_name(rule), received, passed, bias, stabilizer,
            0 if conserves else rest, rest if conserves else 0, magnitude(r),
        )  # fmt: skip


def rule_name(rule: Rule | None) -> str:
    """Return what the ledger calls a rule; a node without one has its transpose."""
    return type(rule).__name__ if rule else "transpose"


def restricted(name: str, r: Array, mask: Array) -> tuple[Array, Row]:
    """Return a value's relevance at the chosen neurons only, and the account of what is left out."""
    before, after = total(r), total(r * mask)
    return r * mask, Row(
        f"{name}:condition", "condition", "restrict", before, after, dropped=before - after, flow=magnitude(r)
    )


def _share_linear(
    op: LinearMap | Statistic, rule: Rule, xs: tuple[Array, ...], y: Array, r: Array, absorbed: list[Any]
) -> tuple[Array, ...]:
    """Run a rule on a linear map; its notes for the ledger end in `absorbed`."""
    L = op.held(xs[0]) if isinstance(op, Statistic) else op
    a = L.join(xs)
    L = L.observed(a, y) if isinstance(L, Selection) else L
    R = rule(replace(L, absorbed=absorbed), a, y, r)
    if R is not ZERO:
        absorbed.append(Absorbed(L.kept(R), 0))
    return (R,) * len(xs) if R is ZERO else L.part(R)


def check_finite(x: Array, node: Node, what: str, allow_minus_infinity: bool = False) -> None:
    """Raise NonFiniteError with the node's name where x holds a NaN or an infinity."""
    xp = namespace(x)
    if x.dtype == object or bool(xp.isfinite(xp.sum(x))):
        return
    bad = xp.isnan(x) | ((x == np.inf) if allow_minus_infinity else xp.isinf(x))
    if bool(xp.any(bad)):
        found = "NaN" if bool(xp.any(xp.isnan(x))) else "an infinity"
        raise NonFiniteError(
            f"{found} arose in the {what} of node {node.name!r} ({node.kind}, onnx {node.op_type}); "
            "check the model's weights and the input's scale"
        )


def prepare(graph: Graph, rules: Mapping[str, Rule], convert: Callable[[Array], Array]) -> Program:
    """Return the program: every op converted once, and told what is known of its input and of its relevance."""
    gated = gated_values(graph, rules)
    ops: dict[str, Op] = {}
    for node in graph.nodes:
        op = node.op.to(convert)
        if isinstance(op, LinearMap):
            positive = all(graph.values[i].nonneg for i in node.inputs)
            op = replace(op, positive=positive, gated=node.output in gated)
        ops[node.name] = op
    return Program(graph, ops, rules)


def check_size(graph: Graph, itemsize: int) -> None:
    """Raise TooLarge where the values of a graph take more than the limit together; it names the largest."""
    sizes = {node: limits.size_of(graph.values[node.output].shape, itemsize) for node in graph.nodes}
    total = sum(sizes.values())
    if total > limits.MEMORY:
        node = max(sizes, key=lambda n: sizes[n])
        shape = graph.values[node.output].shape
        raise TooLarge(
            f"the values take {limits.in_words(total)} at once; the largest, {limits.in_words(sizes[node])} "
            f"of the shape {shape}, is the output of node {node.name!r} (onnx {node.op_type}); {limits.limit()}"
        )


def gated_values(graph: Graph, rules: Mapping[str, Rule]) -> set[str]:
    """Return the values whose relevance provably vanishes wherever they are <= 0.

    Such a value feeds only rectifiers with the rule Pass, and all readers of these give relevance that is a multiple
    of their input; so where the rectifier is off, no relevance arrives.
    """
    consumers, outputs = graph.consumers(), {graph.resolve(o) for o in graph.outputs}
    multiple: set[str] = set()
    gated: set[str] = set()
    for name in [*(n.output for n in reversed(graph.nodes)), *graph.inputs]:
        readers = consumers.get(name, [])
        if name in outputs or not readers:
            continue
        if all(_gives_multiples(node, rules.get(node.name), multiple) for node in readers):
            multiple.add(name)
        if all(_is_gate(node, rules.get(node.name), multiple) for node in readers):
            gated.add(name)
    return gated


def _gives_multiples(node: Node, rule: Rule | None, multiple: set[str]) -> bool:
    """Return whether a node's relevance for its input vanishes wherever the input does."""
    if node.kind in UNRULED:
        return node.output in multiple and node.kind != "plumbing"
    if isinstance(node.op, LinearMap):
        through = node.output in multiple or not isinstance(node.op, Selection)
        return rule is not None and rule.multiple and through
    return _is_gate(node, rule, multiple)


def _is_gate(node: Node, rule: Rule | None, multiple: set[str]) -> bool:
    is_rectifier = isinstance(node.op, Pointwise) and node.op.gates
    return is_rectifier and isinstance(rule, Pass) and node.output in multiple


__all__ = ["Program", "converter", "gated_values", "prepare"]
