"""What moves, repeats or picks entries along an open axis, and lengths that must be a multiple: one file for all it lets through.

Each graph is held against the engine at many sizes, also at those that it must refuse: none is ever wrong without a word.
"""

import models
import numpy as np
import onnxruntime
import pytest
from compiled import choices_in, part, run

import reflrp
from reflrp import rules
from reflrp.arrays.tracing.dims import Divided, check_same, length
from reflrp.arrays.tracing.residues import substituted
from reflrp.composites import Composite, op_type, uniform
from reflrp.ops.pieces import Pieces

ids = models.ints
SIZES = [(1 + (h + w) % 3, h, w) for h in (1, 2, 3, 4, 7, 8, 13) for w in (1, 2, 5, 6, 12)]


def between(body, size="H,W", **weights):
    """Some operator between two convolutions: from `h` to `p`."""
    first = "float[N,2," + size + "] x"
    return models.model(
        f"c = Conv <pads = [1, 1, 1, 1]>(x, k0, b0) h = Relu(c) {body} m = Conv(p, k1) q = Relu(m) "
        "y = ReduceMean <axes = [2, 3], keepdims = 0>(q)",
        first, k0=(3, 2, 3, 3), b0=(3,), k1=(4, weights.pop("into", 3), 1, 1), **weights,
    )  # fmt: skip


def cut(starts, ends, axes, steps):
    return between("p = Slice(h, s, e, a, t)", s=ids(*starts), e=ids(*ends), a=ids(*axes), t=ids(*steps))


def lengths_of(g):
    """What the metadata say of lengths."""
    return {p.key: p.value for p in g.metadata_props}.get("reflrp.lengths")


