"""Random spellings: what is equivalent is recognised, whatever its spelling; with one thing changed, it is not."""

import numpy as np
import pytest
from spellings import KNOWN, Speller, disturbed

import reflrp
from reflrp.engine import Program
from reflrp.errors import NonFiniteError
from reflrp.importer.build import build

SHAPE = (3, 4, 4)
ROUNDS = 25


def ran(proto, x):
    """The values of the file's own nodes, one by one."""
    graph = build(reflrp.load(proto).source, {"x": x.shape})
    values = Program(graph, {n.name: n.op for n in graph.nodes}, {}).forward({"x": x})
    return values[graph.resolve("y")]


def told(proto):
    """What the model is, where it is one node of x."""
    nodes = reflrp.load(proto).graph({"x": SHAPE}).nodes
    only = nodes[0] if len(nodes) == 1 and len(nodes[0].onnx) > 1 else None
    constants = [getattr(only.op, k, None) for k in ("epsilon", "floor", "w", "args")] if only else []
    return f"{only.op.describe()} {constants}" if only else None


def inputs(rng):
    for scale in (1.0, 5.0, 1e-3):
        yield scale * rng.standard_normal(SHAPE)


@pytest.mark.parametrize("name", KNOWN)
def test_equivalent_spellings_are_recognised(name):
    rng = np.random.default_rng(sum(map(ord, name)))
    for _ in range(ROUNDS):
        proto = Speller(rng).of(name)
        found = told(proto)
        assert found is not None, "\n".join(str(n) for n in reflrp.load(proto).graph({"x": SHAPE}).nodes)
        assert found.startswith(KNOWN[name])
        for x in inputs(rng):
            np.testing.assert_allclose(reflrp.load(proto).run(x)["y"], ran(proto, x), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", KNOWN)
def test_one_change_is_seen(name):
    """Where the values change anywhere, it is not that function any more; and the values stay those of the file."""
    rng = np.random.default_rng(sum(map(ord, name)))
    for _ in range(2 * ROUNDS):
        proto = Speller(rng).of(name)
        other = disturbed(proto, rng)
        for x in inputs(rng):
            try:
                wanted = ran(other, x)
            except NonFiniteError:  # a root of what is negative
                continue
            if wanted.shape != SHAPE:  # another axis may lose one
                continue
            found = reflrp.load(other).run(x)["y"]
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9 * max(1, np.abs(wanted).max()))
            if np.abs(wanted - ran(proto, x)).max() > 1e-6 * np.abs(wanted).max():
                assert told(other) != told(proto)
