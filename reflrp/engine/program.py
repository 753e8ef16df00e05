"""The engine: forward, and the walk back that hands each node's relevance to its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays import ZERO, Array, is_symbolic, magnitude, total
from reflrp.arrays.looks import block, counted
from reflrp.arrays.once import each_once, once
from reflrp.engine.gated import gated_values
from reflrp.engine.guards import check_account, check_sum, check_value, like, operands, overflowed
from reflrp.engine.weights import Told, changed, converted
from reflrp.engine.witness import compare
from reflrp.errors import InputError, ModelError, OtherWay, ReflrpError, RuleError
from reflrp.ground.caches import Allowance, Kept, Portion
from reflrp.ground.progress import Step
from reflrp.ir import Graph, Layout, Node, Op
from reflrp.ledger import Row, restricted
from reflrp.ops.linear import Absorbed, LinearMap
from reflrp.ops.norms import Statistic
from reflrp.ops.picking import MovedIds
from reflrp.ops.product import Product
from reflrp.ops.quantised import Units
from reflrp.ops.selection import Selection
from reflrp.ops.stabilizer import Overflow
from reflrp.passes.layout import layouts
from reflrp.rules import LinearRule
from reflrp.rules.base import Rule

Values = dict[str, Array]

BACKWARD = 4
"""How many times a rule runs a node's map forth and back, to count its work by."""

EVERYWHERE: Mapping[str, Array] = {}
"""No masks: relevance goes through all neurons."""


