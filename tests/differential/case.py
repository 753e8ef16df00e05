"""A case: a network in blocks, its inputs, and what each block means.

A block is what one maker drew: some ONNX nodes, and the same computation in the oracle's words (`literal`), a list of nodes
of which each has one rule. Most nodes are their own words; a Gelu spelled out in eight nodes is one Gelu there, a
ReduceL2 is Pow, ReduceSum and Sqrt.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

IR_VERSIONS = {9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10}


@dataclass(frozen=True)
class Block:
    """What a maker drew. `literal` is None where the oracle has no words for it."""

    maker: str
    nodes: tuple[NodeProto, ...]
    literal: tuple[NodeProto, ...] | None

    @property
    def outputs(self) -> list[str]:
        return [o for node in self.nodes for o in node.output if o]

    @property
    def inputs(self) -> list[str]:
        """What it reads from outside, for its nodes and their words."""
        read = [i for node in (*self.nodes, *(self.literal or ())) for i in names_read(node)]
        made = {o for node in (*self.nodes, *(self.literal or ())) for o in node.output}
        return [i for i in dict.fromkeys(read) if i not in made]


def names_read(node: NodeProto) -> list[str]:
    """Return the values that a node reads, those that its subgraphs take from outside included."""
    found = [i for i in node.input if i]
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            made = {i.name for i in attribute.g.input} | {o for n in attribute.g.node for o in n.output}
            made |= {t.name for t in attribute.g.initializer}
            read = [i for n in attribute.g.node for i in names_read(n)] + [o.name for o in attribute.g.output]
            found += [i for i in read if i not in made]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Case:
    """A network and its inputs. `dynamic` says which inputs leave their first axis open."""

    opset: int
    blocks: tuple[Block, ...]
    feeds: dict[str, np.ndarray]
    constants: dict[str, np.ndarray]
    outputs: tuple[str, ...]
    dynamic: bool = True
    title: str = ""
    written: frozenset[str] = field(default_factory=frozenset)

    @property
    def nodes(self) -> list[NodeProto]:
        return [node for block in self.blocks for node in block.nodes]

    @property
    def operators(self) -> list[str]:
        return [node.op_type for node in self.nodes]

    def model(self) -> ModelProto:
        """Return the case as a file's contents. Constants in `written` are nodes, others initializers."""
        read = {i for node in self.nodes for i in names_read(node)}
        kept = {k: numpy_helper.from_array(v, k) for k, v in self.constants.items() if k in read}
        constants = [helper.make_node("Constant", [], [k], value=t) for k, t in kept.items() if k in self.written]
        graph = helper.make_graph(
            [*constants, *self.nodes],
            "net",
            [self._port(k, a) for k, a in self.feeds.items()],
            [helper.make_empty_tensor_value_info(o) for o in self.outputs],
            [t for k, t in kept.items() if k not in self.written],
        )
        for port in graph.output:
            port.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSIONS[self.opset])

    def _port(self, name: str, a: np.ndarray) -> onnx.ValueInfoProto:
        shape = ["N", *a.shape[1:]] if self.dynamic and a.ndim else list(a.shape)
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), shape)

    def pruned(self) -> Case:
        """Return the case without blocks, inputs and constants that no output depends on."""
        needed, kept = set(self.outputs), []
        for block in reversed(self.blocks):
            if needed & set(block.outputs):
                kept.append(block)
                needed |= set(block.inputs)
        feeds = {k: a for k, a in self.feeds.items() if k in needed}
        constants = {k: a for k, a in self.constants.items() if k in needed}
        return replace(self, blocks=tuple(reversed(kept)), feeds=feeds, constants=constants)

    def sample(self, i: int) -> dict[str, np.ndarray]:
        """Return the inputs of one sample."""
        return {k: a[i : i + 1] if a.ndim else a for k, a in self.feeds.items()}

    @property
    def count(self) -> int:
        """How many samples there are."""
        return max((len(a) for a in self.feeds.values() if a.ndim), default=1)
