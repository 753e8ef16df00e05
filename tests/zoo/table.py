"""The coverage table that the documentation shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from zoo.check import STAGES, Outcome

HEAD = """# Coverage

Written by `make zoo`. It builds every architecture below with random weights and non-trivial statistics, exports it,
and checks that

- the file imports;
- the forward pass in float64 equals onnxruntime's, within 1e-4 of the largest output for float32 files (2e-2 for
  float16 and for those quantised to eight bits, 1e-9 for float64);
- the relevance is finite and shaped like the input;
- each node's account in the ledger closes to 1e-8 of what flows through it.

Exporters: *dynamo* and *legacy* are torch's two. *dynamic* is dynamo with a symbolic batch axis, *opset23* dynamo at
opset 23, *unfolded* dynamo without its optimiser, *legacy14* legacy at opset 14, *fused* what onnxruntime's optimiser
saves of dynamo's file, *qdq* what its static quantisation makes of legacy's. *tf2onnx* is what Keras uses, *skl2onnx*
what scikit-learn does. In the cells: ✓ passed, ✗ failed, · not reached.

"""


def coverage(outcomes: Sequence[Outcome], known: Mapping[str, Mapping[str, str]]) -> str:
    """Return the page: totals, a table by family, and the failures with their reasons."""
    names = {o.name for o in outcomes}
    done = {n for n in names if all(not o.failed for o in outcomes if o.name == n)}
    whole = sum(not o.failed for o in outcomes)
    totals = f"**{len(names)} architectures, {len(outcomes)} exports; {whole} exports pass every stage, "
    totals += f"{len(done)} architectures do so with every exporter.**\n"
    parts = [HEAD + totals, _summary(outcomes)]
    for family in dict.fromkeys(o.family for o in outcomes):
        parts.append(_family(family, [o for o in outcomes if o.family == family]))
    failures = [o for o in outcomes if o.failed]
    if failures:
        parts.append("## What fails, and why\n\n" + "\n".join(_failure(o, known) for o in failures) + "\n")
    return "\n".join(parts)


def _summary(outcomes: Sequence[Outcome]) -> str:
    rows = ["| exporter | exports | " + " | ".join(STAGES) + " |", "|---" * (len(STAGES) + 2) + "|"]
    for exporter in dict.fromkeys(o.exporter for o in outcomes):
        some = [o for o in outcomes if o.exporter == exporter]
        counts = [str(sum(stage in o.passed for o in some)) for stage in STAGES]
        rows.append(f"| {exporter} | {len(some)} | " + " | ".join(counts) + " |")
    return "\n".join(rows) + "\n"


def _family(family: str, outcomes: Sequence[Outcome]) -> str:
    head = "| model | exporter | nodes | " + " | ".join(STAGES[1:]) + " | rules |"
    rows = [f"## {family}", "", head, "|---" * 8 + "|"]
    for o in outcomes:
        if o.failed == "export":
            continue
        cells = " | ".join(_cell(o, stage) for stage in STAGES[1:])
        rows.append(f"| {o.name} | {o.exporter} | {o.nodes} | {cells} | {o.preset} |")
    return "\n".join(rows) + "\n"


def _cell(outcome: Outcome, stage: str) -> str:
    return "✓" if stage in outcome.passed else "✗" if stage == outcome.failed else "·"


def _failure(outcome: Outcome, known: Mapping[str, Mapping[str, str]]) -> str:
    patterns = known.get(outcome.failed, {})
    why = next((why for pattern, why in patterns.items() if fnmatchcase(outcome.key, pattern)), None)
    return f"- `{outcome.key}`, {outcome.failed}: {why or outcome.error[:200]}"
