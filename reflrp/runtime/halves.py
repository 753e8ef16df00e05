"""Two sessions that stand for one graph: what no target changes is run once, and the rest for each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reflrp.compiler.observe import library
from reflrp.runtime.sessions import in_our_words

Values = Mapping[str, Any]
"""Values of onnxruntime's by name, which stay where they are between two runs."""


@dataclass(frozen=True, eq=False)
class Halves:
    """The session of what no target changes, that of the rest, and what the first hands to the second."""

    first: Any
    second: Any
    handed: tuple[str, ...]

    def get_inputs(self) -> list[Any]:
        """Return the inputs of both, as a session has them."""
        found = {i.name: i for i in (*self.first.get_inputs(), *self.second.get_inputs())}
        return [i for k, i in found.items() if k not in self.handed]

    def get_outputs(self) -> list[Any]:
        """Return the outputs of both, as a session has them."""
        return [*self.first.get_outputs(), *self.second.get_outputs()]

    def early(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> Values:
        """Return what the first session computes: of `names`, and what it hands over."""
        return _run(self.first, {*names, *self.handed}, _values(self.first, feeds))

    def late(self, names: Sequence[str], feeds: Mapping[str, np.ndarray], early: Values) -> dict[str, np.ndarray]:
        """Return the outputs of these names, after the first session has run."""
        handed = {k: early[k] for k in self.handed}
        made = {**early, **_run(self.second, set(names), {**_values(self.second, feeds), **handed})}
        return {k: made[k].numpy() for k in names}


def _values(session: Any, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    value = library().OrtValue.ortvalue_from_numpy
    return {i.name: value(feeds[i.name]) for i in session.get_inputs() if i.name in feeds}


def _run(session: Any, names: set[str], feeds: Values) -> dict[str, Any]:
    wanted = [o.name for o in session.get_outputs() if o.name in names]
    with in_our_words():
        return dict(zip(wanted, session.run_with_ort_values(wanted, dict(feeds)), strict=True)) if wanted else {}
