"""Compiled graphs that take entries by numbers or places which only the run knows, for any batch size and length.

The oracle is onnxruntime's own operator: of a linear network, an entry's relevance is the entry times what the output makes of an
input that has 1 there and 0 elsewhere, at the same numbers.
"""

import re

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


@pytest.mark.parametrize(("mode", "padding", "aligned"), MODES)
def test_samples_far_away(mode, padding, aligned):
    proto = sampled(mode, padding, aligned, "N")
    g = reflrp.compile(proto, "lrp_0", target=1)
    for size in (1e3, 1e6):  # from 1e7 on onnxruntime's own output is off, as its places are in float32
        feeds = {"x": draw(2, 2, 5, 4), "grid": (draw(2, 3, 2, 2, seed=1) * size).astype(np.float32)}
        exact = reflrp.explain(proto, feeds, "lrp_0", target=1).relevances["x"]
        np.testing.assert_allclose(run(g, feeds)["relevance/x"], exact, atol=1e-5 * max(np.abs(exact).max(), 1e-3))


def test_samples_in_space():
    body = 'v = GridSample<mode = "linear", padding_mode = "border">(x, grid) r = Flatten(v) y = MatMul(r, W)'
    proto = model(body, "float[N,1,2,3,4] x, float[N,2,1,1,3] grid", opset=20, W=(2, 3))
    for n in (1, 3):
        check(proto, {"x": draw(n, 1, 2, 3, 4), "grid": draw(n, 2, 1, 1, 3, seed=n)}, "epsilon")


NUMBERED = {
    "of each sample": ("h = GatherElements<axis = 1>(x, at)", "float[N,T] x, int64[N,K] at"),
    "of each sample, in 32 bits": (
        "i = Cast<to = 6>(at) h = GatherElements<axis = -1>(x, i)",
        "float[N,T] x, int64[N,K] at",
    ),
    "of each channel": ("h = GatherElements<axis = 2>(x, at)", "float[N,2,T] x, int64[N,2,K] at"),
    "of all samples": ("h = Gather<axis = 1>(x, at)", "float[N,T] x, int64[K] at"),
    "of all samples at once": ("h = Gather<axis = 1>(x, at)", "float[N,T,3] x, int64[2,K] at"),
    "the samples themselves": ("h = GatherElements<axis = 0>(x, at)", "float[N,T] x, int64[N,T] at"),
    "rows of each sample": ("h = GatherND<batch_dims = 1>(x, at)", "float[N,T,3] x, int64[N,K,1] at"),
    "of whatever sample": ("h = GatherND(x, at)", "float[N,T] x, int64[N,K,2] at"),
}
"""What takes entries of x by numbers that come in."""

FIXED = {"N": 3, "T": 5, "K": 4}


def numbered(name, open_):
    body, inputs = NUMBERED[name]
    for symbol, n in FIXED.items():
        inputs = inputs if symbol in open_ else re.sub(rf"\b{symbol}\b", str(n), inputs)
    return model(f"{body} f = Flatten(h) y = ReduceSum<keepdims = 1>(f, one)", inputs, one=ints(1))


def numbers_of(name, x, k, seed):
    """Numbers that come again, counted from the end, too."""
    rng, (n, t) = np.random.default_rng([seed, k]), (len(x), x.shape[-1])
    shape = {"of each channel": (n, 2, k), "of all samples": (k,), "of all samples at once": (2, k)}.get(name, (n, k))
    if name == "the samples themselves":
        return rng.integers(-n, n, x.shape)
    if name == "of whatever sample":
        return np.stack([rng.integers(-n, n, shape), rng.integers(-t, t, shape)], -1)
    length = x.shape[1] if name != "of each channel" else t
    return rng.integers(-length, length, shape if name != "rows of each sample" else (*shape, 1))


