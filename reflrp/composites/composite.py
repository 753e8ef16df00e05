"""Composites: which rule stands on which node. Ordered pairs (matcher, rule); the first match wins.

A node that matches nothing is an error: there is no silent default. The presets are in `reflrp/composites/presets.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

from reflrp import rules as r
from reflrp.arrays.looks import block
from reflrp.composites.matchers import Matcher, Survey, kind, op_type
from reflrp.composites.named import check_plain, idle
from reflrp.composites.preprocessing import CHOICES, preprocessing, remarks
from reflrp.errors import ReflrpError, RuleError, UnassignedNodes
from reflrp.ground import checks
from reflrp.ir import UNRULED, WEIGHTED, Graph, Node
from reflrp.ops.quantised import Units
from reflrp.ops.stabilizer import Looks, StabilizerLike
from reflrp.rules.base import Rule, furthest

Pairs = tuple[tuple[Matcher, Rule], ...]

GIVEN = "the given rules"
"""The title of what a dict of rules means."""


@dataclass(frozen=True)
class Composite:
    """Ordered pairs (matcher, rule), first match wins; and the canonizing passes to run before.

    Raises UnassignedNodes (in `assign`) for nodes without a rule, RuleError for a rule on a kind that it cannot serve, and for
    a name without a wildcard that neither a node nor anything in the file has.
    """

    pairs: Pairs
    title: str = "composite"
    canonize: tuple[str, ...] = ("fold_batchnorm",)

    def __post_init__(self) -> None:
        """Make the pairs a tuple, and check that they hold matchers and rules."""
        listed = isinstance(self.pairs, tuple | list | Iterator)
        object.__setattr__(self, "pairs", tuple(map(_pair, self.pairs if listed else [self.pairs])))
        object.__setattr__(self, "canonize", checks.texts("canonize", self.canonize, RuleError))
        checks.text("title", self.title, RuleError)

    def __repr__(self) -> str:
        """Return the pairs, one a line; of many, the first."""
        canonize = f", canonize={self.canonize!r}" if self.canonize != ("fold_batchnorm",) else ""
        return block(f"Composite {self.title!r}{canonize}", [f"{m!r}: {rule!r}" for m, rule in self.pairs])

    @property
    def looks(self) -> Looks:
        """How far the rule looks that looks furthest: at all of a sample, or at all samples of a batch."""
        return furthest(rule for _, rule in self.pairs)

    def assign(self, graph: Graph) -> dict[str, Rule]:
        """Return {node name: rule} for every node that leaves a choice."""
        check_plain(self.title, graph, (matcher for matcher, _ in self.pairs))
        survey, found, missing = Survey(graph), {}, []
        for node in graph.nodes:
            if node.kind in UNRULED or not graph.values[node.output].active:
                continue
            rule = _matching(self.pairs, node, survey)
            if rule is None:
                missing.append(node)
            else:
                found[node.name] = _in_any_units(node, rule)
        if missing:
            raise UnassignedNodes(_unassigned(self.title, missing, len(graph.nodes)))
        _check_kinds(graph, found)
        return found

    def preprocessed(self, choice: str | None) -> Composite:
        """Return the composite with another choice for preprocessing: "pass", "absorb", or None for its own."""
        if choice is None:
            return self
        passing = checks.choice("preprocess", choice, CHOICES) == "pass"
        others = tuple(pair for pair in self.pairs if pair[0] != preprocessing())
        found = copy(self)  # of any subclass, whose own arguments are not these fields
        object.__setattr__(found, "pairs", ((preprocessing(), r.Pass()), *others) if passing else others)
        return found

    def remarks(self, graph: Graph, assigned: Mapping[str, Rule]) -> tuple[str, ...]:
        """Return what there is to know of the rules that `assign` gave to a graph's nodes."""
        matchers = [matcher for matcher, _ in self.pairs]
        passed = remarks(graph, assigned) if any(m == preprocessing() for m in matchers) else ()
        return (*passed, *idle(graph, assigned, matchers))


