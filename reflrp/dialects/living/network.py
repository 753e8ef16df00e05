"""A torch network beside the ONNX file that was exported from it: for each node, the module whose operation it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reflrp.arrays import ZERO
from reflrp.composites.matchers import Survey
from reflrp.dialects.living.parts import Part, border_of, close
from reflrp.dialects.living.scopes import Scopes
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import UNRULED, WEIGHTED, Graph, Node, Shape
from reflrp.model import Model, load
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.linear import BatchNorm, Dense, Diagonal
from reflrp.passes.canonize import canonize

REWRITTEN = "pkg.onnxscript.rewriter.rule_name"
"""Where torch's exporter says that its optimiser wrote a node in place of others."""

EXPORT = "torch.onnx.export(..., dynamo=True, optimize=False)"


@dataclass(frozen=True, eq=False)
class Place:
    """Where a node stands in the torch network.

    Attributes
    ----------
    node : Node
        A node that takes a rule.
    parts : tuple of Part
        The innermost modules around it; several where the file leaves several open, or where it spans them.
    own : bool
        It is what these modules compute: one operator of their kind, with their weights. Else it is a function in them.
    merged : Part, optional
        The BatchNorm that is merged into its weights.

    """

    node: Node
    parts: tuple[Part, ...]
    own: bool
    merged: Part | None = None

    def __repr__(self) -> str:
        """Return `'node_conv2d' (onnx Conv)`."""
        return f"{self.node.name!r} (onnx {self.node.op_type})"


