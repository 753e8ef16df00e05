"""The tables: what stands in them, and that a pipe can carry them."""

import numpy as np
import onnx
import pytest
from models import model
from onnx import TensorProto, helper, numpy_helper

import reflrp
from reflrp import demo, rules
from reflrp.ledger import Ledger, Row
from reflrp.show import tables


def conv_net(dims: tuple[int | str | None, ...]) -> onnx.ModelProto:
    """A 3x3 convolution and a maximum over the whole image: it fits any image of at least 3x3."""
    w = numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
        helper.make_node("GlobalMaxPool", ["y"], ["m"], "max"),
        helper.make_node("Flatten", ["m"], ["z"], "flatten"),
    ]
    ports = (
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(nodes, "net", *ports, [w])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def line_of(text: str, node: str) -> list[str]:
    return next(line for line in text.splitlines() if line.split()[:1] == [node]).split()


def test_summary_lists_layers_shapes_parameters_and_rules() -> None:
    text = reflrp.load(demo.load()[0]).summary("epsilon_gamma_box")
    conv = line_of(text, "conv2")
    assert conv[1] == "conv"
    assert "(1, 16, 8, 8)" in text
    assert f"{16 * 24 * 9 + 24:,}" in conv
    assert any(word.startswith("Gamma(gamma=0.25,") for word in conv)
    assert line_of(text, "flatten")[-1] == "-"
    assert "softmax" not in [line.split()[:1] for line in text.splitlines()]
    assert "the final Softmax 'softmax' is stripped" in text


def test_summary_without_rules_shows_the_graph_as_imported() -> None:
    text = reflrp.load(demo.load()[0]).summary()
    assert line_of(text, "softmax")[1] == "normaliser"
    assert "rule" not in text


def test_of_many_onnx_nodes_the_ends_are_named() -> None:
    body = "m = ReduceMean<axes = [-1]>(x) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) s = Sqrt(v) y = Div(d, s)"
    text = reflrp.load(model(body, "float[N,4] x")).summary()
    assert "LayerNorm of 6 nodes: ReduceMean_0 ... Div_5" in text


def test_summary_is_plain_and_not_cut() -> None:
    text = reflrp.load(demo.load()[0]).summary("epsilon_gamma_box")
    assert "\x1b" not in text
    assert text.isascii()
    assert "Gamma(gamma=0.25, generalized=True, stabilizer=1e-06)" in text
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_names_with_brackets_are_no_markup() -> None:
    assert "[bold]x[/]" in tables.plain(tables.grid(["a"], [["[bold]x[/]"]]))


def test_open_sizes_that_do_not_fit_are_asked_for() -> None:
    model = reflrp.load(conv_net(("N", 3, "H", "W")))
    with pytest.raises(reflrp.InputError, match=r"leaves sizes open.*H, W.*shapes="):
        model.summary()
    assert "(1, 2, 4, 4)" in model.summary(shapes={"x": (1, 3, 6, 6)})


def test_open_batch_needs_no_shapes() -> None:
    assert "(1, 2, 4, 4)" in reflrp.load(conv_net(("N", 3, 6, 6))).summary("epsilon")


def test_wrong_output_is_an_error() -> None:
    with pytest.raises(reflrp.InputError, match="the model has"):
        tables.summary(reflrp.load(demo.load()[0]), "epsilon", output="nope")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.Epsilon(0.25), "Epsilon(epsilon=0.25)"),
        (rules.Epsilon(0.5, bias="ignore"), "Epsilon(epsilon=0.5, bias='ignore')"),
        (rules.Pass(), "Pass"),
        (rules.ZBox(np.zeros((3, 1, 1)), 1), "ZBox(low=array(3, 1, 1), high=1, stabilizer=1e-06)"),
    ],
)
def test_rules_show_numbers_and_what_is_not_default(rule: rules.Rule, text: str) -> None:
    assert tables.describe_rule(rule) == text


def test_ledger_table_has_a_line_a_node_and_totals() -> None:
    rows = (
        Row("dense", "dense", "Epsilon", 3.0, 2.5, bias=0.5, flow=3.0),
        Row("relu", "pointwise", "Pass", 2.5, 2.5, error=2.5e-16, flow=2.5),
    )
    text = str(Ledger(rows, 3.0, {"x": 2.5}))
    assert line_of(text, "dense") == ["dense", "dense", "Epsilon", "3", "2.5", "0.5", "0", "0", "0"]
    assert line_of(text, "total") == ["total", "3", "2.5", "0.5", "0", "0", "2.5e-16"]
    assert "1.0e-16 of the relevance" in text


def test_ledger_of_an_explanation_adds_up() -> None:
    path, images, _ = demo.load()
    e = reflrp.explain(path, images[:2])
    shown = [float(n) for n in line_of(e.conservation.table(), "total")[1:]]
    assert shown[0] == pytest.approx(sum(shown[1:]), abs=1e-4)
    assert shown[1] == pytest.approx(e.relevance.sum(), abs=1e-4)
