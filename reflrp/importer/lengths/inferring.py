"""How long the axes of a file's values are: of the inputs as it says, of others by ONNX's own inference.

What ONNX infers from the inputs' shapes alone, no claim of the file about inner values among it, is a number for all inputs, or the
name of a length that the file leaves open. Of what it does not infer, each axis may be open, and has a name of its own.

One operator's inference is wrong: an index of an Einsum that has one entry in one operand and more in another is as long as in the
other, and ONNX says that it is as long as in the first. Such an Einsum is told what it makes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
from onnx import ModelProto, helper

from reflrp.importer.nodes.affordable import affordable
from reflrp.importer.nodes.node import Arrays, OnnxNode
from reflrp.ir import Lengths

Dims = tuple[int | str | None, ...] | None

CHANNELS = " channels"
"""Behind the name of a convolution's weights: as many entries as it makes channels."""

ROUNDS = 16
"""How many Einsums are told what they make; of more, no length is known."""

LARGE = 64
"""Constants of more entries say no shape, and are told to the inference by their own shape alone."""


def lengths(
    nodes: Iterable[OnnxNode], constants: Arrays, inputs: Mapping[str, tuple[Dims, np.dtype]], opsets: Mapping[str, int]
) -> dict[str, Lengths]:
    """Return for each value whose rank is known how long its axes are."""
    called: dict[str, str] = {}
    of_file = said(dims for dims, _ in inputs.values())
    ports = [_port(name, _short(named(name, dims, of_file), called), dtype) for name, (dims, dtype) in inputs.items()]
    arrays = {k: np.asarray(a) for k, a in constants.items() if np.asarray(a).dtype.kind in "fiub"}
    small = [onnx.numpy_helper.from_array(a, k) for k, a in arrays.items() if a.size <= LARGE]
    ports += [_port(k, a.shape, a.dtype) for k, a in arrays.items() if a.size > LARGE]
    kernels = {k: np.asarray(a).shape for k, a in constants.items()}
    protos, own = [_as_told(node.proto, kernels) for node in nodes], dict[str, onnx.ValueInfoProto]()
    made = {i for proto in protos for i in proto.input if i.endswith(CHANNELS) and i[: -len(CHANNELS)] in kernels}
    ports += [_port(i, kernels[i[: -len(CHANNELS)]][:1], np.dtype(np.float32)) for i in sorted(made - {*kernels})]
    whole = {short: name for name, short in called.items()}
    while True:
        left = [proto for proto in protos if not any(o in own for o in proto.output)]
        outputs = [onnx.ValueInfoProto(name=o) for proto in left for o in proto.output if o]
        graph = helper.make_graph(left, "lengths", [*ports, *own.values()], outputs, small)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid(k, v) for k, v in opsets.items()])
        shown = inferred(proto, data_prop=True)
        if shown is proto:
            return {}
        found = {v.name: v for v in (*shown.graph.input, *shown.graph.output) if v.type.tensor_type.HasField("shape")}
        shapes = {t.name: tuple(t.dims) for t in small} | {k: _dims(v) for k, v in found.items()}
        joined = [(proto, dims) for proto in left if (dims := _joined(proto, shapes)) is not None]
        if not joined:
            return {k: _read(v, whole, of_file) for k, v in found.items()}
        for proto, dims in (
            joined[:1] if len(own) < ROUNDS else joined
        ):  # what is behind the first may be wrong by it alone
            told = None if len(own) >= ROUNDS else dims
            own[proto.output[0]] = helper.make_tensor_value_info(
                proto.output[0], found[proto.output[0]].type.tensor_type.elem_type, told
            )


def _as_told(proto: onnx.NodeProto, kernels: Mapping[str, tuple[int, ...]]) -> onnx.NodeProto:
    """Return a node as inference is to read it: windows that leave all lengths as they are as an op that does.

    At open lengths ONNX says nothing of windows.
    """
    if (
        proto.domain not in ("", "ai.onnx")
        or proto.op_type not in ("Conv", "MaxPool", "AveragePool")
        or len(proto.output) > 1
    ):
        return proto
    given = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    shape = kernels.get(proto.input[1], ()) if proto.op_type == "Conv" else (0, 0, *given.get("kernel_shape", ()))
    taps, n = tuple(given.get("kernel_shape", shape[2:])), len(shape) - 2
    ones = (1,) * n
    spans = [d * (k - 1) for k, d in zip(taps, given.get("dilations", ones), strict=False)]
    pads = tuple(given.get("pads", (0, 0) * n))
    even = given.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER")
    fits = even or (
        spans == [a + b for a, b in zip(pads[:n], pads[n:], strict=False)] and given.get("auto_pad") != b"VALID"
    )
    if n < 1 or len(taps) != n or tuple(given.get("strides", ones)) != ones or not fits:
        return proto
    if proto.op_type != "Conv":
        return helper.make_node("Identity", proto.input[:1], proto.output)
    told = [proto.input[0], proto.input[1] + CHANNELS]
    return helper.make_node("Einsum", told, proto.output, equation="nc...,o->no...")


