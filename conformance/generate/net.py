"""How the networks of cases are put together: nodes with their rules, and numbers that are small dyadic fractions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from reflrp.conformance.protocol import RuleSpec

OPSET = 17

LATER = {"Gelu": 20, "GroupNormalization": 21, "RMSNormalization": 23}
"""Operators that an opset brought, or defined anew, after that one."""


class Stream:
    """Numbers without chance: the digits of SHA-256 over a text and a counter."""

    def __init__(self, text: str) -> None:
        self.text, self.count = text, 0

    def whole(self, low: int, high: int) -> int:
        """Return a whole number of low..high."""
        self.count += 1
        digest = hashlib.sha256(f"{self.text}:{self.count}".encode()).digest()
        return low + int.from_bytes(digest[:6], "big") % (high - low + 1)

    def dyadic(self, shape: Sequence[int], low: int = -8, high: int = 8, over: int = 8) -> np.ndarray:
        """Return multiples of 1 / over, from low / over to high / over."""
        found = [self.whole(low, high) / over for _ in range(int(np.prod(shape, dtype=np.int64)))]
        return np.array(found, dtype=np.float64).reshape(shape)

    def nonzero(self, shape: Sequence[int], low: int = -8, high: int = 8, over: int = 8) -> np.ndarray:
        """Return the same without 0."""
        found = self.dyadic(shape, low, high, over)
        return np.where(found == 0, 3 / over, found)


class Net:
    """A network under construction. Values are named for the nodes that make them: `conv0` makes `conv0_y`."""

    def __init__(self, seed: str) -> None:
        self.numbers = Stream(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: dict[str, np.ndarray] = {}
        self.outputs: list[str] = []
        self.rules: list[RuleSpec] = []
        self.taken: dict[str, int] = {}

    def input(self, values: np.ndarray, name: str = "x") -> str:
        """Enter an input, with what it holds in this case."""
        self.inputs[name] = np.asarray(values, dtype=np.float64)
        return name

    def constant(self, values: Any, name: str = "c") -> str:
        """Enter a constant: float32, or int64 for whole numbers."""
        array = np.asarray(values)
        array = array.astype(np.float32 if array.dtype.kind == "f" else array.dtype)
        name = self._named(name)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def _named(self, name: str) -> str:
        count = self.taken.get(name, 0)
        self.taken[name] = count + 1
        return f"{name}{count}"

    def node(
        self, op: str, inputs: Sequence[Any], rule: Any = None, outputs: int = 1, name: str = "", **attributes: Any
    ) -> Any:
        """Enter a node; arrays among its inputs become constants. `rule`: (name, parameters). Returns its output's name."""
        called = self._named(name or op.lower())
        given = [i if isinstance(i, str) else self.constant(i, f"{called}_c") for i in inputs]
        made = [f"{called}_y"] if outputs == 1 else [f"{called}_y{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, given, made, called, **attributes))
        if rule is not None:
            self.rules.append(RuleSpec(called, rule[0], dict(rule[1])))
        return made[0] if outputs == 1 else made

    def output(self, name: str) -> None:
        """Enter an output."""
        self.outputs.append(name)

    def model(self, shapes: Mapping[str, tuple[int, ...]] | None = None) -> ModelProto:
        """Return the network as ONNX; `shapes` are those of the outputs. The batch size stays open."""
        ports = [
            helper.make_tensor_value_info(k, TensorProto.FLOAT, ["N", *v.shape[1:]]) for k, v in self.inputs.items()
        ]
        made: dict[str, list[str | int | None]] = {k: ["N", *(shapes or {}).get(k, (1,))[1:]] for k in self.outputs}
        outputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, shape) for k, shape in made.items()]
        graph = helper.make_graph(self.nodes, "case", ports, outputs, self.constants)
        opset = max(LATER.get(n.op_type, OPSET) for n in self.nodes)
        if any(n.op_type == "AveragePool" and a.name == "dilations" for n in self.nodes for a in n.attribute):
            opset = max(opset, 19)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="reflrp conformance"
        )
        model.ir_version = next(ir for since, ir in ((23, 11), (21, 10), (19, 9), (0, 8)) if opset >= since)
        return model