@pytest.mark.parametrize("open_", ["NTK", "N", ""])
@pytest.mark.parametrize("name", NUMBERED)
def test_entries_by_numbers_that_come_in(name, open_):
    proto = numbered(name, open_)
    g = reflrp.compile(proto, "lrp_0", target=0)
    shapes = [(3, 5, 4)] + [(1, 5, 4), (6, 5, 4)] * ("N" in open_) + [(2, 9, 1), (1, 1, 7)] * ("T" in open_)
    for seed, (n, t, k) in enumerate(shapes):
        x = draw(
            n,
            *{"of each channel": (2, t), "of all samples at once": (t, 3), "rows of each sample": (t, 3)}.get(
                name, (t,)
            ),
        )
        feeds = {"x": x, "at": numbers_of(name, x, k, seed)}
        wanted = np.zeros(x.shape)
        for place in np.ndindex(x.shape):
            single = np.zeros_like(x)
            single[place] = x[place]
            wanted[place] = onnxruntime(numbered(name, "NTK"), {**feeds, "x": single})["y"].sum()
        np.testing.assert_allclose(run(g, feeds)["relevance/x"], wanted, atol=1e-5)
        np.testing.assert_allclose(reflrp.explain(proto, feeds, "lrp_0", target=0).relevances["x"], wanted, atol=1e-6)


@pytest.mark.parametrize("preset", ["epsilon", "epsilon_plus_flat", "attnlrp"])
@pytest.mark.parametrize("size", ["N,6", "N,T", "3,6"])
def test_the_largest_entries(size, preset):
    proto = model("v, i = TopK<axis = 1>(x, k) h = Relu(v) y = MatMul(h, w)", f"float[{size}] x", k=ints(3), w=(3, 2))
    for n in (3, 1, 5) if "N" in size else (3,):
        check(proto, {"x": draw(n, 6 if "T" not in size else 4 + n)}, preset)


def test_the_token_behind_the_last_one():
    """As CLIP's text model has it: the state at the largest id, whatever its place."""
    body = """last = ArgMax<axis = 1, keepdims = 0>(ids) size = Shape<start = 0, end = 1>(ids) n = Squeeze(size)
        each = Range(zero, n, step) a = Unsqueeze(each, end) b = Unsqueeze(last, end) at = Concat<axis = 1>(a, b)
        e = Gather(E, ids) p = Relu(e) h = GatherND(p, at) y = MatMul(h, W)"""
    proto = model(body, "int64[N,T] ids", E=(30, 4), W=(4, 3), zero=np.int64(0), step=np.int64(1), end=ints(-1))
    g = reflrp.compile(proto, "epsilon")
    for n, t in ((2, 5), (1, 1), (4, 9)):
        ids = np.random.default_rng(n).permuted(np.tile(np.arange(t), (n, 1)), axis=1)
        found, exact = run(g, {"ids": ids})["relevance/ids"], reflrp.explain(proto, ids, "epsilon").relevance
        np.testing.assert_allclose(found, exact, atol=1e-5)
        assert np.array_equal(found != 0, (ids == t - 1) & (exact != 0))


@pytest.mark.parametrize("body", ["y = Conv<pads = [1, 0]>(x, w)", "y = MaxPool<kernel_shape = [2], strides = [2]>(x)"])
def test_what_is_called_alike_is_as_long(body):
    """Where a file's length T is T' + 1, an axis of T' entries has another name: onnxruntime gives one's memory to the other."""
    proto = model(
        body.replace("y", "a", 1) + " b = Squeeze(a, one) y = Mul(a, b)",
        "float[1,1,T] x",
        w=draw(1, 1, 3),
        one=np.array([1]),
    )
    g = reflrp.compile(proto, "excitation_backprop", init="input", layers=True, strip=False)
    for length in (4, 6):
        x, init = draw(1, 1, length), draw(1, 1, length - 1 if "Conv" in body else length // 2)
        found = run(g, {"x": x, "init": init})
        known = {"T": length}
        for port in (*g.graph.input, *g.graph.output):
            if dims := port.type.tensor_type.shape.dim:
                shape = {**found, "x": x, "init": init}[port.name].shape
                for dim, n in zip(dims, shape, strict=True):
                    assert known.setdefault(dim.dim_param or dim.dim_value, n) == n, port.name
        exact = reflrp.explain(proto, x, "excitation_backprop", init=init, strip=False).relevance
        np.testing.assert_allclose(found["relevance/x"], exact, atol=1e-4 * np.abs(exact).max())
