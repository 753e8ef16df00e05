"""The values of a forward pass that are looked at beside, worked out by NumPy as far as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from reflrp.engine import Program, Values
from reflrp.engine.guards import operands
from reflrp.ir import Node


class Looked(Mapping[str, np.ndarray]):
    """All values of a program by name; each is computed when it is first asked for, with what it needs."""

    def __init__(self, program: Program, inputs: Values) -> None:
        self.program, self.known = program, dict(inputs)
        self.makers: dict[str, Node] = {node.output: node for node in program.graph.nodes}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a value."""
        waiting = [name]
        while waiting:
            now = waiting[-1]
            node = self.makers[now] if now not in self.known else None
            rest = [i for i in node.inputs if i not in self.known] if node else []
            if node and not rest:
                self.known[now] = self.program.ops[node.name].forward(*operands(self.program.graph, node, self.known))
            waiting.extend(rest) if rest else waiting.pop()
        found: np.ndarray = self.known[name]
        return found

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.program.graph.values)

    def __len__(self) -> int:
        """Return how many values there are."""
        return len(self.program.graph.values)