FAR = 2**62
UNET = {"into": 6, "kt": (3, 3, 2, 2)}
NETS = {
    "reflected": (between('p = Pad <mode = "reflect">(h, f)', f=ids(0, 0, 2, 1, 0, 0, 1, 3)), "H > 2, W > 4"),
    "edges of three rows": (
        between(
            'l = Slice(h, s, e, a) p = Pad <mode = "edge">(l, f)',
            s=ids(-3), e=ids(FAR), a=ids(2), f=ids(0, 0, 1, 2, 0, 0, 2, 1),
        ),
        "H > 2",
    ),
    "the mean of what a slice leaves": (
        models.model(
            "l = Slice(x, s, e, a) m = ReduceMean <axes = [2, 3], keepdims = 0>(l) y = MatMul(m, w)",
            "float[N,2,H,W] x", s=ids(1), e=ids(-1), a=ids(2), w=(2, 3),
        ),
        "H > 2",
    ),
    "edges": (between('p = Pad <mode = "edge">(h, f)', f=ids(0, 0, 2, -1, 0, 0, 0, 3)), "W > 1"),
    "wrapped": (between('p = Pad <mode = "wrap">(h, f)', f=ids(0, 0, 2, 1, 0, 0, 1, 3)), "H > 1, W > 2"),
    "wrapped on a fixed axis, twice around": (
        between('p = Pad <mode = "wrap">(h, f)', "H,5", f=ids(0, 0, 2, 7, 0, 0, 1, -1)), "H > 1",
    ),
    "cropped": (between("p = Pad(h, f)", f=ids(0, 0, -2, 1, 0, 0, 1, -3)), "H > 1, W > 2"),
    "tiled": (between("p = Tile(h, r)", r=ids(1, 1, 2, 3)), ""),
    "each third": (cut((1,), (FAR,), (2,), (3,)), "H > 1"),
    "the first five": (cut((0,), (5,), (3,), (1,)), "W > 4"),
    "at most two hundred": (cut((0,), (200,), (3,), (1,)), "W <= 200"),
    "backwards": (cut((-2, -1), (-FAR, 1), (2, 3), (-2, -3)), "H > 1, W > 2"),
    "within": (cut((2, 3), (-1, -2), (2, 3), (2, 3)), "H > 3, W > 5"),
    "some rows": (between("p = Gather <axis = 2>(h, g)", g=ids(0, 2, -1, -2, 2)), "H > 2"),
    "depth to space": (
        between("d = Conv(h, k2) p = DepthToSpace <blocksize = 2>(d)", k2=(8, 3, 1, 1), into=2), "",
    ),
    "depth to space, channels first": (
        between('d = Conv(h, k2) p = DepthToSpace <blocksize = 2, mode = "CRD">(d)', k2=(8, 3, 1, 1), into=2), "",
    ),
    "space to depth": (between("p = SpaceToDepth <blocksize = 2>(h)", into=12), "H % 2 == 0, W % 2 == 0"),
    "transposed": (
        between("p = ConvTranspose <strides = [2, 3], pads = [1, 0, 0, 1], output_padding = [1, 2]>(h, k)", k=(3, 3, 3, 4)), "",
    ),
    "same transposed": (between('p = ConvTranspose <strides = [2, 2], auto_pad = "SAME_UPPER">(h, k)', k=(3, 3, 3, 3)), ""),
    "summed up": (between("p = CumSum <exclusive = 1>(h, a)", a=np.asarray(3)), ""),
    "summed from the end": (between("p = CumSum <reverse = 1>(h, a)", a=np.asarray(2)), ""),
    "nearest": (between("p = Resize <mode = \"nearest\">(h, , s)", s=np.float32([1, 1, 2, 3])), ""),
    "nearest below": (
        between('p = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(h, , s)',
                "H,5", s=np.float32([1, 1, 2, 1.4])), "",
    ),
    "linear": (between('p = Resize <mode = "linear">(h, , s)', "H,5", s=np.float32([1, 1, 3, 1.7])), ""),
    "linear between corners": (
        between('p = Resize <mode = "linear", coordinate_transformation_mode = "align_corners">(h, , s)',
                s=np.float32([1, 1, 2, 3])), "",
    ),
    "to the size of a value before": (
        between('d = MaxPool <kernel_shape = [2, 2], strides = [2, 2]>(h) z = Shape(h) u = Resize <mode = "linear">(d, , , z) '
                "p = Add(u, h)"), "H > 1, W > 1",
    ),
    "to the size of a value before, nearest": (
        between('d = AveragePool <kernel_shape = [3, 3], strides = [2, 3], pads = [1, 1, 1, 1]>(h) z = Shape(h) '
                'u = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(d, , , z) '
                "p = Add(u, h)"), "",
    ),
    "to a fixed size": (
        between('z = Shape(h) nc = Slice(z, a, e) hw = Concat <axis = 0>(nc, to) p = Resize <mode = "linear", '
                'coordinate_transformation_mode = "pytorch_half_pixel">(h, , , hw)', a=ids(0), e=ids(2), to=ids(1, 9)), "",
    ),
    "to a fixed size between corners": (
        between('z = Shape(h) nc = Slice(z, a, e) hw = Concat <axis = 0>(nc, to) p = Resize <mode = "linear", '
                'coordinate_transformation_mode = "align_corners">(h, , , hw)', a=ids(0), e=ids(2), to=ids(6, 1)), "",
    ),
    "half, and half as long again": (
        between('p = Resize <mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel">(h, , s)',
                s=np.float32([1, 1, 0.5, 1.5])), "H > 1, W > 1",
    ),
    "a quarter longer": (between('p = Resize <mode = "linear">(h, , s)', s=np.float32([1, 1, 1.25, 2])), "H > 3"),
    "nearest to fractions": (
        between('p = Resize <mode = "nearest", nearest_mode = "round_prefer_ceil">(h, , s)', s=np.float32([1, 1, 2.5, 0.75])),
        "W > 1",
    ),
    "a last window beyond the end": (
        between("p = MaxPool <kernel_shape = [3, 2], strides = [2, 2], ceil_mode = 1>(c)"), "H > 2, W > 1",
    ),
    "a last window that may be dropped": (
        between("p = MaxPool <kernel_shape = [3, 3], strides = [2, 3], pads = [1, 1, 2, 1], ceil_mode = 1>(c)"), "W > 1",
    ),
    "means beyond the end": (
        between("p = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1>(h)"), "",
    ),
    "means of what is there": (between('p = AveragePool <kernel_shape = [3, 2], auto_pad = "SAME_UPPER">(h)'), ""),
    "means of padding, too": (
        between("p = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1, "
                "count_include_pad = 1>(h)"), "",
    ),
    "split": (
        between("a, b, d = Split <axis = 3>(h) e = Concat <axis = 3>(d, a) p = Concat <axis = 2>(e, e)"),
        "W % 3 == 0",
    ),
    "more than its mean": (
        between("a = ReduceMean <axes = [3]>(h) p = Add(h, a)"), "",
    ),
    "what padding takes away": (
        between("p = ConvTranspose <strides = [2, 2], pads = [2, 1, 2, 1]>(h, k)", k=(3, 3, 3, 3)), "H > 1",
    ),
    "halved and doubled": (
        between("d = MaxPool <kernel_shape = [2, 2], strides = [2, 2]>(h) u = ConvTranspose <strides = [2, 2]>(d, kt) "
                "p = Concat <axis = 1>(u, h)", **UNET), "H % 2 == 0, W % 2 == 0",
    ),
    "twice halved and doubled": (
        between("d = AveragePool <kernel_shape = [2, 2], strides = [2, 2]>(h) "
                "e = MaxPool <kernel_shape = [2, 2], strides = [2, 2]>(d) f = ConvTranspose <strides = [2, 2]>(e, kt) "
                "g = Add(d, f) u = ConvTranspose <strides = [2, 2]>(g, kt) p = Concat <axis = 1>(u, h)", **UNET),
        "H % 4 == 0, W % 4 == 0",
    ),
    "odd lengths": (
        between("d = Conv <strides = [2, 2], pads = [1, 1, 1, 1]>(h, k2) "
                "u = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]>(d, k2) p = Add(u, h)", k2=(3, 3, 3, 3)),
        "H % 2 == 1, W % 2 == 1",
    ),
}  # fmt: skip


