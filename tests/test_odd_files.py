"""Odd files: what a file says in an unusual way is understood, or refused by name; nothing is silently wrong."""

from __future__ import annotations

import re
from typing import Any

import models
import numpy as np
import onnx
import pytest
from models import draw, ints, model, onnxruntime
from onnx import ModelProto

import reflrp
from reflrp import InputError, ModelError, NonFiniteError, RuleError, TooLarge, UnsupportedOperator, rules
from reflrp.composites import anything, defaults, kind

X = np.array([[-1.0, 2.0, -3.0, 4.0]], np.float32)

# Functions

LEAKY = '<domain: "own", opset_import: ["" : 17]> f <alpha: float = 0.5> (a) => (b) { b = LeakyRelu <alpha: float = @alpha> (a) }'
OUTER = (
    '<domain: "own", opset_import: ["" : 17, "own" : 1]> g <beta> (a) => (b) { b = own.f <alpha: float = @beta> (a) }'
)
INNER = """<domain: "own", opset_import: ["" : 17]> f <alpha: float = 0.5> (a) => (b) { c = Constant <value = bool {1}>()
    b = If (c) <then_branch = t () => (float[N,4] p) { p = LeakyRelu <alpha: float = @alpha> (a) },
                else_branch = e () => (float[N,4] q) { q = Neg(a) }> }"""
BRANCH = """c = Constant <value = bool {1}>() y = If (c) <then_branch = t () => (float[N,4] p) { p = own.f(x) },
    else_branch = e () => (float[N,4] q) { q = Neg(x) }>"""
SELU = """<domain: "own", opset_import: ["" : 17]> s <alpha: float = 0.5, beta: float = 2.0> (a) => (b)
    { b = Selu <alpha: float = @alpha, gamma: float = @beta> (a) }"""
FUNCTIONS = {
    "default": ("y = own.f(x)", LEAKY),
    "overridden": ("y = own.f <alpha = 0.25> (x)", LEAKY),
    "missing": ("y = own.f(x)", LEAKY.replace("<alpha: float = 0.5>", "<alpha>")),
    "both": ("t = own.f(x) y = own.f <alpha = 0.25> (t)", LEAKY),
    "nested, missing outside": ("y = own.g(x)", OUTER + LEAKY),
    "nested, given": ("y = own.g <beta = 0.125> (x)", OUTER + LEAKY),
    "nested, both": ("t = own.g <beta = 0.125> (x) y = own.g(t)", OUTER + LEAKY),
    "in a subgraph inside": ("y = own.f(x)", INNER),
    "called in a subgraph": (BRANCH, LEAKY),
    "two of them": ("y = own.s <beta = 3.0> (x)", SELU),
}  # fmt: skip


def with_functions(body: str, functions: str) -> ModelProto:
    head = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]> net (float[N,4] x) => (float[N,4] y)'
    return onnx.parser.parse_model(f"{head} {{ {body} }} {functions}")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_attributes_of_functions(name: str) -> None:
    proto = with_functions(*FUNCTIONS[name])
    want = onnxruntime(proto, {"x": X})["y"]
    assert np.allclose(reflrp.load(proto).run(X)["y"], want, rtol=1e-6)


def test_function_for_another_opset() -> None:
    changed = with_functions("y = own.f(x)", LEAKY.replace('"" : 17', '"" : 13'))
    with pytest.raises(
        UnsupportedOperator, match="for opset 13, in which LeakyRelu is not that of the model's opset 17"
    ):
        reflrp.load(changed)
    same = with_functions("y = own.f(x)", '<domain: "own", opset_import: ["" : 15]> f (a) => (b) { b = Relu(a) }')
    assert np.array_equal(reflrp.load(same).run(X)["y"], np.maximum(X, 0))


