"""`rules="auto"`, the default: the rules that suit what a graph is made of, chosen part by part.

| what a part is made of | how it is told | its rules |
|---|---|---|
| recurrent | nodes out of LSTM, GRU, RNN | as in `lstm`: epsilon 1e-3, of a product the signal takes all |
| recurrent, spelled out | layers whose weights act again; no attention | the same |
| attention | a product of two values, one of them out of a Softmax | as in `attnlrp`: Softmax by Taylor, products in halves |
| convolutions on images | windows that slide over two axes or more | as in `epsilon_plus_flat`: z+, flat on the first layer |
| convolutions over time | windows that slide over one axis | as in `epsilon_plus`: z+ |
| patches of images | a first layer whose windows stand side by side | flat |
| the rest | dense layers, as of a table | epsilon |

All of it is read from the graph's operators and their geometry, never from names. `e.notes` says what was found, `e.rules`
what stands where. docs/auto.md has the study of which rules are faithful on which of these, and its command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reflrp import rules as r
from reflrp.composites.composite import Composite, Pairs, defaults
from reflrp.composites.matchers import Matcher, Survey, first, kind, op_type
from reflrp.composites.registry import register
from reflrp.ir import WEIGHTED, Graph, Node
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.einsum import EinsumProduct
from reflrp.ops.normaliser import Softmax
from reflrp.ops.product import MatrixProduct, Multiply, Product
from reflrp.rules.base import Rule

RECURRENT = ("LSTM", "GRU", "RNN")


def axes_slid(node: Node, graph: Graph) -> int | None:
    """Return over how many axes the windows of a convolution slide; None for what is no convolution.

    Not over an axis that has one entry only, nor over one that a window spans: two axes are an image, one is time, and
    none (a layer behind a global pool, or one that makes a map of a vector) is a dense layer, written as a convolution.
    Over an axis that the file leaves open they slide, as long or short as it is.
    """
    if not isinstance(node.op, Conv | ConvTranspose):
        return None
    taken, given = (graph.values[name].lengths[2:] for name in (node.inputs[0], node.output))
    return sum(1 not in pair for pair in zip(taken, given, strict=True))


def slides(node: Node, graph: Graph) -> bool:
    """Return whether a node is a convolution over any axis."""
    return bool(axes_slid(node, graph))


def on_images(node: Node, graph: Graph) -> bool:
    """Return whether a node is a convolution over two axes or more."""
    return (axes_slid(node, graph) or 0) > 1


def cuts_patches(node: Node, graph: Graph) -> bool:
    """Return whether a node is a convolution on images whose windows stand side by side: it cuts them into patches."""
    op = node.op
    ones = (1,) * len(op.windows.kernel) if isinstance(op, Conv) else ()
    return on_images(node, graph) and isinstance(op, Conv) and op.windows.strides == op.windows.kernel != ones


def attends(node: Node, graph: Graph) -> bool:
    """Return whether a node weighs values by what comes out of a Softmax."""
    return isinstance(node.op, MatrixProduct | EinsumProduct) and node.op.gate(3) is not None


def gates_channels(node: Node, graph: Graph) -> bool:
    """Return whether a node weighs the channels of maps, one number for all places (as squeeze-and-excite does)."""
    op = node.op
    if not isinstance(op, Multiply) or op.gate(3) is None or len(op.sources[0]) < 4:
        return False
    one, two = (graph.values[name].lengths for name in node.inputs)
    return len(one) != len(two) or any((n == 1) != (m == 1) for n, m in zip(one, two, strict=True))


@dataclass(frozen=True)
class _Told(Matcher):
    """The nodes that one of the functions of this file tells."""

    by: Callable[[Node, Graph], bool]

    def __repr__(self) -> str:
        return f"{self.by.__name__}()"

    def __call__(self, node: Node, survey: Survey) -> bool:
        return self.by(node, survey.graph)


@dataclass(frozen=True)
class _WithAttention(Matcher):
    """The nodes of a graph that has attention somewhere."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        return survey.earliest(_Told(attends)) is not None


@dataclass(frozen=True)
class _ActsAgain(Matcher):
    """The layers of a spelled-out recurrence. Where there is attention, blocks may share their weights by depth instead."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        return node.name in survey.recurring and not _WithAttention()(node, survey)


@dataclass(frozen=True, repr=False)
class Auto(Composite):
    """The composite of `auto`: it says what it found."""

    def remarks(self, graph: Graph, assigned: Mapping[str, Rule]) -> tuple[str, ...]:
        """Return what the graph is made of, in one line, before what every composite says."""
        nodes = [node for node in graph.nodes if node.name in assigned]
        survey = Survey(graph)
        patches = [node for node in nodes if survey.is_first(node, WEIGHTED) and cuts_patches(node, graph)]
        again = [node for node in nodes if _ActsAgain()(node, survey)]
        return (
            f"auto: {'; '.join(_found(graph, nodes, patches, again)) or 'no layers found'}",
            *super().remarks(graph, assigned),
        )


def _found(graph: Graph, nodes: Sequence[Node], patches: Sequence[Node], again: Sequence[Node]) -> Iterator[str]:
    """Yield a few words for each part of a graph: what was found, and which preset's rules stand on how many nodes."""
    recurrent = [n for n in nodes if n.op_type in RECURRENT]
    spelled = [n for n in again if n.op_type not in RECURRENT]
    others = [n for n in nodes if n.op_type not in RECURRENT and n not in spelled]
    layers = [n for n in others if n.kind in WEIGHTED]
    over_time = [n for n in layers if axes_slid(n, graph) == 1]
    images = [n for n in layers if on_images(n, graph) and n not in patches]
    attention = any(attends(n, graph) for n in others)
    beside = [
        n for n in others if isinstance(n.op, Softmax) or (isinstance(n.op, Product) and not gates_channels(n, graph))
    ]
    parts = {
        f"recurrence found ({', '.join(dict.fromkeys(n.op_type for n in recurrent))}), lstm": recurrent,
        "recurrence found (weights that act again), lstm": spelled,
        "convolutions on images found, epsilon_plus_flat": images,
        "patches of images found, flat": patches,
        "convolutions over time found, epsilon_plus": over_time,
        "attention found, attnlrp": beside if attention else [],
        "dense layers, epsilon": [n for n in layers if not axes_slid(n, graph)],
    }
    return (f"{words} on {len(found)} node{'s' * (len(found) != 1)}" for words, found in parts.items() if found)


@register("auto")
def auto(epsilon: float = 1e-6, recurrent_epsilon: float = 1e-3) -> Composite:
    """The default: choose by what the graph is made of, part by part, and say so in the notes."""
    recurrent, image = op_type(*RECURRENT), _Told(on_images)
    pairs: Pairs = (
        ((recurrent | _ActsAgain()) & kind(*WEIGHTED), r.Epsilon(recurrent_epsilon)),
        (recurrent & kind("sum", "pool", "diagonal"), r.Norm(recurrent_epsilon)),
        (recurrent & kind("product"), r.SignalTakesAll("auto", recurrent_epsilon)),
        (first() & image, r.Flat(epsilon)),
        (_Told(slides), r.ZPlus(stabilizer=epsilon)),
        (kind(*WEIGHTED), r.Epsilon(epsilon)),
        (op_type("Softmax"), r.Taylor()),
        (kind("product") & _WithAttention() & ~_Told(gates_channels), r.Half(epsilon)),
    )
    return Auto((*pairs, *defaults(epsilon)), "auto")
