"""Networks put together at random: wherever a batch is cut, the cuts give what the whole gives."""

from typing import Any

import numpy as np
import pytest
from models import draw, ints, model

import reflrp

OPS = (
    *("{o} = Relu({a})", "{o} = Tanh({a})", "{o} = Add({a}, {b})", "{o} = Mul({a}, {b})", "{o} = MatMul({a}, w)"),
    *("{o} = ReduceMax<axes = [0]>({a})", "{o} = ReduceMax<axes = [1]>({a})", "{o} = Transpose({a})"),
    *("{o} = Softmax<axis = 0>({a})", "{o} = Softmax<axis = 1>({a})", "{o} = CumSum({a}, zero)"),
    *("{o} = Reshape({a}, fours)", "{o} = Reshape({a}, pairs)", "{o} = Slice({a}, start, stop, zeros)"),
    *("{o} = Concat<axis = 0>({a}, {b})", "{o} = Concat<axis = 1>({a}, {b})", "{o} = Expand({a}, size)"),
    *("{o} = Gather<axis = 0>({a}, rows)", "{o} = Gather<axis = 1>({a}, rows)"),
    "{o} = GatherElements<axis = 0>({a}, first)",
)
CONSTANTS: dict[str, Any] = {
    "w": draw(4, 4, seed=1), "zero": np.int64(0), "fours": ints(-1, 4), "pairs": ints(-1, 2), "start": ints(0), "stop": ints(2),
    "zeros": ints(0), "size": ints(1, 4), "rows": ints(1, 0, 2, 1), "first": np.zeros((1, 4), np.int64),
}  # fmt: skip
X = draw(6, 4, seed=9) * np.array([1, 1, 1, 1, 50, 50])[:, None]


def random_model(rng: np.random.Generator) -> Any:
    """One to six operators, each of one of the last three values and of any, and their sum with one of them."""
    names, body = ["x"], []
    for i in range(rng.integers(1, 7)):
        body.append(str(rng.choice(OPS)).format(o=f"v{i}", a=rng.choice(names[-3:]), b=rng.choice(names)))
        names.append(f"v{i}")
    text = " ".join([*body, f"y = Add({names[-1]}, {rng.choice(names)})"])
    return model(text, opset=13, **{k: v for k, v in CONSTANTS.items() if f" {k})" in text or f" {k}," in text})


def relevance(proto: Any, size: int) -> np.ndarray | None:
    """The relevance in cuts of `size`; None where it is refused."""
    try:
        init = np.ones_like(reflrp.load(proto).run({"x": X})["y"])
        return reflrp.Explainer(proto, "epsilon", batch_size=size)(X, init=init).relevance
    except reflrp.ReflrpError:
        return None


@pytest.mark.parametrize("seed", range(4))
def test_cuts_of_random_networks(seed: int) -> None:
    rng, cut = np.random.default_rng(seed), 0
    for _ in range(60):
        proto = random_model(rng)
        whole = relevance(proto, 6)
        for size in (1, 2, 4) if whole is not None else ():
            found = relevance(proto, size)
            if found is not None and whole is not None:
                assert np.allclose(found, whole, rtol=1e-9, atol=1e-9 * np.abs(whole).max()), proto.graph
                cut += 1
    assert cut > 20
