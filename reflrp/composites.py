"""Composites: which rule stands on which node. Ordered pairs (matcher, rule); the first match wins.

A node that matches nothing is an error: there is no silent default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import import_module
from typing import Any

from reflrp import rules as r
from reflrp.errors import RuleError, UnassignedNodes
from reflrp.ir import KINDS, UNRULED, WEIGHTED, Graph, Node
from reflrp.rules_other import Rule


@dataclass(frozen=True)
class Survey:
    """What matchers ask of a graph: which nodes come before and after which."""

    graph: Graph

    @cached_property
    def depths(self) -> dict[str, int]:
        """For each node, the dense and conv nodes on the longest path from an input to it, itself included."""
        return self._count(WEIGHTED)

    def _count(self, kinds: tuple[str, ...]) -> dict[str, int]:
        at: dict[str, int] = {}
        found = {}
        for node in self.graph.nodes:
            above = max((at.get(i, 0) for i in node.inputs), default=0)
            found[node.name] = at[node.output] = above + (node.kind in kinds)
        return found

    def is_first(self, node: Node, kinds: tuple[str, ...]) -> bool:
        """Return whether a node is of these kinds and has none of them before it."""
        if kinds not in self._firsts:
            self._firsts[kinds] = self._count(kinds)
        return node.kind in kinds and self._firsts[kinds][node.name] == 1

    def is_last(self, node: Node, kinds: tuple[str, ...]) -> bool:
        """Return whether a node is of these kinds and has none of them after it."""
        if kinds not in self._lasts:
            self._lasts[kinds] = self._count_back(kinds)
        return node.kind in kinds and self._lasts[kinds][node.name] == 1

    def _count_back(self, kinds: tuple[str, ...]) -> dict[str, int]:
        below: dict[str, int] = {}
        found = {}
        for node in reversed(self.graph.nodes):
            found[node.name] = below.get(node.output, 0) + (node.kind in kinds)
            for name in node.inputs:
                below[name] = max(below.get(name, 0), found[node.name])
        return found

    @cached_property
    def _firsts(self) -> dict[tuple[str, ...], dict[str, int]]:
        return {}

    @cached_property
    def _lasts(self) -> dict[tuple[str, ...], dict[str, int]]:
        return {}


@dataclass(frozen=True)
class Matcher:
    """A condition on a node. Conditions combine with `&`, `|` and `~`."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        raise NotImplementedError

    def __and__(self, other: Matcher) -> Matcher:
        """Return a matcher of nodes that match both."""
        return _Both(self, other)

    def __or__(self, other: Matcher) -> Matcher:
        """Return a matcher of nodes that match either."""
        return _Either(self, other)

    def __invert__(self) -> Matcher:
        """Return a matcher of nodes that do not match."""
        return _Not(self)


@dataclass(frozen=True)
class _Both(Matcher):
    one: Matcher
    two: Matcher

    def __call__(self, node: Node, survey: Survey) -> bool:
        return self.one(node, survey) and self.two(node, survey)


@dataclass(frozen=True)
class _Either(Matcher):
    one: Matcher
    two: Matcher

    def __call__(self, node: Node, survey: Survey) -> bool:
        return self.one(node, survey) or self.two(node, survey)


@dataclass(frozen=True)
class _Not(Matcher):
    one: Matcher

    def __call__(self, node: Node, survey: Survey) -> bool:
        return not self.one(node, survey)


@dataclass(frozen=True)
class _Kind(Matcher):
    kinds: tuple[str, ...]

    def __call__(self, node: Node, survey: Survey) -> bool:
        return node.kind in self.kinds


@dataclass(frozen=True)
class _OpType(Matcher):
    types: tuple[str, ...]

    def __call__(self, node: Node, survey: Survey) -> bool:
        return node.op_type in self.types


@dataclass(frozen=True)
class _Name(Matcher):
    pattern: str

    def __call__(self, node: Node, survey: Survey) -> bool:
        return any(fnmatchcase(n, self.pattern) for n in (node.name, node.output, *node.onnx))


@dataclass(frozen=True)
class _First(Matcher):
    kinds: tuple[str, ...]

    def __call__(self, node: Node, survey: Survey) -> bool:
        return survey.is_first(node, self.kinds)


@dataclass(frozen=True)
class _Last(Matcher):
    kinds: tuple[str, ...]

    def __call__(self, node: Node, survey: Survey) -> bool:
        return survey.is_last(node, self.kinds)


@dataclass(frozen=True)
class _Depth(Matcher):
    low: int
    high: int

    def __call__(self, node: Node, survey: Survey) -> bool:
        return self.low <= survey.depths[node.name] <= self.high


