"""An LSTM, compiled: unrolled for one number of steps, and as a loop for any; by turns, in one run. Prints ratios.

Run: python benchmarks/bench_recurrent.py
     python benchmarks/bench_recurrent.py --loop [FILE]     a file's own Loop: that of an RNN as tf2onnx writes it, or of FILE
"""

import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

import reflrp

HIDDEN, WIDTH, PRESETS = 64, 32, ("epsilon", "attnlrp")
STEPS, BATCHES = (10, 50, 200), (1, 16)
TURNS = 7


def tagger():
    """Return an LSTM of open length and batch size, with a dense layer at each step."""
    rng = np.random.default_rng(0)
    shapes = {"w": (1, 4 * HIDDEN, WIDTH), "r": (1, 4 * HIDDEN, HIDDEN), "b": (1, 8 * HIDDEN), "v": (HIDDEN, 5)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.1, s).astype(np.float32), k) for k, s in shapes.items()]
    axis = numpy_helper.from_array(np.array([1]), "axis")
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "b"], ["s"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["s", "axis"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    ports = [[helper.make_tensor_value_info(k, 1, s)] for k, s in (("x", ["T", "N", WIDTH]), ("y", ["T", "N", 5]))]
    graph = helper.make_graph(nodes, "tagger", *ports, [*weights, axis])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def turns():
    """Return an RNN that is written as a Loop, which ends by its own condition, of open length and batch size."""
    text = """<ir_version: 9, opset_import: ["": 17]> turns (float[T,N,W] x) => (float[] y) {
        s = Shape(x) t1 = Slice(s, zero, one) t = Squeeze(t1, zero) n = Slice(s, one, two) d = Concat <axis = 0>(n, hidden)
        h0 = Expand(nought, d) begins = Less(i0, t)
        j, h, all = Loop (, begins, i0, h0) <body = turn (int64 k, bool go, int64 i, float[M,H] s0) =>
            (bool on, int64 i1, float[M,H] r, float[M,H] o) {
            xi = Gather(x, i) a = MatMul(xi, w) c = MatMul(s0, u) e = Add(a, c) f = Add(e, b) r = Tanh(f) o = Identity(r)
            i1 = Add(i, step) on = Less(i1, t) }>
        y = MatMul(all, v) }"""
    net, rng = onnx.parser.parse_model(text), np.random.default_rng(0)
    net.graph.input[0].type.tensor_type.shape.dim[2].dim_value = WIDTH
    shapes = {"w": (WIDTH, HIDDEN), "u": (HIDDEN, HIDDEN), "b": (HIDDEN,), "v": (HIDDEN, 5)}
    weights = {k: rng.normal(0, 0.1, s).astype(np.float32) for k, s in shapes.items()}
    weights |= {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "hidden": np.array([HIDDEN])}
    weights |= {"nought": np.float32(0), "i0": np.int64(0), "step": np.int64(1)}
    net.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), k) for k, a in weights.items())
    return net


def sized(net, steps, batch):
    """Return the shape of the one input of a net, of which a file may have the samples first."""
    dims = net.graph.input[0].type.tensor_type.shape.dim
    first = (steps, batch) if dims[0].dim_param == "T" else (batch, steps)
    return (*first, *(d.dim_value for d in list(dims)[2:]))


def session(proto):
    """Return a session of one thread, and how long it took to load."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    start = time.process_time()
    made = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return made, time.process_time() - start


def compiled(net, preset, shapes=None):
    """Return a session of a compiled graph, and what there is to say of it."""
    start = time.process_time()
    proto = reflrp.compile(net, preset, shapes=shapes)
    took = time.process_time() - start
    made, load = session(proto)
    return made, f"{len(proto.graph.node)} nodes, compiled in {took:.1f} s, loaded in {load:.1f} s"


def main():
    """Print how long a loop takes, in times of the unrolled graph and of the forward pass."""
    net = tagger() if "--loop" not in sys.argv else turns() if sys.argv[-1] == "--loop" else onnx.load(sys.argv[-1])
    name = net.graph.input[0].name
    forward, _ = session(net)
    for preset in PRESETS:
        loop, says = compiled(net, preset)
        print(f"{preset}: a loop: {says}")
        for steps in STEPS:
            for batch in BATCHES:
                flat, says = compiled(net, preset, {name: sized(net, steps, batch)})
                x = np.random.default_rng(1).standard_normal(sized(net, steps, batch)).astype(np.float32)
                taken = {"forward": [], "unrolled": [], "loop": []}
                for _ in range(TURNS):
                    for what, one in zip(taken, (forward, flat, loop), strict=True):
                        start = time.process_time()
                        one.run(None, {name: x})
                        taken[what].append(time.process_time() - start)
                fast = {k: min(v) for k, v in taken.items()}
                print(
                    f"  {steps:4} steps, batch {batch:2}: loop / unrolled {fast['loop'] / fast['unrolled']:.2f}, "
                    f"unrolled / forward {fast['unrolled'] / fast['forward']:.1f} ({says})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
