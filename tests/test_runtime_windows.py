"""Windows that onnxruntime lays otherwise than ONNX's text are refused, and no others: by a literal formula, on all geometries."""

from __future__ import annotations

import itertools

import models
import numpy as np
import onnxruntime
import pytest

import reflrp

KERNELS, STRIDES, DILATIONS, LENGTHS = (1, 2, 3), (1, 2, 3, 5), (1, 2, 3), (1, 2, 4, 5, 6, 7)
PADS = ("VALID", "SAME_UPPER", "SAME_LOWER", (0, 0), (1, 0), (0, 1))
POOLS = [
    ("MaxPool", 12),
    ("MaxPool", 22),
    ("AveragePool", 11),
    ("AveragePool", 19),
    ("AveragePool", 22),
    ("LpPool", 18),
]
DILATED = {("AveragePool", 11): (1,)}


def by_text(x, op, k, s, d, pads, ceil=0, counted=0, w=None):
    """Return a pool or convolution by the words of the standard, window by window; None where a window has no entry."""
    n, span = len(x), d * (k - 1) + 1
    if isinstance(pads, str):
        total = 0 if pads == "VALID" else max((-(-n // s) - 1) * s + span - n, 0)
        before = total // 2 if pads != "SAME_LOWER" else total - total // 2
        pads, ceil = (before, total - before), 0
    before, after = pads
    rest = n + before + after - span
    if rest < 0:
        return None
    starts = [i * s for i in range(-(-rest // s) + 1 if ceil else rest // s + 1)]
    starts = [i for i in starts if not ceil or i < n + before]
    found = []
    for start in starts:
        places = [start - before + d * j for j in range(k)]
        inside = [(j, p) for j, p in enumerate(places) if 0 <= p < n]
        if not inside:
            return None
        seen = np.array([x[p] for _, p in inside])
        count = sum(-before <= p < n + after for p in places) if counted else len(inside)
        found.append(
            {
                "MaxPool": seen.max(),
                "AveragePool": seen.sum() / max(count, 1),
                "LpPool": np.sqrt((seen**2).sum()),
                "Conv": sum(w[j] * x[p] for j, p in inside) if w is not None else None,
            }[op]
        )
    return np.array(found)


def transposed_by_text(x, k, s, d, pads, extra, w):
    full = np.zeros(s * (len(x) - 1) + d * (k - 1) + 1 + extra + s)
    for i, j in itertools.product(range(len(x)), range(k)):
        full[i * s + d * j] += w[j] * x[i]
    n = s * (len(x) - 1) + d * (k - 1) + 1 + extra
    if isinstance(pads, str):
        total = max(n - s * len(x), 0) if pads != "VALID" else 0
        before = total // 2 if pads == "SAME_UPPER" else total - total // 2
        return full[before : before + (s * len(x) if pads != "VALID" else n)]
    return full[pads[0] : n - pads[1]]


def session(proto):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def tried(op, opset, wanted, given, **weights):
    """Compare the runtime, the text and reflrp at all lengths; return how many are alike, and how many are refused."""
    names = "".join(f", {k}" for k in weights)
    proto = models.model(f"y = {op} <{given}>(x{names})", "float[N,1,T] x", opset=opset, **weights)
    ours, alike, refused = reflrp.load(proto), 0, 0
    try:
        runtime = session(proto)
    except Exception:
        return 0, 0
    for n in LENGTHS:
        x = models.draw(1, 1, n, seed=n).astype(np.float32)
        text = wanted(x[0, 0].astype(float))
        try:
            (there,) = runtime.run(None, {"x": x})
        except Exception:
            continue
        if text is None:
            continue
        if len(text) == there.size and np.allclose(text, there.ravel(), atol=1e-5):
            np.testing.assert_allclose(ours.run({"x": x})["y"].ravel(), text, atol=1e-6)
            alike += 1
        else:
            with pytest.raises(reflrp.UnsupportedOperator, match="auto_pad"):
                ours.run({"x": x})
            refused += 1
    return alike, refused


def written(k, s, d, pads, **more):
    pad = f'auto_pad = "{pads}"' if isinstance(pads, str) else f"pads = [{pads[0]}, {pads[1]}]"
    rest = "".join(f", {name} = {value}" for name, value in more.items())
    return f"kernel_shape = [{k}], strides = [{s}], {pad}{rest}" + (f", dilations = [{d}]" if d > 1 else "")


@pytest.mark.parametrize(("op", "opset"), POOLS)
def test_pools(op, opset):
    alike = refused = 0
    for k, s, d, pads, ceil in itertools.product(KERNELS, STRIDES, DILATIONS, PADS, (0, 1)):
        if d not in DILATED.get((op, opset), DILATIONS) or (k == 1 and (d > 1 or pads in ((1, 0), (0, 1)))):
            continue
        for counted in (0, 1) if op == "AveragePool" else (0,):
            more = {"count_include_pad": counted} if counted else {}
            given = written(k, s, d, pads, ceil_mode=ceil, **more)
            found = tried(op, opset, lambda x: by_text(x, op, k, s, d, pads, ceil, counted), given)  # noqa: B023
            alike, refused = alike + found[0], refused + found[1]
    assert alike > 500
    assert refused > 20


@pytest.mark.parametrize("opset", [11, 22])
def test_convolutions(opset):
    refused = 0
    for k, s, d, pads in itertools.product(KERNELS, (*STRIDES, 7), DILATIONS, PADS):
        w = models.draw(1, 1, k)
        for op in ("Conv", "ConvTranspose"):
            for extra in (0, 1) if op == "ConvTranspose" and s > 1 else (0,):
                if op == "Conv":
                    wanted = lambda x: by_text(x, op, k, s, d, pads, w=w[0, 0])  # noqa: B023, E731
                else:
                    wanted = lambda x: transposed_by_text(x, k, s, d, pads, extra, w[0, 0])  # noqa: B023, E731
                given = written(k, s, d, pads, **({"output_padding": f"[{extra}]"} if extra else {}))
                refused += tried(op, opset, wanted, given, w=w)[1]
    assert refused > 100