@dataclass(frozen=True)
class _Anything(Matcher):
    def __call__(self, node: Node, survey: Survey) -> bool:
        return True


def kind(*kinds: str) -> Matcher:
    """Return a matcher by kind: dense, conv, diagonal, sum, pool, max, pointwise, product, normaliser."""
    unknown = [k for k in kinds if k not in KINDS]
    if unknown:
        raise RuleError(f"kind {unknown[0]!r} is unknown; there is {', '.join(KINDS)}")
    return _Kind(kinds)


def op_type(*types: str) -> Matcher:
    """Return a matcher by ONNX operator, as "Conv"."""
    return _OpType(types)


def name(pattern: str) -> Matcher:
    """Return a matcher by a glob over the node's name, its output's name, and the ONNX nodes it came from."""
    return _Name(pattern)


def first(*kinds: str) -> Matcher:
    """Return a matcher of the nodes of these kinds (default: dense, conv) with none of them before, in the graph."""
    return _First(kinds or WEIGHTED)


def last(*kinds: str) -> Matcher:
    """Return a matcher of the nodes of these kinds (default: dense, conv) with none of them after, in the graph."""
    return _Last(kinds or WEIGHTED)


def depth(low: int, high: int) -> Matcher:
    """Return a matcher by depth, low..high inclusive; the first dense or conv node, and what follows it, is 1."""
    return _Depth(low, high)


def anything() -> Matcher:
    """Return a matcher of every node."""
    return _Anything()


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


def _check_kinds(graph: Graph, assigned: Mapping[str, Rule]) -> None:
    wrong = [n for n in graph.nodes if n.name in assigned and n.kind not in assigned[n.name].serves]
    if wrong:
        lines = "; ".join(
            f"{n.name!r} is of kind {n.kind}, but {type(assigned[n.name]).__name__} serves "
            f"{', '.join(sorted(assigned[n.name].serves))}"
            for n in wrong
        )
        raise RuleError(f"rules stand on nodes that they cannot serve: {lines}")


def defaults(stabilizer: r.StabilizerLike = 1e-6) -> Pairs:
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
    """Return the composite that a bare rule means: it on every dense and conv node, the families' defaults elsewhere."""
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


DIALECTS = ("zennit",)


