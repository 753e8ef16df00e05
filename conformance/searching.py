"""Searching for a difference: random small networks, inputs and rules against an adapter, shrunk by Hypothesis."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from reflrp.conformance.generate.draft import how
from reflrp.conformance.generate.net import Net
from reflrp.conformance.literal import Oracle
from reflrp.conformance.literal.numbers import nearest
from reflrp.conformance.protocol import Adapter, Unsupported
from reflrp.conformance.verdicts import distance, malformed
from reflrp.ground import checks

TOLERANCE = {"float64": 1e-9, "float32": 1e-3, "exact": 0.0}

SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("epsilon", {"bias": "absorb"}),
    ("epsilon", {"bias": "ignore"}),
    ("gamma", {"gamma": 0.5, "generalized": False, "bias": "scale"}),
    ("gamma", {"gamma": 0.5, "generalized": True, "bias": "scale"}),
    ("alpha_beta", {"alpha": 2.0, "beta": 1.0, "bias": "split"}),
    ("alpha_beta", {"alpha": 1.0, "beta": 0.0, "bias": "full"}),
    ("z_plus", {"bias": "split", "inputs": "split"}),
    ("z_box", {"low": -2.0, "high": 2.0}),
    ("w_square", {"bias": "ignore"}),
    ("flat", {}),
    ("sign", {"mu": 0.0, "bias": "absorb"}),
)
"""Rules that layers draw from, simplest first; each with a stabiliser of 1/4."""

STABILIZER = how(epsilon=0.25)


def search(adapter: Adapter, dtype: str = "float64", examples: int = 200) -> int:
    """Try random networks against the literal oracle. Returns how many were compared.

    Raises AssertionError for the simplest network found on which the library differs, with its nodes, rules and numbers.
    What the adapter calls Unsupported is left out. Needs the package hypothesis.

    Parameters
    ----------
    adapter : Adapter
        The library.
    dtype : str
        What it computes in.
    examples : int
        How many networks to try.

    """
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    checks.choice("dtype", dtype, tuple(TOLERANCE))
    checks.whole("examples", examples, 1)
    compared = []

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def holds(data: Any) -> None:
        net, seed = network(data.draw)
        said = difference(adapter, net, seed, dtype)
        assert not said, said
        compared.append(said)

    holds()
    return len(compared)


def network(draw: Any) -> tuple[Net, dict[str, np.ndarray]]:
    """Return a random network of one to four nodes, with a seed."""
    from hypothesis import strategies as st

    def numbers(shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape))
        return np.array(draw(st.lists(st.integers(-4, 4), min_size=count, max_size=count))).reshape(shape) / 2

    net = Net("search")
    x, width = net.input(numbers((draw(st.integers(1, 2)), 2))), 2
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["layer", "relu", "residual", "reversed"]))
        if kind == "layer":
            name, params = draw(st.sampled_from(SETTINGS))
            given = [x, numbers((width, 2))] + ([numbers((2,))] if draw(st.booleans()) else [])
            x, width = net.node("Gemm", given, (name, {**params, "stabilizer": STABILIZER})), 2
        elif kind == "relu":
            x = net.node("Relu", [x], ("pass", {}))
        elif kind == "residual":
            y = net.node(
                "Gemm", [x, numbers((width, width))], ("epsilon", {"bias": "absorb", "stabilizer": STABILIZER})
            )
            x = net.node("Add", [x, y], ("norm", {"stabilizer": STABILIZER}))
        else:
            x = net.node("Gather", [x, np.array([1, 0])], axis=1)
    net.output(net.node("Identity", [x]) if x == "x" else x)
    return net, {net.outputs[0]: numbers((len(net.inputs["x"]), width))}


def difference(adapter: Adapter, net: Net, seed: dict[str, np.ndarray], dtype: str) -> str:
    """Return in words where a library differs from the oracle, or ""."""
    model = net.model({k: v.shape for k, v in seed.items()})
    answer, raised = Oracle()(model, net.inputs, seed, net.rules), ""
    expected = {k: nearest(answer.relevance[k]) for k in net.inputs}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        try:
            found = adapter.explain(adapter.load(path, dtype), net.inputs, seed, net.rules)
        except Unsupported:
            return ""
        except (Exception, SystemExit) as cause:  # shrunk, too
            found, raised = {}, f"it raises {type(cause).__name__}: {cause}"
    wrong = raised or malformed(found, expected)
    error = float("inf") if wrong else distance(found, expected)
    if error <= TOLERANCE[dtype]:
        return ""
    nodes = [f"  {n.output[0]} = {n.op_type}({', '.join(n.input)})" for n in net.nodes]
    constants = [f"  {c.name} = {onnx.numpy_helper.to_array(c).tolist()}" for c in net.constants]
    rules = [f"  {s.node}: {s.rule} {dict(s.params)}" for s in net.rules]
    values = [f"  {word} = {v['x'].tolist()}" for word, v in (("x", net.inputs), ("expected", expected))]
    got = "" if wrong else f"  found    = {np.asarray(found['x']).tolist()}"
    start = f"  seed     = {next(iter(seed.values())).tolist()}"
    return "\n".join([wrong or f"differs by {error:.2g}", *nodes, *rules, *constants, *values, start, got])
