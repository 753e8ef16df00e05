"""pnpxai's four LRP explainers as composites: its names, its arguments, its numbers (those of pnpxai 0.1.4).

>>> from reflrp.dialects import pnpxai
>>> reflrp.explain(model, x, rules=pnpxai.LRPEpsilonPlus(), init="one")  # doctest: +SKIP
>>> pnpxai.LRPUniformEpsilon(layer="encoder*").attribute(model, x, targets=3)  # doctest: +SKIP

They are zennit's composites (see `reflrp.dialects.zennit`, whose remarks hold here too) with rules for attention and
LayerNorm before them:

- Attention: pnpxai's ConservativeAttentionPropagation, which stands on nn.MultiheadAttention, and on what its
  converters turn into one. Here it is every softmax that weighs values: relevance goes through the output projection,
  the values and their projection by LRP-epsilon with `stabilizer` (not `epsilon`), and stops at the softmax.
  pnpxai then gives the value's relevance to the key as well. Where key and value are the same, as in self-attention,
  relevance doubles: attention="doubled". Where they are not, the key's copy is left out here. attention="conservative"
  gives it to the value alone. attention="gradient" is what pnpxai does with attention that it does not convert.
- LayerNorm: `LayerNormRule`, whose variance is divided by n - 1. For a normalised shape of more than one axis pnpxai
  takes its statistics over all axes, the batch included; here they are over those axes. It always has the stabiliser
  1e-6: zennit makes a copy of each hook, in which pnpxai's LayerNormRule forgets its argument.
- `a + b` is zennit's Sum, also where b is a constant, which then keeps its share.
- LSTM, GRU and RNN: pnpxai lists them as supported and gives them a plain gradient: recurrent="gradient". By default
  they have rules here: Epsilon on dense maps, Norm on sums, of a product the signal takes all, activations pass.

pnpxai starts with 1 at the target: init="one". For several inputs it returns the first sample only; here all.
`n_classes` and the extractors of arguments are not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from reflrp import rules as r
from reflrp.arrays import Array
from reflrp.composites import Composite, Pairs
from reflrp.composites.matchers import Matcher, Survey, kind, op_type
from reflrp.dialects import zennit
from reflrp.errors import RuleError
from reflrp.ir import Node
from reflrp.ops.linear import Diagonal, LinearMap, SumOf
from reflrp.ops.normaliser import Softmax
from reflrp.ops.norms import HeldStandard, Standardise
from reflrp.ops.product import Product
from reflrp.ops.routing import Routing
from reflrp.ops.stabilizer import StabilizerLike

__all__ = [
    "COMPOSITES",
    "LRPEpsilonAlpha2Beta1",
    "LRPEpsilonGammaBox",
    "LRPEpsilonPlus",
    "LRPUniformEpsilon",
    "LayerNormRule",
    "ValueProjection",
]

Attention = Literal["doubled", "conservative", "gradient"]
Recurrent = Literal["rules", "gradient"]
Tunables = Mapping[str, tuple[type, Mapping[str, Any]]]

ZERO_TO_ONE: tuple[type, Mapping[str, Any]] = (float, {"low": 1e-6, "high": 1, "log": True})


# ---------------------------------------------------------------- rules


@dataclass(frozen=True)
class LayerNormRule(r.LinearRule):
    """R = x * J^T (R / st(y')),  y' = w (x - mean x) / sqrt(var_1 x + eps) + b.

    var_1 is divided by n - 1, and held constant; the layer's own output is not y', but divides by n.
    Bias and stabiliser absorb.
    """

    stabilizer: StabilizerLike = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"normaliser"})

    def fits(self, node: Node) -> bool:
        """Return whether the node is a LayerNorm."""
        return isinstance(node.op, Standardise) and node.op.center

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        assert isinstance(L, HeldStandard)
        M = replace(replace(L.norm, ddof=1).held(a), absorbed=L.absorbed)
        return r.Norm(self.stabilizer)(M, a, M.forward(a), R)


@dataclass(frozen=True)
class ValueProjection(r.LinearRule):
    """R = copies * LRP-epsilon: what the values' projection gives, and once more for the key where copies is 2."""

    stabilizer: StabilizerLike = 1e-6
    copies: int = 2
    conserves: ClassVar[bool] = False

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return self.copies * r.Norm(self.stabilizer)(L, a, z, R)


# ---------------------------------------------------------------- where attention stands in a graph


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
class _Part(Matcher):
    """One part of every attention: "softmax", "weighing", "output", "value", or "shared" (a value that is the key)."""

    part: str

    def __call__(self, node: Node, survey: Survey) -> bool:
        if node.kind not in ("dense", "product", "normaliser"):
            return False
        heads = _heads(survey)
        names = {
            "softmax": [h.softmax for h in heads],
            "weighing": [h.weighing for h in heads],
            "output": [h.output.name for h in heads if h.output],
            "value": [h.value.name for h in heads if h.value],
            "shared": [h.value.name for h in heads if h.value and h.value_is_key],
        }
        return node.name in names[self.part]


def _heads(survey: Survey) -> list[Head]:
    """Return the attentions of a graph, found once a survey."""
    if "pnpxai" not in survey.__dict__:
        survey.__dict__["pnpxai"] = _Heads(survey).all()
    found: list[Head] = survey.__dict__["pnpxai"]
    return found


class _LayerNorm(Matcher):
    """LayerNorm: over the last axes, with its mean subtracted."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        op = node.op
        last = isinstance(op, Standardise) and op.axes[-1] == len(survey.graph.values[node.output].shape) - 1
        return last and op.center and op.grouped is None and op.mean  # type: ignore[attr-defined]


# ---------------------------------------------------------------- composites


def _attention(attention: Attention, stabilizer: StabilizerLike) -> Pairs:
    if attention not in ("doubled", "conservative", "gradient"):
        raise RuleError(f"attention={attention!r} is unknown; use 'doubled', 'conservative' or 'gradient'")
    if attention == "gradient":
        return ()
    norm = r.Norm(stabilizer)
    copies: Pairs = ((_Part("shared"), ValueProjection(stabilizer)),) if attention == "doubled" else ()
    return (
        (_Part("softmax"), r.Stop()),
        (_Part("weighing"), r.SignalTakesAll("auto", stabilizer)),
        *copies,
        (_Part("output") | _Part("value"), norm),
    )


def _recurrent(recurrent: Recurrent, epsilon: StabilizerLike, stabilizer: StabilizerLike) -> Pairs:
    if recurrent not in ("rules", "gradient"):
        raise RuleError(f"recurrent={recurrent!r} is unknown; use 'rules' or 'gradient'")
    cell = op_type("LSTM", "GRU", "RNN")
    if recurrent == "gradient":
        return ((cell, r.Gradient()),)
    return (
        (cell & kind("dense"), r.Norm(epsilon)),
        (cell & kind("sum", "diagonal"), r.Norm(stabilizer)),
        (cell & kind("product"), r.SignalTakesAll("auto", stabilizer)),
        (cell & kind("pointwise"), r.Pass()),
    )


class LRPBase(Composite):
    """What the four share: rules for attention, LayerNorm and recurrent nodes before a composite of zennit's."""

    tunables: ClassVar[Tunables] = {"epsilon": ZERO_TO_ONE}
    """What pnpxai's optimizer may vary: argument -> type and range."""

    def __init__(
        self,
        composite: Composite,
        epsilon: StabilizerLike,
        stabilizer: StabilizerLike,
        attention: Attention,
        recurrent: Recurrent,
        layer: str | None,
    ) -> None:
        added = op_type("Add") & kind("diagonal")
        own: Pairs = (
            *_attention(attention, stabilizer),
            *_recurrent(recurrent, epsilon, stabilizer),
            (_LayerNorm(), LayerNormRule()),
            (added, r.Norm(stabilizer)),
        )
        object.__setattr__(self, "layer", layer)
        super().__init__((*own, *composite.pairs), f"pnpxai.{type(self).__name__}", composite.canonize)

    layer: str | None

    def get_tunables(self) -> Tunables:
        """Return the arguments that pnpxai's optimizer may vary, with their types and ranges."""
        return self.tunables

    def attribute(self, model: Any, inputs: Any, targets: Any) -> Any:
        """Return the relevance of the inputs, or of `layer`, begun with 1 at the targets.

        `layer` is a name or a pattern, as in `layers=`; where it fits several values, a dict of them comes back, as
        for several inputs.
        """
        from reflrp.explainer import explain

        targets = np.asarray(targets)
        target = targets if targets.ndim else int(targets)
        e = explain(model, inputs, rules=self, target=target, init="one", layers=self.layer or False)
        found = e.layers if self.layer else e.relevances
        return next(iter(found.values())) if len(found) == 1 else dict(found)


Canonizers = Iterable[zennit.Canonizer] | None


def _canonizers(more: Canonizers) -> list[zennit.Canonizer]:
    return [zennit.SequentialMergeBatchNorm(), *(more or ())]


class LRPUniformEpsilon(LRPBase):
    """Epsilon on dense layers and convolutions alike."""

    def __init__(
        self,
        epsilon: StabilizerLike = 0.25,
        stabilizer: StabilizerLike = 1e-6,
        zennit_canonizers: Canonizers = None,
        layer: str | None = None,
        attention: Attention = "doubled",
        recurrent: Recurrent = "rules",
    ) -> None:
        layers = [(zennit.Linear, zennit.Epsilon(epsilon)), *zennit.layer_map_base(stabilizer)]
        base = zennit.LayerMapComposite(layers, _canonizers(zennit_canonizers))
        super().__init__(base, epsilon, stabilizer, attention, recurrent, layer)


class LRPEpsilonGammaBox(LRPBase):
    """ZBox on the first convolution, Gamma on the others, Epsilon on dense layers."""

    tunables: ClassVar[Tunables] = {"epsilon": ZERO_TO_ONE, "gamma": ZERO_TO_ONE}

    def __init__(
        self,
        low: float = -3.0,
        high: float = 3.0,
        epsilon: StabilizerLike = 1e-6,
        gamma: float = 0.25,
        stabilizer: StabilizerLike = 1e-6,
        zennit_canonizers: Canonizers = None,
        layer: str | None = None,
        attention: Attention = "doubled",
        recurrent: Recurrent = "rules",
    ) -> None:
        canonizers = _canonizers(zennit_canonizers)
        base = zennit.EpsilonGammaBox(low, high, epsilon, gamma, stabilizer, canonizers=canonizers)
        super().__init__(base, epsilon, stabilizer, attention, recurrent, layer)


class LRPEpsilonPlus(LRPBase):
    """ZPlus on convolutions, Epsilon on dense layers."""

    def __init__(
        self,
        epsilon: StabilizerLike = 1e-6,
        stabilizer: StabilizerLike = 1e-6,
        zennit_canonizers: Canonizers = None,
        layer: str | None = None,
        attention: Attention = "doubled",
        recurrent: Recurrent = "rules",
    ) -> None:
        base = zennit.EpsilonPlus(epsilon, stabilizer, canonizers=_canonizers(zennit_canonizers))
        super().__init__(base, epsilon, stabilizer, attention, recurrent, layer)


class LRPEpsilonAlpha2Beta1(LRPBase):
    """AlphaBeta(2, 1) on convolutions, Epsilon on dense layers."""

    def __init__(
        self,
        epsilon: StabilizerLike = 1e-6,
        stabilizer: StabilizerLike = 1e-6,
        zennit_canonizers: Canonizers = None,
        layer: str | None = None,
        attention: Attention = "doubled",
        recurrent: Recurrent = "rules",
    ) -> None:
        base = zennit.EpsilonAlpha2Beta1(epsilon, stabilizer, canonizers=_canonizers(zennit_canonizers))
        super().__init__(base, epsilon, stabilizer, attention, recurrent, layer)


COMPOSITES = {c.__name__: c for c in (LRPUniformEpsilon, LRPEpsilonGammaBox, LRPEpsilonPlus, LRPEpsilonAlpha2Beta1)}
"""The explainers by their names."""
