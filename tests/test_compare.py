"""`reflrp.compare`: where two answers part, and which of their settings explain how much of it."""

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import draw, model

import reflrp
from reflrp import rules
from reflrp.comparison.causes import CLAUSES, RULE_CLAUSES
from reflrp.composites import preset, uniform
from reflrp.rules import AlphaBeta, Epsilon, Stabilizer, ZPlus
from reflrp.seeds import digest

SPEC = Path(__file__).parents[1] / "conformance" / "spec" / "clauses.toml"
B1, B3 = np.float32([-0.3, 0.4, -0.2]), np.float32([-0.5, 0.3, -0.2, -0.1])
CNN = model(
    "c = Conv<kernel_shape = [2, 2]>(x, w1, b1) r = Relu(c) d = Conv<kernel_shape = [1, 1]>(r, w2) s = Add(d, r) "
    "t = Relu(s) f = Flatten(t) y = Gemm(f, w3, b3)",
    "float[N,2,4,4] x",
    w1=draw(3, 2, 2, 2, seed=2), b1=B1, w2=draw(3, 3, 1, 1, seed=4), w3=draw(27, 4, seed=5), b3=B3,
)  # fmt: skip
for node in CNN.graph.node:
    node.name = node.output[0]
X = draw(2, 2, 4, 4, seed=9)


def test_the_same_rules_agree():
    c = reflrp.compare(CNN, X, "epsilon_plus", preset("epsilon_plus"))
    assert (c.difference, c.first, c.causes) == (0, None, ())
    assert all(row.arrives == row.adds == 0 for row in c.rows)
    assert "They agree" in str(c)


def test_one_field_of_one_rule():
    """The nodes above agree to the bit, the node itself adds all, and the field explains all."""
    layers = {"d": Epsilon(), "c": Epsilon(), "y": Epsilon()}
    c = reflrp.compare(CNN, X, layers, {**layers, "d": Epsilon(bias="ignore", epsilon=0.5)})
    rows = {row.node: row for row in c.rows}
    assert c.first == "d"
    assert [n for n, row in rows.items() if row.adds] == ["d"]
    assert rows["y"].arrives == rows["s"].arrives == 0
    assert rows["c"].arrives > 1e-3
    (cause,) = c.causes  # this convolution has no bias, so that its treatment changes nothing
    assert (cause.what, cause.a, cause.b, cause.nodes, cause.clause) == ("epsilon", "1e-06", "0.5", ("d",), "EPS-1")
    assert cause.share == pytest.approx(1, abs=1e-12)


def test_relevance_is_that_of_explain():
    c = reflrp.compare(CNN, X, "epsilon", "epsilon_alpha2_beta1", target=1, init="one")
    for side, name in (("a", "epsilon"), ("b", "epsilon_alpha2_beta1")):
        e = reflrp.explain(CNN, X, name, target=1, init="one")
        assert np.array_equal(c.relevances[side]["x"], e.relevance)


def test_shares_are_what_switching_alone_does():
    """Two fields at once: each share is measured by hand, added to a and taken from b."""
    a, b = uniform(Epsilon(0.1)), uniform(Epsilon(0.7, bias="ignore"))
    c = reflrp.compare(CNN, X, a, b)
    assert {cause.what for cause in c.causes} == {"epsilon", "bias"}

    def relevance(rule):
        return reflrp.explain(CNN, X, rule).relevance.ravel()

    D = relevance(b) - relevance(a)
    for cause in c.causes:
        with_it, without = {
            "epsilon": (Epsilon(0.7), Epsilon(0.1, bias="ignore")),
            "bias": (Epsilon(0.1, bias="ignore"), Epsilon(0.7)),
        }[cause.what]
        assert cause.added == pytest.approx(np.vdot(relevance(uniform(with_it)) - relevance(a), D) / np.vdot(D, D))
        assert cause.removed == pytest.approx(np.vdot(relevance(b) - relevance(uniform(without)), D) / np.vdot(D, D))
        assert cause.share == pytest.approx((cause.added + cause.removed) / 2)
    assert [abs(x.share) for x in c.causes] == sorted((abs(x.share) for x in c.causes), reverse=True)


