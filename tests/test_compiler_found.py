"""Compiled graphs that take entries by places which the network works out: GridSample, for any batch size.

The oracle is onnxruntime's own GridSample: of a linear network, an entry's relevance is the entry times what the output makes of a
picture that has 1 there and 0 elsewhere, at the same grid.
"""

import numpy as np
import pytest
from compiled import check, run
from models import draw, ints, model, onnxruntime

import reflrp

MODES = [
    (m, p, a) for m in ("bilinear", "nearest", "bicubic") for p in ("zeros", "border", "reflection") for a in (0, 1)
]


def sampled(mode, padding, aligned, n, inputs="float[{n},2,5,4] x, float[{n},3,2,2] grid", before=""):
    """Pictures of two channels, sampled at six places each, and a dense layer."""
    options = f'mode = "{mode}", padding_mode = "{padding}", align_corners = {aligned}'
    body = f"{before} g = Identity(grid) v = GridSample<{options}>(x, g) r = Flatten(v) y = MatMul(r, W)"
    return model(body, inputs.format(n=n), W=draw(12, 3, seed=7), shape=ints(0, 3, 2, 2), w=draw(4, 12, seed=3))


def grids(n, mode):
    """Places inside, on the border, in the middle between entries, far outside, and the same one again.

    Which entry is the nearest one to the middle between two may hang on how thirds are rounded; the runtime's are in float32.
    """
    wide = draw(n, 3, 2, 2, seed=1) * 3
    halves = np.random.default_rng(2).integers(-12, 13, (n, 3, 2, 2)) / 4
    thirds = np.random.default_rng(3).integers(-6, 7, (n, 3, 2, 2)) / 3
    found = [wide / 4, wide, halves, 0 * wide, 0 * wide + 0.25, 7 * halves, *([thirds] if mode != "nearest" else [])]
    return [a.astype(np.float32) for a in found]


def by_hand(proto, x, grid, target):
    size = x[0].size
    single = np.tile(np.eye(size, dtype=np.float32).reshape(size, *x.shape[1:]), (len(x), 1, 1, 1))
    made = onnxruntime(proto, {"x": single, "grid": np.repeat(grid, size, axis=0)})["y"][:, target]
    return x * made.astype(float).reshape(x.shape)


@pytest.mark.parametrize("n", ["N", 3])
@pytest.mark.parametrize(("mode", "padding", "aligned"), MODES)
def test_samples_at_places_that_come_in(mode, padding, aligned, n):
    proto = sampled(mode, padding, aligned, n)
    g = reflrp.compile(proto, "lrp_0", target=1)
    for count in (1, 4) if n == "N" else (3,):
        for i, grid in enumerate(grids(count, mode)):
            feeds = {"x": draw(count, 2, 5, 4, seed=i), "grid": grid}
            wanted = by_hand(sampled(mode, padding, aligned, "N"), **feeds, target=1)
            found, scale = run(g, feeds)["relevance/x"], max(np.abs(wanted).max(), 1e-3)
            np.testing.assert_allclose(found, wanted, atol=2e-5 * scale)
            exact = reflrp.explain(proto, feeds, "lrp_0", target=1).relevances["x"]
            np.testing.assert_allclose(found, exact, atol=2e-5 * scale)


@pytest.mark.parametrize("preset", ["epsilon", "epsilon_plus_flat", "epsilon_alpha2_beta1"])
@pytest.mark.parametrize(("mode", "padding", "aligned"), MODES[::4])
def test_samples_at_places_that_a_layer_finds(mode, padding, aligned, preset):
    found = "t = MatMul(f, w) grid = Reshape(t, shape)"
    proto = sampled(mode, padding, aligned, "N", "float[{n},2,5,4] x, float[{n},4] f", found)
    for n in (1, 4):
        check(proto, {"x": draw(n, 2, 5, 4), "f": draw(n, 4, seed=n)}, preset)


def test_samples_in_space():
    body = 'v = GridSample<mode = "linear", padding_mode = "border">(x, grid) r = Flatten(v) y = MatMul(r, W)'
    proto = model(body, "float[N,1,2,3,4] x, float[N,2,1,1,3] grid", opset=20, W=(2, 3))
    for n in (1, 3):
        check(proto, {"x": draw(n, 1, 2, 3, 4), "grid": draw(n, 2, 1, 1, 3, seed=n)}, "epsilon")
