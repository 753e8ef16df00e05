"""What parsing a file gives: its ports, its nodes in order, and its constants as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reflrp.arrays.looks import block, counted, ended, listed
from reflrp.ground.caches import Kept
from reflrp.importer.files.external import Mapped
from reflrp.importer.lengths.inferring import lengths, said
from reflrp.importer.nodes.node import OnnxNode
from reflrp.ir import Lengths


@dataclass(frozen=True)
class Port:
    """What the file says of an input: its dimensions (a number, a name, or None) and its dtype."""

    dims: tuple[int | str | None, ...] | None
    dtype: np.dtype[Any]

    @property
    def open_axes(self) -> tuple[bool, ...] | None:
        """Which axes have a length that the file leaves open; None where it leaves their number open."""
        return None if self.dims is None else tuple(not isinstance(n, int) for n in self.dims)

    def __str__(self) -> str:
        """Return `float32 (N, 1, 8, 8)`."""
        if self.dims is None:
            return f"{self.dtype} of any shape"
        dims = ", ".join("?" if d is None else str(d) for d in self.dims)
        return f"{self.dtype} ({dims}{',' if len(self.dims) == 1 else ''})"


@dataclass(frozen=True, eq=False)
class Source:
    """A parsed model: nodes in topological order, constants as arrays, the ports, and which values are active.

    `made` is how many bytes of the constants do not lie in the file but are computed from it; `mapped` knows the files in which
    constants still lie.
    """

    name: str
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, np.ndarray]
    inputs: Mapping[str, Port]
    outputs: tuple[str, ...]
    active: frozenset[str]
    opsets: Mapping[str, int] = field(default_factory=dict)
    made: int = 0
    mapped: Mapped = field(default_factory=Mapped, repr=False)

    @Kept
    def lengths(self) -> Mapping[str, Lengths]:
        """For each value whose rank is known the length of each axis: a number, or the name of one that the file leaves open."""
        ports = {k: (port.dims, port.dtype) for k, port in self.inputs.items()}
        return lengths(self.nodes, self.constants, ports, self.opsets)

    @Kept
    def said(self) -> frozenset[str]:
        """The names that the file has for lengths of its inputs."""
        return said(port.dims for port in self.inputs.values())

    @property
    def is_open(self) -> bool:
        """Whether the file leaves any length of its inputs open."""
        return any(port.open_axes is None or any(port.open_axes) for port in self.inputs.values())

    @Kept
    def with_gaps(self) -> frozenset[str]:
        """The inputs in which a NaN is a gap: all that read them fill it in."""
        read = {fills: set[str]() for fills in (True, False)}
        for node in self.nodes:
            read[_fills_in(node)].update(node.inputs)
        return frozenset(name for name in self.inputs if name in read[True] - read[False])

    @property
    def size(self) -> int:
        """How many numbers the constants hold."""
        return sum(a.size for a in self.constants.values())

    def __repr__(self) -> str:
        """Return what the file is, without its weights."""
        rows = {
            "nodes": f"{len(self.nodes)} ({counted(n.op_type for n in self.nodes)})",
            "constants": f"{len(self.constants)} of {self.size:,} numbers",
            "inputs": listed((f"{k!r} {port}" for k, port in self.inputs.items()), width=60),
            "outputs": listed(map(repr, self.outputs)),
            "opset": ", ".join(f"{k or 'ai.onnx'} {v}" for k, v in self.opsets.items()),
        }
        return block(f"Source {ended(self.name)}", rows)


def _fills_in(node: OnnxNode) -> bool:
    gap = node.attributes.get("replaced_value_float", 0.0)
    return node.op_type == "Imputer" and bool(np.isnan(gap))
