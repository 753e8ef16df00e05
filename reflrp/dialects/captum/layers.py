"""captum.attr.LayerLRP, and the convergence delta: what captum makes of relevance once it has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reflrp.composites import resolve
from reflrp.composites.matchers import Survey
from reflrp.dialects.captum.composites import LRP, at
from reflrp.dialects.captum.hooks import Modules
from reflrp.dialects.captum.rules import IdentityRule
from reflrp.errors import InputError, RuleError
from reflrp.explainer import Explainer
from reflrp.explanation import Explanation
from reflrp.ground import checks
from reflrp.ir import Graph, Node
from reflrp.seeds import value

Relevance = np.ndarray | tuple[np.ndarray, ...]
"""Of one value, or of each input of a layer that has several."""


def convergence_delta(e: Explanation) -> np.ndarray:
    """Return captum's convergence delta: each sample's output at the target less its relevance over all inputs, (N,)."""
    if len(e.target) != len(e.output):
        raise InputError("a convergence delta needs an explanation that started at a target, and not at an array")
    return _delta(e, tuple(e.relevances.values()))


def _delta(e: Explanation, relevances: Sequence[np.ndarray]) -> np.ndarray:
    y = np.array([value(e.output, n, goal) for n, goal in enumerate(e.target)])
    return np.asarray(y - sum(R.reshape(len(R), -1).sum(axis=1) for R in relevances))


class LayerLRP:
    """Relevance of inner layers, as captum.attr.LayerLRP has it.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or Model
        The network.
    layer : str, list of str, or None
        The torch module or ONNX node; a list of such; or None for all layers with rules, in the order of the graph.
        (captum's None raises, as far as tried.)
    rules : composite, rule or name, optional
        As `rules=` elsewhere; None: `LRP()`.

    """

    def __init__(self, model: Any, layer: str | Sequence[str] | None, rules: Any = None) -> None:
        if layer is not None:
            checks.texts("layer", [layer] if isinstance(layer, str) else layer, InputError)
        composite = LRP() if rules is None else resolve(rules)
        if not isinstance(composite, LRP):
            raise RuleError("LayerLRP takes captum's rules; for others see layers= of reflrp.explain")
        self.layer, self.composite = layer, composite
        self.explainer = Explainer(model, composite, strip=False)

    def attribute(
        self,
        inputs: Any,
        target: Any = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
    ) -> Any:
        """Return the layer's relevance, or a list of them; with `return_convergence_delta` also the delta of each.

        It is that of the layer's output, or with `attribute_to_layer_input` that of its input: of a layer that is the
        first with a rule to read the input, this is all of the input's relevance, also what other readers gave. Of a sum it
        is a tuple, of the summands that no layer has read before, the last to be made first, as captum has it.
        """
        e = self.explainer(inputs, target=target, layers=True)
        graph = self.explainer.program(inputs).graph
        modules = self.composite.modules(graph)
        found = [self._relevance(e, modules, node, attribute_to_layer_input) for node in self._nodes(graph, modules)]
        deltas = [_delta(e, R if isinstance(R, tuple) else (R,)) for R in found]
        one = isinstance(self.layer, str)
        relevance, delta = (found[0], deltas[0]) if one else (found, deltas)
        return (relevance, delta) if return_convergence_delta else relevance

    def _nodes(self, graph: Graph, modules: Modules) -> list[Node]:
        ruled = [node for node in graph.nodes if node.name in modules.layers]
        if self.layer is None:
            return ruled
        survey, found = Survey(graph), []
        for name in [self.layer] if isinstance(self.layer, str) else self.layer:
            matching = [node for node in ruled if at(name)(node, survey)]
            if len(matching) != 1:
                names = ", ".join(repr(n.name) for n in ruled)
                raise InputError(f"layer {name!r} is {len(matching)} layers with rules; there is {names}")
            found += matching
        return found

    def _relevance(self, e: Explanation, modules: Modules, node: Node, to_input: bool) -> Relevance:
        if not to_input:
            return _of(e, node.output)
        if isinstance(modules.layers[node.name], IdentityRule):
            raise RuleError(f"captum keeps no relevance of the input of {node.name!r}, which has IdentityRule")
        made = {n.output: i for i, n in enumerate(modules.graph.nodes)}
        values = [modules.value(i) for i in node.inputs]
        kept = [value for value in dict.fromkeys(values) if modules.keeps(value, node.name)]
        if not kept:
            raise RuleError(f"captum keeps no relevance of the input of {node.name!r}: other nodes hook it")
        kept.sort(key=lambda value: -made.get(value, -1))
        return tuple(_of(e, value) for value in kept) if len(values) > 1 else _of(e, kept[0])


def _of(e: Explanation, value: str) -> np.ndarray:
    """Return the relevance of a value, be it an input, inner, or the output."""
    return e.relevances[value] if value in e.relevances else e.layers[value]
