"""captum.attr.LRP: which rule stands on which module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reflrp.composites import REGISTRY, Composite, Pairs
from reflrp.composites.matchers import Matcher, Survey, anything, op_type
from reflrp.composites.named import check_names, known, matching
from reflrp.dialects.captum import modules
from reflrp.dialects.captum.hooks import Modules
from reflrp.dialects.captum.rules import CaptumRule, EpsilonRule, IdentityRule
from reflrp.dialects.zennit.naming import matcher, names_of, unnamed
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ground.patterns import fits
from reflrp.ir import UNRULED, Graph, Node
from reflrp.passes.readers import READ
from reflrp.rules.base import Rule
from reflrp.rules.other import Gradient, Pass

Rules = Mapping[Any, CaptumRule] | Sequence[tuple[Any, CaptumRule]] | None
"""{module: rule}: a module's name (or a pattern), a class of torch.nn, or a matcher."""


@dataclass(frozen=True)
class _At(Matcher):
    """The nodes of a torch module, or of that name."""

    pattern: str

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node has the name."""
        return any(fits(self.pattern, n) for n in names_of(node))


class LRP(Composite):
    """captum's rules: EpsilonRule() on the layers that it knows, ReLU and Tanh pass, functions are gradients.

    `rules` are what captum reads from `module.rule`: {"conv1": GammaRule(), "fc*": EpsilonRule(1e-4)}. On a ReLU or Tanh
    such a rule has no effect, as in captum. `functions` names what the torch network does by a function and not by a module,
    as `x + y` for captum's Addition_Module or F.relu for nn.ReLU: to captum these are gradients, so that `x + y` hands all
    relevance to both. Both take a module's name (or a pattern), a class of torch.nn, or a matcher.

    hooks="tensor" is captum, whose hooks on tensors change the rules where a value has several readers; with "layer" each
    node has its own rule, whoever else reads its input.

    Raises RuleError (when it is assigned) for layers that captum refuses without a rule of their own, for names that no node
    has, and where captum computes a gradient at other values than the network's.
    """

    def __init__(
        self, rules: Rules = None, functions: Sequence[Any] = (), hooks: Literal["tensor", "layer"] = "tensor"
    ) -> None:
        self.given = _pairs(rules)
        listed = checks.listed_things("functions", functions, "a list of modules", RuleError)
        self.functions = tuple(map(at, listed))
        self.hooks = checks.choice("hooks", hooks, ("tensor", "layer"), RuleError)
        pairs: Pairs = (
            (op_type(READ), Pass()),
            *((m, Gradient()) for m in self.functions),
            (modules.NON_LINEAR, Pass()),
            *self.given,
            (modules.WITH_RULES, EpsilonRule()),
            (anything(), Gradient()),
        )
        super().__init__(pairs, "captum.LRP", ("part_bias", *(["part_readers"] if hooks == "tensor" else [])))

    def assign(self, graph: Graph) -> dict[str, Rule]:
        """Return {node name: rule}, as captum's hooks leave the rules.

        Raises RuleError for layers without a rule.
        """
        found, modules = super().assign(graph), self.modules(graph)
        return {**found, **modules.rules()} if self.hooks == "tensor" else {**found, **modules.plain()}

    def modules(self, graph: Graph) -> Modules:
        """Return what captum takes the nodes of a graph for.

        Raises RuleError for layers without a rule, and for names that no node has.
        """
        found, survey = super().assign(graph), Survey(graph)
        asked = [m.pattern for m in (*self.functions, *(m for m, _ in self.given)) if isinstance(m, _At)]
        names = known(graph, names_of) if asked else frozenset()
        check_names(self.title, (p for p in asked if not matching(p, names)), names, unnamed(graph))
        self._check(graph, survey, found)
        layers = {name: rule for name, rule in found.items() if isinstance(rule, CaptumRule)}
        # rounding to integers passes as well, but has no hook
        passing = [n for n in graph.nodes if isinstance(found.get(n.name), Pass)]
        activations = [n.name for n in passing if modules.NON_LINEAR(n, survey)]
        return Modules(graph, layers, frozenset(activations))

    def _check(self, graph: Graph, survey: Survey, found: Mapping[str, Rule]) -> None:
        wrong = [
            (node, title)
            for node in graph.nodes
            if node.kind not in UNRULED and isinstance(found.get(node.name), Gradient)
            for title, layer in modules.WITHOUT_RULES.items()
            if layer(node, survey) and not any(m(node, survey) for m in self.functions)
        ]
        if wrong:
            names = ", ".join(f"{n.name!r} ({title})" for n, title in wrong)
            raise RuleError(
                f"captum has no default rule for {names}; give one, as "
                f"captum.LRP(rules={{captum.modules.{wrong[0][1]}: captum.EpsilonRule()}})"
            )


def _pairs(rules: Any) -> Pairs:
    """Return the pairs (matcher, rule) that `rules` means."""
    listed = list(rules.items()) if isinstance(rules, Mapping) else rules
    pairs = checks.listed_things("rules", listed, "a dict {module: rule}, or a list of pairs", RuleError)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[1], CaptumRule):
            raise RuleError(f"rules: {checks.shown(pair)} is no pair of a module and one of captum's rules")
    return tuple((at(m), rule) for m, rule in pairs)


def at(module: Any) -> Matcher:
    """Return the matcher that a module's name or pattern, a class of torch.nn, or a matcher means."""
    return _At(module) if isinstance(module, str) else matcher(module)


def _bare(rule: CaptumRule) -> Composite:
    """Return what a bare rule means: it on all convolutions and dense layers, captum's defaults elsewhere."""
    return LRP([(modules.WEIGHTED, rule)])


def _bare_identity(rule: IdentityRule) -> Composite:
    """Return what a bare IdentityRule means: it on every BatchNorm, captum's defaults elsewhere."""
    return LRP([(modules.BATCHNORM, rule)])


COMPOSITES = {"LRP": LRP}
"""The composite by its name."""

REGISTRY.meanings.update({CaptumRule: _bare, IdentityRule: _bare_identity})