@dataclass(frozen=True, eq=False)
class Program:
    """A graph made ready: its ops on the chosen arrays, and the rule of each node."""

    graph: Graph
    ops: Mapping[str, Op]
    rules: Mapping[str, Rule]

    def __repr__(self) -> str:
        """Return the graph in brief, and how often each rule stands in it."""
        rules = counted(type(r).__name__ for r in self.rules.values())
        return block("Program", [*repr(self.graph).split("\n")[1:-1], f"rules: {rules}"])

    @limits.budget()
    def forward(self, inputs: Values, step: Step | None = None, keep: bool = True) -> Values:
        """Return every value by name, or (keep=False) the outputs only.

        Raises NonFiniteError with the node where a NaN or +infinity arises, ForwardChanged with a recognised node that
        is not what it stands for.
        """
        self.graph.count_work()
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
                y = self.ops[node.name].forward(*operands(self.graph, node, values))
        except InputError as error:
            error.args = (f"node {node.name!r} (onnx {node.op_type}): {error}",)
            raise
        except Overflow as error:
            raise overflowed(error, f"node {node.name!r} ({node.kind}, onnx {node.op_type})") from error
        except ReflrpError:
            raise
        except MemoryError as error:
            raise limits.exhausted(f"node {node.name!r} (onnx {node.op_type})", error) from error
        except Exception as error:
            raise ModelError(f"node {node.name!r} (onnx {node.op_type}) cannot be computed: {error}") from error
        value = self.graph.values[node.output]
        if tuple(y.shape) != value.shape:
            raise (ModelError if value.active else OtherWay)(
                f"node {node.name!r} (onnx {node.op_type}) makes the shape {tuple(y.shape)}, and not {value.shape}"
            )
        if value.active:
            check_value(node, [values[i] for i in node.inputs if self.graph.values[i].active], y)
            if node.name in self.graph.unchecked:
                self._check(node, values[node.inputs[0]], y)
        return y

    def _check(self, node: Node, x: Array, y: Array) -> None:
        """Compare a recognised node, the first time that it runs, with the nodes that it stands for."""
        compare(node, self.graph.replaced[node.name], x, y)
        self.graph.unchecked.discard(node.name)

    @limits.budget()
    @each_once()
    def backward(
        self,
        values: Values,
        R: Values,
        keep: Callable[[str], bool],
        step: Step | None = None,
        masks: Mapping[str, Array] = EVERYWHERE,
        seen: Callable[[Node, tuple[Array, ...]], None] | None = None,
    ) -> tuple[Values, list[Row]]:
        """Return the relevance of the inputs and of the values to `keep`, and the nodes' accounts.

        `R` holds the initial relevance by value name, `masks` what to multiply a value's relevance with on the way;
        `seen` is shown what each node gives to its inputs. A value's memory is given back after its last use.
        """
        self.graph.count_work(BACKWARD)
        kept, rows = {name: r for name, r in R.items() if keep(name)}, []
        for node in reversed(self.graph.nodes):
            r = R.pop(node.output, None)
            if r is not None and node.output in masks:
                r, row = restricted(node.output, r, masks[node.output])
                rows.append(row)
                kept.update({node.output: r} if keep(node.output) else {})
            active = self.graph.values[node.output].active
            if r is not None and (active or isinstance(node.op, MovedIds)):
                with limits.guarded(f"the relevance of node {node.name!r} (onnx {node.op_type})"):
                    parts, row = self._share(node, values, r)
                    self._hand_down(node, parts, R, r)
                    if seen:
                        seen(node, parts)
                rows.append(row)
                kept.update({i: R[i] for i in node.inputs if i in R and keep(i)})
            elif active:
                rows.append(Row(node.name, node.kind, rule_name(self.rules.get(node.name)), 0.0, 0.0))
            values.pop(node.output)
            if step:
                step()
        for name in [i for i in self.graph.inputs if i in R]:
            check_sum(R[name], name)
            if name in masks:
                R[name], row = restricted(name, R[name], masks[name])
                rows.append(row)
        return {**kept, **{i: R[i] for i in self.graph.inputs if i in R}}, rows

    def _hand_down(self, node: Node, parts: tuple[Array, ...], R: Values, r: Array) -> None:
        """Add each part to its input's relevance: all that residuals and shared values need."""
        for name, part in zip(node.inputs, parts, strict=True):
            if part is ZERO or part is None:
                continue
            if self._reached(node, name):
                part = like(r, part, node, self.graph.values[name].shape, rule_name(self.rules.get(node.name)))
                with np.errstate(all="ignore"):  # what is not finite is reported where it is used
                    R[name] = R[name] + part if name in R else part

    def _share(self, node: Node, values: Values, r: Array) -> tuple[tuple[Array, ...], Row]:
        """Return what a node gives to each of its inputs, and its account; whatever goes wrong there names the node."""
        rule, absorbed = self.rules.get(node.name), self._absorbed(r, values[node.output])
        where = f"node {node.name!r} ({node.kind}, onnx {node.op_type}, rule {rule_name(rule)})"
        xs = operands(self.graph, node, values)
        try:
            with np.errstate(all="ignore"):  # a NaN or an infinity is reported in the account, with the node's name
                parts = self._parts(self.ops[node.name], rule, xs, values[node.output], r, absorbed)
                return parts, self._account(node, rule, r, parts, absorbed)
        except Overflow as error:
            raise overflowed(error, where) from error
        except (RuleError, InputError) as error:
            error.args = (f"{where}: {error}",)
            raise
        except (ReflrpError, MemoryError):  # `backward` says of the second which node it was
            raise
        except Exception as error:
            raise RuleError(f"{rule_name(rule)} cannot be computed at {where}: {error!r}") from error

    def _absorbed(self, r: Array, y: Array) -> list[Any] | None:
        """Return where a rule writes down what stays in its node; None where nobody keeps a ledger."""
        return None if is_symbolic(r) or is_symbolic(y) else []

    @staticmethod
    def _parts(
        op: Op, rule: Rule | None, xs: tuple[Array, ...], y: Array, r: Array, absorbed: list[Any] | None
    ) -> tuple[Array, ...]:
        """Return what a rule gives to each input; its notes for the ledger end in `absorbed`, if there is one."""
        parts: tuple[Array, ...]
        if rule is None:
            parts = op.transpose(r, *xs)  # type: ignore[attr-defined]
        elif isinstance(op, LinearMap) or (isinstance(op, Statistic) and isinstance(rule, LinearRule)):
            parts = _share_linear(op, rule, xs, y, r, absorbed)
        elif isinstance(op, Product):
            parts = rule(replace(op, absorbed=absorbed), xs, y, r)
        elif isinstance(op, Units):
            parts = (rule(op.held(*xs[1:]), xs[0], y, r), *(None for _ in xs[1:]))
        else:
            parts = (rule(op, xs[0], y, r),)
        return parts

    def handed_down(self, node: Node, values: Values, r: Array) -> Values:
        """Return what one node gives to each of its inputs, by name, of relevance r at its output."""
        found: Values = {}
        with limits.guarded(f"the relevance of node {node.name!r} (onnx {node.op_type})"):
            parts, _ = self._share(node, values, r)
            self._hand_down(node, parts, found, r)
        return found

    def ungated(self) -> Program:
        """Return the same program for relevance of any origin: without what is proven of the relevance that its own rules make."""
        return replace(self, ops=changed(self.ops, _ungated))

    def _reached(self, node: Node, name: str) -> bool:
        """Return whether relevance goes from a node to an input: to what is active, and to token ids."""
        if self.graph.values[name].active:
            return True
        return (node.kind == "embedding" or isinstance(node.op, MovedIds)) and name in self._tokens

    @Kept
    def carriers(self) -> frozenset[str]:
        """The inputs that relevance can reach: those that are active, and token ids on their way to a table."""
        found = {i for n in self.graph.nodes if n.kind == "embedding" for i in n.inputs}
        for node in reversed(self.graph.nodes):
            if node.output in found and isinstance(node.op, MovedIds):
                found.update(node.inputs[i] for i in node.op.tokens)
        return frozenset(i for i in self.graph.inputs if i in found or self.graph.values[i].active)

    @Kept
    def layout(self) -> Mapping[str, Layout]:
        """Which axes of inputs and values hold samples and channels, where that is proven."""
        return layouts(self.graph)

    @Kept
    def _tokens(self) -> frozenset[str]:
        """The token ids: inputs, and what they are cast, moved or shifted to."""
        moved = (n.output for n in self.graph.nodes if isinstance(n.op, MovedIds))
        return frozenset([*self.graph.inputs, *moved])

    def _account(
        self, node: Node, rule: Rule | None, r: Array, parts: tuple[Array, ...], absorbed: list[Any] | None
    ) -> Row:
        if absorbed is None:
            return Row(node.name, node.kind, rule_name(rule), 0.0, 0.0)
        received = once(total, r)
        given = [0 if p is None else received if p is r else once(total, p) for p in parts]
        if not is_symbolic(r):
            check_account(node, r, received, parts, given)
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
            0 if conserves else rest, rest if conserves else 0, once(magnitude, r),
        )  # fmt: skip


