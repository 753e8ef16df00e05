"""A store that a process was killed over, again and again, is that of one that nobody disturbed, byte for byte."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import zarr
from models import draw, model

SAMPLES, SIZE, KILLS = 150, 3, 8

CHILD = """
import signal
import sys
import numpy as np
import zarr
import reflrp

path, data, out, kind, death, after = sys.argv[1:]
explainer, x, calls = reflrp.Explainer(path, "epsilon_plus"), np.load(data, mmap_mode="r"), 0
explain = type(explainer).__call__

def counted(self, *given, **more):
    global calls
    calls += 1
    return explain(self, *given, **more)

def moved(event, _):
    global written
    if event == "os.rename":
        written += 1
        if written == int(death):
            signal.setitimer(signal.ITIMER_REAL, float(after))

type(explainer).__call__ = counted
given = x if kind == "array" else (x[i : i + 7] for i in range(0, len(x), 7))
written = 0
sys.addaudithook(moved)
explainer.map(given, out, batch_size=3, layers="r")
print(calls, written, flush=True)
"""


def mapped(folder: Path, out: Path, kind: str, death: int = 0, after: float = 0.0) -> tuple[int, int] | None:
    """How often a process explained, and how many files it wrote: none if it died.

    It dies `after` seconds from the `death`-th file on, by a signal that nothing handles: neither depends on how fast
    the machine is.
    """
    given = [str(folder / "m.onnx"), str(folder / "x.npy"), str(out), kind, str(death), f"{after:.6f}"]
    command = [sys.executable, "-c", CHILD, *given]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=False)
    if child.returncode == -signal.SIGALRM:
        return None
    assert child.returncode == 0
    calls, written = child.stdout.split()
    return int(calls), int(written)


def files(store: Path) -> dict[str, bytes]:
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def missing(store: Path) -> int:
    """How many chunks have no record."""
    whole = -(-SAMPLES // SIZE)
    if not (store / "sha256" / "zarr.json").is_file():
        return whole
    return whole - int(zarr.open_array(store / "sha256", mode="r")[:].any(axis=(1, 2)).sum())


@pytest.mark.parametrize("kind", ["array", "stream"])
def test_killed_at_any_moment(tmp_path: Path, kind: str) -> None:
    onnx.save(model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", w=(4, 6), v=(6, 3)), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", draw(SAMPLES, 4))
    whole, killed, chance = tmp_path / "whole.zarr", tmp_path / "killed.zarr", random.Random(7)
    done = mapped(tmp_path, whole, kind)
    assert done is not None
    calls, written = done
    assert calls == SAMPLES // SIZE
    left = [missing(killed)]
    for _ in range(KILLS):
        death = chance.randrange(1, written // 4)
        if mapped(tmp_path, killed, kind, death, chance.uniform(1e-6, 3e-3)) is not None:
            break
        left.append(missing(killed))
    assert left == sorted(left, reverse=True)
    assert len(set(left)) > 2, left
    done = mapped(tmp_path, killed, kind)
    assert done is not None
    assert done[0] == left[-1]
    assert files(killed) == files(whole)
