"""What callers give: whatever stands in the place of an argument, the answer is a result or a ReflrpError.

The zoo below goes to every parameter of every public function, class and method, found by their signatures. A TypeError is
for a wrong number or name of arguments alone, which Python itself sees to.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import draw, model

import reflrp
from reflrp import InputError, ReflrpError, RuleError, composites, rules
from reflrp.composites import Composite, anything, preset


class Hostile:
    """A value that fails at whatever is asked of it."""

    def __repr__(self) -> str:
        raise ValueError("no text")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise OSError("no array")

    def __len__(self) -> int:
        raise KeyError("no length")


NAN, INF = float("nan"), float("inf")
ZOO = [
    None, True, False, 0, 1, 2, 3, -1, 1.0, 1.5, -0.5, NAN, INF, 1j, 10**400, -(2**70), Fraction(1, 3), Decimal("0.5"),
    "", "x", "3", "*", "[", "epsilon", "a\0b", "ü" * 300, b"x", bytearray(b"y"), [], (), {}, set(), frozenset(["x"]), range(2),
    [1], [1, 2], [[1]], [[1], [2, 3]], [1, "a"], ["x"], ["x", 3], ("nope",), (1, 2), (True,), ((1, 2), 3), {1: 2}, {"x": 3},
    {"x": None}, {1: rules.Epsilon()}, {"x": "epsilon"}, {"x": [0]}, {"x": 1, 2: 3}, [None], [[[[1.0]]]], [rules.Epsilon()],
    object(), Hostile(), int, np.float64, np.float32, np.int8, rules.Epsilon, lambda: None, lambda *_: "x", slice(1), ...,
    Path("none"), date(2020, 1, 1), NotImplemented, ValueError("x"), iter([1]),
    np.float64(0.5), np.float32(2), np.int64(3), np.bool_(True), np.complex64(1j), np.dtype("float32"), np.dtype("int8"),
    np.zeros(0), np.zeros((2, 0)), np.ones(2), np.ones((2, 4)), np.ones((2, 3)), np.full((2, 4), NAN), np.array("x"),
    np.array(None), np.array([1, "a"], dtype=object), np.array([True, False]), np.array([[1 + 2j]]), np.array(3),
    np.ma.masked_array([1.0, 2.0], [True, False]), np.array(["2020-01-01"], dtype="datetime64[D]"),
    np.zeros(2, dtype=[("a", "f4")]), np.full((2, 3), 1e308), rules.Epsilon(), rules.Flat(), rules.Stabilizer(), anything(),
    Composite(((anything(), rules.Gradient()),)),
]  # fmt: skip

DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]
ZOO += [DEEP, np.broadcast_to(np.float64(0), (2**40, 4)), "-9223372036854775808"]

NET = model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", w=(4, 3), v=(3, 3))
MODEL = reflrp.load(NET)
X = draw(2, 4)
EXPLAINER = reflrp.Explainer(MODEL, "epsilon")
EXPLAINED = EXPLAINER(X, layers=True)
GOOD: dict[str, Any] = {
    "model": MODEL, "x": X, "rules": "epsilon", "title": "epsilon", "rule": rules.Epsilon(), "pattern": "*", "low": 1.0,
    "high": 2.0, "matcher": anything(), "pairs": ((anything(), rules.Gradient()),), "name": "r", "heads": 1,
    "targets": [0, None], "target": 0, "against": 1,
    "shapes": {"x": (2, 4)}, "parts": [EXPLAINED, EXPLAINED], "graph": MODEL.graph({"x": (2, 4)}),
}  # fmt: skip
DATA = {"Explanation", "Ledger", "Model", "Survey"}
"""What the library makes and hands out: plain data, whose fields nobody is asked to give."""

FORMULAS = {"safe_div", "stabilize"}
"""Formulas on arrays."""

METHODS: dict[str, Callable[..., Any]] = {
    "Explainer()": EXPLAINER.__call__,
    "Explainer.each": EXPLAINER.each,
    "Explainer.program": EXPLAINER.program,
    "Model.feeds": MODEL.feeds,
    "Model.run": MODEL.run,
    "Model.graph": MODEL.graph,
    "Model.summary": MODEL.summary,
    "Model.example_shapes": MODEL.example_shapes,
    "Explanation.layer": EXPLAINED.layer,
    "Explanation.summed": EXPLAINED.summed,
    "Explanation.per_head": EXPLAINED.per_head,
    "Explanation.concatenate": reflrp.Explanation.concatenate,
    "Explanation.plot": EXPLAINED.plot,
    "Explanation.tokens": EXPLAINED.tokens,
    "AlphaBetaX.x1000": rules.AlphaBetaX.x1000,
    "& |": lambda matcher: (anything() & matcher, anything() | matcher, ~anything()),
}


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield what can be called of the public names, but errors, data and formulas."""
    for module in (reflrp, rules, composites):
        for name in module.__all__:
            found = getattr(module, name)
            error = inspect.isclass(found) and issubclass(found, Exception)
            if callable(found) and not isinstance(found, ModuleType) and not error and name not in DATA | FORMULAS:
                yield name, found
    yield from METHODS.items()


