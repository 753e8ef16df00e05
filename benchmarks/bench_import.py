"""How import, passes and an explanation scale with the number of nodes: seconds for chains of 1,000 to 20,000 nodes.

python benchmarks/bench_import.py [--sizes 1000 2000 ...] [--chains layers ...]
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

import reflrp
from reflrp.arrays.convert import converter
from reflrp.composites import resolve
from reflrp.engine import Program, prepare
from reflrp.importer import check_supported, parse
from reflrp.importer.build import build
from reflrp.passes.bias import fuse_affine
from reflrp.passes.canonize import canonize
from reflrp.passes.gates import mark_gates
from reflrp.passes.recognise import recognise
from reflrp.passes.stripping import strip_output

SIZES = (1000, 2000, 5000, 10_000, 20_000)
WIDTH = 8


def net(nodes: list[Any], constants: dict[str, np.ndarray], output: str) -> ModelProto:
    """Return the model of these nodes."""
    port = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "chain",
        [port("x", onnx.TensorProto.FLOAT, ["N", WIDTH])],
        [port(output, onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, k) for k, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def elementwise(count: int) -> ModelProto:
    """Mul, Add and Relu in turn."""
    nodes, last = [], "x"
    for i in range(count):
        op, extra = (("Mul", ["scale"]), ("Add", ["shift"]), ("Relu", []))[i % 3]
        nodes.append(helper.make_node(op, [last, *extra], [f"v{i}"]))
        last = f"v{i}"
    return net(nodes, {"scale": np.full(WIDTH, 0.9, np.float32), "shift": np.full(WIDTH, 0.1, np.float32)}, last)


def layers(count: int) -> ModelProto:
    """MatMul, Add of a bias, Relu, in turn."""
    nodes, last, constants = [], "x", {}
    rng = np.random.default_rng(0)
    for i in range(count):
        op = ("MatMul", "Add", "Relu")[i % 3]
        extra = [] if op == "Relu" else [f"w{i}"]
        if extra:
            shape = (WIDTH, WIDTH) if op == "MatMul" else (WIDTH,)
            constants[extra[0]] = (rng.normal(size=shape) / 3).astype(np.float32)
        nodes.append(helper.make_node(op, [last, *extra], [f"v{i}"]))
        last = f"v{i}"
    return net(nodes, constants, last)


def residuals(count: int) -> ModelProto:
    """Blocks of MatMul, Sigmoid, Mul (a SiLU in two nodes) and a residual Add."""
    nodes, last, constants = [], "x", {}
    rng = np.random.default_rng(0)
    for i in range(count // 4):
        constants[f"w{i}"] = (rng.normal(size=(WIDTH, WIDTH)) / 9).astype(np.float32)
        nodes += [
            helper.make_node("MatMul", [last, f"w{i}"], [f"a{i}"]),
            helper.make_node("Sigmoid", [f"a{i}"], [f"b{i}"]),
            helper.make_node("Mul", [f"a{i}", f"b{i}"], [f"c{i}"]),
            helper.make_node("Add", [last, f"c{i}"], [f"d{i}"]),
        ]
        last = f"d{i}"
    return net(nodes, constants, last)


def computed(count: int) -> ModelProto:
    """Reshapes to computed shapes: Shape, Gather, Unsqueeze, Concat and Reshape, and a Relu."""
    nodes, last = [], "x"
    for i in range(count // 6):
        nodes += [
            helper.make_node("Shape", [last], [f"s{i}"]),
            helper.make_node("Gather", [f"s{i}", "zero"], [f"g{i}"]),
            helper.make_node("Unsqueeze", [f"g{i}", "first"], [f"u{i}"]),
            helper.make_node("Concat", [f"u{i}", "rest"], [f"t{i}"], axis=0),
            helper.make_node("Reshape", [last, f"t{i}"], [f"r{i}"]),
            helper.make_node("Relu", [f"r{i}"], [f"v{i}"]),
        ]
        last = f"v{i}"
    constants = {"zero": np.array(0), "first": np.array([0]), "rest": np.array([-1])}
    return net(nodes, constants, last)


CHAINS: dict[str, Callable[[int], ModelProto]] = {f.__name__: f for f in (elementwise, layers, residuals, computed)}
IMPORT = ("parse", "build", "fuse", "recognise", "gates")
STEPS = (*IMPORT, "canonize", "assign", "prepare", "forward", "backward", "summary")


def seconds(data: bytes) -> dict[str, float]:
    """Return how long each step takes."""
    found: dict[str, float] = {}

    def timed(step: str, do: Callable[[], Any]) -> Any:
        gc.collect()
        start = time.perf_counter()
        result = do()
        found[step] = time.perf_counter() - start
        return result

    def parsed() -> Any:
        source = parse(data)
        check_supported(source)
        return source

    source = timed("parse", parsed)
    graph = timed("build", lambda: build(source, {"x": (1, WIDTH)}))
    graph = timed("fuse", lambda: fuse_affine(graph))
    graph = timed("recognise", lambda: recognise(graph))
    graph = timed("gates", lambda: mark_gates(graph))
    composite = resolve("epsilon_plus")
    graph = timed("canonize", lambda: canonize(strip_output(graph.restricted_to(graph.outputs[0])), composite.canonize))
    rules = timed("assign", lambda: composite.assign(graph))
    convert = converter("numpy", "float64")
    program: Program = timed("prepare", lambda: prepare(graph, rules, convert))
    values = timed("forward", lambda: program.forward({"x": np.full((1, WIDTH), 0.5)}))
    (name,) = (graph.resolve(o) for o in graph.outputs)
    timed("backward", lambda: program.backward(values, {name: values[name] + 0}, lambda _: False))
    model = reflrp.load(data)
    timed("summary", lambda: model.summary("epsilon_plus"))
    return found


def main() -> None:
    """Print a table for each chain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--chains", nargs="+", default=list(CHAINS), choices=CHAINS)
    given = parser.parse_args()
    for chain in given.chains:
        print(f"\n### {chain}: {CHAINS[chain].__doc__}\n")
        print(f"| nodes | import | {' | '.join(STEPS)} | µs a node |")
        print("|---:" * (len(STEPS) + 3) + "|")
        for size in given.sizes:
            found = seconds(CHAINS[chain](size).SerializeToString())
            whole = sum(found[s] for s in IMPORT)
            cells = " | ".join(f"{found[s]:.3f}" for s in STEPS)
            print(f"| {size:,} | {whole:.2f} | {cells} | {1e6 * sum(found.values()) / size:.0f} |", flush=True)


if __name__ == "__main__":
    main()