def rule_name(rule: Rule | None) -> str:
    """Return what the ledger calls a rule; a node without one has its transpose."""
    return type(rule).__name__ if rule else "transpose"


def _ungated(op: Op) -> Op:
    return replace(op, gated=False) if isinstance(op, LinearMap) else op


def _share_linear(
    op: LinearMap | Statistic, rule: Rule, xs: tuple[Array, ...], y: Array, r: Array, absorbed: list[Any] | None
) -> tuple[Array, ...]:
    """Run a rule on a linear map; its notes for the ledger end in `absorbed`, if there is one."""
    L = op.held(xs[0]) if isinstance(op, Statistic) else op
    a = L.join(xs)
    L = L.observed(a, y) if isinstance(L, Selection) else L
    R = rule(replace(L, absorbed=absorbed), a, y, r)
    if R is not ZERO and absorbed is not None:
        absorbed.append(Absorbed(L.kept(R), 0))
    return (R,) * len(xs) if R is ZERO else L.part(R)


def prepare(
    graph: Graph, rules: Mapping[str, Rule], convert: Callable[[Array], Array], allowance: Allowance | None = None
) -> Program:
    """Return the program: every op converted, and told what is known of its input and of its relevance.

    Converted and derived weights are kept while the allowance has room; None: within `reflrp.limits.WEIGHTS`.
    """
    rules = {name: rule.plain() for name, rule in rules.items()}
    portion = Portion(Allowance(limits.WEIGHTS) if allowance is None else allowance)
    told = Told(graph, gated_values(graph, rules), portion)
    return Program(graph, converted(graph, convert, portion, told), rules)
