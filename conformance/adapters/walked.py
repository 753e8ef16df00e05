"""A case's network node by node, for libraries in NumPy that know single layers: what each computes, and how it shares.

The library's layers do the work; here is what no library has a rule for: which value goes where, and the sum of what several
readers give back.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import numpy_helper

from reflrp.conformance.protocol import Arrays, RuleSpec, Unsupported


@dataclass(frozen=True, eq=False)
class Node:
    """A node of the file: its constants by their places, its values by name."""

    name: str
    op_type: str
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    constants: Mapping[int, np.ndarray]
    output: str
    proto: Any
    raw: Mapping[str, np.ndarray]
    opset: int

    def only(self, **wanted: Any) -> None:
        """Raise Unsupported where an attribute is there with another value."""
        for key, value in wanted.items():
            given = self.attributes.get(key, value)
            if given != value:
                raise Unsupported(f"{self.op_type} with {key}={given!r}")


class Layer(Protocol):
    """What a node is to a library."""

    def forward(self, *values: np.ndarray) -> np.ndarray:
        """Return the output."""

    def relevance(
        self, spec: RuleSpec | None, values: list[np.ndarray], y: np.ndarray, R: np.ndarray
    ) -> list[np.ndarray]:
        """Return the relevance of each value by the rule that the case asks for; None where it asks for none."""


class Walked:
    """The nodes of a graph in order, each with a library's layer. `make` raises Unsupported for what has none."""

    def __init__(self, path: Path, make: Callable[[Node], Layer]) -> None:
        model = onnx.load(path)
        graph, opset = model.graph, next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self.outputs = [o.name for o in graph.output]
        _check_order(graph, constants)
        self.nodes = [_node(proto, constants, opset) for proto in graph.node]
        self.layers = {node.name: make(node) for node in self.nodes}

    @property
    def readers(self) -> dict[str, int]:
        """How many nodes, and outputs, read each value."""
        found: dict[str, int] = {}
        for name in [*self.outputs, *(name for node in self.nodes for name in node.inputs)]:
            found[name] = found.get(name, 0) + 1
        return found

    def values(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return all values by name, in float64."""
        found = {k: np.asarray(x, np.float64 if np.asarray(x).dtype.kind == "f" else None) for k, x in inputs.items()}
        for node in self.nodes:
            found[node.output] = self.layers[node.name].forward(*(found[i] for i in node.inputs))
        return found

    def forward(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the outputs by name."""
        values = self.values(inputs)
        return {name: values[name] for name in self.outputs}

    def explain(self, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> dict[str, np.ndarray]:
        """Return the relevance of all values: each reader's share, added up."""
        values, specs = self.values(inputs), {spec.node: spec for spec in rules}
        found = {k: np.zeros(np.shape(v)) for k, v in values.items()}
        for name, R in seed.items():
            if np.shape(R) != found[name].shape:
                raise Unsupported(f"the seed of {name!r} has another shape, which no layer is asked about")
            found[name] = found[name] + R
        for node in reversed(self.nodes):
            a, y, R = [values[i] for i in node.inputs], values[node.output], found[node.output]
            for name, part in zip(
                node.inputs, self.layers[node.name].relevance(specs.get(node.name), a, y, R), strict=True
            ):
                found[name] = found[name] + part
        return found


def _check_order(graph: Any, constants: Mapping[str, np.ndarray]) -> None:
    """Raise Unsupported for a node that reads what none before it makes, as in a circle: layers are walked in order."""
    there = {"", *constants, *(i.name for i in graph.input)}
    for proto in graph.node:
        if not there.issuperset(proto.input):
            raise Unsupported(f"node {proto.name!r} reads what no node before it makes, and layers are walked in order")
        there.update(proto.output)


def _node(proto: Any, constants: Mapping[str, np.ndarray], opset: int) -> Node:
    if len(proto.output) != 1:
        raise Unsupported(f"{proto.op_type} has several outputs")
    attributes = {a.name: _value(a) for a in proto.attribute}
    values = tuple(i for i in proto.input if i and i not in constants)
    known = {n: constants[i].astype(np.float64) for n, i in enumerate(proto.input) if i in constants}
    raw = {i: constants[i] for i in proto.input if i in constants}
    return Node(proto.name, proto.op_type, attributes, values, known, proto.output[0], proto, raw, opset)


def _value(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value if isinstance(value, int | float) else list(value)


def alone(node: Node) -> Any:
    """Return a model of one node, whose values are its inputs."""
    graph = onnx.helper.make_graph(
        [node.proto],
        node.name or node.op_type,
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, None) for name in node.inputs],
        [onnx.helper.make_tensor_value_info(node.output, onnx.TensorProto.DOUBLE, None)],
        [numpy_helper.from_array(v, name) for name, v in node.raw.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", node.opset)])


def checkout(variable: str, file: str) -> Path:
    """Return the folder that an environment variable names. Raises ImportError where it holds no such file."""
    folder = Path(os.environ.get(variable, ""))
    if not os.environ.get(variable) or not (folder / file).is_file():
        raise ImportError(f"{variable} must name a checkout of the library: a folder with {file}")
    return folder


def imported(title: str, file: Path) -> Any:
    """Return the module, or the package, of a file, under a name of its own."""
    inside = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(title, file, submodule_search_locations=inside)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[title] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def version_of(files: Sequence[Path], known: Mapping[str, str]) -> str:
    """Return which version files are, by the SHA-256 of them all; of files that are none of these, the sum itself."""
    sums = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()[:12]
    return known.get(sums, f"of sum {sums}")
