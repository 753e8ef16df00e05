"""An LSTM, compiled: unrolled for one number of steps, and as a loop for any; by turns, in one run. Prints ratios.

Run: python benchmarks/bench_recurrent.py
"""

import time

import numpy as np
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
    net = tagger()
    forward, _ = session(net)
    for preset in PRESETS:
        loop, says = compiled(net, preset)
        print(f"{preset}: a loop: {says}")
        for steps in STEPS:
            for batch in BATCHES:
                flat, says = compiled(net, preset, {"x": (steps, batch, WIDTH)})
                x = np.random.default_rng(1).standard_normal((steps, batch, WIDTH)).astype(np.float32)
                taken = {"forward": [], "unrolled": [], "loop": []}
                for _ in range(TURNS):
                    for name, one in zip(taken, (forward, flat, loop), strict=True):
                        start = time.process_time()
                        one.run(None, {"x": x})
                        taken[name].append(time.process_time() - start)
                fast = {k: min(v) for k, v in taken.items()}
                print(
                    f"  {steps:4} steps, batch {batch:2}: loop / unrolled {fast['loop'] / fast['unrolled']:.2f}, "
                    f"unrolled / forward {fast['unrolled'] / fast['forward']:.1f} ({says})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
