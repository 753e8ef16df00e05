"""Time and memory of reflrp beside zennit, on VGG-16 and ResNet-50 with zennit's composites.

    python benchmarks/nets.py FOLDER
    python benchmarks/bench_zennit.py FOLDER [--batch 1] [--repeat 3] [--memory] [--json FILE]

needs torch, torchvision and zennit beside reflrp. Both are set up once (reflrp.Explainer; zennit's hooks and
canonizers registered), called once to warm up, then by turns; the best of the turns counts. Both get the same
float32 weights, cast to the type that they compute in. BatchNorm has been folded in beforehand, which leaves
less to do for zennit too. "ratio" is zennit's time by reflrp's: above 1, reflrp is faster.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Imported where they are used, so that each process of --memory holds only the library that it measures.
COMPOSITES = ("EpsilonPlusFlat", "EpsilonGammaBox", "EpsilonAlpha2Beta1")
NETS = ("vgg16", "resnet50")
TARGET = 283
BATCHES = (1, 2, 4)

Explain = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Row:
    """One measurement: seconds of both, and how far apart their answers are."""

    net: str
    composite: str
    dtype: str
    batch: int
    reflrp: float
    zennit: float
    difference: float

    @property
    def ratio(self) -> float:
        """Above 1: reflrp is faster."""
        return self.zennit / self.reflrp


def composite_of(library: Any, name: str, **arguments: Any) -> Any:
    """A composite by name; EpsilonGammaBox with the box of the noise images."""
    box = {"low": -4.0, "high": 4.0} if name == "EpsilonGammaBox" else {}
    return getattr(library, name)(**box, **arguments)


def by_reflrp(folder: Path, net: str, dtype: str, image: np.ndarray) -> Callable[[str], Explain]:
    """Load the network into reflrp; the result makes an explaining function for a composite."""
    import reflrp
    from reflrp.dialects import zennit as dialect

    model = reflrp.load(folder / f"{net}.onnx")

    def prepare(composite: str) -> Explain:
        explainer = reflrp.Explainer(model, rules=composite_of(dialect, composite), dtype=dtype)
        return lambda: explainer(image, target=TARGET, init="one").relevance

    return prepare


def by_zennit(folder: Path, net: str, dtype: str, image: np.ndarray) -> Callable[[str], Explain]:
    """Load the network into torch; the result makes an explaining function for a composite, one at a time."""
    sys.path.insert(0, str(Path(__file__).parent))
    import nets
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    nets.torchvision_models()
    import zennit.attribution
    import zennit.composites
    import zennit.torchvision

    with torch.device("meta"):
        module = nets.blank(net)
    module.load_state_dict(torch.load(folder / f"{net}.pt"), assign=True)
    module = module.to(getattr(torch, dtype))
    canonizers = {"resnet": zennit.torchvision.ResNetCanonizer, "vgg": zennit.torchvision.VGGCanonizer}
    canonizer = canonizers[net.rstrip("0123456789")]
    x = torch.from_numpy(image)
    start = torch.nn.functional.one_hot(torch.full((len(x),), TARGET), 1000).to(x)

    registered: list[Any] = []

    def prepare(composite: str) -> Explain:
        for rules in registered:
            rules.remove()
        rules = composite_of(zennit.composites, composite, canonizers=[canonizer()])
        rules.register(module)
        registered[:] = [rules]
        return lambda: zennit.attribution.Gradient(module)(x, start)[1].detach().numpy()

    return prepare


LIBRARIES = {"reflrp": by_reflrp, "zennit": by_zennit}


def image_of(batch: int, dtype: str) -> np.ndarray:
    """Coarse plus fine noise (N, 3, 224, 224), within -4..4."""
    random = np.random.default_rng(batch)
    coarse = np.kron(random.standard_normal((batch, 3, 14, 14)), np.ones((1, 1, 16, 16)))
    return np.clip(coarse + 0.3 * random.standard_normal(coarse.shape), -4, 4).astype(dtype)


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def by_turns(functions: list[Callable[[], Any]], repeat: int) -> list[float]:
    """Best time of each, called one after the other, `repeat` times round."""
    rounds = [[seconds(function) for function in functions] for _ in range(repeat)]
    return [min(times) for times in zip(*rounds, strict=True)]


def measure(folder: Path, net: str, dtype: str, batch: int, repeat: int) -> list[Row]:
    """All composites on one network in one type."""
    image = image_of(batch, dtype)
    prepare = [library(folder, net, dtype, image) for library in LIBRARIES.values()]
    rows = []
    for composite in COMPOSITES:
        functions = [one(composite) for one in prepare]
        ours, theirs = (function() for function in functions)
        difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        rows.append(Row(net, composite, dtype, batch, *by_turns(functions, repeat), difference))
        print(line(rows[-1]), flush=True)
        del functions
        gc.collect()
    return rows


HEAD = "network   composite           type      N  reflrp s  zennit s  ratio     diff"


def line(row: Row) -> str:
    """One line of the table."""
    return (
        f"{row.net:9} {row.composite:19} {row.dtype:8} {row.batch:2} "
        f"{row.reflrp:9.3f} {row.zennit:9.3f} {row.ratio:6.2f} {row.difference:8.1e}"
    )


def geometric_mean(rows: list[Row]) -> float:
    """Of the ratios."""
    return math.exp(sum(math.log(row.ratio) for row in rows) / len(rows))


def times(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The table of times, with the geometric mean of the ratios for each type and over all."""
    print(HEAD)
    rows = [
        row
        for dtype in options.dtype
        for net in options.net
        for row in measure(folder, net, dtype, options.batch, options.repeat)
    ]
    means = {dtype: geometric_mean([row for row in rows if row.dtype == dtype]) for dtype in options.dtype}
    means["all"] = geometric_mean(rows)
    for name, mean in means.items():
        print(f"geometric mean of the ratios, {name}: {mean:.2f}")
    return {"rows": [asdict(row) | {"ratio": row.ratio} for row in rows], "geometric_mean": means}