def answer(proto):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(x, **more):
        try:
            return session.run(None, {"x": x, **more})
        except Exception:
            return None

    return run


def draw(proto, n, *lengths):
    """Numbers of a shape that the file may have: a fixed length is that of the file."""
    own = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim][2:]
    return models.draw(n, 2, *(a or b for a, b in zip(own, lengths, strict=False))).astype(np.float32)


@pytest.mark.parametrize("preset", ["epsilon_plus_flat", "epsilon_alpha2_beta1"])
@pytest.mark.parametrize("net", NETS)
def test_one_file_at_all_sizes_that_it_lets_through(net, preset):
    proto, limits = NETS[net]
    g = reflrp.compile(proto, preset, target=None)
    assert {p.key: p.value for p in g.metadata_props}.get("reflrp.lengths", "") == limits
    own, compiled, right = answer(proto), answer(g), 0
    for size in SIZES:
        x = draw(proto, *size)
        found = compiled(x)
        allowed = all(eval(text, {}, {"H": x.shape[2], "W": x.shape[3]}) for text in limits.split(", ") if text)
        if found is None:
            assert not allowed or own(x) is None, size
            continue
        assert allowed, size
        np.testing.assert_allclose(found[0], own(x)[0], rtol=1e-4, atol=1e-5)
        wanted = reflrp.explain(proto, x, preset, dtype="float64").relevance
        assert part(found[1], wanted) < 2e-3, size
        right += 1
    assert right >= 2


@pytest.mark.parametrize(
    "rule", [rules.Epsilon(), rules.Gamma(0.3), rules.WSquare(), rules.AlphaBeta(2, 1), rules.ZPlus()]
)
@pytest.mark.parametrize("net", ["summed up", "linear", "linear between corners", "means beyond the end"])
def test_every_rule_sees_the_same_map(net, rule):
    proto, _ = NETS[net]
    given = Composite(((op_type("Resize", "CumSum", "AveragePool"), rule), *uniform(rules.Epsilon()).pairs))
    compiled = answer(reflrp.compile(proto, given))
    for size in SIZES[2::7]:
        x = draw(proto, *size)
        assert part(compiled(x)[1], reflrp.explain(proto, x, given, dtype="float64").relevance) < 2e-3


def test_connections_that_only_the_run_knows_are_refused():
    with pytest.raises(reflrp.RuleError, match=r"Resize.*known in the run only"):
        reflrp.compile(
            NETS["linear"][0], Composite(((op_type("Resize"), rules.Flat()), *uniform(rules.Epsilon()).pairs))
        )


