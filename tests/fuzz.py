"""Hostile files: broken and malicious models, made from sound ones, and a judge that sees what they do.

`python tests/fuzz.py --count 20000 --seed 1` tries that many, and prints how they end. Each case runs in a process of its
own kind (`Judge`), with little memory, a bound on time, and an ear for every file that is opened.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from models import draw, ints, model
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

BOUND = 30.0
"""Seconds that one case may take, on a machine that is busy with other things."""

SLOW = 5.0
"""Seconds from which on the command says of a case that it was slow."""

ALLOWED = 64 * 2**20
"""What `reflrp.limits.MEMORY` is for hostile models here."""

ADDRESSES = 4 * 2**30
"""Bytes of address space that the judged process gets: more than it needs, much less than a bomb asks for."""

FINE = frozenset(["explained", "run", "loaded"])
REFUSED = frozenset(["ModelError", "UnsupportedOperator", "TooLarge", "InputError", "NonFiniteError", "RuleError"])
REFUSED |= {"ForwardChanged", "UnassignedNodes"}

Mutate = Callable[[ModelProto, random.Random], None]


# Sound models to start from


@cache
def seeds() -> tuple[bytes, ...]:
    """Return sound models: one for each operator and spelling that the importer is tested with, and larger ones."""
    protos = [*dict(models.cases()).values(), *_bodies(), *_folded(), *_larger()]
    return tuple(proto.SerializeToString() for proto in protos)


def _bodies() -> Iterator[ModelProto]:
    """Yield models with functions and subgraphs."""
    yield onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "own" : 1]> net (float[N,4] x) => (float[N,4] y)
        { t = own.twice(x) y = own.once(t) }
        <domain: "own", opset_import: ["" : 17, "own" : 1]> twice (a) => (b) { t = own.once(a) b = own.once(t) }
        <domain: "own", opset_import: ["" : 17]> once (a) => (b) { c = Constant <value = float {0.5}>() t = Mul(a, c)
        b = Tanh(t) }"""
    )
    branch = (
        "<then_branch = a () => (float[N,4] p) { p = Relu(x) }, else_branch = b () => (float[N,4] q) { q = Neg(x) }>"
    )
    yield model(f"y = If (c) {branch}", c=np.array(True))
    body = "<body = a (int64 i, bool c, float[N,4] h) => (bool d, float[N,4] g) { d = Identity(c) g = Tanh(h) }>"
    yield model(f"y = Loop (n, , x) {body}", n=np.int64(3))
    body = "<num_scan_inputs = 1, body = a (float[4] s, float[4] r) => (float[4] t, float[4] u) { t = Add(s, r) u = Tanh(t) }>"
    yield model(f"z, y = Scan (w, x) {body}", "float[3,4] x", w=(4,))


def _folded() -> Iterator[ModelProto]:
    """Yield models whose shapes and constants are computed."""
    yield model(
        """o = ConstantOfShape <value = float[1] {0.5}>(s) e = Expand(o, s) t = Tile(e, r) a = Range(z, n, k)
        f = Cast <to = 1>(a) g = Mul(f, t) p = Pad(g, pads) y = Add(x, p)""",
        s=ints(1), r=ints(1), z=np.int64(0), n=np.int64(4), k=np.int64(1), pads=ints(0, 0),
    )  # fmt: skip
    yield model(
        """s = Shape(x) b = Gather(s, zero) u = Unsqueeze(b, first) t = Concat <axis = 0>(u, rest) r = Reshape(x, t)
        o = ConstantOfShape(t) h = OneHot(ids, four, values) q = MatMul(r, h) y = Add(q, o)""",
        zero=np.int64(0), first=ints(0), rest=ints(4), ids=ints(0, 2, 1, 3), four=np.int64(4), values=np.array([0, 1], "f"),
    )  # fmt: skip