def test_rules_of_two_libraries_that_differ_in_one_field():
    """zennit's z+ has all of the bias' positive part, ours with bias="ignore" none: the field is named, not the classes."""
    c = reflrp.compare(CNN, X, uniform(ZPlus(bias="ignore")), "zennit.ZPlus")
    causes = {cause.what: cause for cause in c.causes}
    assert causes["bias"].b == "'split'"
    assert causes["bias"].clause == "ZP-2"
    assert set(causes["bias"].nodes) == {"c", "y"}


def test_rules_of_two_libraries_that_are_the_same():
    c = reflrp.compare(CNN, X, uniform(ZPlus()), "zennit.ZPlus")
    assert not [row for row in c.rows if row.node in ("c", "d", "y") and row.adds > 1e-12]


NORMED = model(
    "c = MatMul(x, w) n = BatchNormalization(c, g, o, m, v) r = Relu(n) y = MatMul(r, u)",
    "float[N,4] x",
    w=draw(4, 3), g=np.abs(draw(3)) + 0.5, o=draw(3, seed=1), m=draw(3, seed=2), v=np.abs(draw(3)) + 1, u=draw(3, 2),
)  # fmt: skip


NORMED_CONV = model(
    "c = Conv<kernel_shape = [2, 2]>(x, w, b) n = BatchNormalization(c, g, o, m, v) r = Relu(n) f = Flatten(r) "
    "y = Gemm(f, u)",
    "float[N,2,4,4] x",
    w=draw(3, 2, 2, 2, seed=2), b=B1, g=np.abs(draw(3)) + 0.5, o=draw(3, seed=1), m=draw(3, seed=2),
    v=np.abs(draw(3)) + 1, u=draw(27, 4, seed=5),
)  # fmt: skip
for node in NORMED_CONV.graph.node:
    node.name = node.output[0]


def test_a_setting_that_matters_only_with_the_other_sides_relevance():
    """Where a's relevance never meets the difference and b's does, it is a cause all the same; all together they make it."""
    c = reflrp.compare(CNN, X, "epsilon", "gradient")
    back = reflrp.compare(CNN, X, "gradient", "epsilon")
    assert {n for cause in c.causes for n in cause.nodes} == {n for cause in back.causes for n in cause.nodes}


def test_canonizing_is_a_cause():
    """One side folds a BatchNormalization, the other has it as a node: they are compared at what comes out of it."""
    folded = preset("epsilon_plus")
    c = reflrp.compare(NORMED, draw(2, 4, seed=8), folded, replace(folded, canonize=()))
    causes = {cause.what: cause for cause in c.causes}
    assert causes["canonize"].share == pytest.approx(1, abs=1e-9)
    assert (causes["canonize"].a, causes["canonize"].b) == ("fold_batchnorm", "nothing")
    assert len(causes["canonize"].nodes) == 1  # the BatchNormalization, which one side does not have


@pytest.mark.parametrize(
    ("own", "other", "reading"),
    [
        (ZPlus(), ZPlus(bias="full"), "bias='full'"),
        (AlphaBeta(), AlphaBeta(bias="ignore"), "bias='ignore'"),
        (Epsilon(1e-6), Epsilon(1e-6, stabilizer=Stabilizer(0.25, form="plain")), "stabilizer=0.25 (plain)"),
        (Epsilon(1e-6), Epsilon(0.25), "epsilon=0.25"),
    ],
)
def test_given_relevance_is_read(own, other, reading):
    """Relevance of another program by name: the first node that leaves the rule, and the reading that it follows."""
    e = reflrp.explain(CNN, X, uniform(other), layers=True)
    given = {**e.layers, "x": e.relevance}
    for c in (
        reflrp.compare(CNN, X, uniform(own), given),
        reflrp.compare(CNN, X, given, uniform(own)),
        reflrp.compare(CNN, X, uniform(own), e),
    ):
        assert c.first == "y"
        assert reading in c.variants
        assert c.difference == pytest.approx(reflrp.compare(CNN, X, uniform(own), uniform(other)).difference)


