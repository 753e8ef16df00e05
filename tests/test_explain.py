"""From model and input to Explanation: targets, seeds, inputs, outputs, inner values, cutting, saving."""

import re
from collections import Counter

import numpy as np
import pytest
from maps import dyadic
from models import model
from nets import MLP, build, net

import reflrp
from reflrp.errors import InputError, UnassignedNodes
from reflrp.explainer import explainer as module
from reflrp.explainer import programs
from reflrp.rules import Epsilon, Flat, Norm

X = dyadic(np.random.default_rng(1), (3, 4))


def mlp():
    return build(MLP)


def seeds(e):
    """The initial relevance: the relevance of the output, kept as an inner value."""
    return e.layers["y"]


def run(model=None, x=X, rules="epsilon", **choice):
    return reflrp.explain(model or mlp(), x, rules, layers=True, **choice)


# ---------------------------------------------------------------- targets and initial relevance


@pytest.mark.parametrize(
    ("target", "columns"),
    [(1, [1, 1, 1]), (-1, [2, 2, 2]), ([0, 2, 1], [0, 2, 1]), (np.asarray([2, 2, 0]), [2, 2, 0]), ((2,), [2, 2, 2])],
)
@pytest.mark.parametrize("init", ["output", "one"])
def test_targets(target, columns, init):
    e = run(target=target, init=init)
    wanted = np.zeros((3, 3))
    for n, k in enumerate(columns):
        wanted[n, k] = e.output[n, k] if init == "output" else 1
    assert np.array_equal(seeds(e), wanted)
    assert e.target == tuple((k,) for k in columns)


def test_the_largest_output_is_the_default():
    e = run()
    assert e.target == tuple((int(k),) for k in e.output.argmax(axis=1))
    equal = run(build("net (float[N, 2] x) => (float[N, 2] y) { y = Neg(x) }"), np.ones((1, 2)))
    assert equal.target == ((0,),)


def test_targets_in_an_output_of_many_axes():
    model = build("net (float[N, 2, 3, 3] x) => (float[N, 2, 3, 3] y) <float[2, 2, 1, 1] w> { y = Conv(x, w) }")
    x = dyadic(np.random.default_rng(2), (2, 2, 3, 3))
    e = run(model, x, target=(1, -1, 0))
    assert e.target == ((1, 2, 0),) * 2
    assert np.count_nonzero(e.relevance) <= 2 * 2
    best = run(model, x)
    assert all(best.output[n][index] == best.output[n].max() for n, index in enumerate(best.target))


def test_any_array_may_be_the_seed():
    init = dyadic(np.random.default_rng(3), (3, 3))
    e = run(init=init)
    assert np.array_equal(seeds(e), init)
    assert e.target == ()
    parts = [run(init=init * (np.arange(3) == k)).relevance for k in range(3)]
    assert np.allclose(e.relevance, sum(parts), atol=1e-12)


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"target": 3}, "target (3,) is out of range for the output's shape (batch, 3)"),
        ({"target": [0, 1]}, "target holds 2 ints for 3 samples"),
        ({"target": (0, 1)}, "target (0, 1) does not fit the output's shape (batch, 3); give a tuple of 1 indices"),
        ({"target": 1.5}, "target=1.5 must be None, an int"),
        ({"init": "zero"}, "init='zero' is unknown"),
        ({"init": np.ones((3, 2))}, "init has shape (3, 2), but the explained output has (3, 3)"),
        ({"init": np.full((3, 3), np.nan)}, "init must be an array of finite numbers"),
    ],
)
def test_choices_that_do_not_fit(choice, text):
    with pytest.raises(InputError, match=re.escape(text)):
        run(**choice)


# ---------------------------------------------------------------- inputs


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.ones((3, 5)), "input 'x' has shape (3, 5), but the model expects"),
        (np.ones(4), "input 'x' has shape (4,), but the model expects"),
        (X * [[1], [np.nan], [1]], "input 'x' holds a NaN or an infinity, first at index (1, 0)"),
        (X + np.inf, "holds a NaN or an infinity, first at index (0, 0)"),
        ({"z": X}, "inputs missing: ['x'], unknown: ['z']"),
        (np.asarray([["a"] * 4]), "input 'x' has dtype <U1"),
    ],
)
def test_inputs_that_do_not_fit(x, text):
    with pytest.raises(InputError, match=re.escape(text)):
        run(x=x)


