"""The forward pass three ways: reflrp, onnxruntime (float32), and ONNX's reference code node by node (float64)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

import reflrp
from differential.case import Case, names_read
from differential.evaluate import Failed, by_reference, by_runtime, close, narrow, run, wide
from differential.known import KNOWN

EXACT = 1e-6
"""How far float64 may be off: the reference code rounds a few functions to float32."""

SHAKEN = 1e-6
"""How far inputs are moved to see how far the output moves: rounding must not be taken for a fault."""


class Fault(Exception):
    """What must not be. `operator` is where it lies, as far as that can be told."""

    def __init__(self, check: str, operator: str, detail: str) -> None:
        super().__init__(f"{check} at {operator}: {detail}")
        self.check, self.operator, self.detail = check, operator, detail


@dataclass(frozen=True)
class Chain:
    """All values in float64, and the nodes that only onnxruntime, and so only float32, computes rightly."""

    values: dict[str, np.ndarray]
    rough: tuple[str, ...]


def chain(case: Case) -> Chain:
    """Compute every value from the inputs, node by node."""
    values = {k: wide(a) for k, a in {**case.feeds, **case.constants}.items()}
    rough = []
    for node in case.nodes:
        found, exact = both(node, values, case)
        values.update(zip([o for o in node.output if o], found, strict=True))
        rough += [] if exact else [node.op_type]
    return Chain(values, tuple(rough))


def both(node: NodeProto, values: dict[str, np.ndarray], case: Case) -> tuple[list[np.ndarray], bool]:
    """Return a node's outputs in float64 and True; or, where the reference code is wrong or has none, in float32 and False.

    Raises Fault where the two runtimes differ and `KNOWN` does not say which is right.
    """
    wrong = {side for (op, side) in KNOWN if op == node.op_type}
    narrowed = {k: narrow(values[k]) for k in names_read(node)}
    one = outcome(lambda: by_runtime(node, narrowed, case.opset, frozenset(case.constants)))
    two = outcome(lambda: by_reference(node, values, case.opset))
    if one is None and two is None:
        raise Fault("runtimes", node.op_type, "neither computes it")
    if one is None and "reference" in wrong:
        raise Failed(f"{node.op_type}: onnxruntime does not compute it, and the reference code wrongly")
    if one is None or two is None:
        return (two, True) if two is not None else ([wide(a) for a in one or []], False)
    apart = (2e-6, 1e-6) if "reference" in wrong else (1e-4, 1e-5)
    if all(close(wide(a), np.asarray(b), *apart) for a, b in zip(one, two, strict=True)):
        return two, True
    if "reference" in wrong:
        return [wide(a) for a in one], False
    if "onnxruntime" in wrong or unsteady(node, values, case):
        return two, True
    raise Fault("runtimes", node.op_type, f"onnxruntime {brief(one)}, reference {brief(two)}")


def unsteady(node: NodeProto, values: dict[str, np.ndarray], case: Case) -> bool:
    """Return whether a node's output in float64 jumps when its inputs are rounded to float32."""
    rounded = {k: wide(narrow(values[k])) for k in names_read(node)}
    two = by_reference(node, values, case.opset), by_reference(node, rounded, case.opset)
    return not all(close(a, b, 1e-5) for a, b in zip(*two, strict=True))


def outcome(make: Any) -> Any:
    try:
        return make()
    except Failed:
        return None


def brief(arrays: Any) -> str:
    return "; ".join(f"{a.shape} {np.asarray(a).ravel()[:6].tolist()}" for a in arrays)


def shaken(case: Case) -> dict[str, np.ndarray]:
    """Return the inputs, moved a little."""
    rng = np.random.default_rng(7)
    return {k: a + SHAKEN * rng.normal(size=a.shape) if a.dtype.kind == "f" else a for k, a in case.feeds.items()}


def wanders(model: reflrp.Model, case: Case, found: dict[str, np.ndarray]) -> dict[str, float]:
    """Return how far each output moves when the inputs do, infinitely far where there is no telling."""
    moved = dict.fromkeys(case.outputs, 1e-6)
    try:
        again = model.run(shaken(case))
    except reflrp.ReflrpError:
        return dict.fromkeys(case.outputs, np.inf)
    for k in case.outputs:
        if again[k].shape != found[k].shape:
            return dict.fromkeys(case.outputs, np.inf)
        moved[k] += float(np.nan_to_num(np.abs(again[k] - found[k]), nan=np.inf).max(initial=0))
    return moved


def check(case: Case, model: reflrp.Model, values: Chain) -> None:
    """Compare reflrp's outputs with both. Raises Fault, and ReflrpError where reflrp refuses."""
    found = model.run(case.feeds)
    slack = wanders(model, case, found)
    rtol = 1e-5 if values.rough else EXACT
    for k in case.outputs:
        extra = 20 * slack[k] if values.rough else 0.3 * slack[k]
        if not close(found[k], values.values[k], rtol, extra):
            detail = f"reflrp {brief([found[k]])}, node by node {brief([values.values[k]])}"
            raise Fault("forward", culprit(case, values), detail)
    try:
        want = run(case.model(), case.feeds)
    except Exception:
        return  # an operator that it has no kernel for
    for k, a in zip(case.outputs, want, strict=True):
        if not close(found[k], a, 2e-4, 20 * slack[k]) and not close(a, in_single(case)[k], 1e-5, 1e-6):
            raise Fault("onnxruntime", culprit(case, values), f"reflrp {brief([found[k]])}, onnxruntime {brief([a])}")


def in_single(case: Case) -> dict[str, np.ndarray]:
    """Return every value in float32, node by node by onnxruntime: what it makes of the whole, where only rounding is at work."""
    values = {**case.feeds, **case.constants}
    for node in case.nodes:
        found = by_runtime(node, values, case.opset, frozenset(case.constants))
        values.update(zip([o for o in node.output if o], found, strict=True))
    return values


def culprit(case: Case, values: Chain) -> str:
    """Return the operators that reflrp computes differently when they stand alone, or all that there are."""
    found = dict.fromkeys(node.op_type for node in case.nodes if differs(node, case, values))
    return "+".join(found) if found else "together:" + "+".join(sorted(set(case.operators)))


def differs(node: NodeProto, case: Case, values: Chain) -> bool:
    """Return whether reflrp computes a node alone differently."""
    fed = {k: values.values[k] for k in names_read(node) if k not in case.constants}
    floats = {k: narrow(a) for k, a in fed.items()}
    try:
        found = reflrp.load(alone(node, floats, case)).run({k: wide(a) for k, a in floats.items()})
    except reflrp.ReflrpError:
        return False
    outputs = [(o, values.values[o]) for o in node.output if o]
    return any(o in found and not close(np.asarray(found[o], float), want, 1e-4, 1e-4) for o, want in outputs)


def alone(node: NodeProto, fed: dict[str, np.ndarray], case: Case) -> Any:
    """Return a model of one node, whose constants are initializers."""
    ports = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for k, a in fed.items()
    ]
    weights = [numpy_helper.from_array(case.constants[k], k) for k in names_read(node) if k in case.constants]
    outputs = [helper.make_empty_tensor_value_info(o) for o in node.output if o]
    graph = helper.make_graph([node], "alone", ports, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=8)


def pairs(case: Case) -> Iterator[tuple[str, NodeProto]]:
    yield from ((block.maker, node) for block in case.blocks for node in block.nodes)
