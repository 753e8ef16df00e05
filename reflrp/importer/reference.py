"""Where ONNX's reference code runs the operators with subgraphs wrongly: the same, right, for it to use in their place."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_scan import Scan as _Scan


class Loop(OpRun):
    """A loop: while the condition holds, and for at most M steps; each may be left out.

    ONNX's own takes a condition that is left out for False, puts scan outputs one after the other where they are to be
    stacked, and lets values outside take the place of the body's inputs. Without a step, what is stacked is empty.
    """

    body: Any
    _run_body: Any

    def need_context(self) -> bool:
        """Return that the body may read values from outside."""
        return True

    def _run(self, M: Any, cond: Any = None, *state: Any, context: Any = None, **_: Any) -> tuple[Any, ...]:
        names, count = self.body.input_names, len(state)
        going = True if cond is None else bool(np.ravel(cond)[0])
        scans: list[list[Any]] = [[] for _ in self.body.output_names[1 + count :]]
        step = 0
        while going and (M is None or step < int(np.ravel(M)[0])):
            given = (np.asarray(step, np.int64), np.asarray(True), *state)
            made = self._run_body({**(context or {}), **dict(zip(names, given, strict=True))})
            going, state = bool(np.ravel(made[0])[0]), made[1 : 1 + count]
            for scan, value in zip(scans, made[1 + count :], strict=True):
                scan.append(value)
            step += 1
        return (*state, *(np.stack(s) if s else np.empty(0) for s in scans))


class Scan(_Scan):
    """A scan over first axes, forwards; ONNX's own does not notice each other one."""

    def __init__(self, onnx_node: Any, run_params: Any) -> None:
        """Refuse what ONNX's code does not do."""
        super().__init__(onnx_node, run_params)  # type: ignore[no-untyped-call]
        for name in ("scan_input_axes", "scan_output_axes", "scan_input_directions", "scan_output_directions"):
            if any(getattr(self, name, None) or ()):
                raise ValueError(f"{name}={getattr(self, name)} is not implemented")


CORRECTED: list[type[OpRun]] = [Loop, Scan]
"""What the evaluator takes in place of its own."""
