"""From drafts to vectors: the literal oracle answers, reflrp must agree, and what cannot tell readings apart is refused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from reflrp.conformance.adapters.reflrp import Adapter
from reflrp.conformance.generate.draft import TOLERANCES, Draft
from reflrp.conformance.literal import Answer, Oracle
from reflrp.conformance.literal.numbers import nearest
from reflrp.conformance.readings import READINGS, Reading
from reflrp.conformance.verdicts import distance

SUITE = "2026.2"
"""The version of the vectors."""

APART = 100
"""How many float32 tolerances a reading's answer must be away from the expected one to be told from it."""

QUIET = 4
"""How many times smaller than the tolerance reflrp's own error must be."""


class Refused(Exception):
    """A draft that makes no good vector."""


def files_of(draft: Draft) -> dict[str, bytes]:
    """Return the three files of a case. Raises Refused for one that is noisy, wrong, or tells nothing apart."""
    proto = _proto(draft)
    model = proto.SerializeToString(deterministic=True)
    arrays: dict[str, np.ndarray] = {f"in/{k}": v for k, v in draft.net.inputs.items()}
    arrays.update({f"seed/{k}": v for k, v in draft.seed.items()})
    arrays.update({f"other/{k}": v for k, v in draft.other.items()})
    clauses: tuple[str, ...] = draft.clauses
    variants: dict[str, Any] = {}
    if draft.expect != "reject":
        answer = Oracle()(proto, draft.net.inputs, draft.seed, draft.net.rules)
        expected = _expected(draft, answer)
        arrays.update({f"out/{k}": nearest(answer.values[k]) for k in draft.net.outputs})
        arrays.update({f"expected/{k}": v for k, v in expected.items()})
        arrays.update(_inner(draft, answer))
        told = {k: arrays[f"out/{k}"] for k in draft.net.outputs} if draft.property == "forward" else expected
        clauses, variants, more = _told_apart(draft, proto, told)
        arrays.update(more)
        _agree(draft, model, arrays)
    data = npz(arrays)
    record = _record(draft, proto, clauses, variants, model, data)
    return {"case.json": (json.dumps(record, indent=1) + "\n").encode(), "model.onnx": model, "data.npz": data}


def _proto(draft: Draft) -> onnx.ModelProto:
    """Return the model, with the outputs' shapes."""
    if draft.expect == "reject":
        return draft.net.model({k: v.shape for k, v in draft.seed.items()})
    values = Oracle()(draft.net.model(), draft.net.inputs, {}, draft.net.rules).values
    return draft.net.model({k: values[k].shape for k in draft.net.outputs})


def _expected(draft: Draft, answer: Answer) -> dict[str, np.ndarray]:
    found = {}
    for k, v in draft.net.inputs.items():
        found[k] = nearest(answer.relevance[k]) if k in answer.relevance else np.zeros(v.shape)
    return found


def _inner(draft: Draft, answer: Answer) -> dict[str, np.ndarray]:
    """Return the relevance of the file's inner values, from the output backwards."""
    outer = {*draft.net.inputs, *draft.net.outputs}
    named = {name for node in draft.net.nodes for name in node.output} - outer
    return {f"relevance/{k}": nearest(v) for k, v in answer.relevance.items() if k in named}


def _told_apart(
    draft: Draft, proto: onnx.ModelProto, expected: Mapping[str, np.ndarray]
) -> tuple[tuple[str, ...], dict[str, Any], dict[str, np.ndarray]]:
    """Return the clauses that the case tests, the readings that it tells from the right one, and their answers."""
    limit = APART * TOLERANCES[draft.basis]["float32"]
    clauses: dict[str, None] = {}
    variants: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for reading in sorted((r for r in READINGS if r.clause in draft.clauses), key=lambda r: r.status != "variant"):
        found = answer_of(reading, draft, proto)
        if found is None or distance(found, expected) <= limit:
            continue
        clauses[reading.clause] = None
        known = [tag for tag in variants if distance({k: arrays[f"variant/{tag}/{k}"] for k in found}, found) <= limit]
        if draft.expect == "match" and not known and reading.tag not in variants:
            variants[reading.tag] = {
                "clause": reading.clause,
                "status": reading.status,
                "text": reading.text,
                "seen_in": list(reading.seen_in),
            }
            arrays.update({f"variant/{reading.tag}/{k}": v for k, v in found.items()})
    if not clauses:
        raise Refused(f"{draft.id} tells none of the readings of {', '.join(draft.clauses)} apart")
    return tuple(c for c in draft.clauses if c in clauses), variants, arrays


def answer_of(reading: Reading, draft: Draft, proto: onnx.ModelProto) -> dict[str, np.ndarray] | None:
    """Return the inputs' relevance under another reading; None where it changes nothing."""
    oracle, specs = reading.change(Oracle(), tuple(draft.net.rules))
    if oracle == Oracle() and specs == tuple(draft.net.rules):
        return None
    answer = oracle(proto, draft.net.inputs, draft.seed, specs)
    if draft.property == "forward":
        return {k: nearest(answer.values[k]) for k in draft.net.outputs}
    return _expected(draft, answer)