def cases() -> Iterator[Any]:
    for name, function in dict(public()).items():
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError:  # what C and typing make has no signature
            continue
        for p in parameters:
            yield pytest.param(function, p, id=f"{name}({p.name})")


def end(call: Callable[[], Any]) -> Exception | None:
    """Return the exception that escapes, if it is none of ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except ReflrpError as error:
        return None if str(error) else error
    except Exception as error:
        return error
    return None


def used(found: Any) -> None:
    """Use a rule, matcher or composite that an odd value made."""
    if isinstance(found, composites.Matcher):
        found = Composite(((found, rules.Epsilon()), (anything(), rules.Gradient())))
    if isinstance(found, rules.Rule | Composite):
        e = reflrp.explain(MODEL, X, found)
        assert e.relevance.dtype == np.float64
        assert np.isfinite(e.relevance).all()


@pytest.mark.parametrize(("function", "parameter"), list(cases()))
def test_zoo(function: Callable[..., Any], parameter: inspect.Parameter, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    required = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    plain = {k: GOOD.get(k) for k in required if k != parameter.name}
    escaped = []
    for value in ZOO:
        args = (value,) if parameter.kind is parameter.VAR_POSITIONAL else ()
        kept = plain if args or parameter.kind is not parameter.VAR_KEYWORD else {**plain, "stabilizer": value}
        kwargs = kept if args or kept is not plain else {**plain, parameter.name: value}
        error = end(lambda args=args, kwargs=kwargs: used(function(*args, **kwargs)))
        if error is not None:
            escaped.append(f"{type(value).__name__}: {type(error).__name__}: {error}"[:200])
    assert not escaped, "\n".join(escaped)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from([v for v in ZOO if v is not DEEP and not isinstance(v, Hostile)])
)
KEYS = st.text(max_size=2) | st.integers()
ANYTHING = st.recursive(
    SCALARS,
    lambda part: st.lists(part, max_size=3) | st.tuples(part, part) | st.dictionaries(KEYS, part, max_size=2),
    max_leaves=6,
)
ARGUMENTS = ("x", "target", "init", "layers", "conditions", "progress")


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(ARGUMENTS), ANYTHING, max_size=3))
def test_anything_in_a_call(arguments: dict[str, Any]) -> None:
    given_ = {"x": X, **arguments}
    assert end(lambda: EXPLAINER(given_.pop("x"), **given_)) is None


@settings(max_examples=200)
@given(st.sampled_from(["rules", "output", "backend", "dtype", "strip", "canonize", "batch_size"]), ANYTHING)
def test_anything_in_an_explainer(name: str, value: Any) -> None:
    assert end(lambda: reflrp.Explainer(MODEL, **{name: value})) is None


# What the messages say, and what is taken


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x": None}, "input 'x' has dtype object"),
        ({"x": [[1, 2], [3]]}, "input 'x' is no array of numbers"),
        ({"x": {"x": X, 3: X}}, "x={'x': array("),
        ({"x": {"z": X}}, "inputs missing: ['x'], unknown: ['z']"),
        ({"layers": 3}, "layers=3 must be a text or a list of texts"),
        ({"conditions": ["r"]}, "conditions=['r'] must be a dict {pattern: neurons}"),
        ({"conditions": {1: [0]}}, "conditions={1: [0]} must be a dict"),
        ({"target": [[1]]}, "target holds 1 ints of the shape (1, 1) for 2 samples"),
        ({"target": "3"}, "target='3' must be None, an int"),
        ({"target": 1.0}, "target=1.0 must be None, an int"),
        ({"target": True}, "target=True must be None, an int"),
        ({"target": [[1], [1, 2]]}, "target is no array of numbers"),
        ({"init": None}, "init has shape ()"),
        ({"init": [[1], [2, 3]]}, "init is no array of numbers"),
        ({"progress": "x"}, "progress='x' must be True, False or None"),
    ],
)
def test_call_says_what_it_expects(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        EXPLAINER(**{"x": X, **arguments})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rules": {1: rules.Epsilon()}}, "a name's pattern=1 must be a text"),
        ({"rules": {"conv*": "epsilom"}}, "rule 'epsilom' is unknown; did you mean 'Epsilon'?"),
        ({"rules": rules.Epsilon}, "give a rule of the class, as Epsilon()"),
        ({"canonize": 3}, "canonize=3 must be a text or a list of texts"),
        ({"canonize": ("nope",)}, "canonizing pass 'nope' is unknown"),
        ({"dtype": []}, "dtype=[] is unknown"),
        ({"dtype": np.int64}, "is unknown; use 'float64' or 'float32'"),
        ({"backend": 3}, "backend=3 must be a text"),
        ({"output": 3}, "output=3 must be a text"),
        ({"strip": "no"}, "strip='no' must be True or False"),
        ({"batch_size": True}, "batch_size=True must be an int of at least 1"),
        ({"batch_size": 0}, "batch_size=0 must be"),
        ({"batch_size": 1.5}, "batch_size=1.5 must be"),
    ],
)
def test_explainer_says_what_it_expects(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ReflrpError, match=re.escape(text)):
        reflrp.Explainer(MODEL, **arguments)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: rules.Epsilon("a"), "epsilon must be a number >= 0, not 'a'"),
        (lambda: rules.Gamma(gamma=NAN), "gamma must be a number >= 0, not nan"),
        (lambda: rules.Gamma(INF), "gamma must be a number >= 0, not inf"),
        (lambda: rules.ZBox("a", 3), "low='a' must be a finite number"),
        (lambda: rules.ZBox(np.zeros(2), np.ones(3)), "zbox needs low and high of one shape"),
        (lambda: rules.Sign("mu"), "mu='mu' must be a finite number"),
        (lambda: rules.AlphaBetaX(3), "alpha=3 must be a pair of numbers"),
        (lambda: rules.Stabilizer(dim="ab"), "dim='ab' must be a tuple of axes"),
        (lambda: preset("epsilon", bad=1), "preset 'epsilon': got an unexpected keyword argument 'bad'"),
        (lambda: preset(3), "a preset's name=3 must be a text"),
        (lambda: Composite(3), "3 is no pair (matcher, rule)"),
        (lambda: Composite([(anything(), "x")]), "'x' is no rule"),
        (lambda: Composite([("conv*", rules.Flat())]), "is no pair (matcher, rule)"),
        (lambda: anything() & 3, "3 is no matcher"),
    ],
)
def test_rules_say_what_they_expect(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(RuleError, match=re.escape(text)):
        make()


@pytest.mark.parametrize("keep", ["a", 1.5, [0, "a"], True, None])
def test_axes_to_keep(keep: Any) -> None:
    with pytest.raises(InputError, match="keep: an axis"):
        EXPLAINED.summed("r", keep=keep)


def test_what_is_taken() -> None:
    """What users write and is plain enough."""
    want = EXPLAINED.relevance
    assert np.array_equal(
        EXPLAINER(X.tolist(), layers=None, conditions=None).relevance, EXPLAINER(X.tolist()).relevance
    )
    for dtype in (np.float64, np.dtype("float64"), float):
        assert np.array_equal(reflrp.Explainer(MODEL, "epsilon", dtype=dtype)(X).relevance, want)
    assert reflrp.Explainer(MODEL, dtype=np.float32)(X).relevance.dtype == np.float32
    assert np.allclose(reflrp.Explainer(MODEL, "epsilon", batch_size=np.int64(1))(X).relevance, want)
    assert reflrp.Explainer(MODEL, canonize="fold_batchnorm").passes == ("fold_batchnorm",)
    assert EXPLAINER(X > 0).relevance.shape == (2, 4)
    assert list(MODEL.run(X, dtype=np.float32)) == ["y"]


def test_matcher_that_fails_names_the_node() -> None:
    with pytest.raises(RuleError, match=r"a matcher cannot be asked about node 'MatMul_0' \(dense\): division by zero"):
        reflrp.explain(MODEL, X, Composite([(lambda node, survey: 1 / 0, rules.Flat())]))


@pytest.mark.parametrize("st", [lambda z: None, lambda z: z[:, :1, None], lambda z: "x", lambda z: z + 1j])
def test_stabilizer_that_fails_names_the_node(st: Callable[[Any], Any]) -> None:
    with pytest.raises(RuleError, match=r"node 'MatMul_\d' \(dense, onnx MatMul, rule Flat\)"):
        reflrp.explain(MODEL, X, rules.Flat(st))


def test_errors_of_one_cut_name_its_samples() -> None:
    x = np.stack([X[0], X[0] * 1e30])
    net = reflrp.load(model("h = MatMul(x, w) t = Mul(h, h) y = Mul(t, t)", w=(4, 3)))
    with pytest.raises(ReflrpError, match=r"sample 1 of 2: an infinity arose in the value of node 'Mul_"):
        reflrp.Explainer(net, batch_size=1, dtype="float32")(x)
