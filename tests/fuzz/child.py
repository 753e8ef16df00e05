"""The judged process: what it may do, what of it is heard, and how a case's time and memory are measured."""

from __future__ import annotations

import faulthandler
import os
import re
import resource
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz import networks
from fuzz.judge import receive, send
from fuzz.kinds import KINDS
from fuzz.networks import FINE, REFUSED

ADDRESSES = 4 * 2**30
"""Bytes of address space that the process gets: more than it needs, much less than a bomb asks for."""

GREEDY = 6
"""Times of `limits.MEMORY` by which the process may grow: a limit on what is kept leaves room for temporaries."""

SLOW = 10.0
"""Seconds of the processor's time that one case may take."""

TIME = 2.0
"""What `reflrp.limits.TIME` is here."""

NODES = 20_000
"""What `reflrp.limits.NODES` is here."""

FORBIDDEN = (
    *(
        "subprocess.",
        "socket.",
        "ftplib.",
        "urllib.",
        "webbrowser.",
        "os.system",
        "os.exec",
        "os.fork",
        "os.posix_spawn",
    ),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod", "shutil."),
)
"""Events of which no case may cause one; those of files only in its scratch folder."""

LIBRARY = ("/proc/self/", "/usr/share/zoneinfo", "/usr/lib/")
"""What Python's libraries may read beside themselves."""


def _wakes(event: str, args: tuple[Any, ...]) -> bool:
    """Return whether a local socket is made, which reaches nothing unless bound: zarr's loop wakes itself by a pair."""
    return event == "socket.__new__" and args[1] == socket.AF_UNIX


