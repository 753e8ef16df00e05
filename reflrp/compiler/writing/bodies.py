"""Writing the body of a loop: terms of what it reads go in, all others outside, where they are worked out once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnx import GraphProto, ValueInfoProto, helper

from reflrp.arrays.tracing.terms import Shape, Term
from reflrp.compiler.loops.recurrent import ScanBody
from reflrp.compiler.writing.emit import Writer


class LoopWriter(Writer):
    """A writer of graphs with loops."""

    def _scan(self, term: Term, operands: list[str], attributes: dict[str, Any]) -> Any:
        return operands, _loop(self, term.get("body"))


class BodyWriter(LoopWriter):
    """A writer into the body of a loop that stands in the graph of another."""

    def __init__(self, outer: Writer, leaves: dict[int, str]) -> None:
        super().__init__(GraphProto(), outer.trace, outer.opset, outer.derived)
        self.outer, self.constants = outer, outer.constants
        self.names = {leaf: (name,) for leaf, name in leaves.items()}
        self.within: dict[int, bool] = dict.fromkeys(leaves, True)

    def name(self, op: str) -> str:
        """Return a new name."""
        return self.outer.name(op)

    def lengths(self, shape: Shape) -> str:
        """Return the name of a shape, which is worked out outside."""
        return self.outer.lengths(shape)

    def inside(self, term: Term) -> bool:
        """Return whether a term depends on what the body reads."""
        waiting = [term]
        while waiting:
            rest = [t for t in waiting[-1].inputs if id(t) not in self.within]
            if rest:
                waiting.extend(rest)
                continue
            now = waiting.pop()
            self.within.setdefault(id(now), any(self.within[id(t)] for t in now.inputs))
        return self.within[id(term)]

    def _needs(self, term: Term) -> Iterator[Term]:
        return iter(term.inputs) if self.inside(term) else iter(())

    def _written(self, term: Term) -> tuple[str, ...]:
        if self.inside(term):
            for needed in super()._needs(term):  # lengths, which stand outside
                self.write(needed)
            return super()._written(term)
        self.outer.write(term)
        return self.outer.names[id(term)]


def _loop(writer: Writer, body: ScanBody) -> dict[str, Any]:
    """Return the attributes of a Scan."""
    name = writer.name("Scan")
    names = [f"{name}/{i}" for i in range(len(body.leaves))]
    inner = BodyWriter(writer, {id(leaf): n for leaf, n in zip(body.leaves, names, strict=True)})
    made = []
    for i, term in enumerate(body.made):
        made.append(f"{name}/output/{i}")
        inner.graph.node.append(helper.make_node("Identity", [inner.write(term)], [made[-1]], made[-1]))
    inner.graph.name = name
    inner.graph.input.extend(_port(n, term) for n, term in zip(names, body.leaves, strict=True))
    inner.graph.output.extend(_port(n, term) for n, term in zip(made, body.made, strict=True))
    count, turn = len(body.leaves) - body.states, int(body.backwards)
    return {
        "body": inner.graph, "num_scan_inputs": count, "scan_input_directions": [turn] * count,
        "scan_output_directions": [turn] * (len(body.made) - body.states),
    }  # fmt: skip


def _port(name: str, term: Term) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(term.dtype), None)
