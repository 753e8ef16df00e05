"""Observing: the values that are taken from the user's own graph are compared with ours on an example, once a compilation.

The rule of `values` says which they may be; here each of them must also be what onnxruntime computes under that name, where our op
reads what onnxruntime read. So a rounding of a quantised network that fell to the other side is the file's own from there on, and
what is not the same is computed by our own op.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from reflrp.arrays import Array
from reflrp.compiler.sessions.fed import feed
from reflrp.compiler.source import slim
from reflrp.compiler.writing.constants import kept_outside
from reflrp.engine import Program, Values
from reflrp.errors import InputError, ReflrpError
from reflrp.ir import Node

LARGEST = 2**30
"""Models of more bytes are not observed: runtimes take them from files only."""

TOLERANCE = {2: 2e-2, 4: 1e-3, 8: 1e-3}
"""Of the largest entry, by the bytes of a number in the file."""


NONE: Mapping[str, np.ndarray] = {}


def library() -> Any:
    """Return the module onnxruntime. Raises InputError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"compiled graphs need onnxruntime, which is not there ({error}): pip install 'reflrp[onnxruntime]'"
        ) from error
    return onnxruntime


def confirmed(
    proto: ModelProto,
    program: Program,
    feeds: Mapping[str, np.ndarray],
    named: set[str],
    weights: Mapping[str, np.ndarray] = NONE,
) -> set[str]:
    """Return which of some named values onnxruntime finds as the program does; all where it does not run the model.

    `weights` are those that are not in the proto.
    """
    for example in (feeds, {k: abs(x) for k, x in feeds.items()}):  # of a logarithm, say, only the second has a value
        inputs = {k: x.astype(np.float32) if x.dtype.kind == "f" else x for k, x in example.items()}
        theirs = _theirs(proto, example, sorted(named - set(feeds)), weights)
        if theirs is None:
            break
        beside = Beside(program.graph, program.ops, program.rules, theirs)
        try:
            beside.forward(inputs)
        except ReflrpError:
            continue
        return {k for k in named if k in feeds or k in beside.found}
    return named


@dataclass(frozen=True, eq=False)
class Beside(Program):
    """A program that goes on with what a runtime found, wherever that is what our op makes of what the runtime read."""

    theirs: Mapping[str, Any] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)

    def _output(self, node: Node, values: Values) -> Array:
        y = super()._output(node, values)
        theirs = self.theirs.get(node.output)
        if theirs is None or not _same(np.asarray(y), theirs):
            return y
        self.found.add(node.output)
        return theirs.astype(y.dtype)


def _theirs(
    proto: ModelProto, feeds: Mapping[str, np.ndarray], names: list[str], weights: Mapping[str, np.ndarray]
) -> dict[str, Any] | None:
    if not names or _bytes(proto) + sum(a.nbytes for a in weights.values()) > LARGEST:
        return None
    onnxruntime = library()
    shown, given = _apart(proto)
    own = {o.name for o in shown.graph.output}
    shown.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in own)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # it runs once
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # as compiled graphs of quantised files are run
    kept = {**given, **weights}
    taken = feed(shown, kept)
    give(onnxruntime, options, kept)
    try:
        session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
        wanted = {i.name: _numpy(i.type) for i in session.get_inputs()}
        asked = {k: x.astype(wanted.get(k, x.dtype)) for k, x in feeds.items() if k in wanted}
        return dict(zip(names, session.run(names, {**taken, **asked}), strict=True))
    except Exception:  # it lacks a kernel, as many for float64: the rule of `values` stands alone then
        return None


def _bytes(proto: ModelProto) -> int:
    """Return how many bytes the weights have that are in a proto; to ask the proto itself is to write it out."""
    inside = (t for t in proto.graph.initializer if t.data_location != TensorProto.EXTERNAL)
    return sum(prod(t.dims) * helper.tensor_dtype_to_np_dtype(t.data_type).itemsize for t in inside)


def _apart(proto: ModelProto) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """Return a copy without the large weights, and these: written out and read again, they would take most of the time."""
    found, own = slim(proto), {t.name for t in proto.graph.initializer}
    ports, kept = [i for i in found.graph.input if i.name not in own], {t.name for t in found.graph.initializer}
    del found.graph.input[:]
    found.graph.input.extend(ports)
    weights: dict[str, np.ndarray] = {}
    for tensor in proto.graph.initializer:
        if tensor.name in kept:
            continue
        if (
            tensor.data_location != TensorProto.EXTERNAL
            and helper.tensor_dtype_to_np_dtype(tensor.data_type).isbuiltin == 1
        ):
            weights[tensor.name] = numpy_helper.to_array(tensor)
            found.graph.initializer.append(kept_outside(tensor.name, weights[tensor.name]))
        else:
            found.graph.initializer.append(tensor)
    return found, weights


def give(onnxruntime: Any, options: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Give a session weights that are not in its graph."""
    if weights:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(a) for a in weights.values()]
        options.add_external_initializers(list(weights), values)


def _numpy(kind: str) -> Any:
    """Return the dtype of onnxruntime's word for one."""
    names = {"float": "float32", "double": "float64"}
    text = kind.removeprefix("tensor(").removesuffix(")")
    return np.dtype(names.get(text, text))


def _same(ours: np.ndarray, theirs: Any) -> bool:
    if not isinstance(theirs, np.ndarray) or ours.shape != theirs.shape:
        return False
    if ours.dtype.kind != "f":
        return bool(np.array_equal(ours, theirs))
    finite = np.isfinite(ours)
    if not np.array_equal(finite, np.isfinite(theirs)):
        return False
    scale = float(np.abs(ours[finite]).max(initial=0))
    limit = TOLERANCE.get(theirs.dtype.itemsize, 1e-3) * scale + 1e-6
    return bool((np.abs(ours[finite] - theirs[finite].astype(np.float64)) <= limit).all())