def _agree(draft: Draft, model: bytes, arrays: Mapping[str, np.ndarray]) -> None:
    """Check that reflrp, which shares no code with the oracle, agrees. Raises Refused where it does not."""
    limits = TOLERANCES[draft.basis]
    expected = {k.removeprefix("expected/"): v for k, v in arrays.items() if k.startswith("expected/")}
    inner = {k.removeprefix("relevance/"): v for k, v in arrays.items() if k.startswith("relevance/")}
    adapter = Adapter()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        for dtype in ("exact", "float64", "float32") if draft.exact else ("float64", "float32"):
            loaded = adapter.load(path, dtype)
            found = adapter.explain(loaded, draft.net.inputs, draft.seed, draft.net.rules)
            error = distance(found, expected)
            if not error <= limits[dtype] / QUIET:
                raise Refused(f"{draft.id}: the oracle and reflrp in {dtype} are {error:.2g} apart")
            apart = {k: distance({k: found[k]}, {k: v}) for k, v in inner.items() if k in found}
            if any(not e <= limits[dtype] / QUIET for e in apart.values()):
                raise Refused(f"{draft.id}: the oracle and reflrp in {dtype} are apart at inner values: {apart}")


def _record(
    draft: Draft,
    proto: onnx.ModelProto,
    clauses: tuple[str, ...],
    variants: Mapping[str, Any],
    model: bytes,
    data: bytes,
) -> dict[str, Any]:
    ops = sorted({n.op_type for n in proto.graph.node})
    return {
        "id": draft.id,
        "since": draft.since,
        "level": draft.level,
        "clauses": list(clauses),
        "flags": sorted({*draft.flags, *_flags(draft)}),
        "comment": draft.comment,
        "expect": draft.expect,
        "property": draft.property,
        "exact": draft.exact,
        "requires": {"ops": ops, "rules": sorted({s.rule for s in draft.net.rules})},
        "model": {"file": "model.onnx", "sha256": hashlib.sha256(model).hexdigest()},
        "rules": [{"node": s.node, "rule": s.rule, "params": dict(s.params)} for s in draft.net.rules],
        "arrays": {"file": "data.npz", "sha256": hashlib.sha256(data).hexdigest()},
        "tolerance": {**_tolerance(draft), "unit": "max_abs_expected", "basis": draft.basis},
        "variants": dict(variants),
        "source": {"generator": draft.id.split("/")[0], "oracle": "literal sums over indices, in fractions"},
    }


def _tolerance(draft: Draft) -> dict[str, float]:
    """Return the largest errors that pass; what a property adds up is rounded, also where each entry is exact."""
    found = TOLERANCES[draft.basis]
    return {**found, "exact": found["float64"]} if draft.property else dict(found)


def _flags(draft: Draft) -> list[str]:
    """Return what the inputs and constants show by themselves."""
    values = np.concatenate([v.ravel() for v in draft.net.inputs.values()]) if draft.net.inputs else np.zeros(1)
    found = {"NegativeInput": (values < 0).any(), "ZeroInput": (values == 0).any()}
    found["NegativeZero"] = (np.signbit(values) & (values == 0)).any()
    found["Batch"] = any(len(v) > 1 for v in draft.net.inputs.values())
    return [name for name, there in found.items() if there]


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return an .npz whose bytes depend on the arrays alone: float64, C order, no compression, no dates."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for key, values in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0)), _npy(values))
    return made.getvalue()


def _npy(values: np.ndarray) -> bytes:
    array = np.ascontiguousarray(values, dtype="<f8")
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {array.shape!r}, }}"
    header = text + " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + array.tobytes()


def index_of(cases: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """Return index.json: the version, and the sums of each case's files."""
    sums = {case: {k: hashlib.sha256(v).hexdigest() for k, v in files.items()} for case, files in sorted(cases.items())}
    return (json.dumps({"suite_version": SUITE, "cases": sums}, indent=1) + "\n").encode()


def write(drafts: Iterable[Draft], folder: Path) -> int:
    """Write all cases and the index into a folder, in place of what is there. Returns how many there are."""
    cases: dict[str, dict[str, bytes]] = {}
    for draft in drafts:
        if draft.id in cases:
            raise Refused(f"{draft.id} is there twice")
        cases[draft.id] = files_of(draft)
    for old in folder.glob("*/"):
        shutil.rmtree(old)
    for case, files in cases.items():
        (folder / case).mkdir(parents=True)
        for name, data in files.items():
            (folder / case / name).write_bytes(data)
    (folder / "index.json").write_bytes(index_of(cases))
    return len(cases)