def test_integers_are_numbers_too():
    assert np.array_equal(run(x=np.ones((1, 4), dtype=int)).relevance, run(x=np.ones((1, 4))).relevance)


TWO = """net (float[N, 3] a, float[N, 2] b) => (float[N, 2] y, float[N, 3] other, float[1] constant)
<float[3, 2] w, float[1] constant>
{ [left] h = MatMul(a, w) [sum] y = Add(h, b) [side] other = Relu(a) }"""


def two():
    rng = np.random.default_rng(4)
    return build(TWO), {"a": dyadic(rng, (2, 3)), "b": dyadic(rng, (2, 2))}


def test_several_inputs():
    model, x = two()
    e = reflrp.explain(model, x, Epsilon(0), output="y", init="one", target=0)
    assert {k: v.shape for k, v in e.relevances.items()} == {"a": (2, 3), "b": (2, 2)}
    assert np.allclose(sum(v.sum() for v in e.relevances.values()), e.conservation.totals["inputs"])
    with pytest.raises(InputError, match=re.escape("the model has the inputs ['a', 'b']; use relevances[name]")):
        _ = e.relevance
    with pytest.raises(InputError, match="give a dict of arrays by name"):
        reflrp.explain(model, x["a"], output="y")


def test_several_outputs():
    model, x = two()
    with pytest.raises(InputError, match=re.escape("outputs ['y', 'other']; say which one to explain: output='y'")):
        reflrp.explain(model, x)
    with pytest.raises(InputError, match="output='z' is unknown"):
        reflrp.explain(model, x, output="z")
    e = reflrp.explain(model, x, output="other", target=0)
    assert not e.relevances["b"].any()
    assert "left" not in e.rules
    assert np.array_equal(e.relevances["a"][:, 0], np.maximum(x["a"][:, 0], 0))


def test_tokens():
    """A token's relevance is the sum over its embedding; the same token may come twice."""
    model = build(
        """net (int64[N, T] ids) => (float[N, 2] y) <float[5, 3] table, float[3, 2] w>
        { e = Gather(table, ids) m = ReduceMean<axes = [1], keepdims = 0>(e) y = MatMul(m, w) }"""
    )
    ids = np.asarray([[0, 3, 3, 1], [4, 4, 4, 4]])
    e = reflrp.explain(model, ids, "lrp_0", target=1)
    assert e.relevance.shape == ids.shape
    assert e.relevance.dtype == float
    assert e.relevance[0, 1] == e.relevance[0, 2]
    assert np.allclose(e.relevance[1], e.output[1, 1] / 4, rtol=1e-12)
    with pytest.raises(InputError, match="input 'ids' has dtype float64"):
        reflrp.explain(model, ids / 1)


# ---------------------------------------------------------------- graphs


def test_a_value_that_a_node_reads_twice():
    """x + x, and max(x, x): each place gets its share."""
    for text in ("y = Add(x, x)", "y = Sum(x, x)", "c = Concat<axis = 0>(x, x) y = ReduceMean<axes = [0]>(c)"):
        e = run(build(f"net (float[N, 2] x) => (float[N, 2] y) {{ {text} }}"), np.ones((1, 2)), Norm(0), target=0)
        assert np.allclose(e.relevance, [[e.output[0, 0], 0]])


def test_shared_values_and_weights():
    """A value with three readers, a weight used twice; relevance adds up to input times gradient."""
    model = build(
        """net (float[N, 3] x) => (float[N, 3] y) <float[3, 3] w>
        { a = MatMul(x, w) b = Relu(a) c = MatMul(b, w) d = Add(c, b) e = Sub(d, x) y = Add(e, b) }"""
    )
    x = dyadic(np.random.default_rng(5), (4, 3)) + 0.03
    lrp, gradient = reflrp.explain(model, x, "lrp_0"), reflrp.explain(model, x, "gradient", init="one")
    assert np.allclose(lrp.relevance, x * gradient.relevance, rtol=0, atol=1e-12)


