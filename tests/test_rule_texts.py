"""Rules as texts: the same in Python and on the command line, read and never run."""

from typing import Any

import numpy as np
import pytest
from models import draw, model
from typer.testing import CliRunner

import reflrp
from reflrp import RuleError, demo, rules
from reflrp.cli.main import app
from reflrp.composites import Composite, preset, resolve
from reflrp.dialects import zennit

PATH, IMAGES, _ = demo.load()
X = IMAGES[:2]

SAME: dict[str, Any] = {
    "epsilon_gamma_box(low=-2, high=2)": preset("epsilon_gamma_box", low=-2, high=2),
    "epsilon_gamma_box(-2, high = 2.0)": preset("epsilon_gamma_box", low=-2, high=2.0),
    "epsilon_gamma_box(low=[[[0.0]]], high=1)": preset("epsilon_gamma_box", low=np.array([[[0.0]]]), high=1),
    " epsilon(0.25) ": preset("epsilon", epsilon=0.25),
    "Epsilon-Plus(epsilon=1)": preset("epsilon_plus", epsilon=1),
    "gamma(0.25)": rules.Gamma(0.25),
    "Gamma(gamma=0.5)": rules.Gamma(0.5),
    "alpha_beta(2, 1)": rules.AlphaBeta(2, 1),
    "ZPlus": rules.ZPlus(),
    "z_plus()": rules.ZPlus(),
    "zennit.Gamma(gamma=0.5)": zennit.Gamma(gamma=0.5),
    "zennit.EpsilonGammaBox(low=0.0, high=1.0)": zennit.EpsilonGammaBox(low=0.0, high=1.0),
}


@pytest.mark.parametrize("text", SAME)
def test_a_text_means_what_the_object_means(text: str) -> None:
    assert resolve(text) == resolve(SAME[text])


