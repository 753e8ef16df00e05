"""Writing files: whole or not at all, with the rights that they should have, and nothing left behind."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from reflrp import InputError
from reflrp.storage.files import PART, opened, read_text, write_beside

WRITER = """
import sys, time
from pathlib import Path
from reflrp.storage.files import write_beside

def write(file):
    for _ in range(1000):
        file.write(b"half" * 1000)
        file.flush()
        print("writing", flush=True)
        time.sleep(0.05)

write_beside(Path(sys.argv[1]), write)
"""


def save(path: Path, content: bytes = b"new") -> None:
    write_beside(path, lambda file: file.write(content))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of a write."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        yield child
        child.kill()


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0])
def test_a_new_file_has_the_rights_of_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        save(tmp_path / "a")
    assert mode(tmp_path / "a") == 0o666 & ~mask


@pytest.mark.parametrize("rights", [0o600, 0o664, 0o755])
def test_a_file_keeps_its_rights(tmp_path: Path, rights: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(rights)
    save(path)
    assert path.read_bytes() == b"new"
    assert mode(path) == rights


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    link.symlink_to(Path("there") / "target")
    for content in (b"first", b"second"):  # it leads nowhere, then to a file
        save(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert names(tmp_path) == ["link", "there"]
    assert names(tmp_path / "there") == ["target"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_process_that_is_told_to_end_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with writer(path) as child:
        assert len(names(tmp_path)) == 2
        child.send_signal(number)
        assert child.wait() == -number
    assert names(tmp_path) == ["a"]
    assert path.read_bytes() == b"old"


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """And only that: not the part of a process that still writes, nor a file of another name."""
    path = tmp_path / "a"
    with writer(path) as killed:
        killed.kill()
        killed.wait()
    (left,) = names(tmp_path)
    assert left.startswith(".a.")
    assert left.endswith(PART)
    with writer(path):
        others = [f".b.01234567{PART}", ".a.01234567.part", f".a.x{PART}"]
        for name in others:
            (tmp_path / name).touch()
        save(path)
        assert left not in names(tmp_path)
        assert len(names(tmp_path)) == len([*others, "a", "the part that is being written"])
    assert path.read_bytes() == b"new"


def test_a_handler_of_the_callers_own_is_left_alone(tmp_path: Path) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        write_beside(tmp_path / "a", lambda file: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        assert signal.signal(signal.SIGTERM, before) is not before
    assert heard == [1]
    save(tmp_path / "a")
    assert signal.getsignal(signal.SIGTERM) is before


MANY = """
import sys
from pathlib import Path
from reflrp.storage.files import write_beside
for i in range(200):
    write_beside(Path(sys.argv[1]), lambda file: file.write(sys.argv[2].encode() * 10_000))
"""


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """Each takes none of the others' parts for stale, and the file is always one of theirs."""
    path = tmp_path / "a"
    children = [subprocess.Popen([sys.executable, "-c", MANY, str(path), c]) for c in "xyz"]
    while any(child.poll() is None for child in children):
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 10_000
            assert len(set(data)) == 1
        time.sleep(0.001)
    assert [child.returncode for child in children] == [0, 0, 0]
    assert names(tmp_path) == ["a"]


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(InputError, match="a cannot be written: File too large"):
            save(path, b"x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["a"]
    assert path.read_bytes() == b"old"


def test_names(tmp_path: Path) -> None:
    longest = "ä" * 127 + "x"
    for name in (longest, "new\nline", "\udcff", " ", "-", "a.reflrp-part"):
        save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"new"
    assert len(names(tmp_path)) == 6
    for name, words in (("y" * 256, "name too long"), ("a\0b", "null")):
        with pytest.raises(InputError, match=f"cannot be written: .*(?i:{words})"):
            save(tmp_path / name)


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    places = {
        "no/a": "the folder .*no does not exist",
        "file/a": "the folder .*file does not exist",
        "": "but a folder",
        "pipe": "but a pipe",
        "loop": "cannot be written: Too many levels of symbolic links",
    }
    before = names(tmp_path)
    for place, words in places.items():
        with pytest.raises(InputError, match=words):
            save(tmp_path / place)
    with pytest.raises(InputError, match="/dev/full exists and is no regular file but a device"):
        save(Path("/dev/full"))
    assert names(tmp_path) == before


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from reflrp import InputError
from reflrp.storage.files import write_beside
if not os.geteuid():
    os.setresuid(65534, 65534, 65534)
for name in sys.argv[1:]:
    try:
        write_beside(Path(name), lambda file: file.write(b"new"))
    except InputError as error:
        print(error)
"""


def test_places_without_the_right_to_write() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a").write_bytes(b"old")
        (folder / "a").chmod(0o444)
        folder.chmod(0o555)
        command = [sys.executable, "-c", UNPRIVILEGED, str(folder / "a"), str(folder / "b")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        folder.chmod(0o755)
        assert done.stdout.splitlines() == [
            f"{folder / 'a'} is there and write-protected; give another name, or allow writing",
            f"{folder / 'b'} cannot be written: Permission denied",
        ]
        assert names(folder) == ["a"]


def test_reading_waits_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "pipe", "is a pipe"),
        (Path("/dev/zero"), "is a device"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(InputError, match=words):
            opened(path)
    for path in (tmp_path / "none", tmp_path / "a\0b", tmp_path / ("y" * 300)):
        with pytest.raises(InputError, match="cannot be read: "):
            opened(path)
    (tmp_path / "text").write_bytes(b"\xff")
    with pytest.raises(InputError, match="text cannot be read as text"):
        read_text(tmp_path / "text")


def test_without_locks_files_are_written_too(tmp_path: Path) -> None:
    """As on Windows, which has neither `fcntl` nor rights nor SIGHUP, and renames no file that is open."""
    script = """
import os, signal, sys
sys.modules["fcntl"] = None
del os.fchown, os.fchmod, os.O_NONBLOCK, os.O_CLOEXEC, os.O_NOCTTY, signal.SIGHUP
os.O_BINARY = 0
from pathlib import Path
from reflrp.storage import files
replace = Path.replace
def renamed(part, place):
    held = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")]
    assert str(part) not in held, "it is open"
    return replace(part, place)
if os.path.isdir("/proc/self/fd"):
    Path.replace = renamed
place = Path("e.npz")
for text in (b"one", b"two"):
    files.write_beside(place, lambda file: file.write(text))
    with files.opened(place) as file:
        assert file.read() == text
try:
    files.write_beside(place, lambda file: 1 / 0)
except ZeroDivisionError:
    pass
assert place.read_bytes() == b"two"
assert [p.name for p in Path().iterdir()] == ["e.npz"]
import reflrp
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
