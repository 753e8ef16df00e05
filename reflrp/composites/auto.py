"""`rules="auto"`: the rules that suit what a graph is made of, chosen part by part; `e.rules` says what stands where.

| what a part is made of | how it is told | its rules |
|---|---|---|
| recurrent | nodes out of LSTM, GRU, RNN | as in `lstm`: epsilon 1e-3, of a product the signal takes all |
| attention | a product of two values, one of them out of a Softmax | as in `attnlrp`: Softmax by Taylor, products in halves |
| convolutions | Conv and ConvTranspose, but for those that cut an image into patches | z+, on images flat on the first layer |
| the rest | dense layers, as of a table; patches | epsilon |

`benchmarks/study_rules.py` measures which presets are faithful on which of these.
"""

from __future__ import annotations

from dataclasses import dataclass

from reflrp import rules as r
from reflrp.composites.composite import Composite, Pairs, defaults
from reflrp.composites.matchers import Matcher, Survey, first, kind, op_type
from reflrp.composites.registry import register
from reflrp.ir import WEIGHTED, Node
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.einsum import EinsumProduct
from reflrp.ops.product import MatrixProduct, Product

RECURRENT = ("LSTM", "GRU", "RNN")


def convolves(node: Node) -> bool:
    """Return whether a node is a convolution whose windows overlap or touch pixel by pixel: not one that cuts patches."""
    op = node.op
    if isinstance(op, ConvTranspose):
        return True
    return isinstance(op, Conv) and not (op.windows.strides == op.windows.kernel and max(op.windows.kernel) > 1)


def on_images(node: Node) -> bool:
    """Return whether a node is such a convolution over two axes or more."""
    return convolves(node) and len(node.op.windows.size) > 1  # type: ignore[attr-defined]


def attends(node: Node) -> bool:
    """Return whether a node weighs values by what comes out of a Softmax."""
    return isinstance(node.op, MatrixProduct | EinsumProduct) and node.op.gate(3) is not None


@dataclass(frozen=True)
class _Convolution(Matcher):
    images: bool = False

    def __call__(self, node: Node, survey: Survey) -> bool:
        return on_images(node) if self.images else convolves(node)


@dataclass(frozen=True)
class _BesideAttention(Matcher):
    """The products of a graph that has attention somewhere."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        return isinstance(node.op, Product) and any(map(attends, survey.graph.nodes))


@register("auto")
def auto(epsilon: float = 1e-6, recurrent_epsilon: float = 1e-3) -> Composite:
    """Choose by what the graph is made of: convolutions, attention, recurrence, tables; part by part."""
    recurrent = op_type(*RECURRENT)
    pairs: Pairs = (
        (recurrent & kind(*WEIGHTED), r.Epsilon(recurrent_epsilon)),
        (recurrent & kind("sum", "pool", "diagonal"), r.Norm(recurrent_epsilon)),
        (recurrent & kind("product"), r.SignalTakesAll("auto", recurrent_epsilon)),
        (first() & _Convolution(images=True), r.Flat(epsilon)),
        (_Convolution(), r.ZPlus(stabilizer=epsilon)),
        (kind(*WEIGHTED), r.Epsilon(epsilon)),
        (op_type("Softmax"), r.Taylor()),
        (_BesideAttention(), r.Half(epsilon)),
    )
    return Composite((*pairs, *defaults(epsilon)), "auto")
