"""Which torch modules a node of an ONNX file says that it comes from, as torch's two exporters write it.

The exporter by torch.export writes the names of all modules around an operator into its metadata, the innermost last, and
behind it the operator: ['', 'features', 'features.0', 'conv2d']. The one by tracing writes a path as the node's name,
/features/features.0/Conv: of each module the last part of its name, with the parts before where that is a number, and
_1, _2 ... for its second, third ... call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from reflrp.ground.literals import literal

AGAIN = re.compile(r"(.+)_\d+$")


class Scopes:
    """The names of a network's modules, to read scopes with; `names` holds {any name: the first name of the same module}."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self._by_last: dict[str, set[str]] = {}
        for name in names:
            self._by_last.setdefault(last(name), set()).add(name)

    def innermost(self, onnx: str, scope: str) -> frozenset[str]:
        """Return the modules that may be the innermost around a node: one, several where its name fits several, or none."""
        if scope.startswith("["):
            found: Iterable[str] = literal(scope)[-2:-1]
        elif onnx.startswith("/"):
            found = self._walked(onnx.split("/")[1:-1])
        else:
            found = ()
        return frozenset(self.names[name] for name in found if name in self.names)

    def _walked(self, path: list[str]) -> set[str]:
        """Return the modules at the end of a path."""
        at = {""}
        for step in path:
            again = AGAIN.fullmatch(step)
            called = self._by_last.get(step, set()) | (self._by_last.get(again[1], set()) if again else set())
            at = {name for name in called if any(_inside(name, outer) for outer in at)}
        return at


def last(name: str) -> str:
    """Return what of a module's name stands in a path: its last part, or from the last part on that is no number."""
    parts = name.split(".")
    start = len(parts) - 1
    while start > 0 and parts[start].isdigit():
        start -= 1
    return ".".join(parts[start:])


def _inside(name: str, outer: str) -> bool:
    return not outer or name.startswith(outer + ".")
