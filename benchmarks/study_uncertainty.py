"""How well error bars hold: float64 against 80-bit floats, float32 against float64, on small networks under all presets.

    PYTHONSAFEPATH=1 PYTHONPATH=tests python benchmarks/study_uncertainty.py [--samples 100] [--strict]

Prints a line for each network, rules and dtype: of how many entries the bars hold, the median bar by the median error, and the
entries that were missed by more than ten times their bar. The reference runs the same formulas on `numpy.longdouble` (64 bits of
mantissa where the processor has them), on the same target. "cancelling" networks have biases that nearly undo what their layers
add up, and epsilon far below; so denominators are near 0. With --strict, prints instead what a rigorous running error analysis of
LRP-epsilon gives on dense layers of random weights.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import attention_net
import nets
import numpy as np
import onnx
from models import draw
from models import model as small

import reflrp
from reflrp import rules as r
from reflrp.arrays.convert import Converter
from reflrp.composites import presets
from reflrp.demo import load

LSTM = "z = Transpose<perm = [1, 0, 2]>(x) s, h = LSTM<hidden_size = 6>(z, w, v, b) l = Squeeze(h, zero) y = Gemm(l, u)"


def noisy(net: Any, seed: int) -> Any:
    """The network with weights that are no dyadic numbers, so that everything is rounded."""
    found, rng = onnx.ModelProto.FromString(net.SerializeToString()), np.random.default_rng(seed)
    for tensor in found.graph.initializer:
        a = onnx.numpy_helper.to_array(tensor)
        if a.dtype.kind == "f":
            moved = a + rng.normal(size=a.shape) * 0.1 * (abs(a).mean() + 0.1)
            moved = abs(moved) + 0.1 if tensor.name.startswith("var") else moved
            tensor.CopyFrom(onnx.numpy_helper.from_array(moved.astype(a.dtype), tensor.name))
    return found


def cancelling(x: np.ndarray, gap: float, seed: int) -> Any:
    """A network of two dense layers whose outputs are nearly 0 at the first sample, and small at the others."""
    rng = np.random.default_rng(seed)
    w, v = rng.normal(size=(x.shape[1], 16)).astype(np.float32), rng.normal(size=(16, 4)).astype(np.float32)
    b = -(x[0].astype(np.float64) @ w.astype(np.float64)) + gap * rng.normal(size=16)
    h = np.maximum(x[0].astype(np.float64) @ w + b.astype(np.float32), 0)
    c = -(h @ v.astype(np.float64)) + gap * rng.normal(size=4)
    text, port = "h = Gemm(x, w, b) a = Relu(h) y = Gemm(a, v, c)", f"float[{len(x)},{x.shape[1]}] x"
    return small(text, port, w=w, b=b.astype(np.float32), v=v, c=c.astype(np.float32))


def cases(samples: int) -> Iterator[tuple[str, Any, np.ndarray, list[Any]]]:
    """Yield names, models, inputs and rules."""
    rng = np.random.default_rng(1)
    named = [name for name in presets() if name not in ("epsilon_gamma_box", "until_index")]
    digits, images, _ = load()
    yield "digits (trained)", digits, images[:samples], named
    for name in nets.NETS:
        net, x = nets.net(name)
        more = [
            r.Epsilon(1e-12),
            r.Epsilon(0),
            r.Gamma(0.25),
            r.Gamma(0.25, generalized=True),
            "epsilon_gamma_box(low=-6, high=6)",
        ]
        yield (
            f"{name} (random)",
            noisy(net, 5),
            rng.normal(size=(samples, *x.shape[1:])).astype(np.float32),
            [*named, *more],
        )
    weights = attention_net.weights()
    yield (
        "attention (random)",
        attention_net.model(weights),
        attention_net.sample(),
        ["attnlrp", "cp_lrp", "gamma_attnlrp", "auto"],
    )
    lstm = {"w": draw(1, 24, 5, seed=1), "v": draw(1, 24, 6, seed=2), "b": draw(1, 48, seed=3), "u": draw(6, 3, seed=4)}
    yield (
        "lstm (random)",
        small(LSTM, "float[2,7,5] x", zero=np.int64([0]), **lstm),
        rng.normal(size=(2, 7, 5)).astype(np.float32),
        ["lstm", "auto", r.Epsilon(1e-9)],
    )
    for gap in (1e-3, 1e-6, 1e-9):
        x = (rng.normal(size=(8, 12)) * np.float32(1e-3) + rng.normal(size=(1, 12))).astype(np.float32)
        yield f"cancelling {gap:g}", cancelling(x, gap, 3), x, [r.Epsilon(e) for e in (0, 1e-12, 1e-6)]


def reference(model: Any, x: np.ndarray, rules: Any, dtype: str, target: Any) -> reflrp.Explanation:
    """The same in more digits: float64 for float32, longdouble for float64."""
    explainer = reflrp.Explainer(model, rules=rules)
    if dtype == "float64":
        convert = Converter("numpy", "longdouble")
        explainer.dtype, explainer._convert = "longdouble", convert
        explainer._programs = replace(explainer._programs, convert=convert)
    return explainer(x, target=target)


def line(name: str, model: Any, x: np.ndarray, rules: Any, dtype: str) -> tuple[int, int]:
    """Print one case; return how many entries the bars hold of, and how many there are."""
    e = reflrp.explain(model, x, rules=rules, dtype=dtype, uncertainty=True)
    true = reference(model, x, rules, dtype, e.target)
    errors = np.concatenate(
        [np.ravel(abs(e.relevances[k].astype(np.longdouble) - R)) for k, R in true.relevances.items()]
    )
    bars = np.concatenate([np.ravel(e.uncertainty[k]).astype(np.longdouble) for k in true.relevances])
    held, off = errors <= bars, errors > 10 * bars
    wrong = errors[errors > 0]
    ratio = float(np.median(bars[errors > 0]) / np.median(wrong)) if wrong.size else float("nan")
    shown = rules if isinstance(rules, str) else repr(rules)[:40]
    print(
        f"{name:20} {dtype} {shown:42} {100 * held.mean():8.3f} % of {held.size:6}  ratio {ratio:6.1f}  far off {off.sum()}",
        flush=True,
    )
    return int(held.sum()), held.size


def strict(depth: int, size: int = 256, epsilon: float = 1e-6) -> float:
    """The median bound by the median error of a running error analysis of LRP-epsilon, written out in float64."""
    rng, u = np.random.default_rng(0), np.finfo(float).eps / 2
    weights = [rng.normal(size=(size, size)) * np.sqrt(2 / size) for _ in range(depth)]
    x = rng.normal(size=size)
    found = {}
    for dtype in (np.float64, np.longdouble):
        a, b = [x.astype(dtype)], [0 * x]  # values, and the bounds of their errors
        z, c = [], []
        for w in weights:
            z.append(a[-1] @ w.astype(dtype))
            c.append(b[-1] @ abs(w) + size * u * (abs(a[-1]) @ abs(w)))
            a.append(np.maximum(z[-1], 0))
            b.append(np.where(z[-1] + c[-1] > 0, c[-1], 0))
        R, bound = np.where(z[-1] == z[-1].max(), z[-1], 0), np.where(z[-1] == z[-1].max(), c[-1], 0)
        for i, w in reversed(list(enumerate(weights))):
            st = z[i] + epsilon * np.where(z[i] >= 0, 1, -1)
            s, low = R / st, np.maximum(abs(st) - c[i], 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                t = np.where(abs(R) + bound > 0, (bound + abs(s) * c[i]) / low + u * abs(s), 0)
            v, e = w.astype(dtype) @ s, abs(w) @ t + size * u * (abs(w) @ abs(s))
            R, bound = a[i] * v, abs(a[i]) * e + b[i] * (abs(v) + e) + u * abs(a[i] * v)
        found[dtype] = R, bound
    error = abs(found[np.float64][0] - found[np.longdouble][0])
    return float(np.median(found[np.float64][1]) / np.median(error))


def main() -> None:
    """Run all cases, and say of how many entries the bars hold altogether."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--strict", action="store_true")
    chosen = parser.parse_args()
    if chosen.strict:
        for depth in (2, 3, 4, 6, 8):
            print(f"{depth} layers: the median bound is {strict(depth):.1e} times the median error")
        return
    found = [
        line(name, model, x, rules, dtype)
        for name, model, x, listed in cases(chosen.samples)
        for rules in listed
        for dtype in ("float64", "float32")
    ]
    held, count = (sum(n) for n in zip(*found, strict=True))
    print(f"held: {held} of {count} entries, {100 * held / count:.3f} %")


if __name__ == "__main__":
    main()
