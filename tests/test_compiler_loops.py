"""A file's own Loop and Scan of an open number of turns, compiled: one file gives at each number what the engine gives."""

import re

import models
import numpy as np
import pytest
from compiled import run
from test_compiler_lengths import PRESETS, agrees, ids

import reflrp
from reflrp import rules
from reflrp.compiler.loops.recurrent import TOTAL
from reflrp.composites import Composite
from reflrp.composites.composite import defaults
from reflrp.composites.matchers import first, kind, name
from reflrp.ops.pointwise import Pointwise

SIZES = ((1, 1), (3, 1), (1, 2), (2, 3), (1, 7), (3, 17))
"""(samples, steps)"""

CELL = "a = MatMul(xi, w) b = MatMul(s, u) c = Add(a, b) d = Add(c, bias) r = Tanh(d)"
WEIGHTS = {
    "w": (4, 5), "u": (5, 5), "bias": (5,), "v": (5, 3), "zero": ids(0), "one": ids(1), "five": ids(5), "last": np.int64(-1),
    "nought": np.zeros((), np.float32), "i0": np.int64(0), "step": np.int64(1), "yes": np.array(True), "two": np.int64(2),
}  # fmt: skip
SHAPES = """xt = Transpose <perm = [1, 0, 2]>(x) sh = Shape(x) t1 = Slice(sh, one, more) t = Squeeze(t1, zero)
    n1 = Slice(sh, zero, one) dims = Concat <axis = 0>(n1, five) h0 = Expand(nought, dims)"""
GOES = "tf = Cast <to = 1>(t) zf = Cast <to = 1>(i0) begins = Less(zf, tf)"
"""As tf2onnx asks whether there is a first turn, by floating numbers."""
ENDS = "j = Add(i, step) jf = Cast <to = 1>(j) on = Less(jf, tf)"
STATES = "(int64 k, bool go, int64 i, float[M,5] s) => (bool on, int64 j, float[M,5] r, float[M,5] out)"
TAIL = "l = Gather <axis = 0>(all, last) y = MatMul(l, v)"


def net(
    most="", begins="begins", body=f"xi = Gather(xt, i) {CELL} {ENDS} out = Identity(r)", before="", tail=TAIL, states=STATES,
    start="i0, h0", made="n, h, all", port="float[N,T,4] x", **more,
):  # fmt: skip
    loop = f"{made} = Loop ({most}, {begins}, {start}) <body = turn {states} {{ {body} }}>"
    weights = {**WEIGHTS, "more": ids(2), **more}
    return models.model(f"{SHAPES} {GOES} {before} {loop} {tail}", port, **weights)


def drawn(n, t, seed=0):
    return {"x": models.draw(n, t, 4, seed=t + seed).astype(np.float32)}


BY_COUNT = f"xi = Gather(xt, k) {CELL} on = Identity(go) out = Identity(r)"
PLAIN = "(int64 k, bool go, float[M,5] s) => (bool on, float[M,5] r, float[M,5] out)"
NETS = {
    "by its condition": {},
    "by its count": {"most": "t", "begins": "yes", "body": BY_COUNT, "states": PLAIN, "start": "h0", "made": "h, all"},
    "by both": {"most": "t"},
    "last state": {"tail": "y = MatMul(h, v)"},
    "backwards": {
        "most": "t", "before": "t0 = Sub(t, step)",
        "body": f"p = Sub(t0, k) xi = Gather(xt, p) {CELL} j = Add(i, step) on = Identity(go) out = Identity(r)",
    },
    "down to none": {
        "start": "t0, h0", "before": "t0 = Sub(t, step)",
        "body": f"xi = Gather(xt, i) {CELL} j = Sub(i, step) on = GreaterOrEqual(j, i0) out = Identity(r)",
    },
    "along the second axis": {"body": f"xi = Gather <axis = 1>(x, i) {CELL} {ENDS} out = Identity(r)"},
    "all but the first": {
        "start": "step, h0", "begins": "yes",
    },
    "number of turns read": {
        "tail": "nf = Cast <to = 1>(n) sum = ReduceSum <keepdims = 0>(all, zero) mean = Div(sum, nf) y = MatMul(mean, v)",
    },
    "what all turns read": {
        "before": "whole = ReduceMean <axes = [1], keepdims = 0>(x) g0 = MatMul(whole, w) g = Sigmoid(g0)",
        "body": f"xi = Gather(xt, i) {CELL.replace('r = Tanh(d)', 'e = Mul(d, g) r = Tanh(e)')} {ENDS} out = Identity(r)",
    },
}  # fmt: skip


