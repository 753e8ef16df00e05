"""Composites: which rule stands on which node. Ordered pairs (matcher, rule); the first match wins.

A node that matches nothing is an error: there is no silent default. The presets are in `reflrp/builtin_presets.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Any

from reflrp import rules as r
from reflrp.errors import RuleError, UnassignedNodes
from reflrp.ir import UNRULED, WEIGHTED, Graph, Node
from reflrp.matchers import Matcher, Survey, anything, depth, earliest, first, kind, last, name, op_type
from reflrp.rules_other import Rule
from reflrp.stabilizer import StabilizerLike

__all__ = [
    "Composite",
    "Matcher",
    "Pairs",
    "Preset",
    "Survey",
    "anything",
    "defaults",
    "depth",
    "earliest",
    "first",
    "kind",
    "last",
    "name",
    "op_type",
    "preset",
    "presets",
    "register",
    "resolve",
    "uniform",
]

Pairs = tuple[tuple[Matcher, Rule], ...]


@dataclass(frozen=True)
class Composite:
    """Ordered pairs (matcher, rule), first match wins; and the canonizing passes to run before.

    Raises UnassignedNodes (in `assign`) for nodes without a rule, RuleError for a rule on a kind that it cannot serve.
    """

    pairs: Pairs
    title: str = "composite"
    canonize: tuple[str, ...] = ("fold_batchnorm",)

    def __post_init__(self) -> None:
        """Make the pairs a tuple, and check that they hold rules."""
        object.__setattr__(self, "pairs", tuple((m, rule) for m, rule in self.pairs))
        for _, rule in self.pairs:
            if not isinstance(rule, Rule):
                raise RuleError(f"{rule!r} is no rule; use one of reflrp.rules, with its brackets")

    def assign(self, graph: Graph) -> dict[str, Rule]:
        """Return {node name: rule} for every node that leaves a choice."""
        survey, found, missing = Survey(graph), {}, []
        for node in graph.nodes:
            if node.kind in UNRULED or not graph.values[node.output].active:
                continue
            rule = next((rule for matcher, rule in self.pairs if matcher(node, survey)), None)
            if rule is None:
                missing.append(node)
            else:
                found[node.name] = rule
        if missing:
            raise UnassignedNodes(_unassigned(self.title, missing, len(graph.nodes)))
        _check_kinds(graph, found)
        return found


def _unassigned(title: str, missing: list[Node], count: int) -> str:
    lines = ", ".join(f"{n.name!r} ({n.kind}, onnx {n.op_type})" for n in missing)
    kinds = ", ".join(f"kind({k!r})" for k in dict.fromkeys(n.kind for n in missing))
    return f"{len(missing)} of {count} nodes have no rule in {title!r}: {lines}. Add pairs for {kinds}."


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
    shapes = [graph.values[i].shape for i in node.inputs if graph.values[i].active]
    return shapes == [graph.values[node.output].shape]


def defaults(stabilizer: StabilizerLike = 1e-6) -> Pairs:
    """Return the families' defaults, which end every preset: everything but dense and conv nodes.

    Sums, pools and scales share in proportion (Norm); BatchNormalization and activations pass; maxima give all to the
    winner; products share in halves, but a gate gets none; Softmax by its Taylor expansion.
    """
    return (
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


Preset = Callable[..., Composite]


@dataclass
class _Registry:
    presets: dict[str, Preset] = field(default_factory=dict)


REGISTRY = _Registry()
"""The presets by name: the one registry of composites."""


def register(title: str) -> Callable[[Preset], Preset]:
    """Register a composite's maker under a name, so that `rules="name"` finds it. Use as a decorator.

    The maker takes keyword arguments with defaults and returns a Composite.
    """

    def enter(make: Preset) -> Preset:
        REGISTRY.presets[_canonical(title)] = make
        return make

    return enter


def _canonical(title: str) -> str:
    return title.lower().replace("-", "_").replace(" ", "_")


def presets() -> tuple[str, ...]:
    """Return the names that `rules=` takes."""
    return tuple(sorted(REGISTRY.presets))


def preset(title: str, **parameters: Any) -> Composite:
    """Return a preset by its name, as preset("epsilon_gamma_box", low=-2, high=2), or "zennit.EpsilonPlus".

    Raises RuleError for an unknown name, and suggests the nearest.
    """
    library, dot, rest = title.partition(".")
    if dot:
        return _from_dialect(library, rest, parameters)
    make = REGISTRY.presets.get(_canonical(title))
    if make is None:
        near = get_close_matches(_canonical(title), REGISTRY.presets, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(presets())}"
        raise RuleError(f"preset {title!r} is unknown; {hint}")
    return make(**parameters)


DIALECTS = ("lczerolens", "lrp_for_lstm", "lxt", "pnpxai", "zennit")


def _from_dialect(library: str, title: str, parameters: dict[str, Any]) -> Composite:
    if library not in DIALECTS:
        raise RuleError(f"dialect {library!r} is unknown; there is {', '.join(DIALECTS)}")
    module = import_module(f"reflrp.dialects.{library}")
    make = getattr(module, title, None)
    if make is None:
        near = get_close_matches(title, module.__all__, n=1)
        raise RuleError(f"{library} has no {title!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    try:
        signature(make).bind(**parameters)
    except TypeError as error:
        raise RuleError(f"{library}.{title}: {error}") from error
    return resolve(make(**parameters))


def resolve(rules: Any) -> Composite:
    """Return the composite that `rules=` means: a name, a Rule, a Composite, or {name pattern: Rule}."""
    if isinstance(rules, Composite):
        return rules
    if isinstance(rules, str):
        return preset(rules)
    if isinstance(rules, Rule):
        composite: Composite = rules.composite()
        return composite
    if isinstance(rules, Mapping):
        return Composite((*((name(k), v) for k, v in rules.items()), *defaults()), "the given rules")
    raise RuleError(f"rules={rules!r} is no preset name, Rule, Composite or dict of rules by node name")