def test_function_with_a_standard_name() -> None:
    own = '<domain: "", opset_import: ["" : 17]> Relu (a) => (b) { b = Neg(a) }'
    with pytest.raises(ModelError, match="defines a function 'Relu' that bears a standard operator's name"):
        reflrp.load(with_functions("y = Relu(x)", own))
    assert np.array_equal(reflrp.load(with_functions("y = Neg(x)", own)).run(X)["y"], -X)  # nobody calls it


def test_copies_of_functions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflrp.limits, "NODES", 3)
    many = " ".join(f"t{i} = own.f{i}(x)" for i in range(5)) + " y = Sum(" + ", ".join(f"t{i}" for i in range(5)) + ")"
    functions = "".join(LEAKY.replace(" f ", f" f{i} ").replace("<alpha: float = 0.5>", "<alpha>") for i in range(5))
    with pytest.raises(TooLarge, match=r"reflrp\.limits\.NODES"):
        reflrp.load(with_functions(many, functions))


def test_weights_are_not_serialised_to_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protobuf gives up beyond 2 GB, so only what the inliner needs goes through it."""
    proto = with_functions("h = MatMul(x, w) y = own.f(h)", LEAKY)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(draw(4, 4), "w"))
    sizes: list[int] = []
    inline = onnx.inliner.inline_local_functions

    def spied(given: ModelProto) -> ModelProto:
        sizes.append(sum(len(t.raw_data) for t in given.graph.initializer))
        return inline(given)

    monkeypatch.setattr(onnx.inliner, "inline_local_functions", spied)
    reflrp.load(proto).run(X)
    assert sizes == [0]


def test_what_is_too_large_to_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inliner answers with an empty model where the result is beyond protobuf's limit."""
    monkeypatch.setattr(onnx.inliner, "inline_local_functions", lambda proto: ModelProto())
    with pytest.raises(TooLarge, match="more than 2 GB with its functions inlined"):
        reflrp.load(with_functions("y = own.f(x)", LEAKY))


# Loops

BODY = "body = a (int64 i, bool c, int64 h) => (bool d, int64 g, int64 s) { d = Identity(c) g = Add(h, i) s = Identity(h) }"


