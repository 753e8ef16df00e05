"""What is put around and into graphs: functions that call one another, loops, branches, and nodes that ask for a lot."""

from __future__ import annotations

import random

import numpy as np
from models import ints, model
from onnx import GraphProto, ModelProto, helper, numpy_helper

from fuzz.bombs import BOMBS
from fuzz.graphs import MUTATIONS, Mutate, mutated, some_value
from fuzz.networks import tried
from fuzz.seeds import seeds
from fuzz.values import SIZES

__all__ = ["make", "mutated_graph", "tried"]


def make(chance: random.Random) -> bytes:
    """Return a model whose graph was changed."""
    return mutated_graph(chance.choice(seeds()), chance)


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


def add_bomb(proto: ModelProto, chance: random.Random) -> None:
    """Add nodes that ask for an array of a size that the file chooses, and let the network read it."""
    if not len(proto.graph.node) or not len(proto.graph.input):
        return
    x = chance.choice([proto.graph.input[0].name, some_value(proto, chance)])
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


ALL: tuple[Mutate, ...] = (*MUTATIONS, call_functions, nest, add_bomb, add_bomb, add_bomb)


def mutated_graph(data: bytes, chance: random.Random) -> bytes:
    """Return a model to which one to three things have been done that no exporter does."""
    return mutated(data, chance, ALL)