def test_given_relevance_that_leaves_the_rules_in_the_middle():
    """Where the relevance above is the same, blame falls on the node between, and on no node after it."""
    e = reflrp.explain(CNN, X, Epsilon(), layers=True)
    bent = {**e.layers, "x": e.relevance}
    bent["r"] = bent["r"] + 0.1
    c = reflrp.compare(CNN, X, Epsilon(), bent)
    blamed = {row.node for row in c.rows if row.adds is not None and row.adds > 1e-9}
    assert {"s", "d"} <= blamed  # the two readers of r
    assert "y" not in blamed


def test_a_saved_explanation(tmp_path):
    e = reflrp.explain(CNN, X, uniform(ZPlus(bias="full")), target=2, layers=True)
    path = e.save(tmp_path / "e.npz")
    c = reflrp.compare(CNN, X, uniform(ZPlus()), str(path))
    assert "bias='full'" in c.variants
    assert c.relevances["a"]["x"].shape == X.shape
    assert np.array_equal(c.relevances["a"]["x"], reflrp.explain(CNN, X, uniform(ZPlus()), target=2).relevance)


def test_where_little_was_given_several_nodes_may_be_to_blame():
    e = reflrp.explain(CNN, X, uniform(ZPlus(bias="full")), target=2, layers=True)
    c = reflrp.compare(CNN, X, uniform(ZPlus()), {"x": e.relevance}, target=2)
    assert "or the initial relevance, since nothing was given between" in " ".join(str(c).split())
    assert all(repr(row.node) in str(c) for row in c.rows)
    all_of_it = reflrp.compare(CNN, X, uniform(ZPlus()), {**e.layers, "x": e.relevance}, target=2)
    assert "nothing was given between" not in str(all_of_it)
    assert "nothing was given between" not in str(reflrp.compare(CNN, X, "epsilon", "epsilon(epsilon=0.1)"))


def test_an_explanation_of_another_target(tmp_path):
    e = reflrp.explain(CNN, X, "epsilon", target=2)
    path = str(e.save(tmp_path / "e.npz"))
    for side in (e, path):
        assert reflrp.compare(CNN, X, "epsilon", side, target=2).first is None
        assert reflrp.compare(CNN, X, "epsilon", side).first is None
        with pytest.raises(
            reflrp.InputError, match=r"of the targets \[\(2,\), \(2,\)\], and target= means \[\(1,\), \(1,\)\]"
        ):
            reflrp.compare(CNN, X, "epsilon", side, target=1)


def test_another_initial_relevance():
    e = reflrp.explain(CNN, X, "epsilon", target=2, init="one", layers=True)
    given = {**e.layers, "x": e.relevance, "y": np.eye(4)[[2, 2]]}
    c = reflrp.compare(CNN, X, "epsilon", given, target=2)
    assert c.first == "the initial relevance"
    assert reflrp.compare(CNN, X, "epsilon", given, target=2, init="one").first is None


def test_an_explanation_of_another_network(tmp_path):
    """The same inputs, names and shapes, other weights: no rule is to blame."""
    other = onnx.ModelProto.FromString(CNN.SerializeToString())
    bias = next(t for t in other.graph.initializer if onnx.numpy_helper.to_array(t).dtype.kind == "f")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) * 1.01, bias.name))
    for dtype in ("float64", "float32"):
        e = reflrp.explain(CNN, X, "epsilon", dtype=dtype, layers=True)
        assert reflrp.compare(CNN, X, "epsilon", e, dtype=dtype).first is None
        for side in (e, str(e.save(tmp_path / "e.npz"))):
            with pytest.raises(reflrp.InputError, match="is of another network"):
                reflrp.compare(other, X, "epsilon", side)


def test_an_explanation_says_its_init(tmp_path):
    start = np.zeros((2, 4))
    start[:, 2] = 0.5
    for init, other in (("one", "output"), ("output", "one"), (start, "one"), (start, 2 * start)):
        e = reflrp.explain(CNN, X, "epsilon", target=2, init=init, layers=True)
        assert e.init == (init if isinstance(init, str) else "array")
        loaded = reflrp.Explanation.load(e.save(tmp_path / "e.npz"))
        assert loaded.init == e.init
        assert reflrp.Explanation.concatenate([e, loaded]).init == e.init
        for side in (e, loaded):
            assert reflrp.compare(CNN, X, side, "epsilon", init=None if isinstance(init, str) else init).first is None
            with pytest.raises(reflrp.InputError, match="began with init="):
                reflrp.compare(CNN, X, side, "epsilon", target=2, init=other)
            if not isinstance(init, str):
                with pytest.raises(reflrp.InputError, match=r"began with init=an array.*give the same"):
                    reflrp.compare(CNN, X, side, "epsilon")


