"""Lengths of sequences that the file says, compiled for any number of steps: behind the longest one nothing happens."""

import models
import numpy as np
import pytest
from compiled import check, run

import reflrp

CELLS = {"LSTM": 4, "GRU": 3, "RNN": 1}
LENGTHS = {
    "one constant": (1, "", {"n": np.int32([3])}),
    "two constants": (2, "", {"n": np.int32([2, 4])}),
    "one that is empty": (2, "", {"n": np.int32([3, 0])}),
    "a number for all": ("N", "s = Shape(x) b = Gather(s, i) n = Expand(k, b)", {"i": models.ints(0), "k": np.int32([3])}),
    "all but one step": (
        "N", "s = Shape(x) b = Gather(s, i) t = Gather(s, j) u = Sub(t, j) v = Cast <to = 6>(u) n = Expand(v, b)",
        {"i": models.ints(0), "j": models.ints(1)},
    ),
}  # fmt: skip


def net(kind, lengths, direction="forward", reads="Y"):
    """A recurrent layer whose outputs at all steps, or whose last states, go into a dense layer."""
    batch, body, constants = LENGTHS[lengths]
    gates, both = CELLS[kind], 1 + (direction == "bidirectional")
    outputs = {"LSTM": "Y, h, c"}.get(kind, "Y, h")
    read = (
        "m = ReduceMean <axes = [0, 1], keepdims = 0>(Y)"
        if reads == "Y"
        else "m = ReduceMean <axes = [0], keepdims = 0>(h)"
    )
    return models.model(
        f"{body} f = Transpose <perm = [1, 0, 2]>(x) "
        f'{outputs} = {kind} <hidden_size = 2, direction = "{direction}">(f, W, R, B, n) {read} y = MatMul(m, d)',
        f"float[{batch},T,3] x", W=(both, gates * 2, 3), R=(both, gates * 2, 2), B=(both, gates * 4), d=(2, 3), **constants,
    )  # fmt: skip


def sizes(lengths):
    batch, fewest = LENGTHS[lengths][0], {"two constants": 4, "all but one step": 2}.get(lengths, 3)
    return [(n, t) for n in ([batch] if batch != "N" else [1, 3]) for t in (fewest, fewest + 1, fewest + 5)]


@pytest.mark.parametrize("reads", ["Y", "h"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_lengths_that_the_file_says_are_compiled_for_any_number_of_steps(lengths, reads):
    for kind, direction in (("LSTM", "bidirectional"), ("GRU", "reverse"), ("RNN", "forward")):
        proto = net(kind, lengths, direction, reads)
        for n, t in sizes(lengths):
            check(proto, {"x": models.draw(n, t, 3)}, "epsilon")


def test_what_lies_behind_the_longest_sequence_gets_nothing():
    """And what the network makes is the same whatever stands there."""
    proto, x = net("LSTM", "two constants", "bidirectional"), models.draw(2, 9, 3)
    found, other = run(reflrp.compile(proto, "epsilon"), {"x": x}), x.copy()
    other[:, 4:], other[0, 2:] = 7, -3
    assert not found["relevance/x"][:, 4:].any()
    assert not found["relevance/x"][0, 2:].any()
    assert found["relevance/x"][1, :4].all()
    again = run(reflrp.compile(proto, "epsilon"), {"x": other})
    np.testing.assert_allclose(again["y"], found["y"], rtol=1e-6)


def test_the_least_number_of_steps_is_said():
    proto = reflrp.compile(net("GRU", "two constants"), "epsilon")
    assert {p.key: p.value for p in proto.metadata_props}["reflrp.lengths"] == "T > 3"


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_explain_runs_no_step_behind_the_longest_sequence(direction):
    """Outputs and states are onnxruntime's."""
    proto = net("LSTM", "two constants", direction)
    for name in ("Y", "h", "c"):
        proto.graph.output.append(models.onnx.ValueInfoProto(name=name))
    feeds = {"x": models.draw(2, 7, 3)}
    model, wanted = reflrp.load(proto), models.onnxruntime(proto, feeds)
    found = model.run(feeds)
    for name in ("y", "Y", "h", "c"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6)
    assert not any(f".t{t}." in n.name for n in model.graph({"x": (2, 7, 3)}).nodes for t in (4, 5, 6))
