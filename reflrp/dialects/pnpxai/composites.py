"""pnpxai's four explainers, as composites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, get_args

from reflrp import rules as r
from reflrp.composites import Composite, Pairs
from reflrp.composites.matchers import kind, op_type
from reflrp.dialects import zennit
from reflrp.dialects.pnpxai.heads import LayerNorm, Part
from reflrp.dialects.pnpxai.rules import LayerNormRule, ValueProjection
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ops.stabilizer import StabilizerLike

Attention = Literal["doubled", "conservative", "gradient"]
Recurrent = Literal["rules", "gradient"]
Tunables = Mapping[str, tuple[type, Mapping[str, Any]]]

ZERO_TO_ONE: tuple[type, Mapping[str, Any]] = (float, {"low": 1e-6, "high": 1, "log": True})


def _attention(attention: Attention, stabilizer: StabilizerLike) -> Pairs:
    checks.choice("attention", attention, get_args(Attention), RuleError)
    if attention == "gradient":
        return ()
    norm = r.Norm(stabilizer)
    copies: Pairs = ((Part("shared"), ValueProjection(stabilizer)),) if attention == "doubled" else ()
    return (
        (Part("softmax"), r.Stop()),
        (Part("weighing"), r.SignalTakesAll("auto", stabilizer)),
        *copies,
        (Part("output") | Part("value"), norm),
    )


def _recurrent(recurrent: Recurrent, epsilon: StabilizerLike, stabilizer: StabilizerLike) -> Pairs:
    checks.choice("recurrent", recurrent, get_args(Recurrent), RuleError)
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
            (LayerNorm(), LayerNormRule()),
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

        found = checks.whole_array("targets", targets)
        if found is None:
            raise checks.refuse("targets", targets, "ints, one a sample")
        target = found if found.ndim else int(found)
        e = explain(model, inputs, rules=self, target=target, init="one", layers=self.layer or False)
        made = e.layers if self.layer else e.relevances
        return next(iter(made.values())) if len(made) == 1 else dict(made)


Canonizers = Iterable[zennit.Canonizer] | None


def _canonizers(more: Canonizers) -> list[zennit.Canonizer]:
    return [
        zennit.SequentialMergeBatchNorm(),
        *checks.listed_things("zennit_canonizers", more, "a list of canonizers", RuleError),
    ]


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
