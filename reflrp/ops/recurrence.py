"""Steps of a recurrence whose number is left open: what one step does stands beside, as the nodes of the second step."""

from __future__ import annotations

from dataclasses import dataclass

from reflrp.ir import Op, Shape


@dataclass(frozen=True, eq=False)
class Steps(Op):
    """The states after the second step and after each one behind it, (steps - 1, batch, states * hidden).

    Its inputs are what the steps from the third on read, (steps - 2, batch, in), and the states after the second. It is no
    operator of the engine, which knows how many steps there are: compiled graphs run and explain it as a loop over the nodes of
    the second step (`compiler/recurrent.py`).

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
        Whether the last entry comes first; then the outputs are in that order, too, and the second step's comes last.

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
        """Return (steps - 1, batch, states * hidden)."""
        return self.count - 1, shapes[0][1], len(self.after) * self.hidden
