"""Check one export: import, forward against onnxruntime, explain, ledger. Needs no framework."""

from __future__ import annotations

import json
import signal
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import reflrp

STAGES = ("export", "import", "forward", "explain", "ledger")
# Of the largest output, by the size in bytes of the floating-point type that onnxruntime computes in.
TOLERANCES = {2: 2e-2, 4: 1e-4, 8: 1e-9}
QUANTISED = 2e-2
"""The tolerance of the exporter qdq: its rounding to eight bits may fall to the other side."""
LEDGER = 1e-8
LIMIT = 300
"""Seconds that one export may take."""


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: an export that shall be there, and how to explain it."""

    name: str
    exporter: str
    family: str
    presets: tuple[str, ...]
    output: str | None
    folder: Path

    @property
    def key(self) -> str:
        """NAME.EXPORTER, as in the file names."""
        return f"{self.name}.{self.exporter}"

    def path(self, suffix: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / f"{self.key}.{suffix}"

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        """Return the stored inputs or outputs by name, kind being "input" or "output"."""
        with np.load(self.path("npz")) as data:
            return {k.partition(":")[2]: data[k] for k in data.files if k.startswith(f"{kind}:")}


@dataclass
class Outcome:
    """What became of one export: the stages that it passed, and where and why it stopped."""

    name: str
    exporter: str
    family: str
    nodes: int = 0
    preset: str = ""
    passed: list[str] = field(default_factory=list)
    failed: str = ""
    error: str = ""
    offenders: list[str] = field(default_factory=list)
    seconds: float = 0.0
    forward_error: float | None = None
    ledger_error: float | None = None

    @property
    def key(self) -> str:
        """NAME.EXPORTER, as in the file names."""
        return f"{self.name}.{self.exporter}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return asdict(self)


def entries(folder: Path) -> list[Entry]:
    """Return what the manifests in the folder list."""
    paths = sorted(folder.glob("*.manifest.json"), reverse=True)  # torch, scikit-learn, Keras
    rows = [row for path in paths for row in json.loads(path.read_text("utf-8"))]
    return [Entry(**{**row, "presets": tuple(row["presets"]), "folder": folder}) for row in rows]


def check(entry: Entry) -> Outcome:
    """Take one export through all stages, up to the first that fails."""
    outcome = Outcome(entry.name, entry.exporter, entry.family)
    start = time.perf_counter()
    try:
        with limited(LIMIT):
            _stages(entry, outcome)
    except Exception as error:  # whatever is raised is the finding
        outcome.failed = STAGES[len(outcome.passed)]
        outcome.error = _told(error)
        outcome.offenders = [f"{n.domain or 'ai.onnx'}::{n.op}: {n.why}" for n in getattr(error, "nodes", ())]
    outcome.seconds = round(time.perf_counter() - start, 3)
    return outcome


def _told(error: Exception) -> str:
    """Return the error in one line, with the place where it arose unless it was raised on purpose."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:1500]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    planned = isinstance(error, reflrp.ReflrpError) or Path(frame.filename) == Path(__file__)
    return text if planned else f"{text} [{Path(frame.filename).name}:{frame.lineno}, {frame.name}]"


def _stages(entry: Entry, outcome: Outcome) -> None:
    _exported(entry)
    outcome.nodes = len(onnx.load(entry.path("onnx"), load_external_data=False).graph.node)
    outcome.passed.append("export")
    model = reflrp.load(entry.path("onnx"))
    feeds = entry.arrays("input")
    model.graph({k: x.shape for k, x in feeds.items()})
    outcome.passed.append("import")
    outcome.forward_error = _forward_error(model, entry, feeds)
    outcome.passed.append("forward")
    outcome.preset = next((p for p in entry.presets if p in reflrp.composites.presets()), entry.presets[-1])
    explanation = _explain(model, entry, outcome.preset, feeds)
    outcome.passed.append("explain")
    outcome.ledger_error = float(explanation.conservation.worst)
    if not outcome.ledger_error <= LEDGER:
        worst = max((r for r in explanation.conservation.rows if r.flow), key=lambda r: abs(r.error) / r.flow)
        raise ValueError(f"a node's account is off by {outcome.ledger_error:.2g} of its flow: {worst}")
    outcome.passed.append("ledger")


def _exported(entry: Entry) -> None:
    """Raise what the exporter raised, or where onnxruntime and the framework disagree."""
    if entry.path("txt").exists():
        raise RuntimeError(entry.path("txt").read_text("utf-8").partition("\n")[2])
    theirs, ours = entry.arrays("output"), run_onnxruntime(entry)
    if ours is None:
        return
    for name, y in theirs.items():
        found = difference(ours[name].reshape(y.shape), y)
        if not found <= 10 * _tolerance(entry, ours[name]):
            raise ValueError(f"onnxruntime's {name!r} is off by {found:.2g} from what the framework computes")


def run_onnxruntime(entry: Entry) -> dict[str, np.ndarray] | None:
    """Return what onnxruntime computes; None where it refuses what the standard allows."""
    states = onnxruntime.capi.onnxruntime_pybind11_state
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(entry.path("onnx")), options, ["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(names, entry.arrays("input")), strict=True))
    except (states.Fail, states.NotImplemented):
        return None


def _tolerance(entry: Entry, y: np.ndarray) -> float:
    if entry.exporter == "qdq":
        return QUANTISED
    return TOLERANCES.get(y.dtype.itemsize, 1e-4) if y.dtype.kind == "f" else 1e-4


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference relative to the largest number of `b`; infinite where shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-30))


def _forward_error(model: reflrp.Model, entry: Entry, feeds: Mapping[str, np.ndarray]) -> float:
    """Return the largest relative error over all outputs of floating point."""
    wanted = run_onnxruntime(entry) or entry.arrays("output")
    found = model.run(feeds)
    floats = {k: y for k, y in wanted.items() if isinstance(y, np.ndarray) and y.dtype.kind == "f"}
    errors = {k: float("inf") if found.get(k) is None else difference(found[k], y) for k, y in floats.items()}
    wrong = [f"{k!r} by {e:.2g}" for k, e in errors.items() if not e <= _tolerance(entry, floats[k])]
    if wrong or not errors:
        raise ValueError("the forward pass differs from onnxruntime's: " + (", ".join(wrong) or "nothing to compare"))
    return max(errors.values())


def _explain(model: reflrp.Model, entry: Entry, preset: str, feeds: Mapping[str, np.ndarray]) -> reflrp.Explanation:
    output = entry.output or next(o for o in model.outputs if o in model.source.active)
    explanation = reflrp.Explainer(model, preset, output=output)(feeds, progress=False)
    for name, R in explanation.relevances.items():
        if R.shape != feeds[name].shape:
            raise ValueError(f"relevance of {name!r} has shape {R.shape}, the input {feeds[name].shape}")
        if not np.isfinite(R).all():
            raise ValueError(f"relevance of {name!r} is not finite")
    if not any(np.any(R) for R in explanation.relevances.values()):
        raise ValueError(f"no relevance at all reaches the inputs {sorted(explanation.relevances)}")
    return explanation


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after so many seconds, where the system can."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
