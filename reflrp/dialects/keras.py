"""What an ONNX file does not say of the Keras model that it comes from: its layers, their classes, their order.

Libraries that work on Keras models tell layers by class and by place in `model.layers`. tf2onnx and Keras write the
layer's name into each node's (`net/conv2d/Conv2D`), so with the layers' descriptions at hand each node has its layer.

>>> KerasModel.of(model)  # a living model; no framework is imported  # doctest: +SKIP
>>> KerasModel.of({"config": model.get_config(), "weights": {}})  # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reflrp.arrays.looks import block
from reflrp.composites.matchers import Survey
from reflrp.errors import RuleError
from reflrp.ground.caches import Cache, Kept
from reflrp.ground.checks import shown
from reflrp.ir import UNRULED, WEIGHTED, Node
from reflrp.ops.routing import Pad

KERNEL = (
    "Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
    "SeparableConv1D", "SeparableConv2D", "DepthwiseConv1D", "DepthwiseConv2D", "LocallyConnected1D", "LocallyConnected2D",
)  # fmt: skip
"""The classes of layers that have a kernel."""

RESHAPES = ("Flatten", "Permute", "Reshape")
"""The classes that do not count as layers before an input layer."""


@dataclass(frozen=True)
class Layer:
    """One layer: its class, its config, for each call the layers that it reads, and its weights."""

    name: str
    kind: str
    config: Mapping[str, Any] = field(repr=False)
    calls: tuple[tuple[str, ...], ...]
    weights: tuple[np.ndarray, ...] = field(default=(), repr=False)

    @property
    def sources(self) -> tuple[str, ...]:
        """The layers that it reads in any call."""
        return tuple(dict.fromkeys(name for call in self.calls for name in call))

    def statistics(self) -> dict[str, Any]:
        """Return a BatchNormalization's gamma, beta, mean, variance and epsilon. Raises RuleError where they are missing."""
        scale, center = self.config.get("scale", True), self.config.get("center", True)
        names = ["gamma"] * bool(scale) + ["beta"] * bool(center) + ["mean", "variance"]
        if len(self.weights) != len(names):
            raise RuleError(
                f"layer {self.name!r} has no weights: give those of the Keras model, as KerasModel.of(model) does"
            )
        found = dict(zip(names, self.weights, strict=True))
        ones = np.ones_like(found["mean"])
        return {"gamma": ones, "beta": 0 * ones, **found, "epsilon": float(self.config.get("epsilon", 1e-3))}


