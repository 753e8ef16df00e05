"""Every name of every dialect as a text: in Python and on the command line, with the same numbers or the same refusal."""

import re
from inspect import signature
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from models import draw
from nets import MLP, build
from typer.testing import CliRunner

import reflrp
from reflrp import ops, rules
from reflrp.cli.main import app
from reflrp.composites import Composite, resolve
from reflrp.composites.registry import REGISTRY
from reflrp.dialects import LIBRARIES
from reflrp.errors import ReflrpError, RuleError
from reflrp.rules.base import Rule

NEEDED = {
    "EpsilonGammaBox": "low=-3, high=3",
    "ZBox": "low=-3, high=3",
    "ZBoxRule": "low=-3, high=3",
    "BoundedDeepTaylor": "low=-3, high=3",
    "AlphaBetaRule": "2.0, 1.0",
    "AlphaBetaIgnoreBiasRule": "alpha=2",
    "LRPAlphaBeta": "alpha=2",
    "GammaRule": "gamma=0.25",
    "innsight.Epsilon": "epsilon=0.01",
    "innvestigate.LRP": "rule='Z'",
    "signxai.LRP": "rule='Z'",
}
"""The values without which a name is refused, as in its library; and of some names, values that are not the default."""

OF_OBJECTS = {
    *("captum.LayerLRP", "innvestigate.FusedBatchNormalization", "lxt.Patched", "signxai.LRPRuleUntilIndex"),
    *(f"zennit.{k}Composite" for k in ("LayerMap", "Mixed", "NameMap", "SpecialFirstLayerMap")),
}
"""Rules and composites that take a model, a rule or a map of them, which no text holds."""

FUNCTIONS = {
    *("lrp_for_lstm.lrp_linear", "lrp_toolbox.lrp"),
    *(
        f"lxt.{k}"
        for k in ("add2", "epsilon_lrp", "identity", "identity_rule_implicit", "layer_norm", "linear_epsilon")
    ),
    *(f"lxt.{k}" for k in ("matmul", "mean", "mul2", "normalize", "rms_norm_identity", "softmax")),
}
"""The functions of the libraries that are rules."""

REFUSED = ("cannot serve", "one input, unlike", "is a base of rules")
"""What a rule says on a network of dense layers that is not one for them."""


def module(library: str) -> ModuleType:
    return REGISTRY.dialects[library]()


def makes(library: str, name: str) -> bool:
    """Whether a name is that of a rule or composite, or of a function that makes one."""
    found = getattr(module(library), name)
    rule = isinstance(found, type) and issubclass(found, Rule | Composite)
    return rule or name in module(library).COMPOSITES or f"{library}.{name}" in FUNCTIONS


def text_of(library: str, name: str) -> str:
    values = NEEDED.get(f"{library}.{name}", NEEDED.get(name, ""))
    return f"{library}.{name}({values})" if values else f"{library}.{name}"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(build(MLP).SerializeToString())
    np.save("x.npy", draw(3, 4))
    return tmp_path


def explained(text: str) -> np.ndarray | str:
    """Return the relevance, or the refusal."""
    try:
        return reflrp.explain("model.onnx", np.load("x.npy"), rules=text, target=0).relevance
    except ReflrpError as error:
        return str(error)


def commanded(text: str) -> np.ndarray | str:
    """Return the same from the command line, in this process."""
    arguments = ["explain", "model.onnx", "x.npy", "--rules", text, "--target", "0", "-o", "e.npz"]
    done = CliRunner().invoke(app, arguments)
    if done.exit_code:
        assert isinstance(done.exception, SystemExit), done.exception
        return done.output
    return reflrp.Explanation.load("e.npz").relevance


@pytest.mark.filterwarnings("ignore::reflrp.AdviceWarning")
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_name(library: str, work: Path) -> None:
    names = [n for n in module(library).__all__ if makes(library, n) and f"{library}.{n}" not in OF_OBJECTS]
    answered = 0
    for text in (text_of(library, n) for n in names):
        assert isinstance(resolve(text), Composite)
        here, there = explained(text), commanded(text)
        if isinstance(here, str):
            assert isinstance(there, str), text
            assert any(why in here and why in " ".join(there.split()) for why in REFUSED), (text, here, there)
            continue
        assert np.array_equal(here, there), text
        answered += 1
    assert answered >= 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_other_name_says_why_it_is_none(library: str) -> None:
    for name in module(library).__all__:
        text = f"{library}.{name}"
        if makes(library, name) and text not in OF_OBJECTS:
            continue
        with pytest.raises(RuleError, match=r"is no rule or composite|missing a required argument|give model="):
            resolve(text)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_misspelt_name_is_answered_by_the_right_one(library: str) -> None:
    """A letter more: what is suggested is a rule or composite of the dialect, and for a library, the library."""
    for name in (n for n in module(library).__all__ if makes(library, n)):
        with pytest.raises(RuleError, match=f"{library} has no '{name}q'; did you mean '"):
            resolve(f"{library}.{name}q")
    with pytest.raises(RuleError, match=f"{library} has no ''; there is ") as empty:
        resolve(f"{library}.")
    assert "COMPOSITES" not in str(empty.value)
    with pytest.raises(RuleError, match=rf"'{library}' is a library; name one of its rules or composites: {library}\."):
        resolve(library)
    with pytest.raises(RuleError, match=f"did you mean '{library}'"):
        resolve(f"{library}q.{module(library).__all__[0]}")


TABLE = (Path(__file__).parents[1] / "docs" / "dialects.md").read_text("utf-8").partition("## Where libraries part")[2]
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in TABLE.splitlines() if line.startswith("|")][
    2:
]
FIELD = re.compile(r"`([A-Za-z_0-9.]+)(?:\((\w+)=[^)]*\))?[^`]*`")


def named(text: str) -> object:
    """What a name in the table is: of a dialect, of reflrp, or one of our rules; None where it is nothing."""
    library, dot, name = text.rpartition(".")
    home = module(library) if library in LIBRARIES else reflrp if library == "reflrp" else rules if not dot else None
    return getattr(home, name, getattr(ops.stabilizer, name, None))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_row_of_the_table_names_a_field(row: list[str]) -> None:
    """Or says that there is none, and why."""
    if row[2].startswith("none: "):
        return
    found = [(named(name), field) for name, field in FIELD.findall(row[2])]
    assert any(thing is not None for thing, _ in found)
    for thing, field in found:
        assert not field or field in signature(thing).parameters, (thing, field)


def test_rows_without_a_field_are_few() -> None:
    assert len(ROWS) > 50
    assert sum(row[2].startswith("none: ") for row in ROWS) == 3
