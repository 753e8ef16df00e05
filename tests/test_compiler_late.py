"""What follows from lengths alone and is found in the run: matrices, positions in floats, scales; and which multiple a length is.

Each graph is held against the engine in float64 at many lengths and numbers of samples.
"""

import models
import numpy as np
import pytest
from compiled import part, run

import reflrp
from reflrp import rules
from reflrp.composites import Composite, kind, uniform

ids = models.ints
SIZES = [(n, t) for n in (1, 2, 3) for t in (1, 2, 5, 12)]
PRESETS = ["epsilon", "epsilon_plus_flat", "epsilon_alpha2_beta1", "attnlrp", "gamma_attnlrp", "gradient"]


def lengths_of(g):
    """What the metadata say of lengths."""
    return {p.key: p.value for p in g.metadata_props}.get("reflrp.lengths", "")


def hold(proto, given, sizes=SIZES, wide=4, last=True):
    """Hold one compiled graph against the engine, at all sizes."""
    g = reflrp.compile(proto, given)
    for n, t in sizes:
        x = models.draw(n, t, wide) if last else models.draw(n, wide, t)
        own = run(g, {"x": x})
        wanted = reflrp.explain(proto, x, given, dtype="float64")
        np.testing.assert_allclose(own["y"], wanted.output, rtol=1e-4, atol=1e-5)
        assert part(own["relevance/x"], wanted.relevance) < 1e-3, (n, t)
    return g


