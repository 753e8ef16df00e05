"""What objects look like in a repr and in a notebook, when they are equal, and what the package says of itself."""

import inspect
import pydoc
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from models import draw, model
from nets import RESNET, build

import reflrp
from reflrp import rules
from reflrp.composites import earliest, first, name, op_type, preset, presets
from reflrp.errors import InputError
from reflrp.ops.linear import Dense


@pytest.fixture(scope="module")
def explainer():
    return reflrp.Explainer(build(RESNET), "epsilon_plus_flat")


@pytest.fixture(scope="module")
def e(explainer):
    return explainer(draw(2, 2, 6, 6), layers=True)


@pytest.fixture(scope="module")
def odd():
    """Many inputs and outputs, long and hostile names, long notes."""
    names = [f"<script>{i}{'x' * 200}" for i in range(12)]
    relevances = {k: draw(2, 3, seed=i) for i, k in enumerate(names)}
    rows = tuple(reflrp.ledger.Row(k, "dense", "Epsilon", 1.0, 1.0) for k in names * 30)
    ledger = reflrp.Ledger(rows, 2.0, dict.fromkeys(names, 0.1))
    notes = tuple(f"note\n{i}" * 50 for i in range(12))
    return reflrp.Explanation(relevances, draw(2, 3), ((1,), (2,)), {}, ledger, {}, notes, relevances)


# ---------------------------------------------------------------- repr


def shown(explainer, e):
    """One of everything that a session at the prompt meets."""
    program = explainer.program(draw(1, 2, 6, 6))
    yield from (explainer, explainer.model, explainer.model.source, explainer.composite, program, program.graph)
    yield from (
        e,
        e.conservation,
        *e.conservation.rows,
        *program.graph.nodes,
        *program.ops.values(),
        *explainer.model.source.nodes,
    )
    yield from (preset(p) for p in presets())
    yield rules.ZBox(np.full((3, 300, 300), -1.0), np.full((3, 300, 300), 1.0))
    words = reflrp.Explainer(
        model("y = LSTM <hidden_size = 30>(x, w, r)", "float[40,N,20] x", w=(1, 120, 20), r=(1, 120, 30))
    )
    yield from (words, words.model, words.program(draw(40, 1, 20)))


def test_a_repr_fits_ten_lines(explainer, e, odd):
    for thing in [*shown(explainer, e), odd, odd.conservation]:
        lines = repr(thing).split("\n")
        assert len(lines) <= 10, thing
        assert max(map(len, lines)) <= (200 if isinstance(thing, rules.Rule) else 100), thing
        assert " at 0x" not in repr(thing)


def test_a_repr_has_no_control_codes():
    proto = build(RESNET)
    proto.graph.node[0].name = "\x1b[31mred\n\u202e"
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "\x1b]0;title\x07"
    hostile = reflrp.Explainer(proto)
    program = hostile.program(draw(1, 2, 6, 6))
    for thing in (hostile, hostile.model, hostile(draw(1, 2, 6, 6)), program, *program.graph.nodes):
        assert "".join(repr(thing).split("\n")).isprintable()


def test_what_an_explanation_says(e):
    text = repr(e)
    assert f"'x' float64 (2, 2, 6, 6), sum {e.relevance.sum():.6g}" in text
    assert "output: float64 (2, 3)" in text
    assert f"target: {e.target[0]}, {e.target[1]}" in text
    assert f"seed {e.conservation.seed:.5g} = inputs" in text
    assert re.search(r"rules: .*ZPlus 2", text)
    assert text in (repr(e), str(e))


def test_what_models_and_explainers_say(explainer):
    assert "'x' float32 (N, 2, 6, 6)" in repr(explainer.model)
    assert "12 (" in repr(explainer.model)
    assert "Conv 3" in repr(explainer.model)
    assert "rules: 'epsilon_plus_flat'" in repr(explainer)
    assert "in float64 by numpy" in repr(explainer)
    assert "rules: " in repr(explainer.program(draw(1, 2, 6, 6)))


