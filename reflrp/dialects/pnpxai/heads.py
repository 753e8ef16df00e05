"""Where attention stands in a graph: the matchers of its parts, and of LayerNorm."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reflrp.composites.matchers import Matcher, Survey
from reflrp.ir import Node
from reflrp.ops.linear import Diagonal
from reflrp.ops.normaliser import Softmax
from reflrp.ops.norms import Standardise
from reflrp.ops.product import Product
from reflrp.ops.routing import Routing
from reflrp.ops.sums import SumOf


@dataclass(frozen=True)
class Head:
    """The nodes of one attention: softmax, weighing of the values, and the dense maps around, where there are such."""

    softmax: str
    weighing: str
    value: Node | None
    key: Node | None
    output: Node | None

    @property
    def value_is_key(self) -> bool:
        """Whether keys and values are projections of the same."""
        return self.value is not None and self.key is not None and _source(self.value) == _source(self.key)


def _source(node: Node) -> str:
    return node.inputs[0]


class _Heads:
    """Finds the attentions of a graph."""

    def __init__(self, survey: Survey) -> None:
        self.values = survey.graph.values
        self.nodes = survey.graph.nodes
        self.makers = survey.graph.producers()

    def all(self) -> list[Head]:
        """Return the attentions, in the graph's order."""
        return [head for node in self.nodes if (head := self._at(node))]

    def _at(self, node: Node) -> Head | None:
        gate = node.op.gate(3) if isinstance(node.op, Product) else None
        softmax = self._back(node.inputs[gate]) if gate is not None else None
        if gate is None or softmax is None or not isinstance(softmax.op, Softmax):
            return None
        value = self._back(node.inputs[1 - gate])
        return Head(
            softmax.name,
            node.name,
            self._projection(value),
            self._projection(self._key(softmax)),
            next((n for n in self.nodes if n.kind == "dense" and self._back(n.inputs[0]) is node), None),
        )

    def _projection(self, node: Node | None) -> Node | None:
        """Return a dense node with routing looked through at its input."""
        if node is None or node.kind != "dense":
            return None
        name = node.inputs[0]
        while (maker := self.makers.get(name)) is not None and (source := self._through(maker)):
            name = source
        return replace(node, inputs=(name,))

    def _key(self, softmax: Node) -> Node | None:
        """Return what makes the second operand of the scores."""
        node = self._back(softmax.inputs[0], scores=True)
        return self._back(node.inputs[1], scores=True) if node is not None and isinstance(node.op, Product) else None

    def _back(self, name: str, scores: bool = False) -> Node | None:
        """Return the node that makes a value, routing looked through; with `scores` also scales and masks."""
        while (maker := self.makers.get(name)) is not None:
            source = self._through(maker) or (self._scaled(maker) if scores else None)
            if source is None:
                return maker
            name = source
        return None

    def _active(self, node: Node) -> list[str]:
        return [i for i in node.inputs if self.values[i].active]

    def _through(self, node: Node) -> str | None:
        sources = self._active(node)
        return sources[0] if isinstance(node.op, Routing) and len(sources) == 1 else None

    def _scaled(self, node: Node) -> str | None:
        sources = self._active(node)
        return sources[0] if isinstance(node.op, Diagonal | SumOf) and len(sources) == 1 else None


@dataclass(frozen=True)
class Part(Matcher):
    """One part of every attention: "softmax", "weighing", "output", "value", or "shared" (a value that is the key)."""

    part: str

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node is that part of an attention."""
        if node.kind not in ("dense", "product", "normaliser"):
            return False
        heads = heads_of(survey)
        names = {
            "softmax": [h.softmax for h in heads],
            "weighing": [h.weighing for h in heads],
            "output": [h.output.name for h in heads if h.output],
            "value": [h.value.name for h in heads if h.value],
            "shared": [h.value.name for h in heads if h.value and h.value_is_key],
        }
        return node.name in names[self.part]


def heads_of(survey: Survey) -> list[Head]:
    """Return the attentions of a graph, found once a survey."""
    if "pnpxai" not in survey.__dict__:
        survey.__dict__["pnpxai"] = _Heads(survey).all()
    found: list[Head] = survey.__dict__["pnpxai"]
    return found


class LayerNorm(Matcher):
    """LayerNorm: over the last axes, with its mean subtracted."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node is one."""
        op = node.op
        last = isinstance(op, Standardise) and op.axes[-1] == len(survey.graph.values[node.output].shape) - 1
        return last and op.center and op.grouped is None and op.mean  # type: ignore[attr-defined]
