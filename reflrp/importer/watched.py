"""ONNX's reference code with an eye on it, for nodes that run subgraphs: each node inside says what it takes before it runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from onnx.reference import ReferenceEvaluator

from reflrp import limits
from reflrp.importer.estimate import check_outputs


class Watched(ReferenceEvaluator):
    """ONNX's evaluator of a graph and, since it makes evaluators of its own kind for them, of the subgraphs in it.

    What a run holds counts against `reflrp.limits.MEMORY`; when it is over, only its outputs count on, as what loops carry
    from step to step, or pile up.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for node in self.rt_nodes_:
            node.run = partial(self._watched, node, node.run)

    def run(self, *args: Any, **options: Any) -> Any:
        """Return the outputs. Raises TooLarge where what is held goes beyond the limit."""
        with limits.budget() as found:
            before = found.held
            outputs = super().run(*args, **options)
            found.held = before + sum(map(_size, outputs))
        return outputs

    def _watched(self, node: Any, run: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
        proto, name = node.onnx_node, f"node {node.onnx_node.name or node.onnx_node.op_type!r} inside"
        feeds = {k: a for k, a in zip(proto.input, inputs, strict=False) if k and isinstance(a, np.ndarray)}
        limits.step(name)
        if not node.need_context():
            check_outputs(name, proto, self.opsets.get(proto.domain, 1), feeds)
        outputs = run(*inputs, **options)
        limits.hold(name, sum(map(_size, outputs)))
        return outputs


def _size(value: Any) -> int:
    """Return the bytes of an array, or of the arrays of a sequence."""
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return int(getattr(value, "nbytes", 0))
