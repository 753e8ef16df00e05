"""Time of compiled LRP under onnxruntime beside the forward pass alone, and beside zennit on torch, in one run.

    python benchmarks/nets.py FOLDER
    python benchmarks/bench_compiled.py FOLDER [--net vgg16 resnet50] [--batch 1 8] [--threads 2] [--repeat 3] [--cpu]

needs torch, torchvision and zennit beside reflrp. Everything is float32, set up once, called once to warm up, then by
turns; the best of the turns counts. "x forward" is the time of the compiled model by that of onnxruntime's forward pass of
the model; "x zennit" is zennit's time by that of the compiled model: above 1, the compiled model is faster. With --cpu each
has one thread and its processor time counts, which says the same on a machine that has other work.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from bench_zennit import COMPOSITES, NETS, TARGET, by_zennit, composite_of, image_of

import reflrp
from reflrp.dialects import zennit as dialect


def session(model: bytes | str, threads: int) -> onnxruntime.InferenceSession:
    """Set up onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def by_turns(functions: list[Any], repeat: int, clock: Any) -> list[float]:
    """Best time of each, called one after the other, `repeat` times round."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeat):
        for function, found in zip(functions, times, strict=True):
            start = clock()
            function()
            found.append(clock() - start)
    return [min(found) for found in times]


def measure(
    folder: Path, net: str, names: list[str], batch: int, threads: int, repeat: int, zennit: bool, clock: Any
) -> list[float]:
    """Print the rows of one network and batch size; return the ratios to zennit."""
    image, ratios = image_of(batch, "float32"), []
    theirs = by_zennit(folder, net, "float32", image) if zennit else None
    if theirs:
        import torch

        torch.set_num_threads(threads)
    path = folder / f"{net}.onnx"
    plain = session(str(path), threads)
    feeds = {plain.get_inputs()[0].name: image}
    for name in names:
        start = time.perf_counter()
        proto = reflrp.compile(
            path, composite_of(dialect, name), target=TARGET, init="one", shapes={next(iter(feeds)): image.shape}
        )
        took = time.perf_counter() - start
        compiled = session(proto.SerializeToString(), threads)
        out = f"relevance/{next(iter(feeds))}"
        functions: list[Any] = [lambda: plain.run(None, feeds), lambda: compiled.run([out], feeds)[0]]  # noqa: B023
        explain = theirs(name) if theirs else None
        if explain:
            functions.append(explain)
        ours, *others = (f() for f in functions[1:])
        forward, mine, *zennits = by_turns(functions, repeat, clock)
        diff = np.abs(ours - others[0]).max() / np.abs(others[0]).max() if others else math.nan
        ratios += [z / mine for z in zennits]
        nodes = Counter(n.op_type for n in proto.graph.node)
        convs = nodes["Conv"] + nodes["ConvTranspose"]
        print(
            f"{net:9} {name:19} {batch:2} {forward:8.3f} {mine:8.3f} {mine / forward:6.2f} "
            + (f"{zennits[0] / mine:6.2f} {diff:8.1e}" if zennits else "")
            + f"   compiled in {took:.1f} s, {sum(nodes.values())} nodes, {convs} convolutions, {proto.ByteSize() / 2**20:.0f} MiB",
            flush=True,
        )
    return ratios


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where benchmarks/nets.py has written the networks")
    parser.add_argument("--net", nargs="+", default=NETS, choices=NETS)
    parser.add_argument("--batch", type=int, nargs="+", default=(1, 8))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=3, help="calls of which the best counts")
    parser.add_argument("--alone", action="store_true", help="without zennit")
    parser.add_argument("--composite", nargs="+", default=COMPOSITES, choices=COMPOSITES)
    parser.add_argument("--cpu", action="store_true", help="one thread each, and processor time in place of wall time")
    options = parser.parse_args()
    options.threads = 1 if options.cpu else options.threads
    clock = time.process_time if options.cpu else time.perf_counter
    print("network   composite            N  forward compiled x forw. x zenn.  diff")
    ratios = [
        ratio
        for net in options.net
        for batch in options.batch
        for ratio in measure(
            options.folder,
            net,
            options.composite,
            batch,
            options.threads,
            options.repeat,
            not options.alone,
            clock,
        )
    ]
    if ratios:
        print(f"geometric mean of the ratios to zennit: {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}")


if __name__ == "__main__":
    main()
