"""What iNNvestigate's analyzers share: which rule stands on which layer, and what `analyze` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from reflrp import rules as r
from reflrp.composites import Composite, Pairs, anything, kind, name, op_type
from reflrp.composites.matchers import Matcher, Survey
from reflrp.dialects.innvestigate import layers as reverse
from reflrp.dialects.innvestigate.keras_rule import KerasRule
from reflrp.dialects.innvestigate.rules import LRP_RULES, BoundedRule, FlatRule, WSquareRule
from reflrp.dialects.keras import KERNEL, KerasModel
from reflrp.dialects.keras_matchers import (
    AVERAGE_POOLS,
    POOLS,
    InputLayers,
    JoinedPadding,
    Kind,
    Layers,
    Of,
    Operator,
    Refused,
    contains_kernel,
    sized,
)
from reflrp.dialects.neuron_selection import MODES, forwarded, selected, whole
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import WEIGHTED, Node

UNKNOWN = "the ONNX file does not say of which Keras layer it comes; give model=, the Keras model"
OWN_LAYERS = op_type("LeakyRelu", "PRelu", "ThresholdedRelu")
"""The activations that are layers of their own in Keras."""
PARTS = "it is a part of a layer that passes relevance as a whole, of which the file has several nodes"
KERNELS = kind(*WEIGHTED)
COUNTING: tuple[type[r.Rule], ...] = (FlatRule, WSquareRule, BoundedRule)
"""The rules for which an input of 0 and a border are two things."""
ELEMENTWISE = kind("pointwise", "diagonal", "normaliser")


class Analyzer(Composite):
    """Base of the analyzers: composites with the library's way to select neurons."""

    keras: KerasModel | None
    neuron_selection_mode: str
    disable_model_checks: bool

    def __init__(self, model: Any, pairs: Pairs, neuron_selection_mode: str, disable_model_checks: bool) -> None:
        checks.choice("neuron_selection_mode", neuron_selection_mode, MODES, RuleError)
        object.__setattr__(self, "disable_model_checks", disable_model_checks)
        object.__setattr__(self, "keras", model)
        object.__setattr__(self, "neuron_selection_mode", neuron_selection_mode)
        super().__init__(pairs, f"innvestigate.{type(self).__name__}", ("join_batchnorm", "join_separable"))

    def analyze(self, model: Any, X: Any, neuron_selection: Any = None) -> Any:
        """Return the relevance of X, an array shaped like it (several inputs: a dict of them).

        model : the ONNX file, or what `reflrp.load` returned. neuron_selection : for the mode "index" an int, or ints, one
        a sample. The initial relevance is the output's value at the selected neurons: with disable_model_checks=True that of a
        final Softmax, as in the library; else what goes into it.
        """
        explainer = whole(model, self, X, softmax=self.disable_model_checks)
        program, values = forwarded(explainer, X)
        y = np.asarray(values[program.graph.resolve(program.graph.outputs[0])])
        e = explainer(X, init=self._initial(y, neuron_selection))
        return next(iter(e.relevances.values())) if len(e.relevances) == 1 else e.relevances

    def _initial(self, y: np.ndarray, neuron_selection: Any) -> np.ndarray:
        return selected(y, self.neuron_selection_mode, neuron_selection)


@dataclass(frozen=True)
class Nth(Matcher):
    """The n-th layer with a kernel, counted from the input or from the output."""

    model: KerasModel | None = field(repr=False)
    n: int

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        return _places(self.model, survey).get(node.name) == self.n


def _places(model: KerasModel | None, survey: Survey) -> dict[str, int]:
    """Return for each node with a kernel which layer it is of, in the graph's order."""
    found: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for node in survey.graph.nodes:
        if node.kind in WEIGHTED:
            layer = node.name if model is None else model.layer(node, survey).name
            found[node.name] = numbers.setdefault(layer, len(numbers))
    return found


def released(rule: type[r.Rule], as_released: bool) -> dict[str, bool]:
    """Return the argument as_released=True for rules that take it."""
    return {"as_released": True} if as_released and "as_released" in {f.name for f in fields(rule)} else {}


def rule_of(given: Any, table: dict[str, type[KerasRule]], as_released: bool) -> r.Rule:
    """Return the rule that a text, a class or a rule means. Raises RuleError for anything else."""
    if isinstance(given, str):
        if given not in table:
            raise RuleError(f"rule {given!r} is unknown; there is {', '.join(table)}")
        given = table[given]
    if isinstance(given, type) and issubclass(given, r.Rule):
        return given(**released(given, as_released))
    if isinstance(given, r.Rule):
        return given
    raise RuleError(f"rule={checks.shown(given)} is no rule: give a name, a rule, or its class")