def _joined(proto: onnx.NodeProto, shapes: Mapping[str, tuple[int | str | None, ...]]) -> Dims:
    """Return the dims of what an Einsum makes, an index of which is not as long in one operand as in another; else None."""
    known = all(name in shapes for name in (*proto.input, *proto.output))  # of one that fits its inputs
    if proto.op_type != "Einsum" or proto.domain not in ("", "ai.onnx") or not known:
        return None
    equation = next(helper.get_attribute_value(a).decode() for a in proto.attribute if a.name == "equation")
    given, _, out = equation.replace(" ", "").partition("->")
    along: dict[str, set[int | str | None]] = {}
    dots = 0
    for term, dims in zip(given.split(","), (shapes[i] for i in proto.input), strict=True):
        count = len(dims) - len(term.replace("...", ""))
        dots = max(dots, count if "..." in term else 0)
        first, _, last = term.partition("...")
        for index, n in zip((*first, *(f".{i}" for i in range(-count, 0)), *last), dims, strict=True):
            along.setdefault(index, set()).add(n)
    if all(len(found) == 1 for found in along.values()):
        return None
    if "->" not in equation:
        letters = given.replace("...", "").replace(",", "")
        out = ("..." if "..." in given else "") + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    first, _, last = out.partition("...")
    named = (*first, *(f".{i}" for i in range(-dots, 0) if "..." in out), *last)
    return tuple(_longest(along[index]) for index in named)


def _longest(found: set[int | str | None]) -> int | str | None:
    """Return how long what is broadcast is; None where it may be any of two open lengths."""
    numbers = [n for n in found if isinstance(n, int) and n != 1]
    rest = found - {1}
    return numbers[0] if numbers else 1 if not rest else rest.pop() if len(rest) == 1 else None


def _dims(info: onnx.ValueInfoProto) -> tuple[int | str | None, ...]:
    """Return the dims of a value, by the short names."""
    dims = info.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims)


def said(inputs: Iterable[Dims]) -> frozenset[str]:
    """Return the names that a file has for lengths of its inputs."""
    return frozenset(n for dims in inputs for n in dims or () if isinstance(n, str))


def made_up(name: str, of_file: Collection[str]) -> str:
    """Return a name for a length that the file has no name for."""
    return made_up(f"{name}'", of_file) if name in of_file else name


def named(name: str, dims: Dims, of_file: Collection[str]) -> Lengths | None:
    """Return the lengths of a value, with a name of its own for each that has none; None where their number is left open."""
    if dims is None:
        return None
    return tuple(made_up(f"{name}[{i}]", of_file) if n is None else n for i, n in enumerate(dims))


def inferred(proto: ModelProto, data_prop: bool = False) -> ModelProto:
    """Return a model with what ONNX infers of its values; the model itself where it infers nothing, or would write too much."""
    if not affordable(proto.graph):
        return proto
    try:
        return onnx.shape_inference.infer_shapes(proto, strict_mode=False, data_prop=data_prop)
    except Exception:  # it says nothing then, as of operators that it does not know
        return proto


def _short(dims: Dims, called: dict[str, str]) -> Dims:
    """Return dims with short names for lengths, the same for the same."""
    if dims is None:
        return None
    return tuple(called.setdefault(n, f"d{len(called)}") if isinstance(n, str) and n else n for n in dims)


def _port(name: str, dims: Dims, dtype: np.dtype) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims)


def _read(info: onnx.ValueInfoProto, whole: Mapping[str, str], of_file: Collection[str]) -> Lengths:
    found = ((whole.get(n) or made_up(n, of_file)) if isinstance(n, str) else n for n in _dims(info))
    return named(info.name, tuple(found), of_file) or ()
