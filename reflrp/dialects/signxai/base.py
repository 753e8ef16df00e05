"""What SignXAI2's analyzers share: which rule stands on which layer, and what `analyze` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reflrp import rules as r
from reflrp.arrays import to_host
from reflrp.composites import Composite, Pairs, kind
from reflrp.composites.matchers import Matcher, Survey
from reflrp.dialects.innvestigate.base import COUNTING, PARTS, UNJOINED, UNKNOWN, Setting
from reflrp.dialects.innvestigate.keras_rule import KerasRule
from reflrp.dialects.innvestigate.layers import BatchNormalizationReverseLayer
from reflrp.dialects.innvestigate.rules import FlatRule
from reflrp.dialects.keras import RESHAPES, KerasModel, Layer
from reflrp.dialects.keras_matchers import OneInput, Refused, sized
from reflrp.dialects.neuron_selection import forwarded, selected, whole
from reflrp.dialects.signxai.rules import LRP_RULES, BoundedRule, StdxEpsilonRule
from reflrp.engine import Program
from reflrp.errors import InputError, RuleError
from reflrp.ground import checks
from reflrp.ir import WEIGHTED, Node

NONE: Any = r.Stop()
COUNTS = (*COUNTING, StdxEpsilonRule)


@dataclass(frozen=True)
class KeepsShape(Matcher):
    """Functions of one value whose output is shaped like it."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        values = survey.graph.values
        return len(set(node.inputs)) == 1 and values[node.inputs[0]].shape == values[node.output].shape


@dataclass(frozen=True)
class AtDepth(Matcher):
    """The layers that stand up to so many layers behind the input.

    Flatten, Permute and Reshape do not count, activations that are layers do.
    """

    model: KerasModel = field(repr=False)
    depth: int

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        layer = self.model.layer(node, survey)
        return any(stands_at(self.model, layer, i) for i in range(self.depth + 1))


def stands_at(model: KerasModel, layer: Layer, depth: int) -> bool:
    """Return whether a layer stands exactly so many layers behind the input, on all ways to it."""
    here = {layer.name}
    for _ in range(depth):
        here = set().union(*(model.reads(name) for name in _through(model, here)))
        if any(model.begins(name) for name in here):
            return False
    skipped = (*RESHAPES, *sized("ZeroPadding{}D"))
    return all(model.ends_before(model.by_name[name], skipped) == {"InputLayer"} for name in here)


def _through(model: KerasModel, names: set[str]) -> set[str]:
    """Return the layers behind reshapes, which do not count."""
    while any(not model.begins(n) and model.by_name[n].kind in RESHAPES for n in names):
        names = set().union(
            *(model.reads(n) if not model.begins(n) and model.by_name[n].kind in RESHAPES else {n} for n in names)
        )
    return names


