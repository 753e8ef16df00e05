"""The command: tries many cases of each kind, and prints how they end.

`make fuzz COUNT=50000 SEED=0 KINDS=bytes,saved` tries so many; `--seconds 120` as many as that time takes. The same seed makes
the same cases, each by its number, so that any of them can be made again: `--again saved:1234`.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.judge import BOUND, Judge, Verdict
from fuzz.kinds import KINDS

BATCH = 50
"""Cases that a child gets at once."""


@dataclass
class Fault:
    """A distinct fault: what happened where, how often, and the first case that shows it."""

    kind: str
    number: int
    verdict: Verdict
    count: int = 0


@dataclass
class Results:
    """What was seen of one kind."""

    kind: str
    ends: Counter[str] = field(default_factory=Counter)
    busy: float = 0.0
    worked: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)
    largest: tuple[int, int] = (0, -1)

    def add(self, number: int, verdict: Verdict) -> None:
        """Count a case."""
        self.ends[verdict.outcome] += 1
        self.worked += verdict.seconds
        self.slowest = max(self.slowest, (verdict.seconds, number))
        self.largest = max(self.largest, (verdict.memory, number))


class Run:
    """Workers that try cases, and what they found."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.results: dict[str, Results] = {}
        self.faults: dict[tuple[str, str, str], Fault] = {}
        self.lock = threading.Lock()

    def kind(self, kind: str, count: int | None, seconds: float | None) -> None:
        """Try cases of a kind: so many, or as many as the time takes."""
        self.results[kind] = Results(kind)
        batches = self._batches(count, seconds)
        with ThreadPoolExecutor(self.given.workers) as pool:
            for done in [pool.submit(self._work, kind, batches) for _ in range(self.given.workers)]:
                done.result()

    def _batches(self, count: int | None, seconds: float | None) -> Iterator[range]:
        end, start = time.monotonic() + (seconds or 0), 0
        size = BATCH if seconds is None else 10
        while (count is None or start < count) and (seconds is None or time.monotonic() < end):
            yield range(start, min(start + size, count or start + size))
            start += size

    def _work(self, kind: str, batches: Iterator[range]) -> None:
        with tempfile.TemporaryDirectory() as folder, Judge(Path(folder), bound=self.given.bound) as judge:
            judge.many(kind, self.given.seed, range(0))
            while True:
                with self.lock:
                    numbers = next(batches, None)
                if numbers is None:
                    return
                start = time.monotonic()
                for number, verdict in judge.many(kind, self.given.seed, numbers):
                    self._note(kind, number, verdict)
                with self.lock:
                    self.results[kind].busy += time.monotonic() - start

    def _note(self, kind: str, number: int, verdict: Verdict) -> None:
        with self.lock:
            self.results[kind].add(number, verdict)
            if verdict.fine:
                return
            key = (kind, verdict.outcome, verdict.where)
            fault = self.faults.setdefault(key, Fault(kind, number, verdict))
            fault.count += 1
            if fault.count == 1:
                self._say(fault)

    def _say(self, fault: Fault) -> None:
        verdict, name = fault.verdict, f"{fault.kind}:{fault.number}"
        last = [line for line in verdict.detail.strip().splitlines() if line][-1:] or [""]
        print(f"{name} {verdict.outcome} {verdict.where}\n    {last[0][:300]}", flush=True)
        folder = self.given.keep
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            stem = f"{fault.kind}-{self.given.seed}-{fault.number}"
            (folder / f"{stem}{KINDS[fault.kind].suffix}").write_bytes(
                KINDS[fault.kind].make(self.given.seed, fault.number)
            )
            (folder / f"{stem}.txt").write_text(f"{verdict.outcome}\n{verdict.where}\n{verdict.detail}\n")


def report(run: Run, seconds: float) -> str:
    """Return the table: how each kind's cases ended, how fast they were, the slowest, the greatest; and the distinct faults."""
    lines = []
    for kind, found in run.results.items():
        total = found.ends.total()
        rate = total / found.busy if found.busy else 0
        lines.append(
            f"{kind:10} {total:8,} cases, {rate:.1f} a second and worker, {1e3 * found.worked / max(total, 1):.1f} ms each; "
            f"slowest {found.slowest[0]:.2f} s ({kind}:{found.slowest[1]}), "
            f"greatest {found.largest[0] / 2**20:.0f} MiB ({kind}:{found.largest[1]})"
        )
        lines += [f"    {outcome:28} {n:9,}" for outcome, n in sorted(found.ends.items())]
    for fault in sorted(run.faults.values(), key=lambda f: -f.count):
        lines.append(f"{fault.count:7,} x {fault.kind}:{fault.number} {fault.verdict.outcome} {fault.verdict.where}")
    total = sum(r.ends.total() for r in run.results.values())
    bad = sum(f.count for f in run.faults.values())
    lines.append(
        f"{total:,} cases in {seconds:.0f} s, seed {run.given.seed}; {bad:,} did what they must not, by {len(run.faults)} faults"
    )
    return "\n".join(lines)


def again(name: str, given: argparse.Namespace) -> int:
    """Try one case again, a number or a kept file, and say all of it."""
    kind, _, number = name.partition(":")
    if number:
        data = KINDS[kind].make(given.seed, int(number))
    else:
        kind, data = Path(name).name.partition("-")[0], Path(name).read_bytes()
    with tempfile.TemporaryDirectory() as folder, Judge(Path(folder), bound=given.bound) as judge:
        verdict = judge(kind, data)
    print(
        f"{verdict.outcome} in {verdict.seconds:.2f} s and {verdict.memory / 2**20:.0f} MiB {verdict.where}\n{verdict.detail}"
    )
    return 0 if verdict.fine else 1


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="cases of all kinds together")
    parser.add_argument("--seconds", type=float, help="time for all kinds together, in place of a count")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="all", help=f"of {','.join(KINDS)}")
    parser.add_argument("--keep", type=Path, help="a folder for the first case of each fault")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bound", type=float, default=BOUND, help="seconds after which a case hangs")
    parser.add_argument("--again", nargs="+", default=[], help="cases to try again: KIND:NUMBER, or a kept file")
    return parser.parse_args()


def main() -> int:
    """Try many hostile cases, and print how they end."""
    given, start = arguments(), time.monotonic()
    if given.again:
        return max(again(name, given) for name in given.again)
    kinds = list(KINDS) if given.kinds in ("all", "") else given.kinds.split(",")
    shares = {k: KINDS[k].share / sum(KINDS[k].share for k in kinds) for k in kinds}
    run = Run(given)
    for kind in kinds:
        if given.seconds is not None:
            run.kind(kind, None, given.seconds / len(kinds))
        else:
            run.kind(kind, round(given.count * shares[kind]), None)
    print(report(run, time.monotonic() - start))
    return 1 if run.faults else 0
