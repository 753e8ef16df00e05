"""What the coverage tests share: a model in text form of any domain, held against onnxruntime, with a closed ledger."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from models import Weights, draw, onnxruntime
from onnx import ModelProto, numpy_helper
from onnx.reference import ReferenceEvaluator

import reflrp

MS = "com.microsoft"


def net(body: str, inputs: str, outputs: str = "float[] y", opset: int = 20, **weights: Any) -> ModelProto:
    """Return the model `(inputs) => (outputs) { body }`; operators of onnxruntime are `com.microsoft.Name`."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}, "{MS}" : 1]> net ({inputs}) => ({outputs}) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    for name, value in weights.items():
        array = draw(*value) if isinstance(value, tuple) else np.asarray(value)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def assert_explained(
    proto: ModelProto, feeds: Weights, rtol: float = 1e-5, rules: Any = "epsilon", output: str | None = None
) -> reflrp.Explanation:
    """Check the forward pass against onnxruntime, and that the ledger closes at each node and over the network."""
    model = reflrp.load(proto)
    found = model.run(feeds)
    for name, want in onnxruntime(proto, feeds).items():
        assert found[name].shape == want.shape, name
        scale = np.abs(want).max(initial=0)
        np.testing.assert_allclose(found[name].astype(float), want.astype(float), rtol=rtol, atol=rtol * scale)
    named = output or next(o for o in model.outputs if o in model.source.active)
    e = reflrp.explain(model, feeds, rules=rules, output=named, init=draw(*found[named].shape, seed=9).astype(float))
    assert_closed(e)
    return e


def assert_closed(e: reflrp.Explanation) -> None:
    """Check that all of the initial relevance is accounted for."""
    assert all(np.isfinite(r).all() for r in e.relevances.values())
    assert e.conservation.worst < 1e-9
    totals = dict(e.conservation.totals)
    seed = totals.pop("seed")
    scale = sum(abs(row.flow) for row in e.conservation.rows) + 1
    assert abs(seed - sum(totals.values())) < 1e-9 * scale


def assert_quantised(
    proto: ModelProto, feeds: Weights, reference: bool = False, rtol: float = 1e-6
) -> reflrp.Explanation:
    """Compare the forward pass, integers to the bit, and look into the ledger."""
    model = reflrp.load(proto)
    found = model.run(feeds)
    names = [o.name for o in proto.graph.output]
    wants = ReferenceEvaluator(proto).run(None, feeds) if reference else onnxruntime(proto, feeds).values()
    for name, want in zip(names, wants, strict=True):
        assert found[name].shape == want.shape
        if want.dtype.kind == "f":
            scale = np.abs(want).max(initial=0)
            np.testing.assert_allclose(found[name], want.astype(float), rtol=rtol, atol=rtol * scale)
        else:
            np.testing.assert_array_equal(found[name], want.astype(float))
    named = next(o for o in model.outputs if o in model.source.active)
    e = reflrp.explain(model, feeds, "epsilon", output=named, init=draw(*found[named].shape, seed=9).astype(float))
    assert_closed(e)
    assert all(r.shape == np.shape(feeds[k]) for k, r in e.relevances.items())
    return e