def _larger() -> Iterator[ModelProto]:
    """Yield small networks of the usual kinds."""
    from test_importer import small_net

    yield from (small_net(9), small_net(13), small_net(18))
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        yield model(
            f"h, l = {op} <hidden_size = 3>(x, w, r, b) y = Squeeze(h, a)", "float[T,2,4] x",
            w=(1, 3 * gates, 4), r=(1, 3 * gates, 3), b=(1, 6 * gates), a=ints(1),
        )  # fmt: skip
    yield model(
        """e = Gather(table, ids) n = LayerNormalization(e, g, b) q = MatMul(n, wq) k = MatMul(n, wk)
        t = Transpose <perm = [0, 2, 1]>(k) s = MatMul(q, t) m = Softmax(s) v = MatMul(m, n) r = Add(v, e)
        u = MatMul(r, up) h = Gelu(u) d = MatMul(h, down) f = Add(d, r) c = ReduceMean(f, axes) y = MatMul(c, head)""",
        "int64[N,3] ids", opset=20, table=(9, 4), g=(4,), b=(4,), wq=(4, 4), wk=(4, 4), up=(4, 8), down=(8, 4),
        axes=ints(1), head=(4, 2),
    )  # fmt: skip
    yield model(
        """q = QuantizeLinear(w, s, z) d = DequantizeLinear(q, s, z) m = MatMul(x, d) p = QuantizeLinear(m, s, z)
        t = DequantizeLinear(p, s, z) y = Relu(t)""",
        opset=21, ir=10, w=(4, 3), s=np.float32(0.1), z=np.int8(0),
    )  # fmt: skip
    yield model(
        'a = Einsum <equation = "bij,bkj->bik">(x, x) y = Einsum <equation = "bij,jk->bik">(a, w)',
        models.WORDS,
        w=(5, 2),
    )


# What is done to bytes


def mutated_bytes(data: bytes, chance: random.Random) -> bytes:
    """Return a file with some bytes overwritten, nudged, cut out, put in or moved."""
    found = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4])):
        if len(found) > 2:
            _mutate_byte(found, chance)
    return bytes(found)


def _mutate_byte(data: bytearray, chance: random.Random) -> None:
    place = chance.randrange(min(len(data), 6000))
    how = chance.choice(["overwrite", "nudge", "cut", "insert", "end", "repeat"])
    if how == "overwrite":
        data[place] = chance.randrange(256)
    elif how == "nudge":
        data[place] = (data[place] + chance.choice([-1, 1, 128])) % 256
    elif how == "cut":
        del data[place : place + chance.choice([1, 2, 5, 50])]
    elif how == "insert":
        data[place:place] = bytes(chance.choice([[0], [255] * 9, [chance.randrange(256)]]))
    elif how == "end":
        del data[max(place, 1) :]
    else:
        data[place:place] = data[place : place + chance.choice([1, 8, 64])]


# What is done to graphs

SIZES = (
    *(0, 1, -1, 2, 3, 5, 17, 255, 4097, 100_003, -7, 2**20, 2**31 - 1, 2**31, 2**33, 2**40, 2**62),
    *(-(2**31), -(2**63), 2**63 - 1),
)
FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"), 1e9, 3.7)
TEXTS = (
    *("", "x", "y", "NOTSET", "SAME_UPPER", "linear", "cubic", "wrap"),
    *("ij,jk->ik", "...i->...", "a" * 3000, "\udc80é\0"),
)
PLACES = (
    "../secret", "/etc/passwd", "", ".", "sub", "sub/../../secret", "weights.bin", "sub/weights.bin", "link", "fifo", "x\0y",
    "a" * 5000, "~/x", "./sub/./weights.bin", "//secret", "model.onnx", "file:///etc/passwd", "\\\\host\\x", "/dev/zero",
)  # fmt: skip
OPS = tuple(sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain in ("", "ai.onnx.ml")}))


def mutated_graph(data: bytes, chance: random.Random) -> bytes:
    """Return a model to which one to four things have been done that no exporter does."""
    proto = ModelProto.FromString(data)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        with suppress(DecodeError):  # nested deeper than protobuf allows
            chance.choice(MUTATIONS)(proto, chance)
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


def _some_value(proto: ModelProto, chance: random.Random) -> str:
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
    name = chance.choice([_some_value(proto, chance), "a:b", "\n", "z" * 300, "é"])
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
        node.input[chance.randrange(len(node.input))] = _some_value(proto, chance)
    elif how == "more":
        node.input.append(_some_value(proto, chance))
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


def call_functions(proto: ModelProto, chance: random.Random) -> None:
    """Add functions that call themselves, one another, or many times over, and call them."""
    if not len(proto.graph.node):
        return
    how, domain = chance.choice(["self", "each other", "many", "deep"]), "fuzz"
    count = {"self": 1, "each other": 2, "many": 30, "deep": 120}[how]
    for i in range(count):
        following = f"f{(i + 1) % count}" if how != "many" or i + 1 < count else "Relu"
        calls = 2 if how == "many" else 1
        names = ["a", *(f"t{k}" for k in range(calls - 1)), "b"]
        called = "" if following == "Relu" else domain
        nodes = [helper.make_node(following, [names[k]], [names[k + 1]], domain=called) for k in range(calls)]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
        proto.functions.append(helper.make_function(domain, f"f{i}", ["a"], ["b"], nodes, opsets))
    proto.opset_import.add(domain=domain, version=1)
    node = proto.graph.node[chance.randrange(len(proto.graph.node))]
    node.op_type, node.domain = "f0", domain
    del node.attribute[:]


