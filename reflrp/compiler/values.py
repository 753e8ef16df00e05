"""Which values of our graph the user's own graph computes already; all others are traced through their own op.

Passes of the import leave a value its name and change what it means: a bias that stood behind a Reshape goes before it. So
the name alone says nothing. A value of ours is the file's value of that name if nothing went into it that does not go into
the file's: each ONNX node that it was made of must be one that the file's value depends on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from reflrp.ir import Graph

if TYPE_CHECKING:
    from reflrp.importer.nodes.node import OnnxNode
    from reflrp.importer.source import Source


def shared(graph: Graph, source: Source, named: Collection[str]) -> set[str]:
    """Return the values of a graph that a file computes under the same name; `named` are all names of the file's values."""
    bits = {node.name: 1 << i for i, node in enumerate(source.nodes)}
    before: dict[str, int] = {}
    for node in source.nodes:
        reads = bits[node.name]
        for name in node.reads:
            reads |= before.get(name, 0)
        before.update(dict.fromkeys(filter(None, node.outputs), reads))
    found, made = set(graph.inputs) & set(named), dict.fromkeys(graph.inputs, 0)
    for ours in graph.nodes:
        parts = 0
        for name in ours.onnx:
            parts |= bits.get(name, -1)
        for name in ours.inputs:
            parts |= made[name]
        made[ours.output] = parts
        if ours.output in named and ours.output in before and parts >= 0 and not parts & ~before[ours.output]:
            found.add(ours.output)
    return found


def misread(graph: Graph, shapes: Mapping[str, tuple[int | None, ...]]) -> set[str]:
    """Return the values that have another shape than ONNX infers: nodes of ours behind them would not pass its check.

    Before opset 22 it counts a last window of a pool that starts behind the input, which no runtime makes; and it puts
    output_padding beside an `auto_pad` of a ConvTranspose.
    """
    found = {k: (shapes[k], value.shape) for k, value in graph.values.items() if k in shapes}
    return {
        k
        for k, (said, own) in found.items()
        if len(said) != len(own) or any(s not in (None, n) for s, n in zip(said, own, strict=True))
    }


def strayed(source: Source) -> set[str]:
    """Return the values of a file that onnxruntime makes in another way than ONNX says, for some lengths only.

    An example says nothing of the other lengths. Where SAME windows lie further apart than they are wide, onnxruntime takes entries
    away in place of padding; with ceil_mode beside VALID it has one window more for some lengths. Where a last window would start
    behind the input, some versions drop it and some do not.
    """
    found = set[str]()
    for node in source.nodes:
        if _strays(node, source) or not found.isdisjoint(node.reads):
            found.update(filter(None, node.outputs))
    return found


def _strays(node: OnnxNode, source: Source) -> bool:
    asked = node.attributes
    mode, strides = asked.get("auto_pad", "NOTSET"), asked.get("strides", ())
    rounded_up = bool(asked.get("ceil_mode", 0))
    if mode == "VALID" or not (rounded_up or mode in ("SAME_UPPER", "SAME_LOWER")):
        return rounded_up
    weights = (source.constants.get(name) for name in node.inputs[1:])
    kernel = asked.get("kernel_shape") or next((w.shape[2:] for w in weights if w is not None and w.ndim > 2), ())
    kernel = kernel or (1,) * len(strides)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, asked.get("dilations", (1,) * len(kernel)), strict=False)]
    if rounded_up and mode not in ("SAME_UPPER", "SAME_LOWER"):
        ends = asked.get("pads", (0,) * 2 * len(spans))[len(spans) :]
        steps = strides or (1,) * len(spans)
        return any(e + s > span for e, s, span in zip(ends, steps, spans, strict=False))
    return any(s > span + 1 for s, span in zip(strides, spans, strict=False))