class Network:
    """A torch module, and the graph of its ONNX file at some input shapes, after the canonizing passes that are named.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or Model
        The file, exported from the module.
    module : torch.nn.Module
        Anything with its `named_modules()`.
    passes : tuple of str
        The canonizing passes that run before the rules are set.
    merges : dict
        {the name of a layer: the name of the BatchNorm that is merged into it}.
    shapes : dict, optional
        The inputs' shapes by name, where the file leaves more open than the batch size.

    """

    def __init__(
        self,
        model: Any,
        module: Any,
        passes: tuple[str, ...] = (),
        merges: Mapping[str, str] | None = None,
        shapes: Mapping[str, Shape] | None = None,
    ) -> None:
        self.model: Model = load(model)
        self.merges = dict(merges or {})
        self.parts = {name: Part(name, m) for name, m in modules_of(module).items()}
        self.graph: Graph = canonize(self.model.graph(shapes or self.model.example_shapes()), passes)
        self.survey = Survey(self.graph)
        self._scopes = Scopes(first_names(module))

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The places of all nodes that take a rule. Raises RuleError for those that the file does not place."""
        values = self.graph.values
        ruled = [n for n in self.graph.nodes if n.kind not in UNRULED and values[n.output].active]
        around = {n.name: self._around(n) for n in ruled}
        lost = [n for n in ruled if not all(around[n.name])]
        if lost:
            names = ", ".join(f"{n.name!r} (onnx {n.op_type})" for n in lost[:8])
            raise RuleError(
                f"the file does not say from which torch modules {len(lost)} nodes are: {names}; use {EXPORT}"
            )
        return tuple(self._place(n, around[n.name]) for n in ruled)

    def moved_in(self, names: Iterable[str]) -> list[tuple[Node, str]]:
        """Return the nodes that only move values, each with the module around it, for those modules."""
        moving = [n for n in self.graph.nodes if n.kind in UNRULED and self.graph.values[n.output].active]
        moving = [n for n in moving if not self._chooses(n)]
        found = ((n, names_of) for n in moving for names_of in self._around(n))
        return [(n, name) for n, names_of in found for name in sorted(names_of.intersection(names))]

    def _chooses(self, node: Node) -> bool:
        """Return whether a node takes each entry from its place in one of the inputs: torch's Softplus(x) is x where x > 20."""
        shapes = {self.graph.values[i].shape for i in (*node.inputs, node.output) if self.graph.values[i].active}
        return node.op_type == "Where" and len(shapes) == 1

    def bordered_in(self, names: Iterable[str]) -> list[tuple[Node, str]]:
        """Return the nodes that put constants around a value, each with the module around it, for those modules."""
        modes = {n.name: n.attributes.get("mode", "constant") for n in self.model.source.nodes if n.op_type == "Pad"}
        return [(n, name) for n, name in self.moved_in(names) if any(modes.get(o) == "constant" for o in n.onnx)]

    def widened(self, names: Iterable[str]) -> list[tuple[Node, str]]:
        """Return the convolutions with zeros around them that their module does not put there, for those modules."""
        own = [(p.node, p.parts[0]) for p in self.places if p.own and p.parts[0].name in names]
        return [(n, part.name) for n, part in own if isinstance(n.op, Conv) and part.border != border_of(n.op)]

    @cached_property
    def _written(self) -> dict[str, tuple[str, str]]:
        """The scope of each node of the file, and the rule of the exporter's optimiser that wrote it."""
        return {n.name: (n.scope, _rewritten(n.proto)) for n in self.model.source.nodes}

    def _around(self, node: Node) -> list[frozenset[str]]:
        """Return, for each ONNX node that a node is made of, the modules that may be the innermost around it."""
        return [self._scopes.innermost(n, self._written.get(n, (node.scope, ""))[0]) for n in node.onnx] or [
            frozenset()
        ]

    def _place(self, node: Node, around: list[frozenset[str]]) -> Place:
        if node.kind in WEIGHTED:
            return self._of_layer(node, self._named(frozenset[str]().union(*around)))
        parts = self._named(frozenset[str]().union(*around))
        alone = len(set(around)) == 1 and not any(self._written.get(n, ("", ""))[1] for n in node.onnx)
        if any(p.is_batchnorm for p in parts) and isinstance(node.op, Diagonal):
            parts = tuple(p for p in parts if not p.is_batchnorm or self._is_norm(p, node)) or parts
            alone = alone and all(not p.is_batchnorm or self._is_norm(p, node) for p in parts)
        return Place(node, parts, alone and all(self._fits(p, node) for p in parts))

    def _is_norm(self, part: Part, node: Node) -> bool:
        return isinstance(node.op, Diagonal) and (part.computes(node.op) or self.left_of(part, node))

    def left_of(self, part: Part, node: Node) -> bool:
        """Return whether a node is what the merge of a BatchNorm leaves of it: 1 / sqrt(1 + eps)."""
        op = node.op
        if not isinstance(op, BatchNorm) or op.b is not ZERO or part.name not in self.merges.values():
            return False
        scales = [1 / np.sqrt(1 + eps) for eps in (float(part.module.eps), float(np.float32(part.module.eps)))]
        return any(close(op.w, np.full(np.shape(op.w), s)) for s in scales)

    def _named(self, names: Iterable[str]) -> tuple[Part, ...]:
        return tuple(self.parts[name] for name in sorted(names))

    def _fits(self, part: Part, node: Node) -> bool:
        return part.matcher is not None and part.matcher(node, self.survey)

    def _of_layer(self, node: Node, parts: tuple[Part, ...]) -> Place:
        """Return the place of a convolution or dense layer, which its weights prove."""
        layers, norms = [p for p in parts if p.is_weighted], [p for p in parts if p.is_batchnorm]
        if not layers and not norms:
            return Place(node, parts, own=False)
        named = {norm.name for norm in norms}
        behind = [self.parts[name] for name, norm in self.merges.items() if norm in named] if not layers else []
        for layer in (*layers, *behind):
            merged = self.parts[self.merges[layer.name]] if layer.name in self.merges else None
            for norm in (None, merged) if merged else (None,):
                if self._fits(layer, node) and computes(layer, node.op, norm):
                    return Place(node, (layer,), own=True, merged=norm)
        raise RuleError(self._unlike(node, (*layers, *norms)))

    def _unlike(self, node: Node, parts: tuple[Part, ...]) -> str:
        """Return why a layer is none of the modules that it is named after."""
        for layer in (p for p in self.parts.values() if p.is_weighted):
            for norm in (p for p in self.parts.values() if p.is_batchnorm):
                if computes(layer, node.op, norm):
                    return (
                        f"in the file {norm!r} is merged into {layer!r}, and it is not in what is to be explained; "
                        f"export it by {EXPORT}, or merge it there, too"
                    )
        names = " or ".join(map(repr, parts))
        return (
            f"node {node.name!r} (onnx {node.op_type}) is named after {names}, but its weights are others; "
            "was the file exported from this network?"
        )


def computes(part: Part, op: Any, norm: Part | None = None) -> bool:
    """Return whether a node has the weights of a layer, with a BatchNorm merged into them or none."""
    return isinstance(op, Dense | Conv | ConvTranspose) and part.computes(op, norm)


def modules_of(module: Any, aliases: bool = False, argument: str = "module") -> dict[str, Any]:
    """Return the modules of a torch network by name, shared ones once unless `aliases`. Raises RuleError for what is none."""
    if isinstance(module, type) or not callable(getattr(module, "named_modules", None)):
        raise checks.refuse(argument, module, "a torch module, with named_modules()", RuleError)
    return dict(module.named_modules(remove_duplicate=False) if aliases else module.named_modules())


def first_names(module: Any) -> dict[str, str]:
    """Return the first name of each module by all of its names, in the order of registration."""
    first = {id(m): name for name, m in modules_of(module).items()}
    return {name: first[id(m)] for name, m in modules_of(module, aliases=True).items()}


def _rewritten(proto: Any) -> str:
    return next((p.value for p in proto.metadata_props if p.key == REWRITTEN), "")
