"""Everything that reflrp raises on purpose: one base class, so that callers need one `except`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SCREEN = 4000
"""Characters of a message, of which a file's names may be part; about what fits on a screen."""

LISTED = 20
"""How many nodes a message lists."""


def shortened(text: str, longest: int) -> str:
    """Return a text's beginning and end, where it has more characters than `longest`, and how many are left out.

    A text that is too long by less than this remark takes is left as it is.
    """
    remark = f" [{len(text) - longest:,} more] "
    if len(text) <= longest + len(remark):
        return text
    tail = longest // 3
    return f"{text[: longest - tail]}{remark}{text[len(text) - tail :]}"


class ReflrpError(Exception):
    """Base of all errors of reflrp. The message names the node, file or argument and says what to do."""

    def __str__(self) -> str:
        """Return the message, at most a screen of it."""
        return shortened(super().__str__(), SCREEN)


class ModelError(ReflrpError):
    """The file is missing, is no ONNX model, is truncated, or its graph is invalid."""


class InputError(ReflrpError, ValueError):
    """An input, target, initial relevance or argument does not fit the model."""


class RuleError(ReflrpError, ValueError):
    """A rule has impossible parameters, is unknown, or is assigned to a node that it cannot serve."""


class UnassignedNodes(RuleError):
    """Some nodes match no pair of the composite."""


class TooLarge(ReflrpError):
    """The model, or the input, asks for more memory, nodes or work than `reflrp.limits` allow, or than there is."""


class NonFiniteError(ReflrpError, ArithmeticError):
    """A NaN or an infinity arose; the message names the node."""


class ForwardChanged(ReflrpError):
    """A canonizing pass, or recognising a function, changed the network's values, so it is wrong for this network."""


class AdviceWarning(UserWarning):
    """What an explanation shows of itself that its reader should know; `Explanation.advice` has it too.

    It is never an error where all warnings are (`python -W error`), only where a filter names this class.
    """


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
        name, op = shortened(repr(self.name), 200), shortened(f"{self.domain or 'ai.onnx'}::{self.op}", 200)
        return f"{name}: {op} (opset {self.opset}): {shortened(self.why, 500)}"


class UnsupportedOperator(ReflrpError):
    """The model has operators that reflrp cannot explain. `nodes` lists *all* of them, the message the first 20.

    Parameters
    ----------
    nodes : iterable of Offender
        Every node in the way.

    Attributes
    ----------
    final : bool
        Whether the numbers of the inputs could change nothing: the graph was built without looking at any.

    """

    final = False

    def __init__(self, nodes: Iterable[Offender]) -> None:
        self.nodes = tuple(nodes)
        lines = [str(node) for node in self.nodes[:LISTED]]
        if len(self.nodes) > LISTED:
            lines.append(f"and {len(self.nodes) - LISTED} more (`reflrp inspect`, or the error's .nodes, lists all)")
        count = "1 node is" if len(self.nodes) == 1 else f"{len(self.nodes)} nodes are"
        super().__init__("\n  ".join([f"{count} not supported:", *lines]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make it again, for pickling: of its nodes, not of its message."""
        return type(self), (self.nodes,), vars(self)


class DependsOnData(UnsupportedOperator):
    """A size, branch or count of the graph depends on the numbers of the inputs, and these were not given with the shapes.

    Explaining and running give them, and build the graph of the observed input.
    """


class OtherWay(ModelError):
    """A value has another shape at this input than the graph was built with: its size depends on the data."""
