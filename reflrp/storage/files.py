"""Files: written so that nothing is ever half-written, and opened so that nothing waits for ever.

A file is written under another name beside its place, and renamed when it is whole. While it is written its other name is
locked. A lock ends with its process, however that ends, so a part that nobody holds was left behind by one that was killed,
and the next one that writes to the same place removes it.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from types import FrameType
from typing import Any, BinaryIO

from reflrp import limits
from reflrp.errors import InputError, TooLarge
from reflrp.ground.checks import shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PART = ".reflrp-part"
"""Ends the names of files that are being written: `.e.npz.0123abcd.reflrp-part` becomes `e.npz`."""

LONGEST = 200
"""Bytes of a name from which on its part is named for a digest of it, as a part's name is longer and has a limit too."""

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
KILLING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a process without a chance to clean up, unless somebody handles them."""

READ = os.O_RDONLY | sum(getattr(os, f"O_{name}", 0) for name in ("NONBLOCK", "CLOEXEC", "NOCTTY", "BINARY"))
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | sum(getattr(os, f"O_{name}", 0) for name in ("CLOEXEC", "BINARY"))
"""How files are opened and made, with whatever of it a system knows."""


def named(path: Any) -> Path:
    """Return what a caller gave as a path. Raises InputError where it is none."""
    try:
        return Path(path)
    except TypeError as error:
        raise InputError(f"the path {shown(path)} is none; give a text or a pathlib.Path") from error


# Reading


def opened(path: Path) -> BinaryIO:
    """Open a regular file. Raises InputError for any other: a pipe or a device may never end."""
    try:
        handle = os.open(path, READ)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {why(error)}") from error
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise InputError(f"{path} is {_kind(mode)} and no regular file; write what it holds to a file and give that")


def read_text(path: Path) -> str:
    """Return a file as text. Raises InputError where it is none, TooLarge beyond the limit on memory."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limits.MEMORY // 4:  # text takes up to four times the bytes of UTF-8
            raise TooLarge(f"{path} has {limits.in_words(size)} of text; {limits.limit()}")
        try:
            return file.read().decode("utf-8")
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as text: {why(error)}") from error


def why(error: Exception) -> str:
    """Return what an error says, without numbers of errors and names of files."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _kind(mode: int) -> str:
    return KINDS.get(stat.S_IFMT(mode), "something else")


# Writing


def check_place(path: Path) -> Path:
    """Return where a file called `path` is to be written: what a link leads to.

    Raises InputError where nothing can be written there: no such folder, no regular file, write-protected.
    """
    try:
        place = Path(os.path.realpath(path))
        folder, found = place.parent.is_dir(), _status(place)
        protected = found is not None and not os.access(place, os.W_OK)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {why(error)}") from error
    if not folder:
        raise InputError(f"the folder {path.parent} does not exist")
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} exists and is no regular file but {_kind(found.st_mode)}; give the name of a file")
    if protected:
        raise InputError(f"{path} is there and write-protected; give another name, or allow writing")
    return place


def write_beside(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside its place and rename it, so that nothing is ever half-written.

    A new file has the rights that the umask leaves it, one that was there keeps its own. What a link leads to is
    written, and the link stays. Raises InputError, which names the path, where that cannot be done: no such folder, no
    right to write there, a full disk, a name that is too long.
    """
    place = check_place(path)
    try:
        _remove_stale(place)
        with _part(place) as (part, file):
            write(file)
            file.flush()
            os.fsync(file.fileno())  # before the rename: a disk may fail, or be full, only when it really writes
            if fcntl is None:  # Windows renames no file that is open
                file.close()
            part.replace(place)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {why(error)}") from error


@contextmanager
def _part(place: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Give the file that is to become `place`, locked, and its name; it is gone afterwards, unless it was renamed."""
    part, before = place.with_name(f"{_stem(place)}.{token_hex(4)}{PART}"), _status(place)
    with _removed_when_killed(part):
        try:
            with os.fdopen(_created(part, before), "wb") as file:
                yield part, file
        finally:
            part.unlink(missing_ok=True)


def _created(part: Path, before: os.stat_result | None) -> int:
    """Create a part and lock it; it has the rights and, where that is allowed, the owner of the file that was there."""
    handle = _locked(part, 0o666 if before is None else 0o600)
    if before is not None:
        with suppress(
            OSError, AttributeError
        ):  # another's file in a shared folder may get new contents, but no new owner
            os.fchown(handle, before.st_uid, before.st_gid)
        with suppress(OSError, AttributeError):  # a file system, or a system, without rights
            os.fchmod(handle, stat.S_IMODE(before.st_mode) & 0o777)
    return handle


def _locked(part: Path, mode: int) -> int:
    while True:
        handle = os.open(part, WRITE, mode)
        if fcntl is None:  # nobody takes a part for a stale one where there are no locks
            return handle
        with suppress(OSError):  # a file system without locks: the same
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)  # another took it for a stale one before it was locked


@contextmanager
def _removed_when_killed(part: Path) -> Iterator[None]:
    """Remove a part before a signal ends the process that writes it, where nobody handles the signal otherwise."""
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:  # a forked child has the handler too, and the part is not its own
            part.unlink(missing_ok=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    main = threading.current_thread() is threading.main_thread()  # elsewhere Python allows no handlers
    ours = [number for number in KILLING if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _remove_stale(place: Path) -> None:
    """Remove parts of this file that no process holds any more. Without locks nobody knows, and none is removed."""
    if fcntl is None:
        return
    named = re.compile(rf"{re.escape(_stem(place))}\.[0-9a-f]{{8}}{re.escape(PART)}")
    with suppress(OSError):  # a folder that may be written and not listed
        for name in os.listdir(place.parent):
            if named.fullmatch(name):
                _remove_unheld(place.with_name(name))


def _remove_unheld(part: Path) -> None:
    with suppress(OSError):  # held, or renamed or removed by another meanwhile
        handle = os.open(part, READ | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.lstat(part)):
                part.unlink()
        finally:
            os.close(handle)


def _stem(place: Path) -> str:
    """Return how the names of this file's parts begin."""
    raw = os.fsencode(place.name)
    return f".{place.name}" if len(raw) <= LONGEST else f".{sha256(raw).hexdigest()}"


def _status(place: Path) -> os.stat_result | None:
    try:
        return place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Lock a folder, so that no other process of reflrp writes to it; the lock ends with its process, however that ends."""
    if fcntl is None:  # Windows
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        _lock_folder(handle, path)
        yield
    finally:
        with suppress(OSError):  # a process that was forked meanwhile has the folder open too
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _lock_folder(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"another process writes to {path}; wait for it, or give another place") from error
    except OSError:  # a file system without locks
        return
