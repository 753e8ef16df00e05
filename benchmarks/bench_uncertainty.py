"""What error bars cost: explanations with and without them, by turns in one run.

    python benchmarks/nets.py FOLDER
    python benchmarks/bench_uncertainty.py FOLDER [--nets vgg16,resnet50] [--dtypes float64,float32] [--first 4] [--repeat 3]

Each pair of calls is on one explainer that has run before; "ratio" is the median over the turns of the time with bars by the time
without.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np

import reflrp

RULES = ("epsilon_plus_flat", "epsilon_gamma_box(low=-4, high=4)", "epsilon_alpha2_beta1", "epsilon")


def seconds(explainer: reflrp.Explainer, x: np.ndarray, uncertainty: bool) -> float:
    """How long one explanation takes."""
    start = time.perf_counter()
    explainer(x, uncertainty=uncertainty, progress=False)
    return time.perf_counter() - start


def main() -> None:
    """Print a line for each network, composite and dtype."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nets", default="vgg16,resnet50")
    parser.add_argument("--dtypes", default="float64,float32")
    parser.add_argument("--first", type=int, default=len(RULES), help="of the rules, so many")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    chosen = parser.parse_args()
    x = np.random.default_rng(0).normal(size=(chosen.batch, 3, 224, 224)).astype(np.float32)
    for net in chosen.nets.split(","):
        model = reflrp.load(chosen.folder / f"{net}.onnx")
        for dtype in chosen.dtypes.split(","):
            for rules in RULES[: chosen.first]:
                explainer = reflrp.Explainer(model, rules=rules, dtype=dtype)
                seconds(explainer, x, True)
                turns = [(seconds(explainer, x, False), seconds(explainer, x, True)) for _ in range(chosen.repeat)]
                ratio = median(bars / plain for plain, bars in turns)
                print(
                    f"{net:9} {dtype} {rules:34} plain {median(p for p, _ in turns):.2f} s   ratio {ratio:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
