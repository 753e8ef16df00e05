"""The judge: a process that tries one case after the other, under limits; where one ends it, the next gets a new one."""

from __future__ import annotations

import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fuzz.networks import FINE, REFUSED

BOUND = 30.0
"""Seconds of the processor's time that one case may take before it is ended: what a clock says depends on who else works."""

PATIENCE = 4
"""How many times as long it may take by the clock: what waits without work waits for ever."""

WARM = 90.0
"""Seconds that a process may take to begin."""

ALLOWED = 64 * 2**20
"""What `reflrp.limits.MEMORY` is for hostile cases here."""
START = "from fuzz.child import serve"
"""How the process begins."""


@dataclass(frozen=True)
class Verdict:
    """How a case ended.

    Attributes
    ----------
    outcome : str
        In FINE or REFUSED, or what should not have happened, in capitals.
    detail : str
        The message, or the traceback.
    where : str
        The frames in which it happened: two cases with the same are the same fault.
    seconds, memory : float, int
        The processor's time, and the bytes by which the process grew at most.

    """

    outcome: str
    detail: str = ""
    where: str = ""
    seconds: float = 0.0
    memory: int = 0

    @property
    def fine(self) -> bool:
        """Whether nothing happened that must not."""
        return self.outcome in FINE or self.outcome in REFUSED


class Judge:
    """Runs cases in a child of its own. `judge(kind, data)` tries one; `judge.many(kind, seed, numbers)` those of these numbers."""

    def __init__(self, folder: Path, memory: int = ALLOWED, bound: float = BOUND) -> None:
        self.folder, self.memory, self.bound = folder, memory, bound
        self.process: subprocess.Popen[bytes] | None = None
        self.warm: set[str] = set()

    def __enter__(self) -> Judge:
        prepare_folder(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def __call__(self, kind: str, data: bytes) -> Verdict:
        """Let the child try a case."""
        self._ask(kind, data)
        return self._verdict(kind) or self._late()

    def many(self, kind: str, seed: int, numbers: range) -> Iterator[tuple[int, Verdict]]:
        """Let the child make and try the cases of these numbers, and yield each number with its verdict."""
        left, done = numbers, False
        try:
            while left:
                self._ask(kind, (seed, left))
                for number in left:
                    verdict = self._verdict(kind)
                    yield number, verdict or self._late()
                    if verdict is None:
                        break
                left = range(number + 1, numbers.stop)
            done = True
        finally:
            if not done:  # nobody wants the other answers
                self._stop()

    def _ask(self, *what: Any) -> None:
        process = self.process or self._start()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # the missing answer says it
            send(process.stdin, what)

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "TERM": "dumb",
            "COLUMNS": "120",
            "PYTHONSAFEPATH": "1",
        }
        environment |= {"MPLCONFIGDIR": str(self.folder / "scratch"), "HOME": str(self.folder / "scratch")}
        paths = [str(Path(__file__).parents[1]), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        code = f"{START}; serve({str(self.folder)!r}, {self.memory})"
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", code]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, bufsize=0)
        if self._reply(WARM) is None:
            raise RuntimeError("the judged process does not begin")
        return self.process

    def _verdict(self, kind: str) -> Verdict | None:
        """Return what the child says of a case, None where it says nothing in time; for the first of a kind it imports."""
        reply = self._reply(self.bound + WARM * (kind not in self.warm))
        self.warm.add(kind)
        return None if reply is None else Verdict(*reply)

    def _reply(self, seconds: float) -> Any:
        """Return the answer, None where the child has worked for so many seconds, or waits for PATIENCE times as many."""
        assert self.process is not None
        assert self.process.stdout is not None
        start, worked = time.monotonic(), worked_for(self.process.pid)
        while not select.select([self.process.stdout], [], [], 0.5)[0]:
            late = time.monotonic() - start > PATIENCE * seconds
            if late or worked_for(self.process.pid) - worked > seconds:
                return None
        return receive(self.process.stdout)  # unbuffered: else an answer could wait unseen

    def _late(self) -> Verdict:
        """Say where the child hangs or what it died of, and end it."""
        assert self.process is not None
        hangs = self.process.poll() is None
        if hangs:
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(0.3)
        self._stop()
        text = (self.folder / "trace").read_text("utf-8", "replace")
        code = self.process_code
        if not hangs or code not in (None, -signal.SIGKILL):
            return Verdict("DIES", f"exit code {code}\n{text}", f"exit code {code} {frames(text)}")
        return Verdict("HANGS", text, frames(text), self.bound)

    def _stop(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process_code = self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self.process = None
        self.warm.clear()


def frames(text: str) -> str:
    """Return the innermost frames of reflrp in what faulthandler writes, and the innermost at all."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("File ")]
    own = [line for line in lines if "reflrp" in line][:2]
    return " < ".join(_short(line) for line in dict.fromkeys([*lines[:1], *own]))


def _short(line: str) -> str:
    return f"{line.split(chr(34))[1].rpartition('site-packages/')[2]}:{line.rpartition(' in ')[2]}"


def worked_for(pid: int) -> float:
    """Return the seconds that a process has had of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def send(pipe: IO[bytes], what: Any) -> None:
    """Write a value, its length before it."""
    data = pickle.dumps(what)
    left = memoryview(struct.pack("<q", len(data)) + data)
    while left:
        left = left[pipe.write(left) :]
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read a value, None at the end."""
    head = _exactly(pipe, 8)
    data = _exactly(pipe, struct.unpack("<q", head)[0]) if head else b""
    return pickle.loads(data) if data else None


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    """Read so many bytes, none where the pipe ends before."""
    parts = []
    while count:
        part = pipe.read(count)
        if not part:
            return b""
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def prepare_folder(folder: Path) -> None:
    """Lay out what hostile paths may point to: data inside the model's folder, a secret outside, a link, a pipe.

    `scratch` is where a case may write.
    """
    inside = folder / "case"
    for place in (inside / "sub", folder / "empty", folder / "scratch"):
        place.mkdir(parents=True, exist_ok=True)
    (folder / "trace").touch()
    (folder / "secret").write_bytes(bytes(4096))
    for path in (folder / "empty" / "weights.bin", inside / "weights.bin", inside / "sub" / "weights.bin"):
        path.write_bytes(bytes(4096))
    with (inside / "large.bin").open("wb") as file:
        file.truncate(24 * 2**20)
    if not (inside / "link").is_symlink():
        (inside / "link").symlink_to(folder / "secret")
        os.mkfifo(inside / "fifo")