def test_an_output_that_others_read():
    model = build("net (float[N, 2] x) => (float[N, 2] y, float[N, 2] z) { y = Relu(x) z = Neg(y) }")
    e = reflrp.explain(model, np.ones((1, 2)), output="y", target=1)
    assert e.relevance.tolist() == [[0, 1]]
    assert len(e.conservation) == 1


def test_dead_ends():
    """An input that does not reach the output gets zeros."""
    model, x = two()
    e = reflrp.explain(model, x, output="other")
    assert e.relevances["b"].shape == x["b"].shape


def test_nodes_without_a_rule():
    with pytest.raises(UnassignedNodes, match=r"'Gemm_0' \(dense, onnx Gemm\), 'Gemm_2'"):
        run(rules={"nothing*": Flat()})


# ---------------------------------------------------------------- inner values


def test_all_inner_values():
    e = run()
    assert set(e.layers) == {"h", "r", "y"}
    assert np.isclose(e.layers["r"].sum(), e.conservation["Gemm_2"].passed_on)
    assert np.array_equal(e.layers["h"], e.layers["r"])


@pytest.mark.parametrize(
    ("layers", "names"),
    [(False, set()), ("h", {"h"}), ("Gemm_*", {"h", "y"}), (["Relu_1", "y"], {"r", "y"}), (("[hr]",), {"h", "r"})],
)
def test_some_inner_values(layers, names):
    assert set(reflrp.explain(mlp(), X, layers=layers).layers) == names


def test_all_inner_values_are_those_on_the_way():
    """What is stripped, joined to a layer or not read has no relevance to show, and none that is 0."""
    proto = model("m = MatMul(x, w) z = Add(m, b) y = Softmax(z)", w=(4, 3), b=(3,))
    e = reflrp.explain(proto, np.ones((2, 4), np.float32), "epsilon", layers=True)
    assert set(e.layers) == {"z"}
    assert np.allclose(e.layers["z"].sum(axis=1), e.output.max(axis=1))
    for name in ("m", "y", "Softmax_*"):
        with pytest.raises(InputError, match=r"no values on the way to the output that is explained"):
            reflrp.explain(proto, np.ones((2, 4), np.float32), "epsilon", layers=[name])


def test_patterns_that_match_nothing():
    with pytest.raises(InputError, match=re.escape("layers=['conv*'] match no value or node")):
        reflrp.explain(mlp(), X, layers=["h", "conv*"])


# ---------------------------------------------------------------- cutting


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_cutting_by_hand(size):
    whole, cut = (
        run(target=[0, 2, 1]),
        reflrp.Explainer(mlp(), "epsilon", batch_size=size)(X, target=[0, 2, 1], layers=True),
    )
    assert np.array_equal(whole.relevance, cut.relevance)
    assert np.array_equal(whole.output, cut.output)
    assert np.array_equal(whole.inputs["x"], cut.inputs["x"])
    assert whole.target == cut.target
    assert whole.layers.keys() == cut.layers.keys()
    assert np.isclose(whole.conservation.seed, cut.conservation.seed)
    init = dyadic(np.random.default_rng(3), (3, 3))
    assert np.array_equal(
        run(init=init).relevance, reflrp.Explainer(mlp(), "epsilon", batch_size=size)(X, init=init).relevance
    )


@pytest.mark.parametrize(
    ("choice", "words"),
    [({"target": [0, 1, 2, 0]}, "target holds 4 ints"), ({"init": np.ones((4, 3))}, "init has shape")],
)
def test_what_is_cut_is_counted(choice, words):
    with pytest.raises(InputError, match=f"{words}.* for 3 samples"):
        reflrp.Explainer(mlp(), batch_size=2)(X, **choice)


def test_cutting_bounds_the_memory(monkeypatch):
    """No cut has more values than the bound allows; a batch that fits is not cut."""
    sizes = []
    explain = programs.Programs.explained
    monkeypatch.setattr(
        programs.Programs,
        "explained",
        lambda self, cut: sizes.append(len(cut.feeds["x"])) or explain(self, cut),
    )
    x = np.tile(X, (4, 1))
    model = reflrp.load(mlp())
    values = 4 + 5 + 5 + 3
    for allowed, wanted in ((1, [1] * 12), (5, [5, 5, 2]), (12, [12]), (0.5, [1] * 12)):
        sizes.clear()
        monkeypatch.setattr(module, "MEMORY", int(allowed * values * 8))
        found = reflrp.Explainer(model)(x)
        assert sizes == wanted
        assert np.array_equal(found.relevance[:3], found.relevance[3:6])