POSITIONS = "s = Shape(x) t = Gather(s, {axis}) i = Range(zero, t, one) p = Cast <to = 1>(i) "
DECAY = (
    "a = Unsqueeze(p, ax1) b = Unsqueeze(p, ax0) d = Sub(a, b) ok = GreaterOrEqual(d, none) f = Pow(by, d) "
    "l = Where(ok, f, none) "
)
GIVEN = {
    "zero": np.array(0), "one": np.array(1), "two": np.array(2), "ax0": ids(0), "ax1": ids(1), "none": np.float32(0),
    "by": np.float32(0.7),
}  # fmt: skip
NETS = {
    "learned queries": models.model(
        "s = Shape(x) n = Slice(s, ax0, ax1) w3 = Concat <axis = 0>(n, rest) q = Expand(latent, w3) k = MatMul(x, wk) "
        "kt = Transpose <perm = [0, 2, 1]>(k) c = MatMul(q, kt) a = Softmax(c) v = MatMul(x, wv) o = MatMul(a, v) r = Relu(o) "
        "m = ReduceMean <axes = [1], keepdims = 0>(r) y = MatMul(m, u)",
        "float[N,T,4] x", ax0=ids(0), ax1=ids(1), rest=ids(2, 5), latent=(1, 2, 5), wk=(4, 5), wv=(4, 3), u=(3, 3),
    ),
    "decay from the left": models.model(
        POSITIONS.format(axis="one") + DECAY + "h = MatMul(x, w) c = MatMul(l, h) r = Relu(c) "
        "m = ReduceMean <axes = [1], keepdims = 0>(r) y = MatMul(m, v)", "float[N,T,4] x", w=(4, 5), v=(5, 3), **GIVEN,
    ),
    "decay from the right": models.model(
        POSITIONS.format(axis="two") + DECAY + "h = MatMul(w, x) c = MatMul(h, l) r = Relu(c) "
        "m = ReduceMean <axes = [2], keepdims = 0>(r) y = MatMul(m, v)", "float[N,4,T] x", w=(5, 4), v=(5, 3), **GIVEN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("net", NETS)
def test_matrices_that_lengths_make(net, preset):
    """Queries once for each sample, and mixtures of places, are layers for the rules, as they are where they are constants."""
    assert lengths_of(hold(NETS[net], preset, last=net != "decay from the right")) == ""


@pytest.mark.parametrize(
    "rule", [rules.WSquare(), rules.Flat(), rules.ZPlus(), rules.AlphaBeta(2, 1), rules.ZBox(-3, 3)]
)
@pytest.mark.parametrize("net", ["decay from the left", "decay from the right"])
def test_every_rule_takes_them(net, rule):
    hold(
        NETS[net],
        Composite(((kind("dense"), rule), *uniform(rules.Epsilon()).pairs)),
        last=net != "decay from the right",
    )


def test_the_backend_takes_them_in_float64_with_the_ledger():
    for proto in (NETS["learned queries"], NETS["decay from the left"]):
        explainer = reflrp.Explainer(proto, "attnlrp", backend="onnxruntime", dtype="float64")
        for n, t in ((1, 1), (3, 7)):
            x = models.draw(n, t, 4)
            found, wanted = explainer(x), reflrp.explain(proto, x, "attnlrp")
            assert part(found.relevance, wanted.relevance) < 1e-10
            for row, other in zip(found.conservation.rows, wanted.conservation.rows, strict=True):
                assert abs(row.bias - other.bias) < 1e-10


COUNTED = {
    "cast, then counted": ("s = Shape(x) t = Gather(s, one) f = Cast <to = 1>(t) p = Range(none, f, unit)", "T <= 16777216"),
    "from one on": (
        "s = Shape(x) t = Gather(s, one) f = Cast <to = 1>(t) e = Add(f, unit) p = Range(unit, e, unit)", "T <= 16777215",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", COUNTED)
def test_positions_that_are_counted_in_floats(case):
    """As exporters write arange(T, dtype=float) of rotary and sinusoidal positions."""
    body, said = COUNTED[case]
    proto = models.model(
        f"{body} q = Unsqueeze(p, ax1) o = Mul(q, by) c = Cos(o) h = MatMul(x, w) k = Mul(h, c) r = Relu(k) "
        "m = ReduceMean <axes = [1], keepdims = 0>(r) y = MatMul(m, v)",
        "float[N,T,4] x", w=(4, 5), v=(5, 3), unit=np.float32(1), **GIVEN,
    )  # fmt: skip
    for preset in PRESETS:
        assert lengths_of(hold(proto, preset)) == said


@pytest.mark.parametrize(
    "body",
    [
        "s = Shape(x) t = Gather(s, one) f = Cast <to = 1>(t) p = Range(none, f, half)",
        "s = Shape(x) t = Gather(s, one) f = Cast <to = 1>(t) e = Mul(f, half) p = Range(none, e, unit)",
        "f = ReduceMax <keepdims = 0>(x) p = Range(none, f, unit)",
    ],
)
def test_other_floats_are_refused_by_name(body):
    proto = models.model(
        f"{body} m = ReduceSum <keepdims = 0>(p) h = MatMul(x, w) y = Mul(h, m)", "float[N,T,4] x", w=(4, 5),
        none=np.float32(0), unit=np.float32(1), half=np.float32(0.5), one=np.array(1),
    )  # fmt: skip
    with pytest.raises(reflrp.ReflrpError, match=r"Range"):
        reflrp.compile(proto, "epsilon")


@pytest.mark.parametrize("order", ["x, e", "e, x"])
@pytest.mark.parametrize("op", ["Mul", "Add", "Sub"])
def test_what_lengths_make_before_the_first_layer(op, order):
    """Whether it preprocesses the input does not hang on the length: positions never do, a number along an axis always does."""
    rest = (
        f"h = {op}({order}) c = MatMul(h, w) r = Relu(c) m = ReduceMean <axes = [1], keepdims = 0>(r) y = MatMul(m, v)"
    )
    positions = models.model(
        POSITIONS.format(axis="one") + f"g = Pow(by, p) e = Unsqueeze(g, ax1) {rest}", "float[N,T,4] x", w=(4, 5), v=(5, 3),
        **GIVEN,
    )  # fmt: skip
    number = models.model(
        f"s = Shape(x) t = Slice(s, ax1, ax2) g = Expand(by, t) e = Unsqueeze(g, ax1) {rest}", "float[N,T,4] x", w=(4, 5),
        v=(5, 3), ax2=ids(2), **GIVEN,
    )  # fmt: skip
    for proto in (positions, number):
        for preset in ("epsilon", "auto", "epsilon_gamma_box"):
            hold(proto, preset)


@pytest.mark.parametrize("order", ["r, e", "e, r"])
def test_an_overflow_by_a_scale_that_grows_with_the_length_is_heard(order):
    """The scale is 1 at most in a short example, and says nothing of a long sequence."""
    proto = models.model(
        POSITIONS.format(axis="one") + f"g = Sub(p, late) f = Pow(four, g) e = Unsqueeze(f, ax1) r = Relu(x) h = Mul({order}) "
        "c = MatMul(h, w) m = ReduceMean <axes = [1], keepdims = 0>(c) y = MatMul(m, v)", "float[N,T,8] x",
        late=np.float32(8), four=np.float32(4), w=np.float32([[4, 1], [-4, 1]] * 4), v=np.float32([[1, 2], [1, -1]]),
        **{k: GIVEN[k] for k in ("zero", "one", "ax1")},
    )  # fmt: skip
    g = reflrp.compile(proto, rules.ZPlus(), target=0)
    for t in (1, 5, 20, 71):
        x = np.ones((1, t, 8), np.float32)
        x[:, :, 7] = 0.5
        own = run(g, {"x": x})
        assert np.isfinite(own["y"]).all()
        wanted = reflrp.explain(proto, x, rules.ZPlus(), target=0).relevance
        if t == 71:
            assert np.isfinite(wanted).all()
            assert np.isnan(own["relevance/x"]).all()
        else:
            assert part(own["relevance/x"], wanted) < 1e-3


WINDOWS = (
    "c = Conv <strides = [2, 2]>(x, k) t = Transpose <perm = [0, 2, 3, 1]>(c) s = Shape(t) n = Gather(s, p0) h = Gather(s, p1) "
    "w = Gather(s, p2) h2 = Div(h, two) w2 = Div(w, two) split = Concat <axis = 0>(n, h2, two, w2, two, four) "
    "a = Reshape(t, split) b = Transpose <perm = [0, 1, 3, 2, 4, 5]>(a) d = Reshape(b, flat) z = MatMul(d, u) q = Softmax(z) "
    "back = Concat <axis = 0>(n, h2, w2, two, two, three) e = Reshape(q, back) "
    "y = ReduceMean <axes = [1, 2, 3, 4], keepdims = 0>(e)"
)


def test_a_length_is_the_multiple_that_the_file_means():
    """Windows of two behind a stride of two: H % 4 == 1 does, too, as a row is left out then; H % 4 == 0 is what is kept."""
    proto = models.model(
        WINDOWS, "float[N,2,H,W] x", k=(4, 2, 2, 2), u=(4, 3), p0=ids(0), p1=ids(1), p2=ids(2), two=ids(2), four=ids(4),
        three=ids(3), flat=ids(-1, 4, 4),
    )  # fmt: skip
    g = reflrp.compile(proto, "attnlrp")
    assert lengths_of(g) == "H % 4 == 0, W % 4 == 0"
    for n, h, w in ((1, 4, 4), (2, 8, 4), (3, 12, 16)):
        x = models.draw(n, 2, h, w)
        wanted = reflrp.explain(proto, x, "attnlrp", dtype="float64").relevance
        assert part(run(g, {"x": x})["relevance/x"], wanted) < 1e-3
    for h in (5, 6, 7):
        with pytest.raises(Exception, match="Non-zero status code"):
            run(g, {"x": models.draw(1, 2, h, 4)})


@pytest.mark.parametrize("given", ["epsilon_plus", "gradient"])
@pytest.mark.parametrize("how", [
    'mode = "linear"', 'mode = "nearest"', 'mode = "linear", coordinate_transformation_mode = "align_corners"',
    'mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"',
    'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"',
])  # fmt: skip
def test_one_entry_is_resized_to_any_length(how, given):
    """As the pooled branch of a DeepLab: all places are taken from that entry, which is known beforehand."""
    proto = models.model(
        "c = Relu(x) p = GlobalAveragePool(c) d = Conv(p, w) r = Relu(d) s = Shape(c) hw = Slice(s, two, four) l = Shape(r) "
        f"nc = Slice(l, ax0, two) q = Concat <axis = 0>(nc, hw) u = Resize <{how}>(r, , , q) a = Add(c, u) "
        "b = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a) e = Relu(b) m = GlobalAveragePool(e) "
        "f = Flatten(m) y = MatMul(f, v)",
        "float[N,4,H,W] x", w=(4, 4, 1, 1), v=(4, 3), two=ids(2), four=ids(4), ax0=ids(0),
    )  # fmt: skip
    g = reflrp.compile(proto, given)
    for n, h, w in ((1, 1, 1), (2, 1, 3), (1, 4, 4), (3, 5, 2)):
        x = models.draw(n, 4, h, w)
        assert part(run(g, {"x": x})["relevance/x"], reflrp.explain(proto, x, given).relevance) < 1e-3


@pytest.mark.parametrize("given", ["auto", "lstm", "attnlrp"])
@pytest.mark.parametrize("gate", ["Sigmoid", "Tanh", "Gelu"])
def test_a_gate_is_one_behind_what_lengths_make(gate, given):
    """Which factor is the gate is told through a table of positions, which is a constant at one length and late at any."""
    proto = models.model(
        f"p = MatMul(x, w) g = {gate}(p) s = Shape(x) t = Slice(s, ax1, ax2) l = Slice(table, ax0, t, ax0) h = Add(g, l) "
        "v = MatMul(x, u) z = Mul(h, v) r = Relu(z) m = ReduceMean <keepdims = 0>(r, ax1) y = MatMul(m, o)",
        "float[N,T,4] x", opset=20, w=(4, 5), u=(4, 5), o=(5, 3), table=(12, 5), ax0=ids(0), ax1=ids(1), ax2=ids(2),
    )  # fmt: skip
    hold(proto, given)