class Ear:
    """Hears what Python does with files, processes and the network.

    Python's own library and ONNX's may be read, and the case's folder; what is in `scratch` may be written too.
    """

    def __init__(self, folder: Path, scratch: Path | None = None) -> None:
        self.folder = f"{folder.resolve()}{os.sep}"
        self.own = f"{self.folder}model.onnx"
        self.scratch = f"{scratch.resolve()}{os.sep}" if scratch else "\0"
        paths = {str(Path(p).resolve()) for p in sys.path if p}
        own = f"/proc/{os.getpid()}/"  # /proc/self, where it points to
        self.library = tuple({*paths, sys.prefix, sys.base_prefix, own, *LIBRARY})
        self.heard: set[str] = set()

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Note an event that a case must not cause."""
        if event == "open":
            if isinstance(args[0], str | bytes):
                self._opened(os.path.realpath(os.fsdecode(args[0])), args[1], args[2])
        elif event.startswith(FORBIDDEN) and not _wakes(event, args) and not self._within(event, args):
            self.heard.add(f"{event} {args}"[:200])

    def _opened(self, path: str, mode: Any, flags: Any) -> None:
        writes = (
            any(c in mode for c in "wax+") if isinstance(mode, str) else bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
        )
        if f"{path}{os.sep}".startswith(self.scratch) or path in (self.own, os.devnull):
            return
        if writes or not path.startswith((self.folder, *self.library)):
            self.heard.add(f"open {path} {mode or flags}")

    def _within(self, event: str, args: tuple[Any, ...]) -> bool:
        paths = [os.fsdecode(a) for a in args if isinstance(a, str | bytes | os.PathLike)]
        paths += [f"/proc/self/fd/{args[0]}"] if args and isinstance(args[0], int) else []
        return (
            event.startswith("os.") and bool(paths) and all(os.path.realpath(p).startswith(self.scratch) for p in paths)
        )


class Gauge:
    """Measures by how much the process grows at most: the peak of its resident memory, set back before each case."""

    def __init__(self) -> None:
        self.reset = os.open("/proc/self/clear_refs", os.O_WRONLY)
        self.status = os.open("/proc/self/status", os.O_RDONLY)
        self.before = 0

    def start(self) -> None:
        """Begin to measure."""
        os.pwrite(self.reset, b"5", 0)
        self.before = self._read(b"VmRSS:")

    def grown(self) -> int:
        """Return the bytes."""
        return max(0, self._read(b"VmHWM:") - self.before)

    def _read(self, key: bytes) -> int:
        text = os.pread(self.status, 8192, 0)
        return int(text[text.index(key) + len(key) :].split(None, 1)[0]) * 1024


class Watch:
    """Says where a case is once it has taken SLOW seconds of the processor's time."""

    def __init__(self) -> None:
        self.where = ""
        self.began = 0.0
        signal.signal(signal.SIGPROF, self._note)

    def _note(self, _: int, frame: FrameType | None) -> None:
        self.where = place(traceback.extract_stack(frame))

    def start(self) -> None:
        """Begin to measure."""
        self.where, self.began = "", time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SLOW)

    def stop(self) -> float:
        """Return the seconds."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        return time.process_time() - self.began


def serve(folder: str, memory: int) -> None:
    """Try the cases that are asked for on stdin, and answer on stdout."""
    import reflrp

    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    trace = Path(folder, "trace").open("w")  # noqa: SIM115
    faulthandler.enable(trace)
    faulthandler.register(signal.SIGUSR1, trace)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    warnings.simplefilter("ignore")
    reflrp.limits.MEMORY, reflrp.limits.NODES, reflrp.limits.TIME = memory, NODES, TIME
    os.chdir(Path(folder, "empty"))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bench = Bench(Path(folder), memory)
    send(sink, "ready")
    while (asked := receive(source)) is not None:
        for kind, data in _cases(*asked):
            send(sink, bench(kind, data))


def _cases(kind: str, what: Any) -> Iterator[tuple[str, bytes]]:
    if isinstance(what, bytes):
        yield kind, what
    else:
        seed, numbers = what
        yield from ((kind, KINDS[kind].make(seed, number)) for number in numbers)


class Bench:
    """Tries a case under the limits, and says how it ended."""

    def __init__(self, folder: Path, memory: int) -> None:
        self.folder, self.most = folder, GREEDY * memory
        self.ear, self.gauge, self.watch = Ear(folder / "case", folder / "scratch"), Gauge(), Watch()
        self.warm: set[str] = set()
        networks.warm()
        sys.addaudithook(self._hear)
        self.listening = False

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.listening:
            self.ear(event, args)

    def __call__(self, kind: str, data: bytes) -> tuple[str, str, str, float, int]:
        """Return the verdict's fields."""
        if kind not in self.warm:
            KINDS[kind].warm()
            self.warm.add(kind)
            bound(ADDRESSES)
        self.ear.heard.clear()
        self.gauge.start()
        self.watch.start()
        outcome, detail, where = self._tried(kind, data)
        seconds, grown = self.watch.stop(), self.gauge.grown()
        if outcome not in FINE and outcome not in REFUSED:
            return outcome, detail, where, seconds, grown
        if self.ear.heard:
            what = "; ".join(sorted(self.ear.heard))
            return "TOUCHES", what, what.split()[0], seconds, grown
        if grown > self.most + 3 * len(data):
            return "GREEDY", f"grew by {grown >> 20} MiB; {outcome} {detail}", self._grows(kind, data), seconds, grown
        if seconds > SLOW:
            return "SLOW", f"{seconds:.1f} s; {outcome} {detail}", self.watch.where, seconds, grown
        return outcome, detail[:300], where, seconds, grown

    def _tried(self, kind: str, data: bytes) -> tuple[str, str, str]:
        """Return how a case ends, what is said of it, and where."""
        import reflrp

        tried = KINDS[kind].tried
        try:
            self.listening = True
            return tried(data, self.folder), "", ""
        except reflrp.ReflrpError as error:
            self.listening = False
            return type(error).__name__, str(error), ""
        except BaseException as error:
            self.listening = False
            found = traceback.extract_tb(error.__traceback__)
            text = "".join(traceback.format_exception(error)[-12:])
            what = type(error).__name__
            if isinstance(error, AssertionError):
                return "WRONG", text[-4000:], f"{re.split(r'[0-9[]', str(error))[0][:80]} {place(found)}"
            return f"ESCAPES {what}", text[-4000:], place(found)
        finally:
            self.listening = False

    def _grows(self, kind: str, data: bytes) -> str:
        """Try a case again with less memory, to learn who asks for it."""
        statm = Path("/proc/self/statm").read_text().split()
        bound(int(statm[0]) * resource.getpagesize() + self.most // 2)
        try:
            KINDS[kind].tried(data, self.folder)
        except BaseException as error:
            while not isinstance(error, MemoryError) and (error.__cause__ or error.__context__):
                error = error.__cause__ or error.__context__  # type: ignore[assignment]
            return f"{type(error).__name__} {place(traceback.extract_tb(error.__traceback__))}"
        finally:
            bound(ADDRESSES)
        return "in small pieces"


def bound(addresses: int) -> None:
    """Bound the process's address space; it can be raised again."""
    resource.setrlimit(resource.RLIMIT_AS, (addresses, resource.getrlimit(resource.RLIMIT_AS)[1]))


def place(stack: traceback.StackSummary) -> str:
    """Return the innermost frame of a stack, and the innermost two of reflrp."""
    names = [f"{Path(f.filename).parent.name}/{Path(f.filename).name}:{f.name}" for f in reversed(stack)]
    own = [
        n for n, f in zip(names, reversed(stack), strict=True) if "reflrp" in f.filename and "fuzz" not in f.filename
    ]
    return " < ".join(dict.fromkeys([*names[:1], *own[:2]]))