@dataclass(frozen=True, eq=False)
class KerasModel:
    """A Keras model's layers, in the order of `model.layers`."""

    name: str
    layers: tuple[Layer, ...]
    _placed: Cache[Survey, dict[str, Layer]] = field(default_factory=lambda: Cache(2), repr=False)

    def __repr__(self) -> str:
        """Return the layers, one a line."""
        return block(f"KerasModel {self.name!r}", [f"{k.name}: {k.kind}" for k in self.layers])

    @classmethod
    def of(cls, model: Any) -> KerasModel | None:
        """Return the description of a living Keras model, or of {"config": ..., "weights": {layer: arrays}}; None of None.

        Raises RuleError for anything else.
        """
        if model is None or isinstance(model, cls):
            return model
        if isinstance(model, Mapping) and isinstance(model.get("config"), Mapping):
            return cls._read(model["config"], model.get("weights", {}))
        if callable(getattr(model, "get_config", None)) and isinstance(getattr(model, "layers", None), Sequence):
            return cls._read(model.get_config(), {layer.name: layer.get_weights() for layer in model.layers})
        raise RuleError(
            f"model={shown(model)} is no Keras model: give the model, its description by KerasModel.of, or None; "
            "the ONNX file goes to analyze or reflrp.explain"
        )

    @classmethod
    def _read(cls, config: Mapping[str, Any], weights: Mapping[str, Any]) -> KerasModel:
        try:
            layers = tuple(_layers(config, weights))
            return cls(str(config.get("name", "")), layers)
        except (KeyError, TypeError, AttributeError) as error:
            raise RuleError(
                f"the config is not that of a Keras model: {error!r} is missing or of another kind"
            ) from error

    @Kept
    def by_name(self) -> dict[str, Layer]:
        """The layers by name."""
        return {layer.name: layer for layer in self.layers}

    def layer(self, node: Node, survey: Survey) -> Layer:
        """Return the layer that a node comes from. Raises RuleError where the file's names do not tell it."""
        placed = self._placed.made(survey, lambda: self._place(survey))
        if node.name not in placed:
            raise RuleError(
                f"node {node.name!r} (onnx {node.op_type}) carries the name of none of the layers of {self.name!r}: "
                "give the model that the file was exported from, or leave model= out"
            )
        return placed[node.name]

    def _place(self, survey: Survey) -> dict[str, Layer]:
        """Return each node's layer: by name, and where the exporter lost it the only layer that can stand there."""
        nodes = survey.graph.nodes
        found = {n.name: layer for n in nodes if (layer := self._named(n)) is not None}
        producers = survey.graph.producers()
        seen = {layer.name for layer in found.values()}
        full = {found[n.name].name for n in nodes if n.name in found and n.kind in WEIGHTED}
        for node in nodes:
            if node.name in found or node.kind in UNRULED:
                continue
            before, weighted = _before(node, producers, found), node.kind in WEIGHTED
            free = [k for k in self.layers if k.name not in (full if weighted else seen)]
            fits = [k for k in free if (k.kind in KERNEL) == weighted and self._stands_behind(k, before, seen)]
            if len(fits) == 1:
                found[node.name] = fits[0]
                seen.add(fits[0].name)
                full.update({fits[0].name} if weighted else ())
        self._check_all_there(seen | full)
        return found

    def _check_all_there(self, seen: set[str]) -> None:
        """Raise RuleError where a layer that takes a rule has no node: the exporter made it part of another."""
        gone = [k.name for k in self.layers if k.kind in (*KERNEL, "BatchNormalization", "Add") and k.name not in seen]
        if gone:
            raise RuleError(
                f"the ONNX file has no node of the layers {', '.join(map(repr, gone))}, which the exporter made part of others, or "
                f"it is not that of {self.name!r}; leave model= out to explain the file as it is"
            )

    def reads_padding(self, node: Node, survey: Survey) -> bool:
        """Return whether a layer ZeroPadding before a node's layer is no node, or a layer's own padding is one."""
        layer = self.layer(node, survey)
        placed = self._placed.made(survey, lambda: self._place(survey))
        there = {k.name for k in placed.values()}
        if any(isinstance(n.op, Pad) and placed.get(n.name) is layer for n in survey.graph.nodes):
            return True  # a causal convolution's own padding, which is a node of its own
        before = [self.by_name[name] for name in layer.sources if name in self.by_name]
        return any(k.kind.startswith("ZeroPadding") and k.name not in there for k in before)

    def _named(self, node: Node) -> Layer | None:
        for name in (*node.onnx, node.name):
            parts = [re.sub(r"(__\d+|:\d+)+$", "", part) for part in name.split("/")]
            for part in parts[1:] if parts[0] == self.name else parts:
                for known in (part, re.sub(r"_\d+$", "", part)):  # a layer that is called again gets a number
                    if known in self.by_name:
                        return self.by_name[known]
        return None

    def _stands_behind(self, layer: Layer, before: str | None, seen: set[str]) -> bool:
        """Return whether a layer reads another, if only through layers that have no nodes."""
        for name in layer.sources:
            source = self.by_name.get(name)
            if name == before or (before is None and self.begins(name)):
                return True
            if source is not None and name not in seen and self._stands_behind(source, before, seen):
                return True
        return False

    def ends_before(self, layer: Layer, skipped: tuple[str, ...]) -> set[str]:
        """Return the classes of the layers that a layer reads, the skipped ones looked through."""
        found, open_ = set[str](), list(layer.sources)
        while open_:
            name = open_.pop()
            if self.begins(name):
                found.add("InputLayer")
            elif self.by_name[name].kind in skipped:
                open_.extend(self.by_name[name].sources)
            else:
                found.add(self.by_name[name].kind)
        return found

    def reads(self, name: str) -> set[str]:
        """Return the layers that a layer reads."""
        return set(self.by_name[name].sources)

    def begins(self, name: str) -> bool:
        """Return whether a name is that of an input; a Sequential does not list its own."""
        return name not in self.by_name or self.by_name[name].kind == "InputLayer"


def _before(node: Node, producers: Mapping[str, Node], found: Mapping[str, Layer]) -> str | None:
    """Return the layer of the value that a node reads, reshapes without a name looked through; None at the input."""
    name = node.inputs[0]
    while name in producers:
        maker = producers[name]
        layer = found.get(maker.name)
        if layer is not None and not (
            maker.kind in UNRULED and layer.kind in KERNEL
        ):  # not a Transpose before a kernel
            return layer.name
        name = maker.inputs[0]
    return None


def _layers(config: Mapping[str, Any], weights: Mapping[str, Any]) -> Iterator[Layer]:
    functional = "input_layers" in config
    before = ""
    for given in config["layers"]:
        name = given.get("name") or given["config"]["name"]
        calls = tuple(tuple(_names(call)) for call in given["inbound_nodes"]) if functional else ((before,),)
        if not functional and given["class_name"] == "InputLayer":
            continue  # model.layers of a Sequential has none
        arrays = tuple(np.asarray(w) for w in weights.get(name, ()))
        yield Layer(name, given["class_name"].rpartition(">")[2], given["config"], calls, arrays)
        before = name


def _names(call: Any) -> Iterator[str]:
    """Yield the layers that a call reads: each stands there as [name, node, tensor, ...]."""
    if isinstance(call, Mapping):
        history = call.get("config", {}).get("keras_history") if call.get("class_name") == "__keras_tensor__" else None
        if history:
            yield history[0]
        else:
            for value in call.values():
                yield from _names(value)
    elif isinstance(call, Sequence) and not isinstance(call, str):
        if len(call) >= 3 and isinstance(call[0], str) and all(isinstance(i, int) for i in call[1:3]):
            yield call[0]
            call = call[3:]
        for value in call:
            yield from _names(value)
