"""Running a compiled model, and holding it against the engine: what the tests of the compiler share."""

from dataclasses import dataclass

import numpy as np
import onnxruntime

import reflrp

FACTOR, FLOOR = 20, 2e-3
"""A compiled answer may be off by so many times what NumPy's float32 is, or by this part of the largest relevance."""


def run(proto, feeds, outputs=None):
    """What onnxruntime computes, by the outputs' names."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = outputs or [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def choices_in(graph):
    """The Ifs of a graph, but for those that decide whether to look at a denominator for an overflow: no other gives a constant."""
    found = [(n, a.g) for n in graph.node if n.op_type == "If" for a in n.attribute if a.name == "then_branch"]
    return [n for n, branch in found if [m.op_type for m in branch.node] != ["Identity"]]


@dataclass
class Off:
    """How far something is from the float64 reference, in parts of its largest entry; and NumPy's float32."""

    ours: float
    single: float

    @property
    def fine(self):
        return self.ours <= max(FACTOR * self.single, FLOOR)


def part(found, wanted):
    """The largest difference as a part of the largest entry that is wanted."""
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-30))


def off(model, feeds, rules, output=None, **options):
    """How far the compiled model's relevance is from the engine's, for each input and each kept layer."""
    asked = {k: v for k, v in options.items() if k in ("layers", "conditions", "target", "init")}
    once = {k: v for k, v in asked.items() if not (isinstance(v, str) and v == "input")}
    exact, single = (
        reflrp.Explainer(model, rules, output=output, dtype=dtype)(feeds, progress=False, **once)
        for dtype in ("float64", "float32")
    )
    if not isinstance(options.get("init", ""), str):
        feeds, options = {**feeds, "init": options["init"]}, {**options, "init": "input"}
    found = run(reflrp.compile(model, rules, output=output, **options), feeds)
    named = {f"relevance/{k}": v for k, v in exact.relevances.items()} | {
        f"layer/{k}": v for k, v in exact.layers.items()
    }
    rough = {f"relevance/{k}": v for k, v in single.relevances.items()} | {
        f"layer/{k}": v for k, v in single.layers.items()
    }
    assert {k for k in found if k.startswith(("relevance/", "layer/"))} == set(named)
    return {k: Off(part(found[k], v), part(rough[k], v)) for k, v in named.items()}


def check(model, feeds, rules, output=None, **options):
    """Assert that a compiled model gives the engine's relevance."""
    found = off(model, feeds, rules, output, **options)
    assert found
    assert all(o.fine for o in found.values()), found
