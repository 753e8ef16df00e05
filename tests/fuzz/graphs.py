"""What is done to graphs: attributes, shapes, weights, names, edges, operators and versions that no exporter writes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fuzz.values import FLOATS, PLACES, SIZES, TEXTS

Mutate = Callable[[ModelProto, random.Random], None]

OPS = tuple(sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain in ("", "ai.onnx.ml")}))


def mutated(data: bytes, chance: random.Random, mutations: tuple[Mutate, ...]) -> bytes:
    """Return a model to which one to three of these have been done."""
    proto = ModelProto.FromString(data)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        with suppress(DecodeError):  # nested deeper than protobuf allows
            chance.choice(mutations)(proto, chance)
    return proto.SerializeToString()


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _some_nodes(proto: ModelProto, chance: random.Random) -> Any:
    """Return a repeated field of nodes: of the graph, a subgraph or a function."""
    lists = [g.node for g in _graphs(proto.graph)] + [f.node for f in proto.functions]
    return chance.choice([nodes for nodes in lists if len(nodes)] or [proto.graph.node])


def _some_node(proto: ModelProto, chance: random.Random) -> NodeProto:
    nodes = _some_nodes(proto, chance)
    return nodes[chance.randrange(len(nodes))] if len(nodes) else NodeProto()


def _some_tensor(proto: ModelProto, chance: random.Random) -> TensorProto:
    found = [t for g in _graphs(proto.graph) for t in g.initializer]
    found += [a.t for g in _graphs(proto.graph) for n in g.node for a in n.attribute if a.type == AttributeProto.TENSOR]
    return chance.choice(found) if found else TensorProto()


def some_value(proto: ModelProto, chance: random.Random) -> str:
    names = [o for n in proto.graph.node for o in n.output] + [i.name for i in proto.graph.input]
    names += [t.name for t in proto.graph.initializer] + ["", "nowhere"]
    return chance.choice(names)


def change_attribute(proto: ModelProto, chance: random.Random) -> None:
    """Give an attribute an extreme or foreign value."""
    node = _some_node(proto, chance)
    if not len(node.attribute):
        add_attribute(proto, chance)
        return
    attribute = node.attribute[chance.randrange(len(node.attribute))]
    if attribute.type == AttributeProto.INT:
        attribute.i = chance.choice(SIZES)
    elif attribute.type == AttributeProto.INTS and len(attribute.ints):
        attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice(SIZES)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = chance.choice(FLOATS)
    elif attribute.type == AttributeProto.FLOATS and len(attribute.floats):
        attribute.floats[chance.randrange(len(attribute.floats))] = chance.choice(FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = chance.choice(TEXTS).encode("utf-8", "surrogatepass")
    else:
        attribute.name = chance.choice(["axis", "to", "value", "body", "x"])


def add_attribute(proto: ModelProto, chance: random.Random) -> None:
    """Add an attribute of some kind to a node, of its own schema or of none."""
    node = _some_node(proto, chance)
    known = onnx.defs.get_schema(node.op_type).attributes if onnx.defs.has(node.op_type) else {}
    name = chance.choice([*known, "axis", "pads", "kernel_shape", "strides", "shape", "own"])
    value = chance.choice(
        [chance.choice(SIZES), [chance.choice(SIZES)] * chance.choice([1, 2, 4]), chance.choice(FLOATS), "text"]
    )
    node.attribute.append(helper.make_attribute(name, value))


def drop_attribute(proto: ModelProto, chance: random.Random) -> None:
    """Remove an attribute, or give it a type that is not its value's."""
    node = _some_node(proto, chance)
    if len(node.attribute):
        place = chance.randrange(len(node.attribute))
        if chance.random() < 0.5:
            del node.attribute[place]
        else:
            node.attribute[place].type = chance.randrange(15)


def change_dims(proto: ModelProto, chance: random.Random) -> None:
    """Change what the file says of an input's shape."""
    info = chance.choice(list(proto.graph.input)) if len(proto.graph.input) else None
    if info is None:
        return
    shape = info.type.tensor_type.shape
    how = chance.choice(["size", "name", "drop", "add", "none", "type"])
    if how == "size" and len(shape.dim):
        shape.dim[chance.randrange(len(shape.dim))].dim_value = chance.choice(SIZES)
    elif how == "name" and len(shape.dim):
        shape.dim[chance.randrange(len(shape.dim))].dim_param = chance.choice(["N", "T", "", "é"])
    elif how == "drop" and len(shape.dim):
        del shape.dim[chance.randrange(len(shape.dim))]
    elif how == "add":
        shape.dim.add().dim_value = chance.choice(SIZES)
    elif how == "none":
        info.type.tensor_type.ClearField("shape")
    else:
        info.type.tensor_type.elem_type = chance.randrange(25)