def _pair(value: Any) -> tuple[Matcher, Rule]:
    """Return a pair (matcher, rule). Raises RuleError for what is none."""
    pair = tuple(value) if isinstance(value, tuple | list) else ()
    if len(pair) != 2 or not callable(pair[0]):
        raise RuleError(f"{checks.shown(value)} is no pair (matcher, rule); a composite is a list of such")
    if not isinstance(pair[1], Rule):
        raise RuleError(f"{checks.shown(pair[1])} is no rule; use one of reflrp.rules, with its brackets")
    return pair


def _in_any_units(node: Node, rule: Rule) -> Rule:
    """Return the rule of a node; of one that changes units only the chain rule is told, since it has no layer to share in."""
    return rule if not isinstance(node.op, Units) or isinstance(rule, r.Gradient | r.Stop) else r.Pass()


def _matching(pairs: Pairs, node: Node, survey: Survey) -> Rule | None:
    """Return the rule of the first pair that matches a node."""
    try:
        return next((rule for matcher, rule in pairs if matcher(node, survey)), None)
    except ReflrpError:
        raise
    except Exception as error:
        raise RuleError(f"a matcher cannot be asked about node {node.name!r} ({node.kind}): {error}") from error


def _unassigned(title: str, missing: list[Node], count: int) -> str:
    lines = ", ".join(f"{n.name!r} ({n.kind}, onnx {n.op_type})" for n in missing)
    kinds = ", ".join(f"kind({k!r})" for k in dict.fromkeys(n.kind for n in missing))
    dict_ = " In a dict of rules, name them, or add '*'." if title == GIVEN else ""
    return f"{len(missing)} of {count} nodes have no rule in {title!r}: {lines}. Add pairs for {kinds}.{dict_}"


def _served(rule: Rule, kind: str) -> str:
    if kind in rule.serves:
        return f"only {rule.only or 'some'} of that kind"
    return ", ".join(sorted(rule.serves))


def _check_kinds(graph: Graph, assigned: Mapping[str, Rule]) -> None:
    wrong = [n for n in graph.nodes if n.name in assigned and not assigned[n.name].fits(n)]
    if wrong:
        lines = "; ".join(
            f"{n.name!r} (onnx {n.op_type}) is of kind {n.kind}, but {type(assigned[n.name]).__name__} serves "
            f"{_served(assigned[n.name], n.kind)}"
            for n in wrong
        )
        raise RuleError(f"rules stand on nodes that they cannot serve: {lines}")
    reshaped = [n for n in graph.nodes if isinstance(assigned.get(n.name), r.Pass) and not _keeps_shape(n, graph)]
    if reshaped:
        lines = ", ".join(f"{n.name!r} ({n.kind}, onnx {n.op_type})" for n in reshaped)
        raise RuleError(f"Pass needs nodes whose output is shaped like their one input, unlike {lines}")


def _keeps_shape(node: Node, graph: Graph) -> bool:
    inputs = node.inputs[:1] if isinstance(node.op, Units) else node.inputs
    shapes = [graph.values[i].shape for i in inputs if graph.values[i].active]
    return shapes == [graph.values[node.output].shape]


def defaults(stabilizer: StabilizerLike = 1e-6) -> Pairs:
    """Return the families' defaults, which end every preset: everything but dense and conv nodes.

    Sums, pools and scales share in proportion (Norm); BatchNormalization and activations pass; maxima give all to the
    winner; products share in halves, but a gate gets none; Softmax by its Taylor expansion. Preprocessing passes.
    """
    return (
        (preprocessing(), r.Pass()),
        (op_type("BatchNormalization") & kind("diagonal"), r.Pass()),
        (kind("sum", "pool", "diagonal"), r.Norm(stabilizer)),
        (kind("max"), r.WinnerTakesAll()),
        (kind("pointwise"), r.Pass()),
        (kind("product"), r.SignalTakesAll(stabilizer=stabilizer)),
        (op_type("Softmax"), r.Taylor()),
        (kind("normaliser"), r.Pass()),
    )


def uniform(rule: Rule) -> Composite:
    """Return what a bare rule means: it on every dense and conv node, the families' defaults elsewhere."""
    return Composite(((kind(*WEIGHTED), rule), *defaults()), type(rule).__name__)
