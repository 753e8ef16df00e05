"""How much memory a hostile model takes: each runs in a child of its own, with little address space, and is measured.

`measured(cases)` starts one process that imports reflrp, and forks from it for every case.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 128 * 2**20
"""What `reflrp.limits.MEMORY` is in the children."""

ADDRESSES = 3 * 2**30
"""Bytes of address space that a child gets beyond those of its parent."""

PATIENCE = float(os.environ.get("PATIENCE", "20"))
"""Seconds after which a child is ended; how long it takes is no subject here."""


@dataclass(frozen=True)
class Case:
    """A model, as bytes or a path, what to feed it, and how to explain it."""

    name: str
    model: Any
    feeds: dict[str, Any]
    rules: str = "epsilon_plus_flat"


@dataclass(frozen=True)
class Taken:
    """How a case ended, and by how many bytes the process grew at most."""

    name: str
    ended: str
    grown: int

    @property
    def fine(self) -> bool:
        """Whether it was explained or refused on purpose, within three times the limit and a little more."""
        return not self.ended.startswith("!") and self.grown <= 3 * LIMIT + 64 * 2**20


def measured(cases: list[Case]) -> list[Taken]:
    """Return what each case takes."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-W", "ignore", str(Path(__file__).resolve())]
    done = subprocess.run(command, input=pickle.dumps(cases), capture_output=True, check=False, env=environment)
    if done.returncode:
        raise AssertionError(done.stderr.decode()[-2000:])
    found: list[Taken] = pickle.loads(done.stdout)
    return found


def _forked(case: Case) -> Taken:
    """Run a case in a fork."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        os.write(write, pickle.dumps(_tried(case)))
        os._exit(0)
    os.close(write)
    until, done, high = time.monotonic() + PATIENCE, 0, 0
    while not done:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        done, _, usage = os.wait4(child, os.WNOHANG)
        high = usage.ru_maxrss * 1024
        time.sleep(0.005)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    if data:
        found: Taken = pickle.loads(data)
        return found
    return Taken(case.name, "slow" if time.monotonic() > until else "! it died", max(0, high - _now()))


def _status(key: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{key}:")[1].split()[0]) * 1024


def _now() -> int:
    return _status("VmRSS")


def _tried(case: Case) -> Taken:
    before, size = _now(), _status("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, size + ADDRESSES))
    ended = _explained(case)
    return Taken(case.name, ended, _status("VmHWM") - before)


def _explained(case: Case) -> str:
    """Load, run, summarise and explain a model; return how that ended, with "!" where it should not have."""
    import reflrp

    steps: tuple[Callable[[], Any], ...] = (
        lambda: loaded.append(reflrp.load(case.model)),
        lambda: loaded[0].run(case.feeds),
        lambda: loaded[0].summary(case.rules, {k: a.shape for k, a in case.feeds.items()}),
        lambda: reflrp.explain(loaded[0], case.feeds, case.rules),
    )
    loaded: list[Any] = []
    ended = "explained"
    for step in steps:
        try:
            step()
        except reflrp.ReflrpError as error:
            ended = f"{type(error).__name__}: {error}"
            if not loaded:
                break
        except BaseException as error:
            return f"! {type(error).__name__}: {error}"
    return ended


def main() -> None:
    """Take cases from the one end, and write what they took to the other."""
    import reflrp
    from reflrp import limits

    cases = pickle.loads(sys.stdin.buffer.read())
    warm()
    limits.MEMORY = LIMIT
    assert reflrp
    sys.stdout.buffer.write(pickle.dumps([_forked(case) for case in cases]))


def warm() -> None:
    """Import and run what every case needs, so that only what a case makes itself is measured."""
    import numpy as np
    from models import model

    import reflrp

    proto = model("a = MatMul(x, w) c = Add(k, k) b = Add(a, c) y = Relu(b)", w=(4, 3), k=(3,))
    loaded = reflrp.load(proto)
    loaded.summary("epsilon_plus")
    reflrp.explain(loaded, np.ones((2, 4)))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import memory  # so that what is pickled is of this module for both ends

    memory.main()
