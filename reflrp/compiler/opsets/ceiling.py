"""Pools with `ceil_mode` whose last window would start behind the input, which no runtime makes: they are pools without it.

Before opset 22 the shape that ONNX infers counts that window. onnxruntime lays out its memory by it, and fails in the run where a
value of ours is as long as another one is said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from onnx import ModelProto, NodeProto, helper

POOLS = frozenset(["AveragePool", "LpPool", "MaxPool"])

Shapes = Mapping[str, tuple[int | None, ...]]


def floored(proto: ModelProto, inferred: Callable[[ModelProto], Shapes]) -> None:
    """Leave out the `ceil_mode` of each pool of a known size that is misread by it, one after the other."""
    done = set[str]()
    while any(_rounds_up(node) and node.output[0] not in done for node in proto.graph.node):
        shapes = inferred(proto)
        node = next(n for n in proto.graph.node if _rounds_up(n) and n.output[0] not in done)
        done.add(node.output[0])
        pads = _pads(node, shapes.get(node.input[0], ()))
        if pads is not None:
            kept = [a for a in node.attribute if a.name not in ("ceil_mode", "pads")]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("pads", pads)])
            _forget(proto, node.output[0])


def _forget(proto: ModelProto, name: str) -> None:
    """Take out what the file says of the shapes of a value and of all that is made of it."""
    behind = {name}
    for node in proto.graph.node:
        behind.update(node.output if not behind.isdisjoint(node.input) else ())
    kept = [info for info in proto.graph.value_info if info.name not in behind]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)


def _rounds_up(node: NodeProto) -> bool:
    given = _attributes(node) if node.op_type in POOLS and node.domain in ("", "ai.onnx") else {}
    return bool(given.get("ceil_mode", 0)) and given.get("auto_pad", b"NOTSET") == b"NOTSET"


def _attributes(node: NodeProto) -> dict[str, object]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _pads(node: NodeProto, shape: tuple[int | None, ...]) -> list[int] | None:
    """Return the padding by which a pool has the same windows without `ceil_mode`; None where it is not misread, or has none.

    A mean that counts its padding does not count what lies behind it.
    """
    counts, given = list(_counts(node, shape)), _attributes(node)
    if not any(kept < said for _, kept, said in counts):
        return None
    kernel: list[int] = given["kernel_shape"]  # type: ignore[assignment]
    pads: list[int] = list(given.get("pads", [0] * 2 * len(kernel)))  # type: ignore[call-overload]
    more = [max(missing, 0) for missing, _, _ in counts]
    ends = [e + m for e, m in zip(pads[len(kernel) :], more, strict=True)]
    counted = bool(given.get("count_include_pad", 0)) and node.op_type == "AveragePool"
    if any(more) and (counted or any(e >= k for e, k in zip(ends, kernel, strict=True))):
        return None
    return [*pads[: len(kernel)], *ends]


def _counts(node: NodeProto, shape: tuple[int | None, ...]) -> Iterator[tuple[int, int, int]]:
    """Yield along each axis the padding that its windows lack, their number, and that with one that starts behind the input."""
    given = _attributes(node)
    kernel: list[int] = given["kernel_shape"]  # type: ignore[assignment]
    strides: list[int] = given.get("strides", [1] * len(kernel))  # type: ignore[assignment]
    dilations: list[int] = given.get("dilations", [1] * len(kernel))  # type: ignore[assignment]
    pads: list[int] = given.get("pads", [0] * 2 * len(kernel))  # type: ignore[assignment]
    sizes = [n for n in shape[2:] if n is not None]
    if len(sizes) != len(kernel):
        return
    for n, k, s, d, b, e in zip(sizes, kernel, strides, dilations, pads, pads[len(kernel) :], strict=False):
        room = n + b + e - d * (k - 1) - 1
        said = -(-room // s) + 1
        kept = said - ((said - 1) * s >= n + b)
        yield (kept - 1) * s - room, kept, said
