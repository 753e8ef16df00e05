"""A graph that cannot be built is tried once for each shape, however often it is asked for; the error stays the same."""

import pickle
from typing import Any

import numpy as np
import pytest
from models import draw, model

import reflrp
from reflrp import UnsupportedOperator, limits
from reflrp.importer import build as module

REFUSED = model("h = MatMul(x, w) y = MatMul(h, v)", w=(4, 6), v=(5, 2))
BAKED = model("h = MatMul(x, w) r = Reshape(h, s) y = MatMul(r, v)", w=(4, 6), v=(3, 2), s=np.array([4, 2, 3]))
BY_DATA = model("n = ReduceMax <keepdims = 0>(x) k = Cast <to = 7>(n) u = Unsqueeze(k, zero) s = Expand(one, u) "
                "t = ReduceSum <keepdims = 0>(s) y = Mul(x, t)", zero=np.array([0]), one=np.ones(1))  # fmt: skip


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The builds, each as the shape of x and whether its numbers were given."""
    found: list[Any] = []
    build = module.build

    def counted(source: Any, shapes: Any, x: Any = None) -> Any:
        found.append((shapes["x"][0], x is not None))
        return build(source, shapes, x)

    monkeypatch.setattr(module, "build", counted)
    return found


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_no_shape_is_tried_twice(count: int, built: list[Any]) -> None:
    loaded = reflrp.load(REFUSED)
    said = set()
    for _ in range(3):
        with pytest.raises(UnsupportedOperator, match="its operands of shapes") as caught:
            reflrp.explain(loaded, draw(count, 4))
        said.add(str(caught.value))
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert len(built) == len(set(built)) <= 3
    assert (count, True) not in built
    assert len(said) == 1
    with pytest.raises(UnsupportedOperator):
        loaded.run(draw(count, 4))
    assert len(built) == len(set(built)) <= 3


def test_a_refusal_for_one_shape_is_none_for_another(built: list[Any]) -> None:
    loaded = reflrp.load(BAKED)
    e = reflrp.explain(loaded, draw(8, 4), "epsilon")
    assert e.output.shape == (8, 2, 2)
    np.testing.assert_allclose(e.output, loaded.run(draw(8, 4))["y"])
    assert {(1, False), (4, False)} <= set(built)
    assert len(built) == len(set(built))


def test_what_the_data_say_may_still_help(built: list[Any]) -> None:
    x = np.full((1, 4), 3.0)
    np.testing.assert_allclose(reflrp.explain(BY_DATA, x, "epsilon").output, 3 * x)


def test_a_limit_that_was_raised_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = reflrp.load(model("y = MatMul(x, w)", w=(4, 3)))
    monkeypatch.setattr(limits, "NODES", 0)
    with pytest.raises(reflrp.TooLarge):
        loaded.run(draw(1, 4))
    monkeypatch.undo()
    assert loaded.run(draw(1, 4))["y"].shape == (1, 3)