def test_another_array_of_the_same_sum_is_another_init(tmp_path):
    """By its digest; a file of an older format has none, and its sum is all that is known."""
    start = draw(2, 4, seed=3)
    other = start[:, ::-1].copy()
    e = reflrp.explain(CNN, X, "epsilon", init=start, layers=True)
    assert e.init_sha256 == sha256(b"float64 (2, 4)" + np.asarray(start, "<f8").tobytes()).hexdigest()
    path = e.save(tmp_path / "e.npz")
    for side in (e, str(path), replace(e, relevances={"x": e.relevance})):
        for same in (start, start.tolist(), np.asfortranarray(start), start.astype(">f8")):
            assert reflrp.compare(CNN, X, side, "epsilon", init=same).first is None
        for wrong in (other, np.nextafter(start, 9)):
            with pytest.raises(reflrp.InputError, match=r"began with init=an array \(SHA-256 [0-9a-f]{12}\.\.\.\)"):
                reflrp.compare(CNN, X, side, "epsilon", init=wrong)
    with np.load(path) as data:
        members = dict(data)
    meta = json.loads(str(members["meta"]))
    assert meta.pop("init_sha256") == e.init_sha256
    np.savez(tmp_path / "old.npz", **{**members, "meta": json.dumps({**meta, "format": 4})})
    old = reflrp.Explanation.load(tmp_path / "old.npz")
    assert (old.init, old.init_sha256, old == e) == ("array", "", True)
    assert reflrp.compare(CNN, X, old, "epsilon", init=start).first is None
    assert reflrp.compare(CNN, X, old, "epsilon", init=other).first == "the initial relevance"


@pytest.mark.parametrize("size", [None, 1])
def test_the_digest_is_that_of_the_whole_batch(size):
    start = draw(2, 4, seed=3)
    assert reflrp.explain(CNN, X, "epsilon", init=start, batch_size=size).init_sha256 == digest(start, start)
    assert reflrp.explain(CNN, X, "epsilon", init=-0.0 * start).init_sha256 == digest(np.zeros((2, 4)), start)
    assert reflrp.explain(CNN, X, "epsilon", init="one", batch_size=size).init_sha256 == ""


def test_the_digest_has_the_samples_first():
    """Whichever way round the init came, where the output holds the samples on another axis."""
    proto = model("h = MatMul(x, w) y = Transpose<perm = [1, 0]>(h)", "float[N,4] x", w=(4, 3))
    x, start = draw(2, 4), draw(3, 2, seed=4)
    found = [reflrp.explain(proto, x, "epsilon", init=init) for init in (start, start.T)]
    assert found[0] == found[1]
    assert {e.init_sha256 for e in found} == {digest(start.T, found[0].output)}
    for e, init in product(found, (start, start.T)):
        assert reflrp.compare(proto, x, e, "epsilon", init=init).first is None
    with pytest.raises(reflrp.InputError, match="SHA-256"):
        reflrp.compare(proto, x, found[0], "epsilon", init=start[::-1])


def test_an_explanation_of_probabilities_is_compared_with_them():
    proto = model("h = MatMul(x, w) y = Softmax(h)", w=(4, 3))
    x = np.ones((1, 4), np.float32)
    e = reflrp.explain(proto, x, "epsilon", strip=False, layers=True)
    c = reflrp.compare(proto, x, "epsilon", e)
    assert (c.first, c.rows[0].value) == (None, "y")


