"""A small part of the zoo, exported afresh, and the zoo's own machinery."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from zoo import run
from zoo.check import Entry, Outcome, check, difference

CHOSEN = (
    *("mlp_batchnorm.dynamo", "activations_smooth.legacy", "deepsets.dynamic", "siamese.dynamo", "tabular.dynamo"),
    *("lenet.dynamo", "small_resnet.unfolded", "inceptiontime.legacy", "lc0_tower.legacy"),
    *("squeeze_excitation.dynamic", "unet_transposed.dynamo", "unet_bilinear.legacy"),
    *("transformer_encoder.dynamo", "nanogpt.legacy", "einsum_attention.dynamo", "small_vit.dynamic"),
    *("lstm_both_ways.dynamo", "gru_cells.legacy"),
)


@pytest.mark.parametrize("key", CHOSEN)
def test_every_stage(key: str, tmp_path: Path) -> None:
    """Import, forward, explain, ledger."""
    pytest.importorskip("torch")
    from zoo.export import exports

    name, _, exporter = key.partition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (export,) = [e for e in exports("torch", tmp_path, [name]) if e.exporter == exporter]
        export.make()
    outcome = check(Entry(**export.row(), folder=tmp_path))
    assert not outcome.failed, f"{outcome.failed}: {outcome.error}"


def product(path: Path, outputs: np.ndarray) -> Entry:
    """An export of y = x W with the given stored outputs, for x = (1, 1)."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, (2, 2), [1.0, 2.0, 3.0, 4.0])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 2)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [weights])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path / "product.made.onnx")
    arrays = {"input:x": np.ones((1, 2), np.float32), "output:y": outputs.astype(np.float32)}
    np.savez(path / "product.made.npz", **arrays)
    return Entry("product", "made", "own", ("epsilon",), None, path)


def test_check_passes_what_is_right(tmp_path: Path) -> None:
    outcome = check(product(tmp_path, np.array([[4.0, 6.0]])))
    assert (outcome.failed, outcome.nodes, outcome.preset) == ("", 1, "epsilon")


def test_check_finds_a_wrong_export(tmp_path: Path) -> None:
    outcome = check(product(tmp_path, np.array([[4.0, 7.0]])))
    assert outcome.failed == "export"
    assert "'y'" in outcome.error


def test_check_finds_a_wrong_forward_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflrp.Model.run", lambda *_: {"y": np.array([[4.0, 6.1]])})
    assert check(product(tmp_path, np.array([[4.0, 6.0]]))).failed == "forward"


def test_check_reports_a_failed_export(tmp_path: Path) -> None:
    entry = product(tmp_path, np.zeros((1, 2)))
    entry.path("txt").write_text("stamp\nValueError: no such operator\n")
    outcome = check(entry)
    assert outcome.failed == "export"
    assert "no such operator" in outcome.error


def test_difference_is_relative_and_minds_shapes() -> None:
    assert difference(np.array([1.0, 3.9]), np.array([1.0, 4.0])) == pytest.approx(0.025)
    assert difference(np.zeros(2), np.zeros(3)) == float("inf")


def test_surprises() -> None:
    good = Outcome("a", "dynamo", "own", passed=["export", "import"])
    bad = replace(good, failed="forward", error="off")
    assert run.surprises([good], {}) == []
    assert run.surprises([bad], {"forward": {"a.*": "known"}}) == []
    assert run.surprises([bad], {"forward": {"b.*": "known"}}) == ["a.dynamo fails at forward: off"]
    assert run.surprises([good], {"import": {"a.*": "known"}}) == [
        "a.dynamo passes import: take it out of expected.toml"
    ]