class LRP(Composite):
    """One rule, a list of rules, or conditions; with rules of their own for the input layer and up to an index.

    Parameters
    ----------
    model : Keras model, or its description, optional
        For what the ONNX file does not say (`reflrp.dialects.keras`).
    rule : str, rule, list of them, or list of (condition, rule)
        A list has a rule for each layer with a kernel, from the input on (as_released=True: from its last entry on).
    input_layer_rule : str, rule or (low, high)
        The rule of input layers, zero padding before them allowed; a pair means BoundedRule.
    until_layer_idx, until_index_rule : int and rule
        The rule of layers that stand up to so many layers behind the input (0: input layers). Needs `model`.
    bn_layer_rule, bn_layer_fuse_mode
        Checked and not used, as in the library: a BatchNormalization has the Z-rule.
    as_released : bool
        Compute what SignXAI2 0.14.1 computes where that is not what the names mean: Bounded is 0, Gamma is another rule, an
        Add of one tensor with itself is doubled, lists of rules from their end, the Z-rule of BatchNormalization with the
        library's stabiliser (which needs `model`), and rules without a bias start from the output without it.

    Raises RuleError for arguments that the library refuses.

    """

    keras: KerasModel | None
    as_released: bool

    def __init__(
        self,
        model: Any = None,
        *,
        rule: Any = None,
        input_layer_rule: Any = None,
        until_layer_idx: int | None = None,
        until_index_rule: Any = None,
        bn_layer_rule: Any = None,
        bn_layer_fuse_mode: str = "one_linear",
        as_released: bool = False,
    ) -> None:
        if rule is None:
            raise RuleError("rule=None: LRP needs a rule, or a list of rules")
        described = KerasModel.of(model)
        setting = Setting(
            described, checks.flag("as_released", as_released, RuleError), LRP_RULES, BoundedRule, True, COUNTS
        )
        checks.choice("bn_layer_fuse_mode", bn_layer_fuse_mode, ("one_linear", "two_linear"), RuleError)
        object.__setattr__(self, "keras", described)
        object.__setattr__(self, "as_released", as_released)
        pairs = (
            *setting.kernels(rule, input_layer_rule, until_index(described, until_layer_idx, until_index_rule)),
            *_batchnorm(setting),
            *setting.sums(),
            (UNJOINED, NONE),
            *_unknown(described),
            (KeepsShape() & kind("pointwise", "diagonal", "normaliser", "max") & OneInput(described), r.Pass()),
            *setting.gradients(),
        )
        super().__init__(pairs, f"signxai.{type(self).__name__}", ("join_batchnorm", "join_separable"))

    def analyze(self, model: Any, X: Any, neuron_selection: Any = "max_activation") -> Any:
        """Return the relevance of X, an array shaped like it (the library returns {first layer: array}).

        model : the ONNX file, or what `reflrp.load` returned. neuron_selection : "max_activation", "all" or None, an int, or
        ints, one a sample. The initial relevance is the output's value at the selected neurons.
        """
        explainer = whole(model, self, X, softmax=False)
        program, values = forwarded(explainer, X)
        y = self._start(program, values, neuron_selection)
        if isinstance(neuron_selection, str) or neuron_selection is None:
            R = selected(y, "all" if neuron_selection is None else neuron_selection)
        else:
            R = selected(y, "index", neuron_selection)
        return explainer(X, init=R).relevance

    def _start(self, program: Program, values: dict[str, Any], neuron_selection: Any) -> np.ndarray:
        """Return the output, of which the selected neurons are what relevance starts with."""
        output = program.graph.resolve(program.graph.outputs[0])
        y: np.ndarray = to_host(values[output])
        makers = program.graph.producers()
        if not self.as_released or output not in makers:
            return y
        node = self._last_layer(makers, makers[output])
        rule = program.rules.get(node.name)
        if node.kind not in WEIGHTED or not isinstance(rule, KerasRule):
            raise RuleError(f"as_released: what SignXAI starts with at {node.name!r} ({node.kind}) is not known")
        if neuron_selection == "max_activation" and not isinstance(rule, FlatRule) and rule.reweights:
            raise InputError(
                f"as_released: at the output SignXAI takes the largest entry of each of the terms of {type(rule).__name__} by "
                "itself, which selects no neuron; give its index"
            )
        if rule.reweights:
            return y
        z = values[node.output] if getattr(rule, "bias", True) else node.op(values[node.inputs[0]], node.op.w)  # type: ignore[operator, attr-defined]
        return np.asarray(z)

    def _last_layer(self, makers: dict[str, Node], node: Node) -> Node:
        """Return the layer with a kernel whose activation the last node is: where a rule does not reweight, it starts before it."""
        before = makers.get(node.inputs[0])
        fused = node.kind == "pointwise" and before is not None and before.kind in WEIGHTED
        return before if before is not None and fused else node


def until_index(model: KerasModel | None, index: Any, rule: Any) -> tuple[Matcher, Any] | None:
    """Return the condition of the layers up to a depth, and their rule; None where one of both is not given."""
    if index is None or rule is None:
        return None
    checks.whole("until_layer_idx", index, error=RuleError)
    if model is None:
        raise RuleError(
            "until_layer_idx counts the layers of the Keras model, which the ONNX file does not keep: give model="
        )
    return AtDepth(model, index), rule


def _unknown(model: KerasModel | None) -> Pairs:
    """Return the pairs of what could be a layer of its own, or a part of one that passes or has a gradient as a whole."""
    if model is None:
        return ((Refused(kind("diagonal"), UNKNOWN), NONE),)
    return ((Refused(kind("product", "sum") & OneInput(model), PARTS), NONE),)


def _batchnorm(setting: Setting) -> Pairs:
    matcher = setting.batchnorm()
    if not setting.as_released:
        return ((matcher, BatchNormalizationReverseLayer()),)
    why = "as_released needs the statistics of BatchNormalization, which are not in the ONNX file: give model="
    return (*setting.each_batchnorm(BatchNormalizationReverseLayer), (Refused(matcher, why), NONE))
