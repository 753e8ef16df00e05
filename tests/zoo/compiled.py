"""Compile every export by every preset, run each in onnxruntime, and compare with the engine; write the table.

    PYTHONPATH=tests python -m zoo.compiled FOLDER [PATTERN ...] [--table docs/compiled.md] [--presets auto,lrp_0]
        [--largest 15] [--seconds 3600]

A compiled answer is right if it is at most 20 times as far from the NumPy float64 reference as NumPy's float32 is, or 2e-3 of
the largest relevance. What was found stays in FOLDER/compiled.jsonl and is not done again, unless the export has changed or
`--again` is given. The exit code is 1 if any answer is wrong, or an error was raised that is no refusal.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from compiled import Off, part, run

import reflrp
from zoo.check import Entry, entries, limited, run_onnxruntime

TURNS, ROUNDING = 20, 2.0**-24
"""How often a reference is asked whether it jumps, and by how much the input moves, relatively."""

LIMIT = 180
"""Seconds that one export may take by one preset."""


def checked(entry: Entry, preset: str) -> dict[str, Any]:
    """Return what became of one export by one preset."""
    found: dict[str, Any] = {"key": entry.key, "preset": preset, "stamp": _stamp(entry)}
    start = time.perf_counter()
    try:
        with limited(LIMIT), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found |= _compared(entry, preset)
    except Exception as error:
        planned = isinstance(error, reflrp.ReflrpError)
        found |= {"how": "refused" if planned else "error", "why": f"{type(error).__name__}: {error}"[:400]}
    return found | {"seconds": round(time.perf_counter() - start, 2)}


def _compared(entry: Entry, preset: str) -> dict[str, Any]:
    path, feeds = entry.path("onnx"), entry.arrays("input")
    model = reflrp.load(path)
    output = entry.output or next(o for o in model.outputs if o in model.source.active)
    rules = _rules(preset, feeds)
    try:
        exact = reflrp.Explainer(model, rules, output=output)(feeds, progress=False)
        single = reflrp.Explainer(model, rules, output=output, dtype="float32")(feeds, progress=False)
    except reflrp.ReflrpError as error:
        return {"how": "unexplained", "why": f"{type(error).__name__}: {error}"[:400]}
    proto, fixed = _proto(path, rules, output, feeds)
    try:
        answer = run(proto, {i.name: feeds[i.name] for i in proto.graph.input if i.name in feeds})
    except Exception as error:
        if run_onnxruntime(entry) is not None:
            raise
        return {"how": "unrun", "why": f"onnxruntime does not run the export itself: {error}"[:400]}
    off = [Off(part(answer[f"relevance/{k}"], R), part(single.relevances[k], R)) for k, R in exact.relevances.items()]
    worst = max(off, key=lambda o: o.ours)
    how = (
        "right"
        if all(o.fine for o in off)
        else "unsettled"
        if _jumps(model, rules, output, feeds, worst.ours)
        else "wrong"
    )
    return {"how": how, "fixed": fixed, "ours": worst.ours, "single": worst.single, "nodes": len(proto.graph.node)}


def _jumps(model: Any, rules: Any, output: str, feeds: dict[str, np.ndarray], off: float) -> bool:
    """Return whether the float64 reference itself moves by half as much where the input moves by a float32 rounding."""
    rng, explainer = np.random.default_rng(0), reflrp.Explainer(model, rules, output=output)
    exact = explainer(feeds, progress=False).relevances
    for _ in range(TURNS):
        near = {
            k: x * (1 + ROUNDING * rng.uniform(-1, 1, x.shape)) if x.dtype.kind == "f" else x for k, x in feeds.items()
        }
        moved = explainer(near, progress=False).relevances
        if max(part(moved[k], R) for k, R in exact.items()) > off / 2:
            return True
    return False


def _proto(path: Path, rules: Any, output: str, feeds: dict[str, np.ndarray]) -> tuple[Any, str]:
    """Return the compiled model: for any batch size and length, else for those of the inputs; and why for these only."""
    try:
        return reflrp.compile(path, rules, output=output), ""
    except reflrp.InputError as error:
        if "shapes={" not in str(error):
            raise
        shapes = {k: x.shape for k, x in feeds.items()}
        return reflrp.compile(path, rules, output=output, shapes=shapes), str(error)[:300]


def _rules(preset: str, feeds: dict[str, np.ndarray]) -> Any:
    """Return a preset, its box being that of the inputs where it has one."""
    floats = [x for x in feeds.values() if x.dtype.kind == "f"]
    if preset != "epsilon_gamma_box" or not floats:
        return preset
    low, high = min(float(x.min()) for x in floats), max(float(x.max()) for x in floats)
    return reflrp.composites.preset(preset, low=low, high=high)


def _stamp(entry: Entry) -> list[int]:
    """Return what changes with the export."""
    path = entry.path("onnx")
    return [path.stat().st_size, int(path.stat().st_mtime)]


def _size(entry: Entry) -> int:
    beside = entry.path("onnx.data")
    return entry.path("onnx").stat().st_size + (beside.stat().st_size if beside.exists() else 0)


def _due(chosen: Sequence[Entry], presets: Sequence[str], done: set[tuple[str, str]]) -> Iterator[tuple[Entry, str]]:
    for entry in chosen:
        for preset in presets:
            if (entry.key, preset) not in done:
                yield entry, preset


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the page: how many are right, and all that are not, with the reason."""
    presets = sorted({r["preset"] for r in rows})
    counts = {p: Counter(r["how"] for r in rows if r["preset"] == p) for p in presets}
    whole = Counter(r["how"] for r in rows)
    said = f"Of {len(rows):,} pairs of an export and a preset {whole['right']:,} are right, {whole['refused']} are refused, "
    apart = whole["unexplained"] + whole["unrun"]
    said += f"{whole['wrong'] + whole['error']} are wrong, {apart} are not counted, and of {whole['unsettled']} the input lies "
    said += "where the float64 reference itself jumps by as much when a float32 rounding moves the input.\n"
    lines = [
        PAGE,
        said,
        "| rules | exports | right | of these for one size only | refused | wrong | worst, by its bound |",
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for p in presets:
        right = [r for r in rows if r["preset"] == p and r["how"] == "right"]
        bound = max((r["ours"] / max(20 * r["single"], 2e-3) for r in right), default=0)
        fixed, c = sum(bool(r["fixed"]) for r in right), counts[p]
        tried = c.total() - c["unexplained"] - c["unrun"] - c["unsettled"]
        lines.append(
            f"| `{p}` | {tried} | {c['right']} | {fixed} | {c['refused']} | {c['wrong'] + c['error']} | {bound:.2g} |"
        )
    lines += ["", "## What is refused, and why", "", "| exports | why | for example |", "|---:|---|---|"]
    lines += _causes(rows, ("refused", "wrong", "error"))
    lines += [
        "",
        "## What is compiled for one size only, and why",
        "",
        "| exports | why | for example |",
        "|---:|---|---|",
    ]
    lines += _causes([{**r, "why": r["fixed"], "how": "fixed"} for r in rows if r.get("fixed")], ("fixed",))
    return "\n".join([*lines, ""])


def _causes(rows: Sequence[dict[str, Any]], kinds: Sequence[str]) -> list[str]:
    found: dict[str, set[str]] = {}
    for row in rows:
        if row["how"] in kinds:
            found.setdefault(_cause(row), set()).add(row["key"])
    return [
        f"| {len(keys)} | {cause} | {', '.join(sorted(keys)[:3])} |"
        for cause, keys in sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    ]


def _cause(row: dict[str, Any]) -> str:
    """Return why, without the names that only one export has."""
    words = (
        row.get("why")
        or f"{row['how']}: off by {row.get('ours', 0):.1g}, NumPy's float32 by {row.get('single', 0):.1g}"
    )
    words = words.partition("; fix ")[0].partition("; give shapes")[0].replace("|", "/").replace("\n", " ")
    parts = words.split("'")
    return "".join(p if i % 2 == 0 else "..." for i, p in enumerate(parts))[:220]


PAGE = """# The zoo, compiled

`make zoo-compiled` compiles the exports of [the zoo](coverage.md) by every preset, runs each in onnxruntime and
compares it with the NumPy float64 reference. An answer is right if it is at most 20 times as far off as NumPy's float32
is, or 2e-3 of the largest relevance; the last column says how near to that bound the worst right one is. What `explain` refuses,
and what onnxruntime does not run, is not counted. What has no proof for any size is compiled for the size of the zoo's input.
The smallest exports come first.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what is due, one line each, and write the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("patterns", nargs="*")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--kept", type=Path, help="where results are kept; FOLDER/compiled.jsonl")
    parser.add_argument("--largest", type=float, default=float("inf"), help="the largest export in MB")
    presets = ",".join(reflrp.composites.presets())
    parser.add_argument("--presets", default=presets, help="names with commas between; all")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long, to go on later")
    parser.add_argument("--again", action="store_true", help="do all again")
    given = parser.parse_args(arguments)
    kept = given.kept or given.folder / "compiled.jsonl"
    chosen = [e for e in entries(given.folder) if e.path("onnx").exists() and _size(e) <= given.largest * 2**20]
    chosen = sorted(
        (e for e in chosen if not given.patterns or any(fnmatchcase(e.key, p) for p in given.patterns)), key=_size
    )
    stamps = {e.key: _stamp(e) for e in chosen}
    lines = kept.read_text("utf-8").splitlines() if kept.exists() and not given.again else []
    rows = {(r["key"], r["preset"]): r for r in map(json.loads, lines) if stamps.get(r["key"]) == r["stamp"]}
    end = time.monotonic() + given.seconds
    with kept.open("a" if lines else "w", encoding="utf-8") as file:
        for entry, preset in _due(chosen, given.presets.split(","), set(rows)):
            if time.monotonic() > end:
                print("time is up; the rest is due the next time")
                break
            row = rows[entry.key, preset] = checked(entry, preset)
            print(json.dumps(row), file=file, flush=True)
            print(
                f"{row['how']:11} {row['seconds']:7.1f} s  {preset:22} {entry.key}  {row.get('why', '')[:160]}",
                flush=True,
            )
    if given.table:
        given.table.write_text(table(list(rows.values())), encoding="utf-8")
    return int(any(r["how"] in ("wrong", "error") for r in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
