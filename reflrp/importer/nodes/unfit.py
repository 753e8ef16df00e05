"""What is said of a node that does not fit its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MISFITS: Mapping[type, str] = {
    IndexError: "an index is out of range, or an axis is missing",
    ValueError: "their shapes or values do not go together",
    ZeroDivisionError: "a length is 0",
}
"""What NumPy's and the reference code's exceptions say of a node's inputs. Of any other, the node is at fault, or reflrp."""


def misfit(what: str, inputs: Mapping[str, Any], error: Exception) -> str:
    """Return in words why a node cannot be worked out: by its inputs' shapes, and what the code that tried it says."""
    given = ", ".join(f"{name!r} {a.shape}" for name, a in inputs.items() if hasattr(a, "shape")) or "none"
    said = f"{type(error).__name__}: {error}"
    why = next((MISFITS[kind] for kind in type(error).__mro__ if kind in MISFITS), None)
    if why is None:
        return (
            f"{what} cannot be worked out of its inputs {given}, which is an error of the file, or of reflrp ({said})"
        )
    return (
        f"{what} does not fit its inputs {given}: {why} ({said}); check the shapes of the model's inputs, and the file"
    )
