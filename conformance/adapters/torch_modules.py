"""A native torch network from the ONNX graph of a case: one module a node, so that a library can hook and replace each.

The operators are those of `torch_operators`; anything else raises Unsupported. That the network computes what the file does is
checked by the runner (FORWARD), and by tests against ONNX's reference evaluator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from reflrp.conformance.adapters.torch_operators import OPERATORS, Function, Step
from reflrp.conformance.protocol import Arrays, Unsupported

DTYPES = {"float64": torch.float64, "float32": torch.float32}


class Network(torch.nn.Module):  # type: ignore[misc]
    """The nodes of a graph in order, each a module under the node's name.

    Attributes
    ----------
    steps : list of (Step, inputs, outputs)
        What runs: a node's module, and the names of the values that it reads and makes. Several outputs come as a tuple.
    producers, readers : dict
        For each value the name of the node that makes it, and of those that read it.

    """

    def __init__(self, path: Path, dtype: str, sums: Callable[[], Any] | None = None) -> None:
        super().__init__()
        graph = onnx.load(path).graph
        self.dtype = DTYPES[dtype]
        constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self.inputs = [i.name for i in graph.input if i.name not in constants]
        self.outputs = [o.name for o in graph.output]
        self.steps: list[Step] = []
        self.producers: dict[str, str] = {}
        self.readers: dict[str, list[str]] = {}
        for i, node in enumerate(graph.node):
            self._add(node, node.name or f"{node.op_type}_{i}", constants, sums)
        self.constants = {k: self._tensor(v) for k, v in constants.items()}
        self.to(self.dtype).eval()

    def _add(self, node: Any, name: str, constants: dict[str, np.ndarray], sums: Callable[[], Any] | None) -> None:
        """Make the module of a node."""
        attributes = {a.name: _value(a) for a in node.attribute}
        if node.op_type == "Constant":
            constants[node.output[0]] = np.asarray(attributes["value"])
            return
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            raise Unsupported(f"no module is made of operator {node.op_type}")
        known = [constants.get(i) if i else None for i in node.input]
        active = [i for i in node.input if i and i not in constants]
        if any(i not in self.inputs and i not in self.producers for i in active):
            raise Unsupported(f"node {name!r} reads what no node before it makes, and modules are made in order")
        module = OPERATORS[node.op_type](attributes, known, len(node.output))
        if is_function(module):
            module.title = node.op_type
        if node.op_type in ("Add", "Sum") and sums is not None and len(active) == len(node.input) == 2:
            module = sums()
        self.add_module(name.replace(".", "_"), module)
        self.steps.append(Step(name.replace(".", "_"), node.name or name, module, tuple(active), tuple(node.output)))
        self.producers.update(dict.fromkeys(node.output, name))
        for value in active:
            self.readers.setdefault(value, []).append(name)

    def _tensor(self, value: np.ndarray) -> Any:
        tensor = torch.tensor(value)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def step(self, node: str) -> Step:
        """Return the step of an ONNX node. Raises Unsupported where there is none."""
        found = next((step for step in self.steps if step.node == node), None)
        if found is None:
            raise Unsupported(f"node {node!r} has no module")
        return found

    def values(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """Return all values by name."""
        found = {**self.constants, **dict(zip(self.inputs, inputs, strict=True))}
        for step in self.steps:
            read = [found[i] for i in step.inputs]
            made = step.module(*read)
            made = made if isinstance(made, tuple) else (made,)
            own = (y.view_as(y) if any(y is x for x in read) else y for y in made)  # else it had its input's gradient
            found.update(zip(step.outputs, own, strict=True))
        return found

    def forward(self, *inputs: Any) -> Any:
        """Return the output, or a tuple of the outputs."""
        found = self.values(inputs)
        outputs = tuple(found[name] for name in self.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def tensors(self, inputs: Arrays) -> list[Any]:
        """Return inputs by name as tensors in order; floats require a gradient."""
        found = [self._tensor(np.asarray(inputs[name])) for name in self.inputs]
        return [x.requires_grad_() if x.is_floating_point() else x for x in found]


def _value(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def forward(network: Network, inputs: Arrays) -> dict[str, np.ndarray]:
    """Return the outputs by name."""
    with torch.no_grad():
        values = network.values(network.tensors(inputs))
    return {name: _numbers(values[name]) for name in network.outputs}


def check_seed(network: Network, inputs: Arrays, seed: Arrays) -> None:
    """Raise Unsupported for a seed of another shape than its output's, where the adapter starts and the library takes no seed."""
    outputs = forward(network, inputs)
    for name, R in seed.items():
        if np.shape(R) != outputs[name].shape:
            raise Unsupported(f"the seed of {name!r} has another shape, and the library takes none")


def gradients(network: Network, inputs: Arrays, seed: Arrays) -> dict[str, np.ndarray]:
    """Return what hooks make of the gradients of all values: in the libraries that change gradients, relevance."""
    given = network.tensors(inputs)
    values = network.values(given)
    kept = {k: v for k, v in values.items() if getattr(v, "requires_grad", False) and v.is_floating_point()}
    outputs = [values[name] for name in seed if name in kept]
    starts = [network._tensor(np.asarray(R)) for name, R in seed.items() if name in kept]
    if not outputs:
        raise Unsupported("the output does not depend on a float input")
    found = torch.autograd.grad(outputs, list(kept.values()), starts, allow_unused=True)
    relevance = {k: _numbers(g) for k, g in zip(kept, found, strict=True) if g is not None}
    return {**{k: np.zeros(np.shape(inputs[k])) for k in network.inputs}, **relevance}


def _numbers(x: Any) -> np.ndarray:
    found = x.detach().cpu().numpy()
    return np.asarray(found.astype(np.float64) if found.dtype.kind == "f" else found)


def is_function(module: Any) -> bool:
    """Return whether a node is a plain function, which libraries see no layer in."""
    return isinstance(module, Function)


def has_constant(module: Any) -> bool:
    """Return whether a module is a function of a value and a constant, which to libraries is no parameter: no weight, no bias."""
    arithmetic = is_function(module) and module.title in ("Add", "Sub", "Sum", "Mul", "Div")
    return arithmetic and not all(module.places)


def functional(module: Any, function: Callable[[Any, Any], Any]) -> Any:
    """Return another function of the two operands of a `Function`, its constants still part of it; None for other modules."""
    if not is_function(module) or len(module.places) != 2:
        return None
    found = copy.copy(module)
    found.function = function
    return found


def is_max_pool(module: Any) -> bool:
    """Return whether a module is a max-pool."""
    return "MaxPool" in type(module).__name__


def with_modules(network: Network, modules: Mapping[str, Any]) -> Network:
    """Return the network with other modules, or functions, for some nodes."""
    found = copy.copy(network)
    found.steps = [replace(step, module=modules.get(step.node, step.module)) for step in network.steps]
    return found
