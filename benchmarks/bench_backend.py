"""Time and memory of `backend="onnxruntime"` beside NumPy, zennit and the forward pass alone, in one run.

    python benchmarks/nets.py FOLDER
    python benchmarks/bench_backend.py FOLDER [--net vgg16 resnet50] [--batch 1 8] [--repeat 3] [--memory] [--flat 10000]

needs torch, torchvision and zennit beside reflrp and onnxruntime. Everything is float32, set up once, called once to warm up,
then by turns; the best of the turns counts. "x" columns are another's time by that of the backend with its ledger; "off" is
the largest difference from NumPy's float64, and "single" that of NumPy's float32, in parts of the largest relevance.
--memory has the peak of a process that loads a network and explains once and four times; --flat the resident memory of
one explainer over so many explanations of a small network.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from bench_zennit import COMPOSITES, NETS, TARGET, by_turns, by_zennit, composite_of, image_of, peak

import reflrp
from reflrp.dialects import zennit as dialect


def explainer(model: Any, name: str, threads: int, **options: Any) -> reflrp.Explainer:
    """Return the backend's explainer for one of zennit's composites."""
    return reflrp.Explainer(
        model, composite_of(dialect, name), backend="onnxruntime", dtype="float32", threads=threads, **options
    )


def forward(path: Path, threads: int) -> Any:
    """Return onnxruntime's session of the model alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measure(folder: Path, net: str, batch: int, threads: int, repeat: int, accurate: bool) -> list[float]:
    """Print the rows of one network and batch size; return the ratios to zennit."""
    image, path, ratios = image_of(batch, "float32"), folder / f"{net}.onnx", []
    alone, theirs = forward(path, threads), by_zennit(folder, net, "float32", image)
    feeds = {alone.get_inputs()[0].name: image}
    for name in COMPOSITES:
        model = reflrp.load(path)
        full, bare = (explainer(path, name, threads, ledger=ledger, batch_size=batch) for ledger in (True, False))
        single = reflrp.Explainer(model, composite_of(dialect, name), dtype="float32")
        zennit = theirs(name)
        ask: dict[str, Any] = {"target": TARGET, "init": "one", "progress": False}
        functions = [
            lambda: full(image, **ask).relevance,  # noqa: B023
            lambda: bare(image, **ask).relevance,  # noqa: B023
            lambda: single(image, **ask).relevance,  # noqa: B023
            zennit,
            lambda: alone.run(None, feeds),
        ]
        found = [f() for f in functions[:3]]
        times = by_turns(functions, repeat)
        off = math.nan, math.nan
        if accurate:
            exact = reflrp.Explainer(model, composite_of(dialect, name))(image, **ask).relevance
            off = tuple(float(np.abs(R - exact).max() / np.abs(exact).max()) for R in (found[0], found[2]))
        ratios.append(times[3] / times[0])
        ours = times[0]
        print(
            f"{net:9} {name:19} {batch:2} {ours:8.3f} {ours / times[1]:6.2f} {times[2] / ours:6.2f} {times[3] / ours:6.2f}"
            f" {ours / times[4]:6.2f} {off[0]:8.1e} {off[1]:8.1e}",
            flush=True,
        )
    return ratios


def memory_here(folder: Path, library: str, net: str, batch: int, threads: int) -> dict[str, float]:
    """Load the model and explain four times: the peak after loading, one and four."""
    image, name = image_of(batch, "float32"), COMPOSITES[0]
    if library == "zennit":
        explain = by_zennit(folder, net, "float32", image)(name)
    else:
        ledger = library == "onnxruntime"
        run = explainer(folder / f"{net}.onnx", name, threads, ledger=ledger)
        explain = lambda: run(image, target=TARGET, init="one", progress=False).relevance  # noqa: E731
    peaks = {"loaded": peak()}
    for count in range(1, 5):
        explain()
        if count in (1, 4):
            peaks[str(count)] = peak()
    return peaks


def memory(options: argparse.Namespace) -> None:
    """Print the table of peaks, each from a process of its own."""
    print("peak resident MiB, EpsilonPlusFlat, after loading, one explanation, and four")
    for net in options.net:
        for batch in options.batch:
            for library in ("onnxruntime", "no ledger", "zennit"):
                command = [sys.executable, __file__, str(options.folder), "--batch", str(batch), "--net", net]
                command += ["--threads", str(options.threads), "--process", library]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                peaks = json.loads(done.stdout.splitlines()[-1])
                print(f"{net:9} {batch:2} {library:12}" + "".join(f"{mib:8.0f}" for mib in peaks.values()), flush=True)


def resident() -> float:
    """Resident memory of this process now, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def flat(count: int) -> None:
    """Print the resident memory of one explainer over so many explanations."""
    from reflrp import demo

    path, images, _ = demo.load()
    explain = reflrp.Explainer(path, "epsilon_plus_flat", backend="onnxruntime", dtype="float32", threads=1)
    for i in range(count + 1):
        explain(images[i % len(images)][None], target=i % 10, progress=False)
        if i in (0, 10, 100, 1000) or i % max(count // 5, 1) == 0:
            print(f"{i:7} explanations: {resident():7.1f} MiB resident, peak {peak():7.1f}", flush=True)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where benchmarks/nets.py has written the networks")
    parser.add_argument("--net", nargs="+", default=NETS, choices=NETS)
    parser.add_argument("--batch", type=int, nargs="+", default=(1, 8))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=3, help="calls of which the best counts")
    parser.add_argument("--accurate", action="store_true", help="compare with NumPy's float64, which takes long")
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead of time")
    parser.add_argument("--flat", type=int, help="explain a small network so often, and print the memory")
    parser.add_argument("--process", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flat is not None:
        flat(options.flat)
    elif options.process:
        found = memory_here(options.folder, options.process, options.net[0], options.batch[0], options.threads)
        print(json.dumps(found))
    elif options.memory:
        memory(options)
    else:
        import torch

        torch.set_num_threads(options.threads)
        print("network   composite            N  seconds ledger numpy zennit forward     off   single")
        print("                                            x      x      x      x")
        ratios = [
            ratio
            for net in options.net
            for batch in options.batch
            for ratio in measure(options.folder, net, batch, options.threads, options.repeat, options.accurate)
        ]
        print(f"geometric mean of the ratios to zennit: {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}")


if __name__ == "__main__":
    main()
