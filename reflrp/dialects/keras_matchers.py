"""Matchers of nodes by the Keras layer that they come from, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass, field

from reflrp.composites.matchers import Matcher, Survey, kind, op_type
from reflrp.dialects.keras import KERNEL, RESHAPES, KerasModel
from reflrp.errors import RuleError
from reflrp.ir import WEIGHTED, Node
from reflrp.ops.routing import Pad, Reshape, Transpose

POOLS = op_type("AveragePool", "GlobalAveragePool", "ReduceMean") & kind("pool")
AVERAGE_POOLS = ("AveragePooling{}D", "GlobalAveragePooling{}D")


def sized(*names: str) -> tuple[str, ...]:
    """Return the names for one to three axes."""
    return tuple(name.format(n) for name in names for n in (1, 2, 3))


@dataclass(frozen=True)
class Of(Matcher):
    """The nodes of layers of some classes; without a description of the model, those that `otherwise` matches."""

    model: KerasModel | None = field(repr=False)
    kinds: tuple[str, ...]
    otherwise: Matcher

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        if self.model is None:
            return self.otherwise(node, survey)
        return self.model.layer(node, survey).kind in self.kinds


@dataclass(frozen=True)
class Layers(Matcher):
    """The nodes of the named layers."""

    model: KerasModel = field(repr=False)
    names: tuple[str, ...]

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        return self.model.layer(node, survey).name in self.names


@dataclass(frozen=True)
class Refused(Matcher):
    """Matches nothing: raises RuleError at a node that `matcher` matches."""

    matcher: Matcher
    why: str

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return False."""
        if self.matcher(node, survey):
            raise RuleError(f"node {node.name!r} ({node.kind}, onnx {node.op_type}): {self.why}")
        return False


@dataclass(frozen=True)
class JoinedPadding(Matcher):
    """Convolutions that the exporter gave the zero padding of a layer before them."""

    model: KerasModel | None = field(repr=False)

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        return self.model is not None and self.model.reads_padding(node, survey)


@dataclass(frozen=True)
class InputLayers(Matcher):
    """Layers that read inputs only, if through Flatten, Permute and Reshape; with `pads` also through zero padding.

    Without a description of the model it is read from the graph, where exporters may have made a padding part of the
    convolution behind it.
    """

    model: KerasModel | None = field(repr=False)
    pads: bool = False

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        if self.model is not None:
            skipped = (*RESHAPES, *(sized("ZeroPadding{}D") if self.pads else ()))
            layer = self.model.layer(node, survey)
            return self.model.ends_before(layer, skipped) == {"InputLayer"}
        makers, through = survey.graph.producers(), (Reshape, Transpose, *((Pad,) if self.pads else ()))
        name = node.inputs[0]
        while name in makers and isinstance(makers[name].op, through):
            name = makers[name].inputs[0]
        return name in survey.graph.inputs


@dataclass(frozen=True)
class OneInput(Matcher):
    """Nodes of layers that read one value; without a description of the model, all."""

    model: KerasModel | None = field(repr=False)

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        return self.model is None or all(len(call) == 1 for call in self.model.layer(node, survey).calls)


@dataclass(frozen=True)
class Operator(Matcher):
    """Sums that Python's operators make, which are no layers: Keras puts that into their names."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        return any(
            part.startswith(("tf.__operators__", "tf.math", "tf.add")) for n in node.onnx for part in n.split("/")
        )


@dataclass(frozen=True)
class Kind(Matcher):
    """A condition on layers, as the libraries' own functions: it needs to know the model."""

    name: str
    kinds: tuple[str, ...]
    otherwise: Matcher

    def __repr__(self) -> str:
        return self.name

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches, by its kind."""
        return self.otherwise(node, survey)

    def bound(self, model: KerasModel | None, pads: bool) -> Matcher:
        """Return the condition for a model."""
        return InputLayers(model, pads) if self.name == "is_input_layer" else Of(model, self.kinds, self.otherwise)


contains_kernel = Kind("contains_kernel", KERNEL, kind(*WEIGHTED))
is_dense_layer = Kind("is_dense_layer", ("Dense",), kind("dense"))
is_conv_layer = Kind("is_conv_layer", tuple(k for k in KERNEL if "Conv" in k and k != "DepthwiseConv1D"), kind("conv"))
is_input_layer = Kind("is_input_layer", (), InputLayers(None))
