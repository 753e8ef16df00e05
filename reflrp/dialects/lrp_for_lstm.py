"""LRP_for_LSTM's rules, for LSTMs as Arras et al. explain them: its names, its arguments, its numbers.

>>> from reflrp.dialects import lrp_for_lstm
>>> reflrp.explain(model, x, rules=lrp_for_lstm.LRP(eps=0.001, bias_factor=1.0))  # doctest: +SKIP
>>> reflrp.explain(model, x, rules="lrp_for_lstm.LRP")  # doctest: +SKIP

`lrp_linear` stands on the gates' dense maps (N = inputs plus state), on the cell's sum (N = twice the state) and on the
output layer (N = its inputs). Of a product the signal takes all, the gate nothing; tanh passes. Relevance that reaches
the initial states, which are zero, stays in the ledger: what the state gets under `bias` (of the Concat of input and
state), what the cell gets under `dropped` (of the first write). With bias_factor = 1 nothing else is lost: the inputs'
relevance and these two add up to the score. In LRP_for_LSTM they are its third return value, R_rest.

It is exact for the ONNX operator LSTM. Where an exporter has unrolled the cell, input and state have dense maps of
their own, which then share a sum; N is counted at each of these, and the numbers are not LRP_for_LSTM's.

Source: Arras et al., "Explaining Recurrent Neural Network Predictions in Sentiment Analysis", WASSA 2017, and the
code that goes with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from reflrp import rules as r
from reflrp.arrays import ZERO, Array, add, namespace, ones_like, sign, total
from reflrp.composites import Composite, defaults, kind, name, op_type
from reflrp.composites.matchers import Matcher, Survey
from reflrp.errors import RuleError
from reflrp.ir import Node
from reflrp.ops.linear import Absorbed, LinearMap
from reflrp.ops.product import Product
from reflrp.ops.stabilizer import check_epsilon, ratio

__all__ = ["COMPOSITES", "LRP", "FirstWrite", "LRPLinear", "lrp_linear"]


@dataclass(frozen=True)
class LRPLinear(r.LinearRule):
    """lrp_linear:  R_j = sum_k (a_j w_jk + bias_factor (b_k + eps sgn z_k) / N) R_k / (z_k + eps sgn z_k).

    bias_factor = 0 is LRP-epsilon; 1 hands out what bias and stabiliser would keep, in equal parts to N units.
    N is `bias_nb_units`; None: the number of inputs of z_k. In a sum of values, which LRP_for_LSTM writes with unit
    matrices, these are all entries of all summands along the last axis.

    Conserves, for bias_factor = 1, where N is the number of inputs.
    """

    eps: Any = 0.001
    bias_factor: Any = 0.0
    bias_nb_units: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check_epsilon(self.eps, "eps")
        check_epsilon(self.bias_factor, "bias_factor")
        if self.bias_nb_units is not None and self.bias_nb_units < 1:
            raise RuleError(f"bias_nb_units must be at least 1, not {self.bias_nb_units}")

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        s = L.ratio(R, z, self.eps, L.b)
        passed = L.pull(a, s, L.w)
        if self.bias_factor == 0:
            return passed
        by_bias = ZERO if L.b is ZERO else self._spread(L, a, self.bias_factor * L.b * s)
        by_eps = self._spread(L, a, self.bias_factor * self.eps * sign(z) * s)
        if L.absorbed is not None:  # `ratio` wrote both down as kept
            L.absorbed.append(Absorbed(0 if by_bias is ZERO else -total(by_bias), -total(by_eps)))
        return add(passed, by_bias, by_eps)

    def _spread(self, L: LinearMap, a: Array, q: Array) -> Array:
        """Return what each output hands out, in equal parts to N inputs."""
        if L.stacked:
            xp, n = namespace(a), self.bias_nb_units or a.shape[0] * a.shape[-1]
            return ones_like(a) * (xp.sum(q, axis=-1, keepdims=True) / n)[None, ...]
        ones = L.weights(ones_like)
        return L.T(q / (self.bias_nb_units or L(ones_like(a), ones)), ones)


def lrp_linear(eps: Any = 0.001, bias_factor: Any = 0.0, bias_nb_units: int | None = None) -> LRPLinear:
    """Return `LRPLinear`, under the name that LRP_for_LSTM's function has."""
    return LRPLinear(eps, bias_factor, bias_nb_units)


@dataclass(frozen=True)
class FirstWrite(r.Rule):
    """The first step's i * g, which alone makes the cell: c = f * 0 + i * g.

    The import leaves out the sum with zero; LRP_for_LSTM does not. So this is `LRPLinear` on that sum, whose other
    summand is zero, and then all to g.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"product"})
    conserves: ClassVar[bool] = False
    eps: Any = 0.001
    bias_factor: Any = 0.0

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> tuple[Any, Any]:
        """Return the relevance of both operands."""
        xp, s = namespace(y), ratio(R, y, self.eps)
        handed = xp.sum(self.eps * sign(y) * s, axis=-1, keepdims=True) / (2 * y.shape[-1])
        return r.SignalTakesAll()(op, x, y, y * s + self.bias_factor * handed)


class _NotSummed(Matcher):
    """Nodes whose output no sum reads."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        return not any(n.kind == "sum" and node.output in n.inputs for n in survey.graph.nodes)


FIRST_WRITE = op_type("LSTM") & kind("product") & name("*.write") & _NotSummed()
"""The first step's write: a product that makes the cell without a sum."""


def LRP(eps: Any = 0.001, bias_factor: Any = 0.0) -> Composite:  # noqa: N802
    """Return the rules of LRP_for_LSTM as a composite."""
    return Composite(
        (
            (FIRST_WRITE, FirstWrite(eps, bias_factor)),
            (kind("dense", "conv", "sum"), LRPLinear(eps, bias_factor)),
            (kind("product"), r.SignalTakesAll("auto", eps)),
            *defaults(eps),
        ),
        "lrp_for_lstm.LRP",
    ).preprocessed("absorb")


COMPOSITES = {"LRP": LRP}
"""The composite by its name."""
