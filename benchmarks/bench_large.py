"""Peak memory of explaining a transformer whose weights are large: a process for each row of the table.

    python benchmarks/bench_large.py FOLDER [--gib 4] [--tokens 32] [--rules attnlrp epsilon_plus] [--dtypes float32]

The network (random weights, 2048 wide, as many layers as fill the size) is written to the folder once, its weights in a file
beside it. "resident" is the largest resident set of the process, which counts the pages of the mapped file that were looked at;
"own" is what it allocates beside them at most, which is what a machine must have.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import reflrp

WIDE, HEADS = 2048, 16
LAYER = 12 * WIDE * WIDE * 4
"""Bytes of the weights of one layer."""


def write(folder: Path, gib: float) -> Path:
    """Write the network, one weight at a time."""
    import onnx
    from onnx import TensorProto, helper

    layers = max(1, round(gib * 2**30 / LAYER))
    path, data = folder / f"transformer_{layers}.onnx", folder / f"transformer_{layers}.data"
    if path.exists():
        return path
    chance, tensors, nodes, offset = np.random.default_rng(0), [], [], 0
    with data.open("wb") as file:

        def weight(name: str, *shape: int) -> str:
            nonlocal offset
            array = chance.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[0]))
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
            for key, value in (("location", data.name), ("offset", offset), ("length", array.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            tensors.append(tensor)
            file.write(array)
            offset += array.nbytes
            return name

        def node(op: str, *inputs: str, **attributes: object) -> str:
            nodes.append(helper.make_node(op, inputs, [f"{op}_{len(nodes)}"], **attributes))
            return f"{op}_{len(nodes) - 1}"

        for name, array in (("one", np.ones(WIDE, np.float32)), ("zero", np.zeros(WIDE, np.float32))):
            tensors.append(onnx.numpy_helper.from_array(array, name))
        tensors.append(onnx.numpy_helper.from_array(np.array([0, 0, HEADS, WIDE // HEADS]), "heads"))
        tensors.append(onnx.numpy_helper.from_array(np.array([0, 0, WIDE]), "joined"))
        tensors.append(onnx.numpy_helper.from_array(np.float32(np.sqrt(WIDE // HEADS)), "scale"))
        x = "x"
        for i in range(layers):
            n = node("LayerNormalization", x, "one", "zero")
            q, k, v = (node("Reshape", node("MatMul", n, weight(f"{p}{i}", WIDE, WIDE)), "heads") for p in "qkv")
            scores = node("MatMul", node("Transpose", q, perm=[0, 2, 1, 3]), node("Transpose", k, perm=[0, 2, 3, 1]))
            mixed = node(
                "MatMul", node("Softmax", node("Div", scores, "scale")), node("Transpose", v, perm=[0, 2, 1, 3])
            )
            joined = node("Reshape", node("Transpose", mixed, perm=[0, 2, 1, 3]), "joined")
            x = node("Add", x, node("MatMul", joined, weight(f"o{i}", WIDE, WIDE)))
            n = node("LayerNormalization", x, "one", "zero")
            up = node("Relu", node("MatMul", n, weight(f"up{i}", WIDE, 4 * WIDE)))
            x = node("Add", x, node("MatMul", up, weight(f"down{i}", 4 * WIDE, WIDE)))
        pooled = node("ReduceMean", x, axes=[1], keepdims=0)
        nodes.append(helper.make_node("MatMul", [pooled, weight("head", WIDE, 10)], ["y"]))
    ports = (helper.make_tensor_value_info("x", 1, ["N", "T", WIDE]), helper.make_tensor_value_info("y", 1, ["N", 10]))
    graph = helper.make_graph(nodes, "transformer", ports[:1], ports[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def memory() -> dict[str, int]:
    """Bytes of this process: resident, and of these its own."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    return {"resident": found["VmHWM"], "own": found["RssAnon"]}


def row(path: Path, rules: str, dtype: str, tokens: int) -> None:
    """Explain once, and print what it took as JSON."""
    own, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            own[0] = max(own[0], memory()["own"])

    threading.Thread(target=watch, daemon=True).start()
    x = np.random.default_rng(1).standard_normal((1, tokens, WIDE), np.float32)
    start = time.perf_counter()
    model = reflrp.load(path)
    loaded = time.perf_counter() - start
    explainer = reflrp.Explainer(model, rules, dtype=dtype)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        e = explainer(x)
        times.append(time.perf_counter() - start)
    done.set()
    seconds = {"load": loaded, "first": times[0], "next": times[1]}
    print(json.dumps({"resident": memory()["resident"], "own": own[0], "sum": float(e.relevance.sum()), **seconds}))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rules", nargs="+", default=["attnlrp", "epsilon_plus"])
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--weights", type=float, help="GiB of reflrp.limits.WEIGHTS; else as it is")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = write(options.folder, options.gib)
    if options.row:
        if options.weights is not None:
            reflrp.limits.WEIGHTS = int(options.weights * 2**30)
        row(path, *options.row, options.tokens)
        return
    print(f"{path.name}: weights {path.with_suffix('.data').stat().st_size / 2**30:.2f} GiB, {options.tokens} tokens")
    print("rules          dtype    resident GiB  own GiB   load s  first s   next s")
    for rules in options.rules:
        for dtype in options.dtypes:
            more = ["--gib", str(options.gib), "--tokens", str(options.tokens), "--row", rules, dtype]
            more += [] if options.weights is None else ["--weights", str(options.weights)]
            done = subprocess.run(
                [sys.executable, __file__, str(options.folder), *more], capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"{rules:14} {dtype:8} failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            found = json.loads(done.stdout)
            sizes = found["resident"] / 2**30, found["own"] / 2**30
            seconds = "".join(f"{found[k]:9.1f}" for k in ("load", "first", "next"))
            print(
                f"{rules:14} {dtype:8} {sizes[0]:12.2f} {sizes[1]:8.2f}{seconds}   sum {found['sum']:.9g}", flush=True
            )


if __name__ == "__main__":
    main()