def starting(folder: Path, net: str, dtype: str, repeat: int) -> dict[str, float]:
    """What comes before the steady state: import of the model, set-up, first and second call."""
    import reflrp
    from reflrp.dialects import zennit as dialect

    path = folder / f"{net}.onnx"
    loading = min(seconds(lambda: reflrp.load(path)) for _ in range(repeat))
    model, image = reflrp.load(path), image_of(1, dtype)
    start = time.perf_counter()
    explainer = reflrp.Explainer(model, rules=dialect.EpsilonPlusFlat(), dtype=dtype)
    setup = time.perf_counter() - start
    first, second = (seconds(lambda: explainer(image, target=TARGET)) for _ in range(2))
    result = {"load": loading, "set up": setup, "first call": first, "second call": second}
    print(f"{net} {dtype}: " + ", ".join(f"{name} {value:.3f} s" for name, value in result.items()))
    return result


def peak() -> float:
    """Largest resident size of this process so far, in MiB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (2**20 if sys.platform == "darwin" else 2**10)


def memory_here(folder: Path, library: str, net: str, dtype: str, batch: int) -> dict[str, float]:
    """Load the model and explain four batches: the peak after loading and after 1, 2 and 4 of them."""
    explain = LIBRARIES[library](folder, net, dtype, image_of(batch, dtype))("EpsilonPlusFlat")
    peaks = {"loaded": peak()}
    for count in range(1, max(BATCHES) + 1):
        explain()
        if count in BATCHES:
            peaks[str(count)] = peak()
    return peaks


def memory(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The table of peaks, each from a process of its own."""
    print(f"\npeak resident MiB, EpsilonPlusFlat, N = {options.batch}, after loading and 1, 2, 4 batches")
    results = []
    for dtype in options.dtype:
        for net in options.net:
            for library in LIBRARIES:
                command = [sys.executable, __file__, str(folder), "--batch", str(options.batch)]
                command += ["--process", library, "--net", net, "--dtype", dtype]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                peaks = json.loads(done.stdout.splitlines()[-1])
                print(f"{net:9} {dtype:8} {library:7}" + "".join(f"{mib:8.0f}" for mib in peaks.values()))
                results.append({"net": net, "dtype": dtype, "library": library, "peaks": peaks})
    return results


def versions() -> dict[str, str]:
    """What was measured."""
    names = ("reflrp", "zennit", "torch", "numpy", "onnx")
    return {name: importlib.metadata.version(name) for name in names} | {"cpus": str(os.cpu_count())}


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where benchmarks/nets.py has written the networks")
    parser.add_argument("--net", nargs="+", default=NETS, choices=NETS)
    parser.add_argument("--dtype", nargs="+", default=("float64", "float32"), choices=("float64", "float32"))
    parser.add_argument("--batch", type=int, default=1, help="samples in a call")
    parser.add_argument("--repeat", type=int, default=3, help="calls of which the best counts")
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead of time")
    parser.add_argument("--json", type=Path, help="write the numbers there as well")
    parser.add_argument("--process", choices=LIBRARIES, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure what is asked for."""
    options = options_of()
    if options.process:
        peaks = memory_here(options.folder, options.process, options.net[0], options.dtype[0], options.batch)
        print(json.dumps(peaks))
        return
    result: dict[str, Any] = {"versions": versions()}
    print(", ".join(f"{name} {version}" for name, version in result["versions"].items()))
    if options.memory:
        result["memory"] = memory(options.folder, options)
    else:
        result |= times(options.folder, options)
        result["start"] = starting(options.folder, options.net[-1], options.dtype[0], options.repeat)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
