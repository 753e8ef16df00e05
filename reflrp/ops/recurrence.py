"""Steps of a recurrence whose number is left open: what one step does stands beside, as the nodes of the second step."""

from __future__ import annotations

from dataclasses import dataclass

from reflrp.ir import Op, Shape


@dataclass(frozen=True, eq=False)
class Steps(Op):
    """The states after each step, side by side and in the order of the entries, (steps, batch, states * hidden).

    Its inputs are what the steps from the second on read, and one more, (steps, batch, in), and the states after the first and the
    second, of which the latter only say what is repeated. It is no operator of the engine, which knows how many steps there are:
    compiled graphs run and explain it as a loop over the nodes of the second step (`compiler/recurrent.py`).

    Attributes
    ----------
    onnx : str
        The ONNX node.
    direction : int
        Which of its directions this is.
    source : str
        The value that the second step reads.
    before, after : tuple of str
        The states that the second step starts from, and those that it ends in.
    hidden : int
        How wide a state is.
    count : int
        How many steps there are in all.
    backwards : bool
        Whether the last entry comes first.

    """

    kind = "routing"
    onnx: str
    direction: int
    source: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    hidden: int
    count: int
    backwards: bool

    def shape(self, *shapes: Shape) -> Shape:
        """Return (steps, batch, states * hidden)."""
        return self.count, shapes[0][1], len(self.after) * self.hidden
