"""The command: makes cases, tries all checks on each, and prints what was compared and what was found.

`make differential SECONDS=300 SEED=0` tries as many as that time takes; `--count` so many. The same seed and number make the
same case: `--again 0:1234` tries one alone, and makes it small where it fails.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx

from differential.case import Case
from differential.checks import CHECKS
from differential.generate import case as made
from differential.judge import Verdict, number, smallest, tried
from differential.shrink import text

CHUNK = 10
"""Cases that a worker gets at once."""

SHOWN = 12
"""Refusals, and reasons of checks that compared nothing, that the report lists."""


@dataclass
class Tally:
    """What was seen."""

    cases: int = 0
    operators: Counter[str] = field(default_factory=Counter)
    graphs: Counter[str] = field(default_factory=Counter)
    ends: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in CHECKS})
    faults: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        """Count a case; say each fault once."""
        self.cases += 1
        self.operators.update(verdict.operators)
        self.graphs.update(set(verdict.operators))
        for check, end in verdict.ends.items():
            self.ends[check][end] += 1
        for check, operator, detail in verdict.faults:
            seen = self.faults.setdefault((check, operator), [])
            seen.append((verdict.title, detail))
            if len(seen) == 1:
                print(f"{verdict.title} {check} at {operator}\n    {detail[-600:]}", flush=True)

    def report(self) -> str:
        """Return the counts by check and operator."""
        lines = []
        for check, ends in self.ends.items():
            same, bad = ends["same"], ends["FAULT"]
            kept = sum(n for end, n in ends.items() if end.startswith(("refused", "no oracle")))
            rest = ends.total() - same - kept - bad
            lines.append(f"{check:9} {same:7,} compared, {rest:6,} not, {kept:4,} refused, {bad:3,} FAULTS")
        refused, rest = Counter[str](), Counter[str]()
        for check, ends in self.ends.items():
            why = {end: n for end, n in ends.items() if end.startswith(("refused", "no oracle"))}
            refused.update(why)
            rest.update({f"{check}: {end}": n for end, n in ends.items() if end not in (*why, "same", "FAULT")})
        lines += [f"    {n:5,} {end}" for some in (refused, rest) for end, n in some.most_common(SHOWN)]
        edges = sum(n for end, n in rest.items() if end.startswith(("compiled: on an edge", "lengths: on an edge")))
        lines.append(f"    {edges:5,} compiled graphs on an edge")
        rare = ", ".join(f"{op} {n:,}" for op, n in sorted(self.graphs.items(), key=lambda p: -p[1]))
        lines.append(f"{len(self.graphs)} operators, in so many graphs: {rare}")
        lines += [f"{len(found):5,} x {found[0][0]} {check} at {op}" for (check, op), found in self.faults.items()]
        return "\n".join(lines)


def chunk(seed: int, numbers: range) -> list[Verdict]:
    """Try some cases, in a worker."""
    return [number(seed, n) for n in numbers]


def verdicts(given: argparse.Namespace) -> Iterator[Verdict]:
    """Yield the verdicts of cases, as workers reach them."""
    end, start = time.monotonic() + given.seconds, given.first
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        open_: set = set()
        while open_ or (start < given.first + given.count and time.monotonic() < end):
            while len(open_) < 2 * given.workers and start < given.first + given.count and time.monotonic() < end:
                numbers = range(start, min(start + CHUNK, given.first + given.count))
                open_.add(pool.submit(chunk, given.seed, numbers))
                start = numbers.stop
            done, open_ = wait(open_, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()


def again(name: str, keep: Path | None) -> int:
    """Try one case again; where it fails, make it small and say all of it."""
    seed, _, n = name.partition(":")
    case = made(int(seed), int(n))
    verdict = tried(case)
    print(text(case), *(f"{k:9} {end}" for k, end in verdict.ends.items()), sep="\n")
    for check, operator, detail in verdict.faults:
        small = smallest(case, check)
        print(f"\n{check} at {operator}: {detail}\n\nmade small:\n{text(small)}")
        for c, o, d in tried(small).faults:
            print(f"{c} at {o}: {d}")
        save(small, keep, f"{check}-{seed}-{n}")
    return 1 if verdict.faults else 0


def save(case: Case, keep: Path | None, stem: str) -> None:
    """Write a case's model and inputs into a folder."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        onnx.save(case.model(), str(keep / f"{stem}.onnx"))
        np.savez(keep / f"{stem}.npz", **case.feeds)


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for cases made small, with --again")
    parser.add_argument("--again", nargs="+", default=[], help="cases to try again: SEED:NUMBER")
    return parser.parse_args()


def main() -> int:
    """Try many cases, and print what was compared and what was found."""
    given, start, tally = arguments(), time.monotonic(), Tally()
    if given.again:
        return max(again(name, given.keep) for name in given.again)
    if given.seconds == float("inf") and given.count == 10**9:
        given.seconds = 300.0
    for verdict in verdicts(given):
        tally.add(verdict)
    print(tally.report())
    bad = sum(map(len, tally.faults.values()))
    took = time.monotonic() - start
    print(f"{tally.cases:,} graphs, {tally.operators.total():,} nodes in {took:.0f} s, seed {given.seed}; "
          f"{bad:,} faults, {len(tally.faults)} distinct")  # fmt: skip
    return 1 if tally.faults else 0
