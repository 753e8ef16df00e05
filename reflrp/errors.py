"""Everything that reflrp raises on purpose: one base class, so that callers need one `except`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class ReflrpError(Exception):
    """Base of all errors of reflrp. The message names the node, file or argument and says what to do."""


class ModelError(ReflrpError):
    """The file is missing, is no ONNX model, is truncated, or its graph is invalid."""


class InputError(ReflrpError, ValueError):
    """An input, target, initial relevance or argument does not fit the model."""


class RuleError(ReflrpError, ValueError):
    """A rule has impossible parameters, is unknown, or is assigned to a node that it cannot serve."""


class UnassignedNodes(RuleError):
    """Some nodes match no pair of the composite."""


class TooLarge(ReflrpError):
    """The model, or the input, asks for more memory than `reflrp.limits.MEMORY`; nothing has been allocated."""


class NonFiniteError(ReflrpError, ArithmeticError):
    """A NaN or an infinity arose; the message names the node."""


class ForwardChanged(ReflrpError):
    """A canonizing pass, or recognising a function, changed the network's values, so it is wrong for this network."""


@dataclass(frozen=True)
class Offender:
    """One ONNX node that stands in the way: its name, operator, domain, opset version, and why."""

    name: str
    op: str
    domain: str
    opset: int
    why: str = "no builder"

    def __str__(self) -> str:
        """Return one line for an error message."""
        return f"{self.name!r}: {self.domain or 'ai.onnx'}::{self.op} (opset {self.opset}): {self.why}"


class UnsupportedOperator(ReflrpError):
    """The model has operators that reflrp cannot explain. `nodes` lists *all* of them.

    Parameters
    ----------
    nodes : iterable of Offender
        Every node in the way.

    """

    def __init__(self, nodes: Iterable[Offender]) -> None:
        self.nodes = tuple(nodes)
        lines = "\n  ".join(str(node) for node in self.nodes)
        count = "1 node is" if len(self.nodes) == 1 else f"{len(self.nodes)} nodes are"
        super().__init__(f"{count} not supported:\n  {lines}")