def _from_dialect(library: str, title: str, parameters: dict[str, Any]) -> Composite:
    if library not in DIALECTS:
        raise RuleError(f"dialect {library!r} is unknown; there is {', '.join(DIALECTS)}")
    module = import_module(f"reflrp.dialects.{library}")
    make = getattr(module, title, None)
    if make is None:
        near = get_close_matches(title, module.__all__, n=1)
        raise RuleError(f"{library} has no {title!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return resolve(make(**parameters))


def resolve(rules: Any) -> Composite:
    """Return the composite that `rules=` means: a name, a Rule, a Composite, or {name pattern: Rule}."""
    if isinstance(rules, Composite):
        return rules
    if isinstance(rules, str):
        return preset(rules)
    if isinstance(rules, Rule):
        return rules.composite()
    if isinstance(rules, Mapping):
        return Composite((*((name(k), v) for k, v in rules.items()), *defaults()), "the given rules")
    raise RuleError(f"rules={rules!r} is no preset name, Rule, Composite or dict of rules by node name")


@register("epsilon")
def epsilon(epsilon: float = 1e-6) -> Composite:
    """LRP-epsilon everywhere."""
    return Composite(((kind(*WEIGHTED), r.Epsilon(epsilon)), *defaults()), "epsilon")


@register("lrp_0")
def lrp_0() -> Composite:
    """LRP-0 everywhere: input times gradient, on a network of ReLUs."""
    return Composite(((kind(*WEIGHTED), r.Epsilon(0)), *defaults(0)), "lrp_0")


def _layered(title: str, conv: Rule, dense: Rule, stabilizer: float, flat: bool = False) -> Composite:
    pairs: Pairs = ((first(), r.Flat(stabilizer)),) if flat else ()
    return Composite((*pairs, (kind("conv"), conv), (kind("dense"), dense), *defaults(stabilizer)), title)


@register("epsilon_plus")
def epsilon_plus(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """z+ on convolutions, epsilon on dense layers."""
    return _layered("epsilon_plus", r.ZPlus(stabilizer=stabilizer), r.Epsilon(epsilon), stabilizer)


@register("epsilon_plus_flat")
def epsilon_plus_flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """As epsilon_plus, flat on the first layer."""
    return _layered("epsilon_plus_flat", r.ZPlus(stabilizer=stabilizer), r.Epsilon(epsilon), stabilizer, flat=True)


@register("epsilon_alpha2_beta1")
def epsilon_alpha2_beta1(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """alpha 2, beta 1 on convolutions, epsilon on dense layers."""
    rule = r.AlphaBeta(2, 1, stabilizer=stabilizer)
    return _layered("epsilon_alpha2_beta1", rule, r.Epsilon(epsilon), stabilizer)


@register("epsilon_alpha2_beta1_flat")
def epsilon_alpha2_beta1_flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """As epsilon_alpha2_beta1, flat on the first layer."""
    rule = r.AlphaBeta(2, 1, stabilizer=stabilizer)
    return _layered("epsilon_alpha2_beta1_flat", rule, r.Epsilon(epsilon), stabilizer, flat=True)


@register("epsilon_gamma_box")
def epsilon_gamma_box(
    low: Any = -3.0, high: Any = 3.0, epsilon: float = 1e-6, gamma: float = 0.25, stabilizer: float = 1e-6
) -> Composite:
    """z^B on the first convolution, gamma on the others, epsilon on dense layers. The input lies in [low, high]."""
    gamma_rule = r.Gamma(gamma, generalized=True, stabilizer=stabilizer)
    base = _layered("epsilon_gamma_box", gamma_rule, r.Epsilon(epsilon), stabilizer)
    return Composite(((first("conv"), r.ZBox(low, high, stabilizer)), *base.pairs), base.title)


@register("excitation_backprop")
def excitation_backprop(stabilizer: float = 1e-6) -> Composite:
    """z+ everywhere, gradients through activations (Zhang et al., IJCV 2018)."""
    pairs = ((kind(*WEIGHTED), r.ZPlus(stabilizer=stabilizer)), (kind("pointwise"), r.Gradient()))
    return Composite((*pairs, *defaults(stabilizer)), "excitation_backprop")


def _gradient_like(title: str, rule: Rule) -> Composite:
    everything = (anything(), r.Gradient())
    return Composite(((op_type("Relu", "Clip") & kind("pointwise"), rule), everything), title, canonize=())


@register("guided_backprop")
def guided_backprop() -> Composite:
    """Gradients, and positive ones only through ReLUs that are on."""
    return _gradient_like("guided_backprop", r.GuidedBackprop())


@register("deconvnet")
def deconvnet() -> Composite:
    """Gradients, and positive ones only through every ReLU."""
    return _gradient_like("deconvnet", r.DeconvNet())


@register("beta_smooth")
def beta_smooth(beta: float = 10.0) -> Composite:
    """Gradients, as if each ReLU were a softplus."""
    return _gradient_like("beta_smooth", r.BetaSmooth(beta))


@register("gradient")
def gradient() -> Composite:
    """The plain gradient: the chain rule at every node."""
    return Composite(((anything(), r.Gradient()),), "gradient", canonize=())


@register("sequential_a")
def sequential_a(epsilon: float = 0.1) -> Composite:
    """alpha 1, beta 0 on convolutions, epsilon 0.1 on dense layers (iNNvestigate's LRPSequentialPresetA)."""
    return _layered("sequential_a", r.AlphaBeta(1, 0), r.Epsilon(epsilon), 1e-6)


@register("sequential_b")
def sequential_b(epsilon: float = 0.1) -> Composite:
    """alpha 2, beta 1 on convolutions, epsilon 0.1 on dense layers (iNNvestigate's LRPSequentialPresetB)."""
    return _layered("sequential_b", r.AlphaBeta(2, 1), r.Epsilon(epsilon), 1e-6)


@register("sequential_a_flat")
def sequential_a_flat(epsilon: float = 0.1) -> Composite:
    """As sequential_a, flat on the first layer."""
    return _layered("sequential_a_flat", r.AlphaBeta(1, 0), r.Epsilon(epsilon), 1e-6, flat=True)


@register("sequential_b_flat")
def sequential_b_flat(epsilon: float = 0.1) -> Composite:
    """As sequential_b, flat on the first layer."""
    return _layered("sequential_b_flat", r.AlphaBeta(2, 1), r.Epsilon(epsilon), 1e-6, flat=True)


@register("until_index")
def until_index(index: int = 1, rule: Rule | None = None, base: Any = "sequential_b_flat") -> Composite:
    """One rule (default: flat) on the dense and conv nodes down to depth `index`, another composite on the rest."""
    below = kind(*WEIGHTED) & depth(1, index)
    rest = resolve(base)
    return Composite(((below, rule or r.Flat()), *rest.pairs), f"until_index({index})", rest.canonize)