def test_an_axis_of_time_is_not_cut(monkeypatch):
    """Where the first axis of the input is not the batch, the output does not have it."""
    monkeypatch.setattr(module, "MEMORY", 1)
    model = build("net (float[T, N, 3] x) => (float[N, 3] y) { y = ReduceMean<axes = [0], keepdims = 0>(x) }")
    x = dyadic(np.random.default_rng(0), (5, 2, 3))
    e = reflrp.explain(model, x, Norm(0))
    assert e.output.shape == (2, 3)
    assert np.allclose(e.relevance.sum(axis=(0, 2)), e.output.max(axis=1))


def test_a_batch_size_in_the_file():
    model = build(MLP.replace("float[N, 4] x", "float[2, 4] x"))
    assert np.array_equal(run(model, np.tile(X[:2], (2, 1))).relevance[:2], run(x=X[:2]).relevance)
    with pytest.raises(InputError, match=re.escape("input 'x' has shape (3, 4)")):
        run(model, X)


# ---------------------------------------------------------------- Explainer, Explanation


def test_the_second_call_sets_nothing_up(monkeypatch):
    calls = Counter()

    def counted(where, name):
        original = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *args: calls.update([name]) or original(*args))

    for name in ("load", "resolve"):
        counted(module, name)
    for name in ("canonize", "prepare", "strip_output"):
        counted(programs, name)
    model, x = net("resnet")
    explainer = reflrp.Explainer(model)
    first = explainer(x)
    before = calls.copy()
    second = explainer(x + 0)
    assert calls == before == Counter(["load", "resolve", "canonize", "prepare", "strip_output"])
    assert np.array_equal(first.relevance, second.relevance)


def test_what_was_applied():
    e = run(rules=Flat())
    assert {k: type(v).__name__ for k, v in e.rules.items()} == {"Gemm_0": "Flat", "Relu_1": "Pass", "Gemm_2": "Flat"}


def test_saved_and_loaded(tmp_path):
    e = run(target=[0, 2, 1])
    path = e.save(tmp_path / "e.npz")
    again = reflrp.Explanation.load(path)
    assert np.array_equal(again.relevance, e.relevance)
    assert np.array_equal(again.output, e.output)
    assert again.target == e.target
    assert again.layers.keys() == e.layers.keys()
    assert all(np.array_equal(again.layers[k], e.layers[k]) for k in e.layers)
    assert np.array_equal(again.inputs["x"], X)
    assert again.conservation == e.conservation
    assert again.rules == {k: repr(v) for k, v in e.rules.items()}
    assert again.notes == e.notes
    again.save(path)
    assert reflrp.Explanation.load(path).rules == again.rules
    assert [p.name for p in tmp_path.iterdir()] == ["e.npz"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    e, path = run(), tmp_path / "e.npz"
    e.save(path)
    before = path.read_bytes()

    def fail(file, array, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(InputError, match=r"e\.npz cannot be written: disk full"):
        e.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["e.npz"]


def test_nowhere_to_write(tmp_path):
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        run().save(tmp_path / "no" / "e.npz")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_files_that_hold_no_explanation(tmp_path, content):
    path = tmp_path / "e.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape("e.npz is no saved explanation")):
        reflrp.Explanation.load(path)


def test_other_arrays_are_no_explanation(tmp_path):
    np.savez(tmp_path / "a.npz", x=X)
    np.save(tmp_path / "a.npy", X)
    for name in ("a.npz", "a.npy", "missing.npz"):
        with pytest.raises(InputError, match="is no saved explanation"):
            reflrp.Explanation.load(tmp_path / name)


def test_progress_is_shown_when_asked(capsys):
    reflrp.Explainer(mlp())(X, progress=True)
    shown = capsys.readouterr()
    assert shown.err
    assert not shown.out
    reflrp.Explainer(mlp())(X)
    assert not capsys.readouterr().err