def nest(proto: ModelProto, chance: random.Random) -> None:
    """Put the graph's nodes into a loop, a branch or a scan, or these into one another."""
    graph = GraphProto()
    graph.CopyFrom(proto.graph)
    if not len(graph.output) or chance.random() < 0.3:
        return
    depth, kind = chance.choice([1, 2, 20]), chance.choice(["If", "Loop"])
    for level in range(depth):
        inner = GraphProto(name=f"level{level}")
        inner.node.extend(graph.node)
        inner.output.extend(graph.output[:1])
        node = helper.make_node(
            kind, ["fuzz_c" if kind == "If" else "fuzz_n", ""][: 1 + (kind == "Loop")], [graph.output[0].name]
        )
        for name in ("then_branch", "else_branch") if kind == "If" else ("body",):
            node.attribute.append(helper.make_attribute(name, inner))
        del graph.node[:]
        graph.node.append(node)
        if graph.ByteSize() > 10**6:
            return
    proto.graph.initializer.append(numpy_helper.from_array(np.array(chance.random() < 0.5), "fuzz_c"))
    proto.graph.initializer.append(numpy_helper.from_array(np.int64(chance.choice(SIZES)), "fuzz_n"))
    del proto.graph.node[:]
    proto.graph.node.extend(graph.node)


BOMBS = (
    "b = ConstantOfShape(n)",
    "b = Expand(x, n)",
    "b = Tile(x, n)",
    "s = Squeeze(n) b0 = Range(zero, s, one) b = Cast <to = 1>(b0)",
    "b = Resize(x, , , n)",
    "b = Resize(x, , f)",
    "b = Upsample(x, f)",
    "b = Pad(x, n)",
    "s = Squeeze(n) b = OneHot(ids, s, values)",
    "e = ConstantOfShape(k) b = Expand(e, n)",
    "e = ConstantOfShape(k) b = Tile(e, n)",
    "e = ConstantOfShape(k) b = Pad(e, n)",
    "s = Squeeze(n) b = HannWindow(s)",
    "e = ConstantOfShape(k) c = Concat <axis = 0>(e, e, e, e) d = Concat <axis = 0>(c, c, c, c) b = Concat <axis = 0>(d, d)",
    "b = Concat <axis = -1>(x, x, x, x, x, x, x, x)",
    "e = ConstantOfShape(n) t = Unsqueeze(e, zeros) u = Unsqueeze(e, ones) b = Mul(t, u)",
    "b = CumSum(x, one)",
    "b = RandomNormal <shape = [1073741824, 64]>()",
    "b = EyeLike(x)",
    "s = Shape(x) p = Mul(s, n) b = ConstantOfShape(p)",
    "s = Shape(x) p = Mul(s, n) b = Expand(x, p)",
    "i = Cast <to = 7>(x) r = ReduceMax(i) m = Add(r, n) b = ConstantOfShape(m)",
    "b = CenterCropPad(x, n)",
    "b = MaxPool <kernel_shape = [1, 1], pads = [9999999, 9999999, 9999999, 9999999]>(x)",
    "b = AveragePool <kernel_shape = [9999, 9999], pads = [9998, 9998, 9998, 9998]>(x)",
)