@pytest.mark.parametrize("count", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("where", ["outside", "in a branch"])
def test_loop_without_a_condition(count: float, where: str) -> None:
    loop = f"z, s = Loop <{BODY}> (k, , one)"
    if where == "in a branch":
        loop = f"""b = Less(k, ten) z = If <then_branch = t () => (int64 p) {{ p, s = Loop <{BODY}> (k, , one) }},
            else_branch = e () => (int64 r) {{ r = Identity(one) }}> (b)"""
    body = f"n = Cast<to=7>(m) k = Squeeze(n) {loop} f = Cast<to=1>(z) y = Mul(x, f)"
    proto = model(body, "float[N,4] x, float[1] m", one=np.int64(1), ten=np.int64(10))
    feeds = {"x": X, "m": np.array([count], np.float32)}
    assert np.array_equal(reflrp.load(proto).run(feeds)["y"], onnxruntime(proto, feeds)["y"])


def test_scan_of_a_loop_whose_length_is_open() -> None:
    body = f"n = Cast<to=7>(m) k = Squeeze(n) z, s = Loop <{BODY}> (k, , one) f = Cast<to=1>(s) y = Mul(x, f)"
    proto = model(body, "float[N,4] x, float[1] m", one=np.int64(1))
    feeds = {"x": X, "m": np.array([4], np.float32)}
    assert np.array_equal(reflrp.load(proto).run(feeds)["y"], onnxruntime(proto, feeds)["y"])


def test_plumbing_whose_shape_depends_on_the_data() -> None:
    proto = model("n = NonZero(x) s = Shape(n) f = Cast<to=1>(s) r = ReduceSum<keepdims=0>(f) y = Mul(x, r)")
    loaded = reflrp.load(proto)
    for x in (X, np.where(X > 0, X, 0), 0 * X):
        assert np.array_equal(loaded.run(x)["y"], onnxruntime(proto, {"x": x})["y"])


# Dtypes and sizes


def test_cast_like_integers_ends_the_relevance() -> None:
    proto = model("y = CastLike(x, k)", outputs="int64[] y", k=ints(1))
    with pytest.raises(InputError, match="output 'y' carries no relevance"):
        reflrp.explain(proto, X)


S = np.float64(1e-6)
NUMBERED = [
    rules.Gamma(np.float64(0.25)), rules.Gamma(np.float64(0.5), True), rules.AlphaBeta(np.float64(2), np.float64(1)),
    rules.Epsilon(S), rules.Epsilon(0, stabilizer=rules.Stabilizer(S, "nonzero")), rules.Flat(rules.Stabilizer(S, "plain")),
    rules.ZBox(np.float64(-9), np.float64(9)), rules.WSquare(stabilizer=rules.Stabilizer(S, norm_scale=True)),
    rules.Sign(np.float64(0.5)), rules.AlphaBetaX((S, S)), rules.Norm(lambda z: z + np.ones(z.shape)),
]  # fmt: skip


@pytest.mark.parametrize("rule", NUMBERED, ids=lambda rule: type(rule).__name__)
def test_relevance_has_the_dtype_that_was_asked_for(rule: Any) -> None:
    """NumPy's float64 numbers in rules, and functions that make float64, do not turn float32 into it."""
    proto = model(
        "h = Conv(x, w) r = Relu(h) f = Flatten(r) y = MatMul(f, v)", "float[N,2,5,5] x", w=(3, 2, 3, 3), v=(27, 4)
    )
    e = reflrp.explain(proto, draw(2, 2, 5, 5), rule, dtype="float32", layers=True)
    assert {a.dtype for a in (*e.relevances.values(), *e.layers.values())} == {np.dtype("float32")}


@pytest.mark.parametrize("name", [k for k, _ in models.cases()])
def test_values_have_the_dtype_that_was_asked_for(name: str) -> None:
    proto = dict(models.cases())[name]
    explainer = reflrp.Explainer(proto, "gradient", output=proto.graph.output[0].name, dtype="float32", strip=False)
    feeds = models.feeds_of(proto)
    try:
        e = explainer(feeds, init="one", layers=True)
    except (InputError, NonFiniteError):
        return
    assert {a.dtype for a in (e.output, *e.relevances.values(), *e.layers.values())} == {np.dtype("float32")}


def test_whole_numbers_do_not_overflow() -> None:
    x = np.full((1, 4), 200, np.uint8)
    assert np.array_equal(reflrp.load(model("y = Mul(x, x)")).run(x)["y"], np.full((1, 4), 40000.0))


@pytest.mark.parametrize(
    "weight", [np.ones((4, 3), np.complex64), np.array([["a"] * 3] * 4, dtype=object)], ids=["complex", "text"]
)
def test_weights_that_are_no_numbers(weight: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"node 'MatMul_0' \((onnx )?MatMul\)"):
        reflrp.explain(model("y = MatMul(x, w)", w=weight), X)


@pytest.mark.parametrize("name", [k for k, _ in models.cases() if k.startswith(("transposed:", "conv"))])
@pytest.mark.parametrize("rules_", ["epsilon_alpha2_beta1", "attnlrp"])
def test_images_of_size_zero(name: str, rules_: str) -> None:
    proto = dict(models.cases())[name]
    known = {t.name for t in proto.graph.initializer}
    (info, *_) = (i for i in proto.graph.input if i.name not in known)
    dims = info.type.tensor_type.shape.dim
    dims[2].Clear()
    dims[2].dim_value = 0
    shape = [2, *(d.dim_value or 5 for d in dims[1:2]), 0, *(d.dim_value or 5 for d in dims[3:])]
    try:
        e = reflrp.explain(proto, {i.name: np.zeros(shape, np.float32) for i in (info,)}, rules_, init="one")
    except reflrp.ReflrpError:
        return
    assert (e.relevance.dtype, e.relevance.shape) == (np.float64, tuple(shape))


# Sums that are not finite


def test_overflow_of_a_sum_of_relevance() -> None:
    """Each reader of x hands down a finite share; their sum is not."""
    proto = model("a = MatMul(x, w) b = MatMul(x, w) y = Add(a, b)", w=np.ones((4, 1), np.float32))
    with pytest.raises(NonFiniteError, match="the relevance of 'x' is not finite"):
        reflrp.explain(proto, X, "gradient", init=np.full((1, 1), 3e38), dtype="float32")


def test_seed_beyond_the_dtype() -> None:
    proto = model("y = MatMul(x, w)", w=(4, 2))
    with pytest.raises(InputError, match="init must be an array of finite numbers in float32"):
        reflrp.explain(proto, X, init=np.full((1, 2), 1e300), dtype="float32")


def test_target_at_minus_infinity() -> None:
    proto = model("m = Log(z) y = Add(x, m)", z=np.array([1, 0, 1, 1], np.float32))
    with pytest.raises(NonFiniteError, match="the output is infinite at the target"):
        reflrp.explain(proto, X, "gradient", target=1)


def test_ledger_of_a_sum_beyond_float32() -> None:
    proto = model("y = MatMul(x, w)", w=np.eye(4, dtype=np.float32))
    e = reflrp.explain(proto, X, "gradient", init=np.full((1, 4), 2e38), dtype="float32")
    assert e.conservation.seed == pytest.approx(8e38)
    assert e.conservation["MatMul_0"].received == pytest.approx(8e38)


class Wrong(rules.LinearRule):
    """A rule that gives relevance of another shape."""

    def __call__(self, L: Any, a: Any, z: Any, R: Any) -> Any:
        return a[:, :2]


class Whole(rules.LinearRule):
    """A rule that gives whole numbers."""

    def __call__(self, L: Any, a: Any, z: Any, R: Any) -> Any:
        return (0 * a).astype(int)


@pytest.mark.parametrize("rule", [Wrong(), Whole()], ids=["shape", "dtype"])
def test_what_a_rule_gives_is_checked(rule: Any) -> None:
    mine = reflrp.Composite(((kind("dense"), rule), *defaults(), (anything(), rule)))
    with pytest.raises(
        RuleError, match=r"gives an input the shape .* at node 'MatMul_0' \(dense, onnx MatMul\), and not \(1, 4\)"
    ):
        reflrp.explain(model("y = MatMul(x, w)", w=(4, 3)), X, mine)


# Attributes and shapes

REFUSED = {
    "Softmax beyond the rank": (model("y = Softmax<axis=5>(x)"), "axis 5 is out of range for rank 2"),
    "ReduceSum of one axis twice": (model("y = ReduceSum(x, a)", a=ints(1, -1)), "duplicate value in 'axis'"),
    "Slice of one axis twice": (model("y = Slice(x, a, b, c)", a=ints(0, 1), b=ints(3, 4), c=ints(1, -1)), "name one twice"),
    "PRelu of more axes": (model("y = PRelu(x, w)", w=(1, 1, 1)), "its slope of shape (1, 1, 1) does not broadcast"),
    "Cast to eight bits": (model("t = Cast<to=17>(x) y = Cast<to=1>(t)", opset=19), "it rounds to float8_e4m3fn"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    proto, text = REFUSED[name]
    with pytest.raises((UnsupportedOperator, ModelError), match=re.escape(text)) as caught:
        reflrp.load(proto).run(X)
    assert "_" in str(caught.value)  # the node's name


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_pow_by_one_number_of_more_axes(exponent: float) -> None:
    proto = model("y = Pow(x, w)", w=np.full((1, 1, 1), exponent, np.float32))
    found = reflrp.load(proto).run(X)["y"]
    assert found.shape == (1, 1, 4)
    assert np.allclose(found, onnxruntime(proto, {"x": X})["y"])