@pytest.mark.parametrize("text", ["epsilon_gamma_box(low=0, high=1)", "gamma(0.25)", "zennit.Gamma(gamma=0.5)"])
def test_python_and_the_command_line_read_the_same(text: str, tmp_path: Any) -> None:
    np.save(tmp_path / "x.npy", X)
    command = ["explain", str(PATH), str(tmp_path / "x.npy"), "--rules", text, "-o", str(tmp_path / "e.npz")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert reflrp.Explanation.load(tmp_path / "e.npz") == reflrp.explain(PATH, X, rules=text)


def test_a_dict_takes_texts(tmp_path: Any) -> None:
    texts = {"conv*": "gamma(0.25)", "dense1": "zennit.Epsilon(epsilon=0.5)", "*": "epsilon"}
    objects = {"conv*": rules.Gamma(0.25), "dense1": zennit.Epsilon(epsilon=0.5), "*": rules.Epsilon()}
    e = reflrp.explain(PATH, X, rules=texts)
    assert e == reflrp.explain(PATH, X, rules=objects)
    assert e.rules["conv1"] == rules.Gamma(0.25)
    assert e.rules["dense1"] == zennit.Epsilon(epsilon=0.5)
    assert e.rules["relu1"] == rules.Pass()
    np.save(tmp_path / "x.npy", X)
    command = ["explain", str(PATH), str(tmp_path / "x.npy"), "--rules", repr(texts), "-o", str(tmp_path / "e.npz")]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert reflrp.Explanation.load(tmp_path / "e.npz") == e


def test_a_rule_of_the_name_of_a_preset_stands_for_itself_in_a_dict() -> None:
    """`gradient` is a preset without canonizing, and a rule."""
    assert resolve("gradient").canonize == ()
    assert resolve({"*": "gradient"}).pairs[0][1] == rules.Gradient()


def test_a_star_stands_wherever_its_rule_can() -> None:
    """On layers, sums, pools and maxima; a rule for other kinds on those; one that serves all kinds everywhere."""
    graph = reflrp.load(PATH).graph({"image": X.shape})
    e = reflrp.explain(PATH, X, rules={"*": "epsilon"}, canonize=())
    assert {n for n, rule in e.rules.items() if rule == rules.Epsilon()} == {
        n.name for n in graph.nodes if n.name in e.rules and rules.Epsilon().fits(n)
    }
    assert e.rules["relu1"] == rules.Pass()
    assert set(reflrp.explain(PATH, X, rules={"*": "gradient"}).rules.values()) == {rules.Gradient()}
    e = reflrp.explain(PATH, X, rules={"*": "guided_backprop", "conv*": "flat", "dense*": "flat", "logits": "flat"})
    assert e.rules["relu1"] == rules.GuidedBackprop()


def test_a_star_leaves_preprocessing_alone() -> None:
    net = model("s = Sub(x, mean) y = MatMul(s, w)", mean=draw(4), w=draw(4, 3))
    e = reflrp.explain(net, draw(2, 4, seed=1), {"*": "epsilon"})
    assert sorted(map(repr, e.rules.values())) == sorted(map(repr, (rules.Epsilon(), rules.Pass())))


WRONG: dict[str, tuple[Any, str]] = {
    "a preset's name": ("epsilon_plos", "did you mean 'epsilon_plus'?"),
    "a rule's name": ("gama(0.5)", "did you mean 'Gamma'?"),
    "a library's name": ("zenit.Gamma(gamma=0.5)", "dialect 'zenit' is unknown; did you mean 'zennit'?"),
    "a dialect's name": ("zennit.Gama(gamma=0.5)", "zennit has no 'Gama'; did you mean 'Gamma'?"),
    "no name like it": ("zennit.qqqqq", "zennit has no 'qqqqq'; there is "),
    "a parameter's name": ("gamma(gama=0.5)", "unexpected keyword argument 'gama'; it takes gamma"),
    "too many values": ("epsilon(1, 2, 3)", "too many positional arguments; it takes epsilon"),
    "a value of another kind": ("gamma('a')", "gamma must be a number >= 0, not 'a'"),
    "a call inside": ("gamma(open('x'))", "cannot be read: write name"),
    "a name inside": ("gamma(gamma)", "cannot be read: write name"),
    "a call of a call": ("gamma(1)(2)", "cannot be read: write name"),
    "more behind it": ("gamma(1) + 1", "cannot be read: write name"),
    "a dict of values": ("gamma(**{'gamma': 1})", "cannot be read: write name"),
    "cut short": ("gamma(1", "cannot be read: write name"),
    "deep": ("gamma(" + "(" * 5000, "cannot be read: write name"),
    "an array of no shape": ("zbox(low=[[1], [1, 2]], high=1)", "cannot be read: write name"),
    "nothing": ("", "preset '' is unknown"),
    "the base of all rules": ("rule", "preset 'rule' is unknown"),
    "a rule in a dict": ({"*": "epsilonn"}, "rule 'epsilonn' is unknown; did you mean 'Epsilon'?"),
    "a preset in a dict": ({"*": "epsilon_plus"}, "what '*' maps to is the preset 'epsilon_plus', and no rule"),
    "a dialect's composite in a dict": ({"*": "zennit.EpsilonPlus"}, "what '*' maps to is a composite, and no rule"),
    "a number in a dict": ({"*": 3}, "what '*' maps to is 3, and no rule"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case: str) -> None:
    given, words = WRONG[case]
    with pytest.raises(RuleError) as caught:
        resolve(given)
    assert words in str(caught.value)


def test_a_registered_preset_takes_values_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from reflrp.composites.registry import REGISTRY

    monkeypatch.setitem(REGISTRY.presets, "mine", lambda gamma=0.1: rules.Gamma(gamma))
    assert resolve("mine(0.5)") == resolve(rules.Gamma(0.5))
    assert isinstance(resolve("mine"), Composite)


def test_a_dict_that_leaves_nodes_out_says_what_to_add() -> None:
    with pytest.raises(reflrp.UnassignedNodes, match=r"In a dict of rules, name them, or add '\*'"):
        reflrp.explain(PATH, X, rules={"conv*": "gamma"})