def add_bomb(proto: ModelProto, chance: random.Random) -> None:
    """Add nodes that ask for an array of a size that the file chooses, and let the network read it."""
    if not len(proto.graph.node) or not len(proto.graph.input):
        return
    x = chance.choice([proto.graph.input[0].name, _some_value(proto, chance)])
    rank = chance.choice([1, 1, 2, 3, 4, 8])
    numbers = [chance.choice([1, 2, *SIZES]) for _ in range(rank)]
    extra = model(
        chance.choice(BOMBS), n=ints(*numbers), zero=np.int64(0), one=np.int64(1), ids=ints(0, 1), zeros=ints(0), ones=ints(1),
        values=np.array([0, 1], np.float32), k=ints(chance.choice([1, 1000])), f=np.array(numbers, np.float32),
    )  # fmt: skip
    mark = f"_{len(proto.graph.node)}"
    kept = {"x": x, "": ""}
    for node in extra.graph.node:
        new = proto.graph.node.add()
        new.CopyFrom(node)
        for names in (new.input, new.output):
            names[:] = [kept.get(name, name + mark) for name in names]
    for tensor in extra.graph.initializer:
        tensor.name += mark
        proto.graph.initializer.append(tensor)
    node = proto.graph.node[chance.randrange(len(proto.graph.node))]
    if len(node.input):
        node.input[chance.randrange(len(node.input))] = "b" + mark
    if chance.random() < 0.4:
        proto.graph.output[0].name = "b" + mark


MUTATIONS: tuple[Mutate, ...] = (
    *[change_attribute, add_attribute, drop_attribute, change_dims, change_weights, change_numbers, change_numbers],
    *[keep_elsewhere, rename, rewire, other_operator, other_operator, move_nodes, change_versions, call_functions],
    *[nest, add_bomb, add_bomb, add_bomb],
)


# The judge


@dataclass(frozen=True)
class Verdict:
    """How a case ended: `outcome` is in FINE or REFUSED, or says what should not have happened."""

    outcome: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def fine(self) -> bool:
        """Whether nothing happened that must not."""
        return self.outcome in FINE or self.outcome in REFUSED


class Judge:
    """A process that tries one model after the other; where one ends it or stops it, the next gets a new one."""

    def __init__(self, folder: Path, memory: int = ALLOWED) -> None:
        self.folder, self.memory = folder, memory
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Judge:
        prepare_folder(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def __call__(self, data: bytes) -> Verdict:
        """Let the process try a model."""
        start = time.monotonic()
        process = self.process or self._start()
        assert process.stdin is not None
        process.stdin.write(struct.pack("<q", len(data)) + data)
        process.stdin.flush()
        reply = self._reply(process)
        seconds = time.monotonic() - start
        if reply is not None:
            return Verdict(*pickle.loads(reply), seconds)
        late = process.poll() is None and seconds >= BOUND
        self._stop()
        return Verdict("HANGS" if late else "DIES", f"exit code {process.returncode}", seconds)

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        paths = [str(Path(__file__).parent), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        code = f"import fuzz; fuzz.serve({str(self.folder)!r}, {self.memory})"
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=environment)
        return self.process

    def _reply(self, process: subprocess.Popen[bytes]) -> bytes | None:
        """Return what the process says, or None where it says nothing in time."""
        assert process.stdout is not None
        wait = BOUND + (60 if not hasattr(process, "warm") else 0)
        ready, _, _ = select.select([process.stdout], [], [], wait)
        process.warm = True  # type: ignore[attr-defined]
        head = process.stdout.read(8) if ready else b""
        return process.stdout.read(struct.unpack("<q", head)[0]) if len(head) == 8 else None

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    stream.close()
            self.process = None


def prepare_folder(folder: Path) -> None:
    """Lay out what hostile paths may point to: data inside the model's folder, a secret outside, a link, a pipe."""
    inside = folder / "case"
    (inside / "sub").mkdir(parents=True, exist_ok=True)
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "secret").write_bytes(bytes(4096))
    (folder / "empty" / "weights.bin").write_bytes(bytes(4096))
    for path in (inside / "weights.bin", inside / "sub" / "weights.bin"):
        path.write_bytes(bytes(4096))
    if not (inside / "link").is_symlink():
        (inside / "link").symlink_to(folder / "secret")
        os.mkfifo(inside / "fifo")


def serve(folder: str, memory: int) -> None:
    """Try the models that come in by stdin, and answer on stdout; the judged process runs this."""
    import resource
    import warnings

    import reflrp

    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    warnings.simplefilter("ignore")
    reflrp.limits.MEMORY = memory
    reflrp.limits.NODES = 20_000
    os.chdir(Path(folder, "empty"))
    ear = Ear(Path(folder, "case"))
    sys.addaudithook(ear)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    while len(head := source.read(8)) == 8:
        data = source.read(struct.unpack("<q", head)[0])
        path = Path(folder, "case", "model.onnx")
        path.write_bytes(data)
        ear.heard.clear()
        answer = tried(path)
        if ear.heard and not answer[0].startswith("ESCAPES"):  # a traceback looks for sources
            answer = ("TOUCHES", "; ".join(sorted(ear.heard)))
        reply = pickle.dumps(answer)
        sink.write(struct.pack("<q", len(reply)) + reply)
        sink.flush()


