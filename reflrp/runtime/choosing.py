"""The backend "auto": onnxruntime where it can serve, else NumPy; the explanation says which, and why."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from reflrp.compiler.observe import library
from reflrp.errors import ReflrpError
from reflrp.explainer.backends import Wishes
from reflrp.explainer.cuts import Cut
from reflrp.explainer.programs import Programs
from reflrp.explanation import Explanation
from reflrp.runtime.running import Graphs, graphs


@dataclass(frozen=True, eq=False)
class Choice(Programs):
    """Programs that are run by onnxruntime, or by NumPy where that cannot be."""

    runtime: Graphs | None = None
    why: str = field(default="")

    def allowed(self, most: int) -> int:
        """Return how many bytes the values of a cut may take."""
        return most if self.runtime is None else self.runtime.allowed(most)

    def explained(self, cut: Cut) -> list[Explanation]:
        """Explain one cut of a batch by the one or by the other."""
        why = "it can shake the operands of each node (uncertainty=True)" if cut.uncertainty else self.why
        if self.runtime is not None and not cut.uncertainty:
            try:
                found = self.runtime.explained(cut)
            except ReflrpError as error:  # what is wrong with the arguments or the model, NumPy says again
                why = str(error)
            else:
                return [_said(e, "backend 'auto': onnxruntime") for e in found]
        found = super().explained(cut)
        return [_said(e, f"backend 'auto': NumPy, as {why}") for e in found]


def _said(e: Explanation, note: str) -> Explanation:
    return replace(e, notes=(*e.notes, note))


def chosen(programs: Programs, wishes: Wishes) -> Choice:
    """Return the programs of the backend "auto"."""
    own: dict[str, Any] = {f.name: getattr(programs, f.name) for f in fields(Programs)}
    dtype = programs.convert.dtype
    if dtype != "float32":
        return Choice(**own, why=f"dtype is {dtype!r}, and not 'float32'")
    try:
        library()
    except ReflrpError as error:
        return Choice(**own, why=str(error))
    return Choice(**own, runtime=graphs(programs, wishes))