def test_a_matcher_reads_as_it_is_written():
    matcher = (first("conv") & ~name("a*")) | earliest(op_type("Gemm"))
    assert repr(matcher) == "((first('conv') & ~name('a*')) | earliest(op_type('Gemm')))"
    assert eval(repr(matcher)) == matcher


def test_a_rule_reads_as_it_is_written():
    for rule in (rules.Epsilon(), rules.Gamma(0.5, stabilizer=rules.Stabilizer(0.1, "clip"))):
        assert eval(repr(rule), vars(rules)) == rule
    assert repr(rules.ZBox(np.zeros((3, 1, 1)), np.ones((3, 1, 1)))).startswith("ZBox(low=array([[[0.0]], ")
    assert "low=<float64 (3, 8, 8)>" in repr(rules.ZBox(np.zeros((3, 8, 8)), 1.0))


def test_the_ledger_stays_a_table_as_str(e):
    assert str(e.conservation) == e.conservation.table()
    assert len(str(e.conservation).split("\n")) > len(e.conservation)


# ---------------------------------------------------------------- notebooks


class Tags(HTMLParser):
    """The tags of a piece of HTML, checked to be closed; and what images show."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.sources = [], set(), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        assert not any(k.startswith("on") for k, _ in attrs)
        self.sources += [v for k, v in attrs if k in ("src", "href")]
        self.open += [] if tag in ("img", "br") else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_notebooks_show_tables(explainer, e, odd):
    for thing in (e, e.conservation, explainer.model, odd, odd.conservation):
        tags = Tags(thing._repr_html_())
        assert "table" in tags.found
        assert "script" not in tags.found
        assert all(s.startswith("data:image/png;base64,") for s in tags.sources)
        assert len(thing._repr_html_()) < 200_000


def test_notebooks_show_images_and_tokens(e):
    assert Tags(e._repr_html_()).sources
    proto = model("c = Gather(w, i) y = ReduceMean <axes = [1], keepdims = 0>(c)", "int64[N,T] i", w=(7, 4))
    text = reflrp.explain(proto, np.array([[1, 2, 3]]))._repr_html_()
    assert "span" in Tags(text).found


def test_a_notebook_shows_a_model_whose_sizes_are_open():
    open_ = reflrp.load(model("y = MatMul(x, w)", "float[N,T] x", w=(4, 3)))
    assert "shapes={name: shape}" in open_._repr_html_()


def test_odd_explanations_have_no_picture():
    empty = reflrp.explain(
        model("y = Conv(x, w)", "float[N,2,3,3] x", w=(3, 2, 3, 3)), draw(1, 2, 3, 3), target=(0, 0, 0)
    )
    assert "table" in Tags(empty._repr_html_()).found


# ---------------------------------------------------------------- == and np.asarray


def test_explanations_are_equal_or_not(explainer, e, tmp_path):
    again = explainer(draw(2, 2, 6, 6), layers=True)
    assert (e == again) is True
    assert (e != again) is False
    others = [
        explainer(draw(2, 2, 6, 6)),
        explainer(draw(1, 2, 6, 6), layers=True),
        explainer(draw(2, 2, 6, 6), layers=True, target=1),
        reflrp.explain(explainer.model, draw(2, 2, 6, 6), "gradient", layers=True),
        "text",
        None,
    ]
    assert [e == other for other in others] == [False] * len(others)
    assert reflrp.Explanation.load(e.save(tmp_path / "e.npz")) == e
    with pytest.raises(TypeError, match="unhashable"):
        hash(e)


def test_an_explanation_as_an_array(e):
    assert np.asarray(e) is e.relevance
    assert np.asarray(e, dtype=np.float32).dtype == np.float32
    copied = np.array(e)
    assert copied is not e.relevance
    np.testing.assert_array_equal(copied, e.relevance)
    np.testing.assert_allclose(e, e.relevance)
    with pytest.raises(ValueError, match="copy"):
        np.array(e, dtype=np.float32, copy=False)


def test_several_inputs_are_no_array():
    two = model("y = Add(a, b)", "float[N,4] a, float[N,4] b")
    with pytest.raises(InputError, match=r"use relevances\[name\]"):
        np.asarray(reflrp.explain(two, {"a": draw(1, 4), "b": draw(1, 4)}))


@dataclass(frozen=True)
class Mine(rules.LinearRule):
    """A rule of a user."""

    scale: Any = 1.0


def test_rules_with_arrays_are_equal_or_not():
    for make in (lambda a: rules.ZBox(a, 2.0), rules.Sign, Mine):
        low = np.array([-1.0, 0.0])
        assert make(low) == make(low.copy())
        assert hash(make(low)) == hash(make(low.copy()))
        others = [make(low + 0.1), make(low[:1]), make(-1.0), "text"]
        assert [make(low) == other for other in others] == [False] * 4
    assert rules.ZBox(-1, 1) == rules.ZBox(-1.0, 1.0)
    assert hash(rules.ZBox(-1, 1)) == hash(rules.ZBox(-1.0, 1.0))
    assert rules.Epsilon() != rules.Norm()
    assert preset("epsilon_gamma_box", low=np.zeros(2)) == preset("epsilon_gamma_box", low=np.zeros(2))
    assert preset("epsilon_gamma_box", low=np.zeros(2)) != preset("epsilon_gamma_box", low=-np.ones(2))
    assert len({rules.ZBox(np.zeros(2), 1.0), rules.ZBox(np.zeros(2), 1.0)}) == 1


def test_a_class_that_defines_equality_keeps_it():
    @dataclass(frozen=True)
    class Always(rules.LinearRule):  # noqa: PLW1641
        def __eq__(self, other):
            return True

    assert Always() == "anything"


def test_other_objects_compare_by_identity(explainer):
    graph = explainer.program(draw(1, 2, 6, 6)).graph
    for thing in (graph, explainer.model, explainer.model.source, explainer.program(draw(1, 2, 6, 6))):
        assert thing == thing  # noqa: PLR0124
        assert thing != object()
        assert hash(thing) == hash(thing)
    assert Dense(np.ones((2, 2)), np.ones(2), (1, 2)) != Dense(np.ones((2, 2)), np.ones(2), (1, 2))


# ---------------------------------------------------------------- dir and help


def test_dir_shows_the_public_names():
    assert dir(reflrp) == sorted([*reflrp.__all__, "__version__"])
    assert not [k for k in dir(reflrp) if not hasattr(reflrp, k)]


DOCUMENTED = [reflrp.explain, reflrp.load, reflrp.Explainer, reflrp.Explainer.__call__, reflrp.Model.run]


@pytest.mark.parametrize("thing", DOCUMENTED, ids=lambda f: f.__qualname__)
def test_help_documents_every_parameter(thing):
    text = pydoc.plain(pydoc.render_doc(thing))
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.name == "self":
            continue
        entry = re.search(rf"^[ |]*{parameter.name} : (.*)$", text, re.MULTILINE)
        assert entry, parameter.name
        if isinstance(parameter.default, str | bool):
            said = f'"{parameter.default}"' if isinstance(parameter.default, str) else str(parameter.default)
            assert f"default {said}" in entry[1], parameter.name
        elif parameter.default is None:
            assert "optional" in entry[1], parameter.name
    for section in ("Raises", "Examples", *(["Returns"] if inspect.isfunction(thing) else [])):
        assert re.search(rf"^[ |]*{section}\n[ |]*---", text, re.MULTILINE) or thing is reflrp.Explainer.__call__, (
            section
        )


def test_help_documents_what_comes_back():
    text = pydoc.plain(pydoc.render_doc(reflrp.Explanation))
    for field in reflrp.Explanation.__dataclass_fields__:
        assert re.search(rf"^[ |]*{field} : ", text, re.MULTILINE), field
