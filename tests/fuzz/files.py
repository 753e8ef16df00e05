"""Bombs of more than one node: sparse tensors, external data, functions, nesting, chains, texts, and many of anything."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from models import ints, model
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fuzz.bombs import parsed

FEW = (2, 8, 30, 60)
MANY = (100, 1000, 5000, 20_000)


def sparse(chance: random.Random) -> ModelProto:
    """A sparse initializer, or many, of few entries and of any size."""
    dims = [chance.choice([4, 1000, 3000, 10**5, 2**31, 2**62]) for _ in range(chance.choice([1, 2, 2, 3]))]
    proto = model("m = ReduceMax <keepdims = 0>(w0) y = Mul(x, m)")
    for i in range(chance.choice([1, 1, 50, 500])):
        values = numpy_helper.from_array(np.ones(1, np.float32), f"w{i}")
        index = numpy_helper.from_array(ints(0) if chance.random() < 0.5 else np.zeros((1, len(dims)), np.int64), "i")
        proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, index, dims))
    return proto


def sparse_constant(chance: random.Random) -> ModelProto:
    """A constant from a sparse tensor."""
    dims = [chance.choice([4, 3000, 10**5, 2**40]) for _ in range(2)]
    values, index = numpy_helper.from_array(np.ones(1, np.float32)), numpy_helper.from_array(ints(0))
    proto = model("w = Constant <value = float {0.5}>() m = ReduceMax <keepdims = 0>(w) y = Mul(x, m)")
    attribute = helper.make_attribute("sparse_value", helper.make_sparse_tensor(values, index, dims))
    proto.graph.node[0].attribute[0].CopyFrom(attribute)
    return proto


def external(chance: random.Random) -> ModelProto:
    """Data of 24 MiB in a file, named again and again: as initializers, or in nodes."""
    count, dims = chance.choice([1, 3, 10, 100, 1000]), (6 * 2**20,)
    proto = model("y = Add(x, b)", b=(4,))
    for i in range(count):
        tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="large.bin")
        if chance.random() < 0.5:
            proto.graph.initializer.append(tensor)
        else:
            proto.graph.node.append(helper.make_node("Constant", [], [f"w{i}"], value=tensor))
    return proto


def declared(chance: random.Random) -> ModelProto:
    """A tensor that declares many entries, or many dimensions, and holds few."""
    proto = model("m = ReduceMax <keepdims = 0>(w) y = Mul(x, m)", w=(4,))
    proto.graph.initializer[0].dims[:] = [
        chance.choice([0, 1, 2**20, 2**31, 2**62]) for _ in range(chance.choice([1, 2, 3, 70, 3000]))
    ]
    if chance.random() < 0.3:
        proto.graph.initializer[0].ClearField("raw_data")
    return proto


def functions(chance: random.Random) -> ModelProto:
    """Functions that call one another twice, each with a constant: as many bytes as two to their number."""
    count, size = chance.choice(FEW), chance.choice([1, 1000, 50_000])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    proto = model("y = Relu(x)")
    proto.opset_import.add(domain="own", version=1)
    proto.graph.node[0].op_type, proto.graph.node[0].domain = "f0", "own"
    for i in range(count):
        calls = [helper.make_node(f"f{i + 1}", [a], [b], domain="own") for a, b in (("a", "t"), ("t", "b"))]
        last = [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(size, np.float32))),
            helper.make_node("Relu", ["a"], ["b"]),
        ]
        proto.functions.append(
            helper.make_function("own", f"f{i}", ["a"], ["b"], calls if i + 1 < count else last, opsets)
        )
    return proto


def chain(chance: random.Random) -> ModelProto:
    """A long chain of nodes that are cheap alone."""
    op = chance.choice(
        ["Relu", "Softmax", "MatMul", "Conv", "Identity", "Add", "Transpose", "Dropout", "Cast <to = 1>"]
    )
    if op == "MatMul":
        size = chance.choice([4, 300, 1500])
        steps = " ".join(f"x{i + 1} = MatMul(x{i}, w)" for i in range(chance.choice(FEW)))
        last = steps.rpartition(" x")[2].split(" ")[0] if " x" in steps else "1"
        return model(
            f"x0 = MatMul(x, v) {steps} y = ReduceSum(x{last})",
            v=np.ones((4, size), "f"),
            w=np.ones((size, size), "f") / size,
        )
    count = chance.choice(MANY[:3])
    name, _, rest = op.partition(" ")
    if name == "Add":
        steps = " ".join(f"x{i + 1} = Add(x{i}, x{i})" for i in range(count))
    elif name == "Conv":
        steps = " ".join(f"x{i + 1} = Conv(x{i}, w)" for i in range(count // 10))
        return parsed(
            f"x0 = Unsqueeze(x, One1) {steps} y = Relu(x{count // 10})", {"w": np.ones((1, 1, 1), "f"), "One1": ints(1)}
        )
    else:
        steps = " ".join(f"x{i + 1} = {name} {rest}(x{i})" for i in range(count))
    return model(f"x0 = Neg(x) {steps} y = Neg(x{count})")


def nested(chance: random.Random) -> ModelProto:
    """Loops in loops, or branches in branches, each read twice."""
    depth, trips = chance.choice([2, 5, 12, 22]), chance.choice([0, 1, 2, 3, 1000, 2**40])
    loops = chance.random() < 0.7
    body = "g0 = Tanh(h0)"
    for i in range(depth):
        value = "float[2,4]"
        if loops:
            inner = f"l{i} (int64 i{i}, bool c{i}, {value} h{i}) => (bool d{i}, {value} g{i}) {{ d{i} = Identity(c{i}) {body} }}"
            body = f"g{i + 1} = Loop (n, , h{i + 1}) <body = {inner}>"
        else:
            then = f"t{i} () => ({value} g{i}) {{ h{i} = Neg(h{i + 1}) {body} }}"
            other = f"e{i} () => ({value} r{i}) {{ r{i} = Neg(h{i + 1}) }}"
            body = f"g{i + 1} = If (t) <then_branch = {then}, else_branch = {other}>"
    return parsed(f"h{depth} = Relu(x) {body} y = Neg(g{depth})", {"n": np.int64(trips), "t": np.array(True)})


def carried(chance: random.Random) -> ModelProto:
    """A loop that carries many values, each of which reads the one before."""
    count, trips = chance.choice([2, 10, 100, 300]), chance.choice([1, 10, 300])
    values = ", ".join(f"float[2,4] h{i}" for i in range(count))
    outs = ", ".join(f"float[2,4] g{i}" for i in range(count))
    steps = " ".join(f"g{i} = Add(h{i}, h{i - 1})" for i in range(count))
    steps = steps.replace("h-1", f"h{count - 1}")
    names = ", ".join(["x"] * count)
    found = ", ".join(["y", *(f"z{i}" for i in range(1, count))])
    return parsed(
        f"{found} = Loop (n, , {names}) <body = l (int64 i, bool c, {values}) => (bool d, {outs}) {{ d = Identity(c) {steps} }}>",
        {"n": np.int64(trips)},
    )


def wide(chance: random.Random) -> ModelProto:
    """One node with thousands of inputs, or outputs."""
    count = chance.choice(MANY)
    if chance.random() < 0.5:
        op = chance.choice(["Sum", "Max", "Concat <axis = 0>", "Mean"])
        return model(f"b = {op}({', '.join(['x'] * count)}) m = ReduceMax <keepdims = 0>(b) y = Mul(x, m)")
    names = [f"o{i}" for i in range(count)]
    return model(f"e = Expand(x, n) {', '.join(names)} = Split <axis = 0>(e) y = Add(o0, o1)", n=ints(count, 4))


def many(chance: random.Random) -> ModelProto:
    """Thousands of initializers, inputs, outputs, opsets, functions, properties or infos."""
    proto, count = model("y = Add(x, b)", b=(4,)), chance.choice(MANY)
    what = chance.choice(["initializer", "input", "output", "opset", "value_info", "node", "attribute", "names"])
    for i in range(count):
        if what == "initializer":
            proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), f"w{i}"))
        elif what in ("input", "output", "value_info"):
            name = "y" if what == "output" else f"v{i}"
            getattr(proto.graph, what).append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]))
        elif what == "opset":
            proto.opset_import.add(domain=f"d{i}", version=1)
        elif what == "node":
            proto.graph.node.append(helper.make_node("Relu", ["x"], [f"r{i}"]))
        elif what == "attribute":
            proto.graph.node[0].attribute.append(helper.make_attribute(f"a{i}", i))
    if what == "names":
        for node in proto.graph.node:
            node.name = "n" * count * 50
            node.output[0] = proto.graph.output[0].name = "y" * count * 50
    return proto


def shared(chance: random.Random) -> ModelProto:
    """A graph whose paths double with each node: what walks paths in place of nodes never ends."""
    count = chance.choice([10, 40, 100, 1000])
    ops = chance.choice(
        [("Add", "Mul"), ("Max", "Min"), ("Sub", "Div"), ("MatMul", "MatMul"), ("Concat <axis = 0>", "Add")]
    )
    steps = []
    for i in range(count):
        name, _, rest = ops[i % 2].partition(" ")
        steps.append(f"x{i + 1} = {name} {rest}(x{i}, x{i})")
    return model(f"x0 = Sigmoid(x) {' '.join(steps)} y = Tanh(x{count})", "float[4,4] x")


def equations(chance: random.Random) -> ModelProto:
    """Einsum equations with many letters, terms or points."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    terms = chance.choice([1, 2, 8, 40])
    inputs = [chance.choice(["ab", "aa", letters[2 * i % 50 : 2 * i % 50 + 2], "...a", "a..."]) for i in range(terms)]
    out = chance.choice(["", "ab", "ba", "".join(dict.fromkeys("".join(inputs).replace(".", "")))[:52], "aab", "z"])
    return model(
        f'b = Einsum <equation = "{",".join(inputs)}->{out}">({", ".join(["x"] * terms)}) y = ReduceMax <keepdims = 0>(b)',
        "float[4,4] x",
    )


FILES: dict[str, Callable[[random.Random], ModelProto]] = {
    f.__name__: f
    for f in (
        sparse,
        sparse_constant,
        external,
        declared,
        functions,
        chain,
        nested,
        carried,
        wide,
        many,
        shared,
        equations,
    )
}
