"""A BatchNormalization before a layer with padding, compiled for all lengths: what its shift adds is less at the border."""

import models
import numpy as np
import pytest
from compiled import check, part, run
from onnx import numpy_helper

import reflrp
from reflrp import rules

RULES = {
    "epsilon": rules.Epsilon(0.1),
    "z-plus": rules.ZPlus(bias="split"),
    "alpha-beta": rules.AlphaBeta(2, 1, bias="split"),
    "w-square": rules.WSquare(bias="square"),
    "flat": rules.Flat(),
}
LAYERS = {
    "padded": ("Conv <pads = [1, 0, 2, 1]>", (6, 4, 3, 2)),
    "strided, dilated, in groups": ("Conv <pads = [1, 1, 1, 1], strides = [2, 1], dilations = [1, 2], group = 2>", (6, 2, 3, 2)),
    "same": ('Conv <auto_pad = "SAME_UPPER", strides = [2, 2]>', (6, 4, 3, 3)),
    "transposed": ("ConvTranspose <pads = [1, 0, 0, 1], strides = [2, 1], group = 2>", (4, 3, 3, 2)),
}  # fmt: skip
SIZES = [(1, 3, 3), (2, 8, 5), (3, 4, 11)]


def norm(*names):
    """The weights of a BatchNormalization of four channels."""
    rng = np.random.default_rng(len(names))
    made = [rng.normal(size=4), rng.normal(size=4), rng.normal(size=4), rng.uniform(0.5, 2, 4)]
    return {n: m.astype(np.float32) for n, m in zip(names, made, strict=True)}


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_shift_before_a_padded_layer_is_compiled_for_all_sizes(layer, biased):
    op, shape = LAYERS[layer]
    proto = models.model(
        f"n = BatchNormalization(x, s, b, m, v) c = {op}(n, w{', wb' if biased else ''}) r = Relu(c) "
        "p = GlobalAveragePool(r) q = Flatten(p) y = MatMul(q, d)",
        "float[N,4,H,W] x", w=shape, d=(6, 3), **norm(*"sbmv"), **({"wb": (6,)} if biased else {}),
    )  # fmt: skip
    for rule in RULES.values():
        composite = {"*Conv*": rule, "*": rules.Epsilon()}
        compiled = reflrp.compile(proto, composite)
        for size in SIZES:
            x = models.draw(size[0], 4, *size[1:])
            e = reflrp.explain(proto, x, composite, progress=False)
            assert part(run(compiled, {"x": x.astype(np.float32)})["relevance/x"], e.relevance) < 1e-4, (rule, size)


def sums(x, n, w, b, tap):
    """z+ by indices, for one output channel: over each window, entries in the padding left out. `tap` says what is summed."""
    channels, steps, width = len(x), len(x[0]), len(w[0])
    found = []
    for t in range(steps):
        inside = [(c, k) for c in range(channels) for k in range(width) if 0 <= t + k - 1 < steps]
        shift = b + sum(w[c][k] * (n["b"][c] - n["m"][c] * n["g"][c]) for c, k in inside)
        found.append(sum(tap(x[c][t + k - 1] * w[c][k] * n["g"][c]) for c, k in inside) + tap(shift))
    return found


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_shift_of_each_window_is_that_of_the_entries_in_it(steps):
    """Against sums over indices, in which a window at the border has fewer taps than the others."""
    proto = models.model(
        "n = BatchNormalization <epsilon = 0.0>(x, s, b, m, v) c = Conv <pads = [1, 1]>(n, w, wb) p = GlobalAveragePool(c) "
        "y = Flatten(p)",
        "float[N,4,T] x", w=(1, 4, 3), wb=(1,), **norm(*"sbmv"),
    )  # fmt: skip
    known = {t.name: np.asarray(numpy_helper.to_array(t), float) for t in proto.graph.initializer}
    n, w, wb = {**known, "g": known["s"] / np.sqrt(known["v"])}, known["w"][0], known["wb"][0]
    x = models.draw(2, 4, steps)
    compiled = reflrp.compile(
        proto, {"Conv*": rules.ZPlus(bias="split", inputs="split", stabilizer=0), "*": rules.Epsilon(1e-9)}
    )
    found = run(compiled, {"x": x})["relevance/x"]
    wanted = np.zeros(x.shape)
    for i, own in enumerate(x.astype(float)):
        z, up = sums(own, n, w, wb, lambda v: v), sums(own, n, w, wb, lambda v: max(v, 0.0))
        for c in range(4):
            for t in range(steps):
                for k in range(3):
                    if 0 <= t + k - 1 < steps:
                        part_ = max(own[c][t + k - 1] * w[c][k] * n["g"][c], 0.0)
                        wanted[i, c, t + k - 1] += part_ / up[t] * z[t] / steps if up[t] else 0.0
    assert part(found, wanted) < 1e-4


def test_norms_around_padded_layers_are_folded_in_any_order():
    """Two before, one behind, and a rule for every node; at lengths shorter than the kernel, too."""
    proto = models.model(
        "n = BatchNormalization(x, s, b, m, v) c = Conv <pads = [2, 0]>(n, w) o = BatchNormalization(c, s, b, m, v) r = Relu(o) "
        "l = BatchNormalization(r, s, b, m, v) d = ConvTranspose <pads = [1, 1]>(l, u) "
        "p = GlobalAveragePool(d) q = Flatten(p) y = MatMul(q, k)",
        "float[N,4,T] x", w=(4, 4, 3), u=(4, 4, 3), k=(4, 3), **norm(*"sbmv"),
    )  # fmt: skip
    for rule in ("epsilon", "epsilon_plus", "epsilon_alpha2_beta1"):
        for steps in (1, 2, 9):
            check(proto, {"x": models.draw(2, 4, steps)}, rule)