FORBIDDEN = (
    *("subprocess.", "socket.", "shutil.", "ftplib.", "urllib.", "webbrowser.", "os.system", "os.exec", "os.fork"),
    *("os.posix_spawn", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate"),
)
"""Events of which no model may cause one."""


class Ear:
    """Hears what Python does with files, processes and the network; Python's own library and ONNX's may be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = f"{folder.resolve()}{os.sep}"
        self.library = tuple(
            {*(str(Path(p).resolve()) for p in sys.path if p), sys.prefix, sys.base_prefix, "/proc/self/"}
        )
        self.heard: set[str] = set()

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Note an event that a model must not cause."""
        if event == "open" and isinstance(args[0], str | bytes):
            path = os.path.realpath(os.fsdecode(args[0]))
            writes = isinstance(args[1], str) and any(c in args[1] for c in "wax+")
            if not path.startswith(self.folder) and (writes or not path.startswith(self.library)):
                self.heard.add(f"open {path}")
        elif event.startswith(FORBIDDEN):
            self.heard.add(event)


def tried(path: Path) -> tuple[str, str]:
    """Load, list, run and explain a model; return how it ends."""
    import reflrp

    try:
        return _explained(path), ""
    except reflrp.ReflrpError as error:
        return type(error).__name__, str(error)[:300]
    except RecursionError as error:
        return "ESCAPES RecursionError", str(error)
    except BaseException as error:
        import traceback

        return f"ESCAPES {type(error).__name__}", "".join(traceback.format_exception(error)[-6:])


def _explained(path: Path) -> str:
    import reflrp

    loaded = reflrp.load(path)
    refused: reflrp.ReflrpError | None = None
    try:
        loaded.summary("epsilon_plus_flat")
    except reflrp.ReflrpError as error:
        refused = error
    shapes = {k: tuple(d if isinstance(d, int) else 2 for d in p.dims or ()) for k, p in loaded.source.inputs.items()}
    if any(np.prod(s, dtype=float) > 1e5 for s in shapes.values()):
        return "loaded"
    ports = loaded.source.inputs
    x = {k: draw(*s).astype(ports[k].dtype) for k, s in shapes.items()}
    loaded.run(x)
    names = [o for o in loaded.outputs if o in loaded.source.active]
    if not names:
        return "run"
    e = reflrp.Explainer(loaded, output=names[0])(x, layers=True)
    assert all(e.relevances[k].shape == x[k].shape for k in e.relevances), "relevance is not shaped like its input"
    assert all(np.isfinite(R).all() for R in e.relevances.values()), "relevance is not finite"
    del refused
    return "explained"


# The command


def cases(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield hostile models, a third of them broken in their bytes."""
    chance = random.Random(seed)
    for i in range(count):
        how = mutated_bytes if i % 3 == 0 else mutated_graph
        yield how.__name__, how(chance.choice(seeds()), chance)


def _keep(folder: Path | None, name: str, data: bytes) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.onnx").write_bytes(data)


def main() -> int:
    """Try many hostile models, and print how they end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the models that do what they must not")
    parser.add_argument("--stop", type=int, default=20, help="how many of these to see before it stops")
    given = parser.parse_args()
    ends: Counter[tuple[str, str]] = Counter()
    bad, slowest, start = 0, 0.0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Judge(Path(folder)) as judge:
        for i, (kind, data) in enumerate(cases(given.count, given.seed)):
            verdict = judge(data)
            ends[kind, verdict.outcome] += 1
            slowest = max(slowest, verdict.seconds if i else 0)
            if verdict.seconds > SLOW and i:
                print(f"case {i} ({kind}) took {verdict.seconds:.1f} s: {verdict.outcome} {verdict.detail}", flush=True)
                _keep(given.keep, f"slow-{given.seed}-{i}", data)
            if not verdict.fine:
                bad += 1
                print(f"case {i} ({kind}) {verdict.outcome}: {verdict.detail}", flush=True)
                _keep(given.keep, f"{given.seed}-{i}", data)
                if bad >= given.stop:
                    break
    for (kind, outcome), n in sorted(ends.items()):
        print(f"{kind:16} {outcome:24} {n:7}")
    print(
        f"{ends.total()} models in {time.monotonic() - start:.0f} s, the slowest {slowest:.2f} s; {bad} did what they must not"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
