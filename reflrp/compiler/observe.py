"""Observing: the values that are taken from the user's own graph are compared with ours on an example, once a compilation.

The rule of `values` says which they may be; here each of them must also be what onnxruntime computes under that name. One that
is not (a rounding of a quantised network fell to the other side, say) is computed by our own op, which is never wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from reflrp.compiler.sessions.fed import feed
from reflrp.compiler.source import slim
from reflrp.compiler.writing.constants import kept_outside
from reflrp.engine import Program
from reflrp.errors import InputError, ReflrpError

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
        try:
            ours = program.forward(inputs)
        except ReflrpError:
            continue
        theirs = _theirs(proto, example, sorted(named - set(feeds)), weights)
        if theirs is None:
            break
        return {k for k in named if k in feeds or (k in ours and _same(np.asarray(ours[k]), theirs[k]))}
    return named


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
