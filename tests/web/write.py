"""Write what the JavaScript tests read: compiled models, inputs, and what `explain` says of them.

PYTHONPATH=tests python tests/web/write.py FOLDER
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
from compiled import choices_in, run

import reflrp
from reflrp import demo

RULES = ("epsilon", "epsilon_plus_flat", "epsilon_alpha2_beta1", "auto")
Feeds = dict[str, np.ndarray]


@dataclass
class Case:
    """A compiled model and the inputs that it is tried at; `target` is fed where the model has such an input."""

    name: str
    model: Any
    rules: str
    feeds: list[Feeds]
    node: str = ""
    """The operator that the case is for."""
    target: list[int] | None = None
    flags: list[bool] = field(default_factory=list)
    """Which way the choice of the graph goes at each of the inputs."""


def digits() -> Iterator[Case]:
    """The shipped network: all digits at once, and the third alone, as the batch size is open."""
    path, images, _ = demo.load()
    x = np.asarray(images, dtype=np.float32)
    for rules in RULES:
        yield Case(rules, path, rules, [{"image": x}, {"image": x[3:4]}])
    yield Case("target", path, "epsilon", [{"image": x}], target=[i % 10 for i in range(len(x))])


def guarded() -> Case:
    """Alpha-beta, which makes the pass for z- where the difference z - z+ would lose its digits: both ways."""
    rng = np.random.default_rng(0)
    net = models.model(
        """r = Relu(x) c = Conv <pads = [1, 1, 1, 1]>(r, k, b) q = Relu(c) m = ReduceMean <axes = [2, 3], keepdims = 0>(q)
        y = MatMul(m, w)""",
        "float[N,16,6,6] x", k=(4, 16, 3, 3), b=np.tile([0.1, -0.1], 2).astype(np.float32), w=(4, 3),
    )  # fmt: skip
    dense = abs(rng.standard_normal((3, 16, 6, 6))).astype(np.float32)
    corner = dense * (np.indices((6, 6)).sum(axis=0) < 3)
    return Case("guard", net, "epsilon_alpha2_beta1", [{"x": dense}, {"x": corner}], "If", flags=[True, False])


def recurrent() -> Case:
    """An LSTM of an open number of steps, which is a loop each way."""
    net = models.model(
        "s, h = LSTM <hidden_size = 5>(x, w, r, b) f = Squeeze(h, zero) y = MatMul(f, v)",
        "float[T,N,4] x", w=models.draw(1, 20, 4) / 3, r=models.draw(1, 20, 5) / 3, b=models.draw(1, 40) / 3,
        zero=models.ints(0), v=(5, 3),
    )  # fmt: skip
    return Case("steps", net, "epsilon", [{"x": models.draw(t, n, 4)} for t, n in ((3, 2), (11, 1), (60, 4))], "Scan")


def words() -> Case:
    """Token ids, an open number of them, through attention."""
    net = models.model(
        """e = Gather(table, ids) q = MatMul(e, wq) k = MatMul(e, wk) v = MatMul(e, wv) t = Transpose <perm = [0, 2, 1]>(k)
        s = MatMul(q, t) p = Softmax(s) c = MatMul(p, v) a = Add(e, c) n = LayerNormalization(a, scale, shift)
        m = ReduceMean <axes = [1], keepdims = 0>(n) y = MatMul(m, w)""",
        "int64[N,T] ids", table=(20, 6), wq=(6, 6), wk=(6, 6), wv=(6, 6), scale=(6,), shift=(6,), w=(6, 3),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    return Case("words", net, "attnlrp", [{"ids": rng.integers(0, 20, (n, t))} for n, t in ((1, 1), (2, 9), (1, 40))])


def written(case: Case, folder: Path) -> dict[str, Any]:
    """Write a compiled model; return its inputs and the answers that are wanted."""
    proto = reflrp.compile(case.model, case.rules, target=None if case.target is None else "input")
    if case.node and not any(n.op_type == case.node for n in proto.graph.node):
        raise ValueError(f"the graph of {case.name!r} has no {case.node}, which it is here to try")
    asked = [n.input[0] for n in choices_in(proto.graph)] if case.flags else []
    if case.flags and not asked:
        raise ValueError(f"the graph of {case.name!r} makes no choice, which it is here to try")
    proto.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, ()) for name in asked)
    onnx.save(proto, str(folder / f"{case.name}.onnx"))
    runs = []
    for i, feeds in enumerate(case.feeds):
        e = reflrp.explain(case.model, feeds, case.rules, target=case.target)
        wanted = {f"relevance/{k}": R for k, R in e.relevances.items()} | {k: np.array(case.flags[i]) for k in asked}
        if any(run(proto, feeds, asked)[k] != wanted[k] for k in asked):
            raise ValueError(f"the choice of {case.name!r} goes the other way at its input {i}")
        given = feeds if case.target is None else {**feeds, "target": np.array(case.target)}
        runs.append({"feeds": _plain(given), "wanted": _plain(wanted)})
    return {"name": case.name, "file": f"{case.name}.onnx", "runs": runs}


def _plain(arrays: Feeds) -> dict[str, Any]:
    """Return arrays as JSON has them; 64-bit integers as texts, since numbers there are floats."""
    return {
        k: {
            "type": {"i": "int64", "b": "bool"}.get(a.dtype.kind, "float32"),
            "shape": list(a.shape),
            "data": [str(n) if a.dtype.kind == "i" else n for n in a.ravel().tolist()],
        }
        for k, a in arrays.items()
    }


def main(folder: Path) -> None:
    """Write a model and its answers for each case."""
    warnings.simplefilter("ignore", reflrp.AdviceWarning)
    folder.mkdir(parents=True, exist_ok=True)
    cases = [written(case, folder) for case in (*digits(), guarded(), recurrent(), words())]
    path, _, _ = demo.load()
    onnx.save(reflrp.compile(path, RULES[0]), str(folder / "model_lrp.onnx"))  # which the documentation's lines read
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    print(f"wrote {len(cases)} models to {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