def shortest(proto):
    """The least number of steps that the metadata say, by the rules that `auto` gives to layers that act again, for one."""
    (said,) = [p.value for p in proto.metadata_props if p.key == "reflrp.lengths"] or [""]
    found = re.search(r"T > (\d+)", said)
    return int(found[1]) + 1 if found else 1


@pytest.mark.parametrize("case", NETS)
def test_one_file_for_any_number_of_turns(case):
    proto = net(**NETS[case])
    for preset in PRESETS if case == "by its condition" else ("epsilon_plus_flat", "attnlrp"):
        g = reflrp.compile(proto, preset)
        least = shortest(g)
        assert least <= 1 + (case == "all but the first") or preset == "auto"
        for n, t in SIZES:
            if t >= least:
                agrees(run(g, drawn(n, t)), proto, drawn(n, t), preset)


def test_a_loop_is_the_operator():
    """The same network as an RNN: a second compiled graph, whose loop the importer makes of the operator's steps."""
    values = {k: models.draw(*v) if isinstance(v, tuple) else v for k, v in WEIGHTS.items()}
    same = models.model(
        "xt = Transpose <perm = [1, 0, 2]>(x) s, h = RNN <hidden_size = 5>(xt, w, r, b) f = Squeeze(h, zero) y = MatMul(f, v)",
        "float[N,T,4] x", w=values["w"].T[None], r=values["u"].T[None], zero=ids(0), v=values["v"],
        b=np.concatenate([values["bias"], np.zeros(5, np.float32)])[None],
    )  # fmt: skip
    one, two = (reflrp.compile(p, "gradient") for p in (net(), same))
    for n, t in SIZES:
        found = [run(g, drawn(n, t))["relevance/x"] for g in (one, two)]
        np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_relevance_is_conserved():
    """A property: without biases, epsilon hands all of the output back, whatever the number of turns."""
    proto = net(
        body=f"xi = Gather(xt, i) {CELL.replace('d = Add(c, bias) r = Tanh(d)', 'r = Relu(c)')} {ENDS} out = Identity(r)"
    )
    g = reflrp.compile(proto, "epsilon", target=1)
    for n, t in SIZES:
        found = run(g, drawn(n, t))
        np.testing.assert_allclose(found["relevance/x"].sum((1, 2)), found["y"][:, 1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("masked", [0, 2])
def test_states_of_other_widths_and_a_mask_of_the_data(masked):
    """As Keras writes masked layers and several cells in one: where no entry is, a state stays as it was."""
    body = f"""xi = Gather(xt, i) mi = Gather(keeps, i) not = Not(mi) on1 = Cast <to = 1>(mi) off1 = Cast <to = 1>(not)
        {CELL.replace("r = Tanh(d)", "e = Tanh(d)")} f = Mul(on1, e) h = Mul(off1, s) r = Add(f, h)
        z0 = MatMul(r, p) z1 = MatMul(q, o) z2 = Add(z0, z1) z3 = Sigmoid(z2) z4 = Mul(on1, z3) z5 = Mul(off1, q) z = Add(z4, z5)
        {ENDS} out = Identity(z)"""
    before = """nothing = Equal(x, nought) apart = Not(nothing) numbers = Cast <to = 1>(apart)
        some = ReduceMax <axes = [2], keepdims = 1>(numbers) there = Greater(some, nought)
        keeps = Transpose <perm = [1, 0, 2]>(there)
        wide = Concat <axis = 0>(n1, three) g0 = Expand(nought, wide)"""
    states = """(int64 k, bool go, int64 i, float[M,5] s, float[M,3] q) =>
        (bool on, int64 j, float[M,5] r, float[M,3] z, float[M,3] out)"""
    proto = net(
        body=body, before=before, states=states, start="i0, h0, g0", made="n, h, g, all", three=ids(3), p=(5, 3), o=(3, 3),
        tail="l = Gather <axis = 0>(all, last) hl = MatMul(h, v) y = Add(l, hl)",
    )  # fmt: skip
    for preset in ("epsilon", "attnlrp"):
        g = reflrp.compile(proto, preset)
        for n, t in SIZES:
            feeds = drawn(n, t)
            feeds["x"][0, :masked] = 0
            agrees(run(g, feeds), proto, feeds, preset)


TWO = """(int64 k, bool go, int64 i, float[M,5] s, float[M,5] q) =>
    (bool on, int64 j, float[M,5] r, float[M,5] z, float[M,5] out)"""
ONE_WEIGHT = {
    "lstm": (
        """xs = Concat <axis = -1>(xi, s) m = MatMul(xs, four) c = Add(m, b4) gi, gj, gf, gg = Split <axis = 1>(c)
        f1 = Add(gf, forget) f2 = Sigmoid(f1) kept = Mul(q, f2) i1 = Sigmoid(gi) j1 = Tanh(gj) new = Mul(i1, j1)
        z = Add(kept, new) zt = Tanh(z) o1 = Sigmoid(gg) r = Mul(zt, o1) out = Identity(r)""",
        {"states": TWO, "start": "i0, h0, h0", "made": "n, h, g, all", "tail": "l = Add(h, g) y = MatMul(l, v)"},
    ),
    "gru": (
        """xs = Concat <axis = 1>(s, xi) m = MatMul(xs, pair) rz = Sigmoid(m) gr, gz = Split <axis = 1>(rz) held = Mul(gr, s)
        xh = Concat <axis = 1>(xi, held) a = MatMul(xh, both) c = Tanh(a) off = Sub(forget, gz) o = Mul(gz, s) p = Mul(off, c)
        r = Add(o, p) out = Identity(r)""", {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("cell", ONE_WEIGHT)
def test_one_weight_for_entry_and_state(cell):
    """TensorFlow's own cells: what a turn reads stands beside its state, which begins with zeros for all samples."""
    nodes, more = ONE_WEIGHT[cell]
    proto = net(
        body=f"xi = Gather(xt, i) {nodes} {ENDS}", four=(9, 20), b4=(20,), pair=(9, 10), both=(9, 5),
        forget=np.ones((), np.float32), **more,
    )  # fmt: skip
    for preset in PRESETS if cell == "gru" else ("epsilon_plus_flat", "attnlrp"):
        g = reflrp.compile(proto, preset)
        for n, t in SIZES:
            if t >= shortest(g):
                agrees(run(g, drawn(n, t)), proto, drawn(n, t), preset)


FREE = CELL.replace("r = Tanh(d)", "e = Tanh(d)")
SOME = "top = ReduceMax <axes = [2], keepdims = 0>(x) some = Transpose(top) there = Greater(some, nought)"
MASKS = {
    "cast inside": (
        f"mi = Gather(there, i) m1 = Cast <to = 1>(mi) on1 = Unsqueeze(m1, one) off1 = Sub(unit, on1) {FREE}"
        " f = Mul(on1, e) g = Mul(off1, s) r = Add(f, g) out = Identity(r)", SOME,
    ),
    "unsqueezed inside": (
        f"mi = Gather(there, i) mu = Unsqueeze(mi, one) {FREE} r = Where(mu, e, s) fill = Shape(e) none = ConstantOfShape(fill)"
        " out = Where(mu, e, none)", SOME,
    ),
    "compared inside": (
        f"mi = Gather(some, i) mu = Unsqueeze(mi, one) mw = Greater(mu, nought) ms = Slice(mw, zero, one, one) {FREE}"
        " r = Where(ms, e, s) out = Identity(r)", SOME,
    ),
    "of the entry": (
        f"ms = ReduceMax <axes = [1]>(xi) mu = Greater(ms, nought) {FREE} r = Where(mu, e, s) out = Identity(r)", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MASKS)
def test_masks_that_the_body_works_out(case):
    body, before = MASKS[case]
    proto = net(body=f"xi = Gather(xt, i) {body} {ENDS}", before=before, unit=np.ones((), np.float32))
    for preset in ("epsilon_plus_flat", "attnlrp"):
        g = reflrp.compile(proto, preset)
        for n, t in SIZES:
            agrees(run(g, drawn(n, t)), proto, drawn(n, t), preset)


def test_a_mask_that_is_cut_by_a_length_is_refused_by_name():
    """The body's own node holds a formula, which only the file's nodes work out."""
    body = f"mi = Gather(there, i) cut = Slice(mi, zero, n1, zero) mu = Unsqueeze(cut, one) {FREE} r = Where(mu, e, s)"
    proto = net(body=f"xi = Gather(xt, i) {body} {ENDS} out = Identity(r)", before=SOME)
    with pytest.raises(reflrp.InputError, match="cannot be compiled: it reads what node 'Loop"):
        reflrp.compile(proto, "epsilon")


ENDED = {
    "greater": "on1 = Greater(lens, i) mu = Unsqueeze(on1, one) r = Where(mu, e, s) out = Where(mu, e, nought)",
    "less": "on1 = Less(i, lens) mu = Unsqueeze(on1, one) r = Where(mu, e, s) out = Where(mu, e, nought)",
    "not after": "ends = GreaterOrEqual(i, lens) mu = Unsqueeze(ends, one) r = Where(mu, s, e) out = Where(mu, nought, e)",
    "by the next": "on1 = GreaterOrEqual(lens, j) mu = Unsqueeze(on1, one) r = Where(mu, e, s) out = Where(mu, e, nought)",
    "by an axis": "ia = Unsqueeze(i, zero) off1 = LessOrEqual(lens, ia) mu = Unsqueeze(off1, one) r = Where(mu, s, e)"
    " out = Where(mu, nought, e)",
}


@pytest.mark.parametrize("case", ENDED)
def test_lengths_of_sequences_in_a_loop(case):
    """As TensorFlow's dynamic_rnn: the number of the turn is compared with data. The same network as an RNN with its lengths."""
    proto = net(port="float[N,T,4] x, int64[N] lens", body=f"xi = Gather(xt, i) {FREE} {ENDS} {ENDED[case]}", tail="""
        mean = ReduceMean <axes = [0], keepdims = 0>(all) both = Add(mean, h) y = MatMul(both, v)""")  # fmt: skip
    values = {k: models.draw(*v) if isinstance(v, tuple) else v for k, v in WEIGHTS.items()}
    same = models.model(
        """xt = Transpose <perm = [1, 0, 2]>(x) l32 = Cast <to = 6>(lens) s, h = RNN <hidden_size = 5>(xt, w, r, b, l32)
        f = Squeeze(s, one) mean = ReduceMean <axes = [0], keepdims = 0>(f) h1 = Squeeze(h, zero) both = Add(mean, h1)
        y = MatMul(both, v)""", "float[N,T,4] x, int64[N] lens", w=values["w"].T[None], r=values["u"].T[None], zero=ids(0),
        one=ids(1), v=values["v"], b=np.concatenate([values["bias"], np.zeros(5, np.float32)])[None],
    )  # fmt: skip
    one, two = (reflrp.compile(p, "gradient") for p in (proto, same))
    g = reflrp.compile(proto, "attnlrp")
    for n, t in SIZES:
        lengths = [t, 0, *np.random.default_rng(t).integers(1, t + 1, size=n)]
        feeds = {**drawn(n, t), "lens": np.array(lengths[:n])}
        agrees(run(g, feeds), proto, feeds, "attnlrp")
        found = [run(c, feeds) for c in (one, two)]
        for value in ("y", "relevance/x"):
            np.testing.assert_allclose(found[0][value], found[1][value], rtol=1e-4, atol=1e-6)


UNREAD = {
    "stacked": {"tail": "y = MatMul(h, v)", "out": "wide = MatMul(r, v) out = Sigmoid(wide)"},
    "stacked, with entries of its own": {
        "tail": "y = MatMul(h, v)",
        "before": "x2 = Sigmoid(xt)",
        "out": "x2i = Gather(x2, i) out = MatMul(x2i, v4)",
    },
    "a state": {
        "states": TWO.replace("float[M,5] q", "float[M,3] q").replace("float[M,5] z", "float[M,3] z"),
        "start": "i0, h0, g0",
        "made": "n, h, g, all",
        "before": "wide = Concat <axis = 0>(n1, three) g0 = Expand(nought, wide)",
        "out": "q1 = MatMul(r, v) q2 = Add(q, q1) z = Tanh(q2) out = Identity(r)",
    },
}


@pytest.mark.parametrize("case", UNREAD)
def test_what_nobody_reads_of_a_loop(case):
    more = dict(UNREAD[case])
    proto = net(body=f"xi = Gather(xt, i) {CELL} {more.pop('out')} {ENDS}", v4=(4, 3), three=ids(3), **more)
    for preset in ("epsilon_plus_flat", "attnlrp"):
        g = reflrp.compile(proto, preset)
        for n, t in SIZES:
            agrees(run(g, drawn(n, t)), proto, drawn(n, t), preset)


def test_a_decoder_that_attends_to_the_states_of_an_encoder():
    """Each of two inputs has a length of its own."""
    loops = [
        f"""{x}t = Transpose <perm = [1, 0, 2]>({x}) sh{x} = Shape({x}) t1{x} = Slice(sh{x}, one, more) t{x} = Squeeze(t1{x}, zero)
        n1{x} = Slice(sh{x}, zero, one) dims{x} = Concat <axis = 0>(n1{x}, five) h0{x} = Expand(nought, dims{x})
        h{x}, all{x} = Loop (t{x}, yes, {start}) <body = turn{x} {PLAIN} {{
            xi = Gather({x}t, k) xs = Concat <axis = 1>(xi, s) a = MatMul(xs, both) r = Tanh(a)
            on = Identity(go) out = Identity(r) }}>
        e{x} = Transpose <perm = [1, 0, 2]>(all{x})"""
        for x, start in (("u1", "h0u1"), ("u2", "hu1"))
    ]
    attends = """keys = Transpose <perm = [0, 2, 1]>(eu1) scores = MatMul(eu2, keys) p = Softmax <axis = 2>(scores)
        c = MatMul(p, eu1) d = Add(c, eu2) m = ReduceMean <axes = [1], keepdims = 0>(d) y = MatMul(m, v)"""
    proto = models.model(
        f"{' '.join(loops)} {attends}", "float[N,S,4] u1, float[M,T,4] u2", more=ids(2), both=(9, 5), **WEIGHTS
    )
    for preset in ("epsilon", "attnlrp"):
        g = reflrp.compile(proto, preset)
        for n, s, t in ((1, 1, 1), (2, 1, 3), (1, 5, 1), (3, 2, 2), (2, 9, 4)):
            feeds = {"u1": models.draw(n, s, 4, seed=1), "u2": models.draw(n, t, 4, seed=2)}
            agrees(run(g, feeds), proto, feeds, preset)


TURNED = "st = Transpose(s) su = Unsqueeze(st, zero) sn = Transpose <perm = [2, 0, 1]>(su)"


def test_a_convolution_of_the_state():
    """As Keras' ConvLSTM: the state, which begins with zeros for all samples, is laid out anew on its way to the kernel."""
    conv = f"""{TURNED} c = Conv <pads = [1, 1]>(sn, kernel) ct = Transpose <perm = [0, 2, 1]>(c) m = MatMul(ct, col)
        q = Squeeze(m, below) a = MatMul(xi, w) z = Add(a, q) r = Tanh(z) out = Identity(r)"""
    proto = net(body=f"xi = Gather(xt, i) {conv} {ENDS}", kernel=(3, 1, 3), col=(3, 1), below=ids(-1))
    for preset in ("epsilon_plus_flat", "attnlrp"):
        g = reflrp.compile(proto, preset)
        for n, t in SIZES:
            agrees(run(g, drawn(n, t)), proto, drawn(n, t), preset)


@pytest.mark.parametrize("node", ["far = Concat <axis = 2>(su, su)", "far = Squeeze(st, one)"])
def test_what_works_along_the_samples_of_a_filled_state_is_refused(node):
    """The samples lie on the last axis of `st` and `su`."""
    proto = net(
        body=f"xi = Gather(xt, i) {TURNED} {node} sum = ReduceSum <keepdims = 0>(far) {CELL} {ENDS} out = Mul(r, sum)"
    )
    with pytest.raises(reflrp.InputError, match=r"\((Concat|Squeeze)\) works on a state that is filled"):
        reflrp.compile(proto, "epsilon")


def test_a_constant_of_one_sample_stands_for_no_others():
    """Beside the entries of an open number of samples the file must have one for each; only a state that it fills has."""
    proto = net(
        body=f"xi = Gather(xt, i) xs = Concat <axis = 1>(xi, own) a = MatMul(xs, both) "
        f"b = MatMul(s, u) r = Add(a, b) {ENDS} out = Identity(r)",
        own=(1, 5),
        both=(9, 5),
    )
    with pytest.raises(reflrp.ReflrpError, match=r"Concat.*do not fit"):
        reflrp.compile(proto, "epsilon")


SCAN = "(float[M,5] s, float[M,4] xi) => (float[M,5] r, float[M,5] out)"


@pytest.mark.parametrize("back", [0, 1])
def test_scan(back):
    proto = models.model(
        f"""{SHAPES} h, all = Scan (h0, xt) <num_scan_inputs = 1, scan_input_directions = [{back}], body = turn {SCAN} {{
            {CELL} out = Identity(r) }}> top = ReduceMax <axes = [0], keepdims = 0>(all) both = Add(top, h) y = MatMul(both, v)""",
        "float[N,T,4] x", more=ids(2), **WEIGHTS,
    )  # fmt: skip
    for preset in ("epsilon_plus_flat", "attnlrp"):
        g = reflrp.compile(proto, preset)
        for n, t in SIZES:
            agrees(run(g, drawn(n, t)), proto, drawn(n, t), preset)


BEGINS = "sh = Shape(x) t1 = Slice(sh, zero, one) t = Squeeze(t1, zero)"
OTHERS = {
    "no samples": (
        f"""{BEGINS} h, all = Loop (t, yes, g) <body = turn (int64 k, bool go, float[5] s) => (bool on, float[5] r, float[5] out) {{
            xi = Gather(x, k) {CELL} on = Identity(go) out = Identity(r) }}> l = Gather(all, last) m = Unsqueeze(l, zero)
            y = MatMul(m, v)""", "float[T,4] x", lambda n, t: {"x": models.draw(t, 4)},
    ),
    "a state to start from": (
        f"""xt = Transpose <perm = [1, 0, 2]>(x) {BEGINS.replace("Shape(x)", "Shape(xt)")}
            h, all = Loop (t, yes, h0) <body = turn {PLAIN} {{
            {BY_COUNT} }}> m = ReduceSum <keepdims = 0>(all, zero) y = MatMul(m, v)""", "float[N,T,4] x, float[N,5] h0",
        lambda n, t: {**drawn(n, t), "h0": models.draw(n, 5, seed=3)},
    ),
    "two sources along the second axis": (
        f"""{SHAPES} z = Relu(x) h, o = Scan (h0, x, z) <num_scan_inputs = 2, scan_input_axes = [1, 1],
            scan_input_directions = [0, 1],
            body = turn (float[M,5] s, float[M,4] xi, float[M,4] zi) => (float[M,5] r, float[M,5] p) {{
            q = Add(xi, zi) a = MatMul(q, w) b = MatMul(s, u) c = Add(a, b) r = Tanh(c) p = Sigmoid(r) }}>
            m = ReduceMean <axes = [0], keepdims = 0>(o) e = Add(m, h) y = MatMul(e, v)""", "float[N,T,4] x", drawn,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_other_loops(case):
    body, port, feeds = OTHERS[case]
    proto = models.model(body, port, more=ids(2), g=np.zeros(5, np.float32), **WEIGHTS)
    g = reflrp.compile(proto, "epsilon")
    for n, t in SIZES[:4]:
        agrees(run(g, feeds(n, t)), proto, feeds(n, t), "epsilon")


REFUSED = {
    "reads the number of the turn": f"xi = Gather(xt, i) kf = Cast <to = 1>(k) "
    f"{CELL.replace('r = Tanh(d)', 'e = Add(d, kf) r = Tanh(e)')}"
    f" {ENDS} out = Identity(r)",
    "reads other entries than one by one": f"p = Add(i, i) xi = Gather(xt, p) {CELL} {ENDS} out = Identity(r)",
    "it reads 1 ?\\+ ?T entries|reads T \\+ 1 entries": f"p = Add(i, step) xi = Gather(xt, p) {CELL} {ENDS} out = Identity(r)",
    "depends on what its body works out|counts in no way|depends on the data": f"xi = Gather(xt, i) {CELL} j = Add(i, step)"
    " top = ReduceMax <keepdims = 0>(r) on = Less(nought, top) out = Identity(r)",
    "two of its states are one value": None,
    "is constant": f"xi = Gather(xt, i) {CELL} {ENDS} out = Mul(s, nought)",
    "works on a state that is filled": f"xi = Gather(xt, i) rows = ReduceSum(s, zero) "
    f"{CELL.replace('MatMul(s, u)', 'MatMul(rows, u)')}"
    f" {ENDS} out = Identity(r)",
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_no_such_loop_is_refused(why):
    if (
        REFUSED[why] is None
    ):  # a sum of states: it begins with zeros, so that after the first turn it is the state itself
        states = """(int64 k, bool go, int64 i, float[M,5] s, float[M,5] q) =>
            (bool on, int64 j, float[M,5] r, float[M,5] z, float[M,5] out)"""
        body = f"xi = Gather(xt, i) {CELL} z = Add(r, q) {ENDS} out = Identity(r)"
        proto = net(body=body, states=states, start="i0, h0, h0", made="n, h, g, all", tail="y = MatMul(g, v)")
    else:
        proto = net(body=REFUSED[why])
    with pytest.raises(reflrp.ReflrpError, match=why) as error:
        reflrp.compile(proto, "epsilon")
    assert "Loop" in str(error.value)
    try:
        wanted = reflrp.explain(proto, drawn(2, 4), "epsilon")
    except reflrp.ReflrpError:
        return
    assert wanted.relevance.shape == (2, 4, 4)


def test_a_number_of_turns_of_the_data_is_refused():
    proto = net(most="m", before="top = ReduceMax <keepdims = 0>(x) m = Cast <to = 7>(top)", begins="yes", body=BY_COUNT,
                states=PLAIN, start="h0", made="h, all")  # fmt: skip
    with pytest.raises(reflrp.ReflrpError, match="Loop"):
        reflrp.compile(proto, "epsilon")


EPSILON = [(kind("dense"), rules.Epsilon()), *defaults()]


def test_rules_that_tell_turns_apart_are_refused():
    proto = net()
    for pattern, why in (("*[[]3]*", "in other steps of"), ("*[[]2?]*", "tells the steps")):
        with pytest.raises(reflrp.InputError, match=why):
            reflrp.compile(proto, Composite([(name(pattern) & kind("dense"), rules.ZPlus()), *EPSILON]))
    composite = Composite([(name("*[[]*]/MatMul*"), rules.ZPlus()), *EPSILON])
    agrees(run(reflrp.compile(proto, composite), drawn(2, 5)), proto, drawn(2, 5), composite)
    with pytest.raises(reflrp.InputError, match="one step among an open number"):
        reflrp.compile(proto, "epsilon", conditions={"*/r": [1]})


BEYOND = {"root": "q = Sqrt(r)", "logarithm": "q = Log(r)", "quotient": "q = Div(a, r)"}


@pytest.mark.parametrize("case", BEYOND)
def test_the_turn_too_many_may_leave_a_domain(case):
    """The state runs out with the last turn: the loop's own turn beyond it finds no root, and nothing of it is seen."""
    proto = net(
        port="float[N,T,4] x, float[N,5] g", start="i0, g", w=np.ones((4, 5), np.float32), small=np.float32(0.5),
        body=f"xi = Gather(xt, i) a = MatMul(xi, w) r = Sub(s, a) {BEYOND[case]} out = MatMul(q, u) {ENDS}",
        tail="e = ReduceMean <axes = [0], keepdims = 0>(all) y = MatMul(e, v)",
    )  # fmt: skip
    for preset in ("epsilon", "gradient"):
        g = reflrp.compile(proto, preset)
        for n, t in SIZES:
            x = np.ceil(abs(drawn(n, t)["x"]))  # whole numbers, whose sums are exact
            x[:, -1] = 1
            whole = x.sum((1, 2)) + (4 if case == "quotient" else 1)
            feeds = {"x": x, "g": np.repeat(whole[:, None], 5, axis=1)}
            agrees(run(g, feeds), proto, feeds, preset)


def test_functions_that_are_defined_everywhere():
    x = np.linspace(-9, 9, 145)
    with np.errstate(all="raise"):
        for function in TOTAL:
            more = {
                "clip": (-1, 1),
                "prelu": (0.1,),
                "leaky_relu": (0.1,),
                "thresholded_relu": (1.0,),
                "elu": (1.0,),
                "hard_sigmoid": (0.2, 0.5),
                "swish": (1.0,),
                "shrink": (0.5, 0.0),
            }
            op = Pointwise(function, more.get(function, ()))
            assert np.isfinite(op.forward(x)).all()
            assert np.isfinite(op.derivative(x)).all()


def delayed(turns):
    """A loop in which what an entry gives is handed on from state to state, and read again so many turns later."""
    numbers = range(turns)
    hands = " ".join(f"r{k} = Tanh(s{k - 1})" for k in numbers[1:])
    ins, outs = (", ".join(f"float[M,5] {x}{k}" for k in numbers) for x in "sr")
    begins, ends = (", ".join(f"{x}{k}" for k in numbers) for x in "gz")
    return net(
        port="float[N,T,4] x, " + ", ".join(f"float[N,5] g{k}" for k in numbers),
        body=f"xi = Gather(xt, i) r0 = MatMul(xi, w) {hands} out = MatMul(s{turns - 1}, u) {ENDS}",
        states=f"(int64 k, bool go, int64 i, {ins}) => (bool on, int64 j, {outs}, float[M,5] out)",
        start=f"i0, {begins}", made=f"n, {ends}, all",
        tail=f"e = ReduceSum <keepdims = 0>(all, zero) ee = Sum(e, {ends}) y = MatMul(ee, v)",
    )  # fmt: skip


def test_rules_that_change_after_more_turns_than_were_looked_at_are_refused():
    """`first` holds of the layer behind the delay as long as no entry has come through."""
    composite = Composite([(first("dense") & name("*MatMul*"), rules.Flat()), *EPSILON])
    for turns, why in ((3, "in other steps of"), (13, "still another thing after 8")):
        with pytest.raises(reflrp.InputError, match=why):
            reflrp.compile(delayed(turns), composite)
    g = reflrp.compile(delayed(3), "epsilon")
    for t in (1, 2, 3, 4, 11):
        feeds = {**drawn(2, t), **{f"g{k}": models.draw(2, 5, seed=k) for k in range(3)}}
        agrees(run(g, feeds), delayed(3), feeds, "epsilon")


def test_the_shortest_loops_with_the_time_first():
    """`auto` sees weights act again from three turns on, of which the batch size of an example has fewer."""
    body, port, feeds = OTHERS["no samples"]
    proto = models.model(body, port, more=ids(2), g=np.zeros(5, np.float32), **WEIGHTS)
    g = reflrp.compile(proto, "auto")
    assert shortest(g) == 3
    for t in (3, 4, 9):
        agrees(run(g, feeds(1, t)), proto, feeds(1, t), "auto")


def test_layers_and_lengths_that_are_said():
    proto = net()
    g = reflrp.compile(proto, "epsilon", layers=True)
    said = {p.key: p.value for p in g.metadata_props}
    assert said["reflrp.lengths"] == "T <= 16777216"  # up to there the file's own float32 tells numbers of turns apart
    found, layers = run(g, drawn(2, 4)), reflrp.explain(proto, drawn(2, 4), "epsilon", layers=True).layers
    shown = {k.removeprefix("layer/"): v for k, v in found.items() if k.startswith("layer/")}
    assert any("[0]/" in k for k in shown)
    assert not any("[1]/" in k for k in shown)
    for value, R in shown.items():
        np.testing.assert_allclose(R, layers[value], atol=1e-4)
