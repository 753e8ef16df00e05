"""A store that a process was killed over, again and again, is that of one that nobody disturbed, byte for byte."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import zarr
from models import draw, model

SAMPLES, SIZE, KILLS = 150, 3, 8

CHILD = """
import sys
import numpy as np
import zarr
import reflrp

path, data, out, kind = sys.argv[1:]
explainer, x, calls = reflrp.Explainer(path, "epsilon_plus"), np.load(data, mmap_mode="r"), 0
explain = type(explainer).__call__

def counted(self, *given, **more):
    global calls
    calls += 1
    return explain(self, *given, **more)

type(explainer).__call__ = counted
given = x if kind == "array" else (x[i : i + 7] for i in range(0, len(x), 7))
print("begun", flush=True)
explainer.map(given, out, batch_size=3, layers="r")
print(calls, flush=True)
"""


def begun(folder: Path, out: Path, kind: str) -> subprocess.Popen[str]:
    """A process that maps, and has loaded all that it needs."""
    command = [sys.executable, "-c", CHILD, str(folder / "m.onnx"), str(folder / "x.npy"), str(out), kind]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    return child


def ended(child: subprocess.Popen[str]) -> int:
    """How often it explained, once it has come to its end."""
    said, _ = child.communicate(timeout=120)
    assert child.returncode == 0
    return int(said)


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
    child, start = begun(tmp_path, whole, kind), time.monotonic()
    assert ended(child) == SAMPLES // SIZE
    lasts = time.monotonic() - start
    left = [missing(killed)]
    for _ in range(KILLS):
        child = begun(tmp_path, killed, kind)
        time.sleep(chance.uniform(0, lasts / 3))
        child.kill()
        child.communicate(timeout=120)
        if child.returncode != -signal.SIGKILL:
            break
        left.append(missing(killed))
    assert left == sorted(left, reverse=True)
    assert len(set(left)) > 2, left
    assert ended(begun(tmp_path, killed, kind)) == left[-1]
    assert files(killed) == files(whole)