def test_the_span_is_what_lies_between_given_values():
    e = reflrp.explain(CNN, X, uniform(ZPlus(bias="full")), target=2, layers=True)

    def of(*names):
        given = {**e.layers, "x": e.relevance}
        return reflrp.compare(CNN, X, uniform(ZPlus()), {k: given[k] for k in names}, target=2)

    assert of("x").span[-1] == "the initial relevance"
    assert set(of("x").span[:-1]) == {row.node for row in of("x").rows}
    above = next(row for row in of("x").rows if row.node == of("x").first)
    assert of("x", above.value, "y").span[0] == of("x", above.value, "y").first
    everything = of("x", *e.layers)
    assert everything.span == (everything.first,)
    assert reflrp.compare(CNN, X, "epsilon", "epsilon").span == ()


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        ("epsilon", {}, "b= is empty"),
        ("epsilon", {"x": X, "s": "epsilon"}, "b= holds an array at 'x' and none at 's'"),
        ({"x": X}, {"x": X}, "one of them must be rules"),
        ("epsilon", {"nope": X}, "'nope' is no value or node"),
        ("epsilon", {"x": X[:1]}, "has the shape"),
        ("epsilon", "nope.npz", "nope.npz"),
        ("epsilon", {"x": np.full_like(X, np.nan)}, "a NaN or an infinity"),
        ("epsilon", reflrp.explain(CNN, X + 1, "epsilon"), "not of these inputs"),
        ("epsilon", reflrp.explain(CNN, X, "epsilon", conditions={"r": [1]}), "has conditions .'r:condition'"),
    ],
)
def test_what_cannot_be_compared(a, b, why):
    with pytest.raises(reflrp.InputError, match=why):
        reflrp.compare(CNN, X, a, b)


def test_a_dict_that_is_neither():
    with pytest.raises(
        reflrp.RuleError, match=r"a= is neither \{value name: relevance\} nor \{node name: rule\}: rule 'abc'"
    ):
        reflrp.compare(CNN, X, {"x": "abc"}, "epsilon")


def test_pictures_and_pages(tmp_path):
    pytest.importorskip("matplotlib")
    c = reflrp.compare(CNN, X, "epsilon", "epsilon_alpha2_beta1")
    c.plot(tmp_path / "c.png", sample=1)
    page = c.to_html(tmp_path / "c.html")
    assert (tmp_path / "c.png").stat().st_size > 10_000
    assert (tmp_path / "c.html").read_text("utf-8") == page
    assert "epsilon_alpha2_beta1" in page
    assert "<table" in c._repr_html_()
    with pytest.raises(reflrp.InputError, match="sample=7"):
        c.plot(sample=7)
    inner = reflrp.compare(CNN, X, "epsilon", {"r": 2 * reflrp.explain(CNN, X, "epsilon", layers="r").layers["r"]})
    page = inner.to_html()
    assert ("<table" in page, "<img" in page) == (True, False), "no input's relevance to draw"


def test_clauses_of_causes_are_in_the_specification():
    known = tomllib.loads(SPEC.read_text("utf-8"))
    named = {clause for by_field in CLAUSES.values() for clause in by_field.values()} | set(RULE_CLAUSES.values())
    assert named <= known.keys()
    for name, by_field in CLAUSES.items():
        assert set(by_field) <= set(getattr(rules, name).__dataclass_fields__), name


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "reflrp", *map(str, words)], capture_output=True, text=True, check=False
    )