@dataclass(frozen=True)
class Setting:
    """What a composite is made from: the model's description, the texts that stand for rules, and how to read them."""

    model: KerasModel | None
    as_released: bool
    table: dict[str, type[KerasRule]] = field(default_factory=lambda: LRP_RULES)
    bounded: type[KerasRule] = BoundedRule
    pads: bool = False
    counting: tuple[type[r.Rule], ...] = COUNTING

    def rule(self, given: Any) -> r.Rule:
        """Return the rule that something means."""
        return rule_of(given, self.table, self.as_released)

    def kernels(self, rule: Any, input_layer_rule: Any, until: tuple[Matcher, Any] | None) -> Pairs:
        """Return the pairs of the layers with a kernel: the input's, those until an index, the rest."""
        pairs: list[tuple[Matcher, r.Rule]] = []
        if input_layer_rule is not None:
            pairs.append((InputLayers(self.model, self.pads), self.of_input(input_layer_rule)))
        if until is not None:
            pairs.append((until[0], self.rule(until[1])))
        pairs += self._rules(rule)
        kernels = KERNELS & contains_kernel.bound(self.model, self.pads)
        why = "counts zeros: the exporter moved a ZeroPadding into the convolution, or a causal one's own padding out of it"
        edges = ((Refused(kernels & m & JoinedPadding(self.model), f"{type(v).__name__} {why}"), v) for m, v in pairs)
        whole = ((kernels & matcher, found) for matcher, found in pairs)
        return tuple(
            pair
            for edge, each in zip(edges, whole, strict=True)
            for pair in ((edge, each) if isinstance(each[1], self.counting) and self.model else (each,))
        )

    def of_input(self, given: Any) -> r.Rule:
        """Return the rule of input layers: a pair of numbers means the Bounded rule."""
        if isinstance(given, tuple):
            if len(given) != 2:
                raise RuleError(f"input_layer_rule={checks.shown(given)} must be a rule, or a pair (low, high)")
            return self.bounded(low=given[0], high=given[1], **released(self.bounded, self.as_released))  # type: ignore[call-arg]
        return self.rule(given)

    def _rules(self, rule: Any) -> list[tuple[Matcher, r.Rule]]:
        if not isinstance(rule, list):
            return [(anything(), self.rule(rule))]
        if not rule:
            raise RuleError("rule=[] holds no rule")
        if not isinstance(rule[0], tuple):
            order = range(len(rule)) if not self.as_released else range(len(rule) - 1, -1, -1)
            short: Matcher = Refused(
                anything(), f"the list of {len(rule)} rules is too short for the layers with a kernel"
            )
            found = [(Nth(self.model, n), self.rule(rule[i])) for n, i in enumerate(order)]
            return [*found, (short, r.Stop())]
        return [self._condition(pair) for pair in rule]

    def _condition(self, pair: Any) -> tuple[Matcher, r.Rule]:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], Matcher):
            raise RuleError(f"{checks.shown(pair)} is no pair (condition, rule); a condition is a matcher of nodes")
        condition = pair[0].bound(self.model, self.pads) if isinstance(pair[0], Kind) else pair[0]
        return condition, self.rule(pair[1])

    def among(self, kinds: Sequence[str], otherwise: Matcher) -> Matcher:
        """Return a matcher of layers of some classes."""
        return Of(self.model, tuple(kinds), otherwise)

    def batchnorm(self) -> Matcher:
        """Return a matcher of BatchNormalization."""
        return kind("diagonal") & self.among(["BatchNormalization"], op_type("BatchNormalization"))

    def average_pools(self) -> Matcher:
        """Return a matcher of average pools."""
        return kind("pool") & self.among(sized(*AVERAGE_POOLS), POOLS)

    def adds(self) -> Matcher:
        """Return a matcher of layers Add."""
        return kind("sum") & self.among(["Add"], op_type("Add", "Sum") & ~Operator())

    def fused(self) -> Matcher:
        """Return a matcher of what stands in a layer with a kernel beside it: its activation."""
        return ELEMENTWISE & self.among(KERNEL, kind("pointwise") & ~OWN_LAYERS)

    def each_batchnorm(self, make: Any) -> Pairs:
        """Return a pair for each BatchNormalization of the model, whose rule is made of its statistics."""
        known = [k for k in self.model.layers if k.kind == "BatchNormalization"] if self.model else []
        return tuple(
            (kind("diagonal") & Layers(self.model, (k.name,)), make(reverse.Statistics(**k.statistics())))
            for k in known
            if self.model
        )

    def sums(self) -> Pairs:
        """Return the pairs of the layers Add and of average pools."""
        doubled: Pairs = ((self.adds() & reverse.SameTensor(), reverse.AddReverseLayer(2)),) if self.as_released else ()
        return (
            (self.average_pools(), reverse.AveragePoolingReverseLayer()),
            *doubled,
            (self.adds(), reverse.AddReverseLayer()),
        )

    def gradients(self) -> Pairs:
        """Return the pairs of everything else: TensorFlow's gradient. A layer with a kernel is not among it."""
        kinds = kind("sum", "pool", "diagonal", "product", "normaliser", "pointwise")
        return (
            (op_type("GlobalMaxPool", "ReduceMax") & kind("max"), reverse.SharedMaximum()),
            (kind("max"), r.WinnerTakesAll()),
            (kinds | (KERNELS & ~contains_kernel.bound(self.model, self.pads)), r.Gradient()),
        )


UNJOINED = Refused(kind("diagonal") & name("*BiasAdd*"), "a bias stands apart from its layer")
