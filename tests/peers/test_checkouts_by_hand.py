"""The examples of docs/verdicts.md for libraries that are no packages; LRP_TOOLBOX and LRP_FOR_LSTM name their checkouts."""

from collections.abc import Iterator
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from reflrp.conformance.adapters import lrp_for_lstm, lrp_toolbox
from reflrp.conformance.adapters.lrp_toolbox import toolbox

UPSTREAM = Path(__file__).parents[2] / "conformance" / "upstream"


@pytest.fixture(autouse=True)
def floats() -> Iterator[None]:
    with lrp_toolbox._floats():
        yield


def linear(x: list[float], w: list[float], variant: str, param: float | None) -> list[float]:
    layer = toolbox.Linear(len(w), 1)
    layer.W = np.array([w]).T
    layer.forward(np.array([x]))
    found: list[float] = layer.lrp(np.ones((1, 1)), variant, param).ravel().tolist()
    return found


def pooled(kind: type, x: list[float], R: float, variant: str, param: float | None) -> list[float]:
    layer = kind((1, 2), (1, 2))
    layer.forward(np.array(x).reshape(1, 1, 2, 1))
    found: list[float] = layer.lrp(np.full((1, 1, 1, 1), R), variant, param).ravel().tolist()
    return found


def test_the_toolbox() -> None:
    assert linear([1, -1], [1, 1], "epsilon", 0.0) == [np.inf, -np.inf]
    assert np.isnan(linear([1, 1], [0, 0], "ww", None)).all()
    assert linear([1, -1], [1, 1], "alphabeta", 0.5) == pytest.approx([0.5, 0.5])
    assert linear([1, -1], [4e-16, 4e-16], "alphabeta", 2.0) == pytest.approx([8 / 5, -2 / 3])
    assert pooled(toolbox.MaxPool, [1, 1], 1, "simple", None) == [0.5, 0.5]
    assert pooled(toolbox.SumPool, [2, -1], 3, "alphabeta", 2.0) == pytest.approx([6, -9])
    assert pooled(toolbox.SumPool, [1, 1], 1, "epsilon", 1.0) == pytest.approx([1 / 3, 1 / 3])
    assert pooled(toolbox.SumPool, [1, -1], 1, "epsilon", 0.0) == [np.inf, -np.inf]
    layer = toolbox.Linear(1, 1)
    chain = toolbox.Sequential([layer, toolbox.Rect()])
    assert chain.lrp(chain.forward(np.ones((1, 1)))).shape == (1, 1)


def test_scripts_for_upstream() -> None:
    pool, zero = (run_path(str(UPSTREAM / f"lrp_toolbox_{name}.py"))["run"]() for name in ("sum_pool", "zero_weights"))
    assert pool["alphabeta, R = 3.0"] == pytest.approx([6, -9])
    assert pool["alphabeta_slow, R = 3.0"] == pytest.approx([6, -3])
    assert np.isnan(zero["ww, w = 0"]).all()
    assert zero["alphabeta, alpha 2, x = (4e-16, -4e-16)"] == pytest.approx([8 / 5, -2 / 3])


def test_lrp_for_lstm() -> None:
    x, w, none = np.array([1.0, -1.0]), np.ones((2, 1)), np.zeros(1)
    found = lrp_for_lstm.library.lrp_linear(x, w, none, none, np.ones(1), 2, 0.0)
    assert found.tolist() == [np.inf, -np.inf]
