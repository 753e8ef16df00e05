"""Compiled models of quantised networks: what the engine gives in float32, or a refusal that names the node."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled import check, off
from coverage_tools import net
from models import draw
from test_coverage_quantised import NETS, dynamic, shape_of, static
from test_quantised_networks import quantised

import reflrp

S, Z = np.float32(0.03), np.int8(-3)


@pytest.mark.parametrize("rules", ["epsilon", "epsilon_plus_flat"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", ["QDQ", "QOperator", "dynamic"])
def test_a_trained_network(kind: str, per_channel: bool, rules: str, tmp_path: Path) -> None:
    """As far from float64 as NumPy's float32 is: a half that is rounded to the other side counts for both."""
    proto, x = quantised(kind, tmp_path, per_channel)
    name = proto.graph.input[0].name
    if kind == "dynamic":
        with pytest.raises(reflrp.InputError, match=r"samples meet in node .* DynamicQuantizeLinear"):
            reflrp.compile(proto, rules)
    shapes = {name: x.shape} if kind == "dynamic" else None
    found = off(proto, {name: x}, rules, target=3, shapes=shapes)[f"relevance/{name}"]
    assert found.ours < 1.01 * found.single + 1e-5


@pytest.mark.parametrize("make", [static, dynamic])
@pytest.mark.parametrize("name", NETS)
def test_networks(name: str, make: Any, tmp_path: Path) -> None:
    check(make(name, tmp_path), {"x": draw(*shape_of(name), seed=7)}, "epsilon", layers=True)


def test_a_division_of_integers() -> None:
    body = "q = QuantizeLinear(x, s, z) c = Cast <to = 6>(q) i = Div(c, d) f = Cast <to = 1>(i) y = MatMul(f, w)"
    proto = net(body, "float[N,4] x", "float[] y", s=S, z=Z, d=np.array([7, -7, 3, 1], np.int32), w=draw(4, 3))
    check(proto, {"x": draw(5, 4)}, "epsilon", layers=True)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_whole_numbers_that_wrap_around_are_refused_by_name(op: str) -> None:
    body = f"q = QuantizeLinear(x, s, z) i = {op}(q, k) d = DequantizeLinear(i, s, z) y = MatMul(d, w)"
    proto = net(body, "float[N,3] x", "float[] y", s=S, z=Z, k=np.array([100, -90, 3], np.int8), w=draw(3, 2))
    with pytest.raises(reflrp.InputError, match=rf"whole numbers of node '{op}.*wrapped' .* not exact in float32"):
        reflrp.compile(proto, "epsilon")