def test_the_command(tmp_path):
    pytest.importorskip("matplotlib")
    onnx.save(CNN, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", X)
    files = (tmp_path / "m.onnx", tmp_path / "x.npy")
    done = run("compare", *files, "--a", "epsilon", "--b", "epsilon_alpha2_beta1", "-o", tmp_path / "c.html")
    assert done.returncode == 0, done.stderr
    assert "they part at 'd'" in done.stdout
    assert "wrote" in done.stdout
    assert (tmp_path / "c.html").read_text("utf-8").startswith("<!doctype html>")
    e = reflrp.explain(CNN, X, "epsilon", layers=True).save(tmp_path / "e.npz")
    done = run("compare", *files, "--a", "epsilon", "--b", e)
    assert done.returncode == 0, done.stderr
    assert "They agree" in done.stdout
    done = run("compare", *files, "--a", e, "--b", e)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "one of them must be rules" in done.stderr
    assert run("compare", *files, "--a", "epsilon").returncode == 2
    assert "--b" in run("compare", *files, "--a", "epsilon", "--b", "epsilo").stderr


def test_rules_of_two_libraries_are_said_in_one_vocabulary():
    """Two classes of different names and fields: what parts them is how the bias counts, and at which denominators."""
    c = reflrp.compare(CNN, X, "zennit.AlphaBeta", "innvestigate.LRPAlpha2Beta1")
    causes = {cause.what: cause for cause in c.causes}
    assert (causes["bias"].a, causes["bias"].b, causes["bias"].clause) == ("'split'", "'full'", "AB-2")
    assert causes["stabilizer"].b == "1e-07 (nonzero)"
    assert not [cause for cause in c.causes if cause.what == "rule" and "AlphaBeta" in cause.b]


def test_a_rule_without_a_common_word_is_said_in_ours():
    """ZPlus against captum's epsilon rule: no field turns one into the other, and the clause is that of Epsilon."""
    c = reflrp.compare(CNN, X, uniform(ZPlus()), {"d": "captum.EpsilonRule", "*": ZPlus()})
    (cause,) = [cause for cause in c.causes if "captum" in cause.b]
    assert (cause.what, cause.clause, cause.nodes) == ("rule", "EPS-1", ("d",))


def test_alpha_and_beta_are_one_cause():
    """They go together, as alpha - beta = 1."""
    c = reflrp.compare(CNN, X, uniform(AlphaBeta(2, 1)), uniform(AlphaBeta(1.5, 0.5)))
    (cause,) = c.causes
    assert (cause.what, cause.share) == ("alpha", pytest.approx(1))


def test_rules_of_folded_layers_are_causes():
    """a folds the BatchNormalization, b does not, and their rules differ on the layer before it, too.

    With z+ in the place of b's epsilon rule, and the BatchNormalization folded, b is a: each cause is measured by hand.
    """
    a, b = preset("epsilon_plus"), replace(preset("epsilon"), canonize=())
    folding = replace(b, canonize=a.canonize)
    c = reflrp.compare(NORMED_CONV, X, a, b)
    causes = {cause.what: cause for cause in c.causes}
    assert causes.keys() >= {"rule", "canonize"}
    assert causes["rule"].nodes == ("c",)
    base, end = (reflrp.explain(NORMED_CONV, X, rule).relevance.ravel() for rule in (a, b))
    with_rule = reflrp.explain(NORMED_CONV, X, folding).relevance.ravel()
    D = end - base
    assert causes["rule"].added == pytest.approx(np.vdot(with_rule - base, D) / np.vdot(D, D), abs=1e-9)
    assert causes["canonize"].removed == pytest.approx(np.vdot(end - with_rule, D) / np.vdot(D, D), abs=1e-9)


def test_all_to_both_summands_is_read():
    """What zennit gives for a sum that it has no hook on (its issue 236)."""
    e = reflrp.explain(CNN, X, {"s": rules.Gradient(), "*": Epsilon()}, layers=True)
    c = reflrp.compare(CNN, X, {"s": "zennit.Norm", "*": Epsilon()}, {**e.layers, "x": e.relevance})
    assert (c.first, c.variants) == ("s", ("Gradient()",))


def test_a_librarys_rule_is_read_by_the_fields_of_ours():
    """zennit's AlphaBeta has no field for the bias: the reading is one of our AlphaBeta."""
    e = reflrp.explain(CNN, X, {"c": AlphaBeta(2, 1, bias="full"), "*": Epsilon()}, layers=True)
    c = reflrp.compare(CNN, X, {"c": "zennit.AlphaBeta", "*": Epsilon()}, {**e.layers, "x": e.relevance})
    assert c.first == "c"
    assert "bias='full'" in c.variants[0]


def test_shares_of_thousands_are_short():
    from reflrp.show.compared import _percent

    assert [_percent(s) for s in (0.992, -0.0, -1e-7, 1.5, 123456.0)] == [
        "99.2 %",
        "0.0 %",
        "0.0 %",
        "150.0 %",
        "1e+07 %",
    ]


@pytest.mark.parametrize("low", [0.0, np.zeros((2, 1, 1))])
def test_bounds_that_are_arrays(low):
    c = reflrp.compare(
        CNN, X, {"c": rules.ZBox(-2 + low, 2.0), "*": Epsilon()}, {"c": rules.ZBox(-3 + low, 2.0), "*": Epsilon()}
    )
    assert [cause.what for cause in c.causes] == ["low"]
