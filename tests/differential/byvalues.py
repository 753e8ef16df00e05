"""The engine at the values that onnxruntime computed: what a compiled graph has before its eyes, of which no other answer follows.

onnxruntime's own functions are off by more than float32 rounds (a sigmoid of -20 is 0, or 6e-8 too large), and what divides by
them, or takes their logarithm, is another number in the graph than in the engine, or none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, helper

import reflrp
from differential.evaluate import run
from reflrp.compiler.values import shared

Arrays = dict[str, np.ndarray]


def computed(proto: ModelProto, feeds: Arrays) -> Arrays:
    """Return all values of a file's own graph, by onnxruntime."""
    whole, ends = ModelProto(), {o.name for o in proto.graph.output}
    whole.CopyFrom(proto)
    made = [o for node in proto.graph.node for o in node.output if o and o not in ends]
    whole.graph.output.extend(helper.make_empty_tensor_value_info(o) for o in made)
    return dict(zip([o.name for o in whole.graph.output], run(whole, feeds), strict=True))


def explained(proto: ModelProto, explainer: reflrp.Explainer, feeds: Arrays, init: np.ndarray) -> Arrays | None:
    """Return the engine's relevance of all values, in float64 at the numbers of onnxruntime; None where it is not finite.

    What the file does not hold the engine computes from these numbers.
    """
    program = explainer.program(feeds)
    found, wide = (
        computed(proto, feeds),
        {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in feeds.items()},
    )
    own = shared(program.graph, explainer.model.source, {*found, *feeds})
    values: dict[str, Any] = dict(wide)
    end = program.graph.resolve(program.graph.outputs[0])
    try:
        for node in program.graph.nodes:
            y = program._output(node, values)
            theirs = found.get(node.output) if node.output in own and program.graph.values[node.output].active else None
            values[node.output] = y if theirs is None or theirs.shape != y.shape else theirs.astype(y.dtype)
        R = program.backward(dict(values), {end: init.astype(np.float64)}, keep=lambda _: True)[0]
    except reflrp.NonFiniteError:
        return None
    return {k: np.asarray(a) for k, a in R.items()}


def agree(theirs: Arrays | None, name: str, got: np.ndarray, near: float) -> bool:
    """Return whether a compiled graph gives what the engine makes of onnxruntime's values: no finite number where it makes none."""
    if theirs is None:
        return not np.isfinite(got).all()
    R = np.broadcast_to(theirs.get(name.partition("/")[2], 0.0), got.shape)
    return bool(np.abs(got - R).max(initial=0) <= near + 1e-3 * np.abs(R).max(initial=0))