REFUSED = {
    "no plain fraction": ('p = Resize <mode = "linear">(h, , s)', "1.7"),
    "fractions between corners": (
        'p = Resize <mode = "linear", coordinate_transformation_mode = "align_corners">(h, , r)', "align_corners",
    ),
    "cubic": ('p = Resize <mode = "cubic">(h, , t)', "cubic"),
    "a last window of many": (
        "p = MaxPool <kernel_shape = [2, 2], strides = [3, 3], ceil_mode = 1>(h)", "last window reaches beyond",
    ),
    "entries by numbers": ("p = GatherElements <axis = 3>(h, g)", "left open"),
    "too many parts": ('p = Pad <mode = "edge">(h, f)', "parts"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    body, said = REFUSED[case]
    g, f = np.zeros((1, 3, 2, 2), np.int64), ids(0, 0, 0, 0, 0, 0, 90, 0)
    proto = between(
        body, s=np.float32([1, 1, 1.7, 1]), r=np.float32([1, 1, 1.5, 1]), t=np.float32([1, 1, 2, 1]), g=g, f=f
    )
    with pytest.raises(reflrp.InputError, match=rf"(?s)node.*{said}.*shapes={{"):
        reflrp.compile(proto, "epsilon")


def test_lengths_with_a_bound_on_both_sides_and_a_residue():
    """The bound of a slice is one on the length, whatever it is a multiple of."""
    body = ("d = MaxPool <kernel_shape = [2, 2], strides = [2, 2]>(h) u = ConvTranspose <strides = [2, 2]>(d, kt) "
            "v = Concat <axis = 1>(u, h) p = Slice(v, s, e, a)")  # fmt: skip
    proto = between(body, s=ids(3), e=ids(130), a=ids(3), **UNET)
    g = reflrp.compile(proto, "epsilon")
    said = {p.key: p.value for p in g.metadata_props}["reflrp.lengths"]
    assert said == "W > 2, W <= 130, H % 2 == 0, W % 2 == 0"
    compiled = answer(g)
    for wide in (2, 3, 4, 129, 130, 131, 132):
        x = models.draw(1, 2, 4, wide).astype(np.float32)
        found = compiled(x)
        assert (found is not None) == (wide in (4, 130))
        if found is not None:
            assert part(found[1], reflrp.explain(proto, x, "epsilon", dtype="float64").relevance) < 2e-3


def test_residues():
    """The residue that is found makes two lengths one, and a smaller number does not."""
    t = length("T", 5)
    for one, two, by, rest in (
        (2 * (t // 2), t, 2, 0), (32 * (t // 32), t, 32, 0), (2 * ((t + 1) // 2) - 1, t, 2, 1), (3 * (t // 6), t // 2, 6, 0),
        (((t + 1) // 2) * 4, 2 * t + 2, 2, 1), ((t + 2) // 3, t // 3 + 1, 3, 1),
    ):  # fmt: skip
        with pytest.raises(Divided) as said:
            check_same(one, two)
        assert (said.value.symbol, said.value.by, said.value.rest) == ("T", by, rest)
        for made in (one, two):
            assert not any("floor" in repr(m) for m in substituted(dict(made.terms), {"T": (6 * by, rest)}))
    for one, two in ((t, t + 1), (t, 2 * t), (t, 7), (2 * (t // 2) + 1, 2 * t)):
        check_same(one, two)


def test_first_axes_that_the_file_calls_otherwise_are_one_where_the_graph_needs_it():
    """As exporters name each input's axes; the metadata say which lengths are one, and no other pair runs."""
    proto = models.model("s = MatMul(a, w) t = Mul(s, b) y = Relu(t)", "float[K,4] a, float[M,3] b", w=(4, 3))
    g = reflrp.compile(proto, "epsilon")
    assert lengths_of(g) == "M == K"
    assert lengths_of(reflrp.compile(proto, "epsilon", shapes={"a": ("N", 4), "b": ("N", 3)})) is None
    for n in (1, 2, 3, 17):
        feeds = {"a": models.draw(n, 4).astype(np.float32), "b": models.draw(n, 3, seed=1).astype(np.float32)}
        wanted = reflrp.explain(proto, feeds, "epsilon").relevances
        for name, R in run(g, feeds, ["relevance/a", "relevance/b"]).items():
            assert part(R, wanted[name.removeprefix("relevance/")]) < 2e-3
    for a, b in ((3, 1), (1, 3), (2, 4)):
        with pytest.raises(Exception, match="Non-zero status code"):
            run(g, {"a": np.ones((a, 4), np.float32), "b": np.ones((b, 3), np.float32)})


MET = {
    "joined": ("h = Concat <axis = 2>(a, b)", "C == A, D == B"),
    "chosen": ("o = Greater(b, half) h = Where(o, a, low)", "C == A, D == B"),
    "multiplied": ("t = Transpose <perm = [0, 2, 1]>(a) h = MatMul(t, b)", "C == A, D == B"),
    "twice": ("s = Add(a, b) t = Mul(b, a) h = Concat <axis = 1>(s, t)", "C == A, D == B"),
    "as many entries": (
        "n = Shape(a) m = Slice(n, zero, one) s = Concat <axis = 0>(m, minus, four) c = Reshape(b, s) "
        "p = ReduceMean <axes = [1], keepdims = 1>(c) h = Add(a, p)", "C == A",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", MET)
def test_lengths_are_one_from_where_they_meet(way):
    body, said = MET[way]
    proto = models.model(
        f"{body} r = Relu(h) y = ReduceMean <axes = [1], keepdims = 0>(r)", "float[A,B,4] a, float[C,D,4] b",
        half=np.float32(0.5), low=np.float32(0.25), zero=ids(0), one=ids(1), minus=ids(-1), four=ids(4),
    )  # fmt: skip
    g = reflrp.compile(proto, "epsilon")
    assert lengths_of(g) == said
    for n, t in ((1, 1), (1, 2), (3, 1), (2, 5), (3, 17)):
        d = t if "D" in said else t + 2
        feeds = {"a": models.draw(n, t, 4).astype(np.float32), "b": models.draw(n, d, 4, seed=1).astype(np.float32)}
        wanted, found = reflrp.explain(proto, feeds, "epsilon").relevances, run(g, feeds)
        for name, one in wanted.items():
            assert part(found[f"relevance/{name}"], one) < 2e-3
    with pytest.raises(Exception, match="Non-zero status code"):
        run(g, {**feeds, "b": np.concatenate([feeds["b"]] * 2)})


def test_positions_that_are_resized_to_the_picture():
    """As vision transformers have them: a table of places, by cubic interpolation."""
    proto = models.model(
        """c = Conv <strides = [4, 4]>(x, k) s = Shape(c) hw = Slice(s, two, four) z = Concat <axis = 0>(one, five, hw)
        q = Resize <mode = "cubic", coordinate_transformation_mode = "pytorch_half_pixel">(places, , , z) h = Add(c, q)
        r = Relu(h) m = ReduceMean <axes = [2, 3], keepdims = 0>(r) y = MatMul(m, w)""",
        "float[N,3,H,W] x", k=(5, 3, 4, 4), places=(1, 5, 3, 3), w=(5, 3), two=ids(2), four=ids(4), one=ids(1), five=ids(5),
    )  # fmt: skip
    g = reflrp.compile(proto, "epsilon_plus")
    assert lengths_of(g) == "H > 3, W > 3"
    for n, h, w in ((2, 4, 4), (1, 8, 4), (2, 12, 12), (1, 13, 33), (3, 40, 8)):
        x = models.draw(n, 3, h, w).astype(np.float32)
        assert part(run(g, {"x": x})["relevance/x"], reflrp.explain(proto, x, "epsilon_plus").relevance) < 2e-3


@pytest.mark.parametrize("where", ["pytorch_half_pixel", "tf_half_pixel_for_nn", "half_pixel", "asymmetric"])
@pytest.mark.parametrize("rounding", ["round_prefer_ceil", "ceil", "floor"])
def test_nearest_entries_to_a_fixed_size(where, rounding):
    """Where a side has that size already, it is not resized: by the formula it would be, a half of an entry further on."""
    node = f'Resize <mode = "nearest", coordinate_transformation_mode = "{where}", nearest_mode = "{rounding}">'
    proto = between(
        f"z = Shape(h) nc = Slice(z, a, e) hw = Concat <axis = 0>(nc, to) p = {node}(h, , , hw)",
        a=ids(0), e=ids(2), to=ids(3, 8),
    )  # fmt: skip
    g = reflrp.compile(proto, "epsilon")
    for h, w in ((3, 8), (1, 2), (3, 7), (7, 8), (16, 5)):
        x = models.draw(1, 2, h, w).astype(np.float32)
        assert part(run(g, {"x": x})["relevance/x"], reflrp.explain(proto, x, "epsilon").relevance) < 2e-3


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(1, 1, 0.625, 0.625), (1, 1, 1.5, 2.5), (1, 1, 0.625, 1), (1, 1, 0.5, 2.5)])
def test_resized_at_opset_10_is_so_at_all_sizes(scales, mode):
    """Nearest takes the entry below where an axis grows, and above where one shrinks; no newer node does both."""
    proto = models.model(
        f'h = Resize <mode = "{mode}">(x, s) r = Relu(h) y = ReduceMean <axes = [2, 3], keepdims = 0>(r)', "float[N,3,H,W] x",
        opset=10, s=np.float32(scales),
    )  # fmt: skip
    g = reflrp.compile(proto, "epsilon")
    for h, w in ((2, 2), (4, 4), (4, 5), (7, 16), (33, 12)):
        x = models.draw(1, 3, h, w).astype(np.float32)
        found, wanted = run(g, {"x": x}), reflrp.explain(proto, x, "epsilon")
        np.testing.assert_allclose(found["y"], models.onnxruntime(proto, {"x": x})["y"], atol=1e-5)
        assert part(found["relevance/x"], wanted.relevance) < 2e-3


@pytest.mark.parametrize("preset", ["epsilon_plus", "epsilon_plus_flat", "attnlrp"])
def test_positions_behind_a_layer_without_a_bias(preset):
    """Those of one token, too, are no bias of the layer: they depend on how many there are."""
    proto = models.model(
        """h = MatMul(x, k) s = Shape(x) t = Gather(s, one) e = Slice(places, zero, t, one) p = Add(h, e) r = Relu(p)
        m = ReduceMean <axes = [1], keepdims = 0>(r) y = MatMul(m, w)""",
        "float[N,T,4] x", k=(4, 5), places=(1, 40, 5), w=(5, 3), one=ids(1), zero=ids(0),
    )  # fmt: skip
    g = reflrp.compile(proto, preset)
    assert lengths_of(g) == "T <= 40"
    for n, t in ((1, 1), (1, 2), (3, 3), (2, 17)):
        x = models.draw(n, t, 4).astype(np.float32)
        assert part(run(g, {"x": x})["relevance/x"], reflrp.explain(proto, x, preset).relevance) < 2e-3


def test_axes_with_names_of_their_own_stay_open_where_the_graph_lets_them():
    """Two series of other lengths and batches that meet, and one that does not."""
    proto = models.model(
        "s = MatMul(a, w) t = Add(s, b) r = ReduceMean <axes = [0, 1], keepdims = 0>(c) u = MatMul(t, r2) y = Add(u, r)",
        "float[K,T,4] a, float[M,S,3] b, float[L,U,2] c", w=(4, 3), r2=(3, 2),
    )  # fmt: skip
    g = reflrp.compile(proto, "epsilon", init="input")
    assert lengths_of(g) == "M == K, S == T"
    for n, t, m, u in ((1, 1, 1, 1), (1, 2, 3, 5), (2, 17, 3, 1), (3, 3, 3, 3), (3, 5, 1, 7)):
        feeds = {"a": models.draw(n, t, 4), "b": models.draw(n, t, 3, seed=1), "c": models.draw(m, u, 2, seed=2)}
        feeds = {k: x.astype(np.float32) for k, x in feeds.items()}
        R = models.draw(n, t, 2, seed=3).astype(np.float32)
        wanted = reflrp.explain(proto, feeds, "epsilon", init=R).relevances
        found = run(g, {**feeds, "init": R})
        for name, one in wanted.items():
            assert part(found[f"relevance/{name}"], one) < 2e-3


def test_the_batch_size_is_that_of_the_output():
    """Of a time axis that comes first, and a mask that has the samples first."""
    proto = models.model(
        """m = Transpose <perm = [1, 0]>(k) e = Unsqueeze(m, last) z = Mul(x, e) r = ReduceSum <keepdims = 0>(z, zero)
        y = MatMul(r, w)""",
        "float[T,B,4] x, float[B,T] k", last=models.ints(2), zero=models.ints(0), w=(4, 3),
    )  # fmt: skip
    g = reflrp.compile(proto, "epsilon", target="input")
    assert [[d.dim_param for d in o.type.tensor_type.shape.dim[:2]] for o in g.graph.output[1:]] == [
        ["T", "B"],
        ["B", "T"],
    ]
    for t, n in ((1, 1), (5, 2), (2, 17)):
        feeds = {"x": models.draw(t, n, 4).astype(np.float32), "k": models.draw(n, t, seed=1).astype(np.float32)}
        target = np.arange(n) % 3
        found, wanted = run(g, {**feeds, "target": target}), reflrp.explain(proto, feeds, "epsilon", target=target)
        for name, one in wanted.relevances.items():
            assert part(found[f"relevance/{name}"], one) < 2e-3


@pytest.mark.parametrize("way", ["forward", "transpose"])
def test_slices_that_move_anything_elsewhere_than_the_engine_are_refused(way, monkeypatch):
    """The values, or the relevance: a forward pass alone that is right says nothing of the way back."""
    own = getattr(Pieces, way)

    def turned(self, *xs):
        found = own(self, *xs)
        return found[..., ::-1] if way == "forward" else (found[0][..., ::-1],)

    proto, _ = NETS["reflected"]
    shapes = {"x": ("N", 2, "H", "W")}
    reflrp.compile(proto, "epsilon", shapes=shapes)
    monkeypatch.setattr(Pieces, way, turned)
    with pytest.raises(reflrp.InputError, match=r"Pad|another"):
        reflrp.compile(proto, "epsilon", shapes=shapes)


@pytest.mark.parametrize("rule", [rules.Epsilon(0.25), rules.AlphaBeta(), rules.Norm(0.1)])
@pytest.mark.parametrize("where", ["half_pixel", "asymmetric", "align_corners"])
def test_a_resize_that_leaves_all_lengths_hands_relevance_on(where, rule):
    """`explain` has no node there, and zeros keep their relevance."""
    proto = models.model(
        f'n = Shape(x) l = Slice(n, z, t) s = Concat <axis = 0>(l, to) p = Resize <mode = "linear", '
        f'coordinate_transformation_mode = "{where}">(x, , , s) y = Identity(p)',
        "float[N,2,H,W] x", z=ids(0), t=ids(2), to=ids(6, 9),
    )  # fmt: skip
    g = reflrp.compile(proto, Composite(((op_type("Resize"), rule),), "resized"), init="input", layers=True)
    for h, w in ((6, 9), (6, 8), (5, 9), (3, 12)):
        x = models.draw(2, 2, h, w)
        x[x < 0.3] = 0
        init = models.draw(2, 2, 6, 9, seed=1)
        wanted = reflrp.explain(proto, x, Composite(((op_type("Resize"), rule),), "resized"), init=init).relevance
        found = run(g, {"x": x, "init": init})["relevance/x"]
        assert part(found, wanted) < 2e-3
        assert (h, w) != (6, 9) or (found == init).all()


def test_a_resize_to_another_length_asks_for_no_choice():
    for scale in ((1, 1, 2, 1.5), (1, 1, 0.5, 0.5), (1, 1, 1, 2)):
        proto = models.model('y = Resize <mode = "linear">(x, , s)', "float[N,2,H,W] x", s=np.float32(scale))
        assert not choices_in(reflrp.compile(proto, "epsilon", init="input").graph)


def test_a_part_that_may_be_empty():
    """Of five rows the slice leaves none: a length of 0 is no copy of another one."""
    proto = models.model(
        "l = Slice(x, s, e, a, t) y = MatMul(l, w)", "float[N,C,H,6] x", w=(1, 6, 3),
        s=ids(1, 5), e=ids(2, FAR), a=ids(1, 2), t=ids(2, 1),
    )  # fmt: skip
    g = reflrp.compile(proto, "epsilon", init="input", layers=True)
    for h in (5, 6, 9):
        x, init = models.draw(2, 3, h, 6), models.draw(2, 1, h - 5, 3, seed=1)
        found = run(g, {"x": x, "init": init})
        assert found["layer/l"].shape == (2, 1, h - 5, 6)
        wanted = reflrp.explain(proto, x, "epsilon", init=init).relevance
        assert part(found["relevance/x"], wanted) < 2e-3