def change_weights(proto: ModelProto, chance: random.Random) -> None:
    """Change a tensor's dimensions, type or bytes, without the others."""
    tensor = _some_tensor(proto, chance)
    how = chance.choice(["dim", "more", "fewer", "type", "cut", "longer", "field"])
    if how == "dim" and len(tensor.dims):
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(SIZES)
    elif how == "more":
        tensor.dims.append(chance.choice(SIZES))
    elif how == "fewer" and len(tensor.dims):
        del tensor.dims[chance.randrange(len(tensor.dims))]
    elif how == "type":
        tensor.data_type = chance.randrange(-1, 30)
    elif how == "cut":
        tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]
    elif how == "longer":
        tensor.raw_data += b"\xff" * chance.choice([1, 4, 8])
    else:
        tensor.float_data.append(chance.choice(FLOATS))


def change_numbers(proto: ModelProto, chance: random.Random) -> None:
    """Put extreme numbers into a tensor: shapes, repeats, pads, ranges and weights."""
    tensor = _some_tensor(proto, chance)
    try:
        array = numpy_helper.to_array(tensor).copy()
    except Exception:
        return
    if not array.size or array.dtype.kind not in "fi":
        return
    with np.errstate(all="ignore"):
        number = np.array(chance.choice(FLOATS if array.dtype.kind == "f" else SIZES)).astype(array.dtype)
    array.reshape(-1)[chance.randrange(array.size)] = number
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def keep_elsewhere(proto: ModelProto, chance: random.Random) -> None:
    """Let a tensor's data lie in a file: inside the folder, outside, or nowhere."""
    tensor = _some_tensor(proto, chance)
    tensor.data_location = TensorProto.EXTERNAL
    if chance.random() < 0.7:
        tensor.ClearField("raw_data")
    entries = {
        "location": chance.choice(PLACES),
        "offset": chance.choice([0, 3, *SIZES]),
        "length": chance.choice([16, *SIZES]),
    }
    for key in chance.choice([["location"], ["location", "offset"], ["location", "length", "offset"], ["offset"]]):
        tensor.external_data.add(key=key, value=str(entries[key]))


def rename(proto: ModelProto, chance: random.Random) -> None:
    """Give a node, value, input or output another name, which may be taken."""
    name = chance.choice([some_value(proto, chance), "a:b", "\n", "z" * 300, "é"])
    node = _some_node(proto, chance)
    how = chance.choice(["node", "input", "output", "graph input", "graph output"])
    if how == "node":
        node.name = name
    elif how == "input" and len(node.input):
        node.input[chance.randrange(len(node.input))] = name
    elif how == "output" and len(node.output):
        node.output[chance.randrange(len(node.output))] = name
    elif how == "graph input" and len(proto.graph.input):
        proto.graph.input[chance.randrange(len(proto.graph.input))].name = name
    elif len(proto.graph.output):
        proto.graph.output[chance.randrange(len(proto.graph.output))].name = name


def rewire(proto: ModelProto, chance: random.Random) -> None:
    """Let a node read other values, more of them, or fewer."""
    node = _some_node(proto, chance)
    how = chance.choice(["swap", "other", "more", "fewer", "outputs"])
    if how == "swap" and len(node.input) > 1:
        node.input[0], node.input[1] = node.input[1], node.input[0]
    elif how == "other" and len(node.input):
        node.input[chance.randrange(len(node.input))] = some_value(proto, chance)
    elif how == "more":
        node.input.append(some_value(proto, chance))
    elif how == "fewer" and len(node.input):
        node.input.pop()
    else:
        node.output.append(chance.choice(["more", ""]))


def other_operator(proto: ModelProto, chance: random.Random) -> None:
    """Make a node one of another operator or domain."""
    node = _some_node(proto, chance)
    if chance.random() < 0.85:
        node.op_type = chance.choice(OPS)
    else:
        node.domain = chance.choice(["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "own", "ai.onnx.training"])


def move_nodes(proto: ModelProto, chance: random.Random) -> None:
    """Drop, double or swap nodes."""
    nodes = _some_nodes(proto, chance)
    if not len(nodes):
        return
    place, how = chance.randrange(len(nodes)), chance.choice(["drop", "double", "swap"])
    if how == "drop":
        del nodes[place]
    elif how == "double":
        nodes.add().CopyFrom(nodes[place])
    else:
        kept = NodeProto()
        kept.CopyFrom(nodes[place])
        nodes[place].CopyFrom(nodes[0])
        nodes[0].CopyFrom(kept)


def change_versions(proto: ModelProto, chance: random.Random) -> None:
    """Change opsets, their domains, or the IR version."""
    how = chance.choice(["opset", "other", "twice", "ir"])
    if how == "opset" and len(proto.opset_import):
        proto.opset_import[0].version = chance.choice([*range(-1, 30), 2**40, -(2**63)])
    elif how == "other":
        proto.opset_import.add(
            domain=chance.choice(["own", "ai.onnx.ml", "com.microsoft"]), version=chance.choice(SIZES)
        )
    elif how == "twice":
        proto.opset_import.add(domain="", version=chance.choice(range(7, 26)))
    else:
        proto.ir_version = chance.choice([0, 1, 3, 8, 10, 99, 2**40])


MUTATIONS: tuple[Mutate, ...] = (
    *[change_attribute, add_attribute, drop_attribute, change_dims, change_weights, change_numbers, change_numbers],
    *[keep_elsewhere, rename, rewire, other_operator, other_operator, move_nodes, change_versions],
)
