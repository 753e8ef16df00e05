"""NumPy's files, .npy and .npz, read without trust.

`numpy.load` believes a file: it allocates what a header claims, unpacks what a zip holds, and lets the errors of five
libraries through. Here the sizes that the zip's directory and the array's header claim are read first, must agree with each
other and with the bytes that are there, and count against `reflrp.limits.MEMORY`. A header is matched and never evaluated,
and pickled objects are never read.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from os import SEEK_END, SEEK_SET
from typing import IO, Any

import numpy as np

from reflrp import limits
from reflrp.errors import TooLarge, shortened
from reflrp.storage.files import why

MAGIC = b"\x93NUMPY"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip begins: with its first member, or with its end."""

WIDTHS = {1: 2, 2: 4, 3: 4}
"""The version of the .npy format -> bytes of the number that says how long the header is."""

HEADER = 10_000
"""Bytes of a header; NumPy's own bound."""

DIRECTORY = 16 * 2**20
"""Bytes of a zip's directory, which is read as a whole: about 200,000 members."""

AXES = 64
DENSEST = 1032
"""Deflate packs no more than this many bytes into one."""

CHUNK = 2**20
ENTRY = re.compile(
    r"""\s*['"](descr|fortran_order|shape)['"]\s*:\s*(?:['"]([^'"]*)['"]|(True|False)|\(([\d\sL,]*)\))\s*(?:,|(?=\}))\s*""",
    re.ASCII,
)
DTYPE = re.compile(r"[<>|=]?([?a-zA-Z])(\d{0,9})", re.ASCII)
SIZE = re.compile(r"\s*(\d{1,19})L?\s*", re.ASCII)

FOREIGN = (OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What zipfile and zlib raise for broken files."""


class Unreadable(ValueError):
    """What is wrong with a file; whoever asked for it knows its name."""


@dataclass(frozen=True)
class Header:
    """What an .npy says of its array: dtype and shape, whether the first axis runs fastest, and its own length."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    length: int

    @property
    def size(self) -> int:
        """The array's bytes."""
        return prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], text: bool = False) -> Header:
    """Return the header of an .npy and leave the file behind it; the array must hold numbers, or text where that is asked for."""
    start = _exactly(file, len(MAGIC) + 2)
    if not start.startswith(MAGIC):
        raise Unreadable("it is no array in NumPy's format")
    width = WIDTHS.get(start[-2])
    if width is None:
        raise Unreadable(f"its format has the version {start[-2]}.{start[-1]}, which is unknown")
    length = int.from_bytes(_exactly(file, width), "little")
    if length > HEADER:
        raise Unreadable(f"its header has {length:,} bytes, more than the {HEADER:,} of an honest one")
    entries = _entries(_exactly(file, length).decode("latin1"))
    return Header(_dtype(entries[0], text), _shape(entries[2]), entries[1] == "True", len(start) + width + length)


def _entries(text: str) -> tuple[str, str, str]:
    """Return the texts of descr, fortran_order and shape."""
    text = text.strip()
    found: dict[str, str] = {}
    place = 1
    while text.startswith("{") and (match := ENTRY.match(text, place)):
        found[match[1]] = next(group for group in match.groups()[1:] if group is not None)
        place = match.end()
    if set(found) != {"descr", "fortran_order", "shape"} or text[place:] != "}":
        what = (
            "it holds records; save plain arrays"
            if re.search(r"descr['\"]\s*:\s*\[", text)
            else "its header is invalid"
        )
        raise Unreadable(f"{what}: {shortened(text, 200)!r}")
    return found["descr"], found["fortran_order"], found["shape"]


def _dtype(descr: str, text: bool) -> np.dtype[Any]:
    match = DTYPE.fullmatch(descr)
    if match is not None and match[1] == "O":
        raise Unreadable(
            "it holds pickled Python objects, which could run anything and are never read; save plain arrays"
        )
    if match is None or match[1] not in ("U" if text else "?biuf"):
        raise Unreadable(f"it holds {shortened(descr, 40)!r} where {'text' if text else 'numbers'} should be")
    try:
        return np.dtype(descr)
    except (TypeError, ValueError) as error:
        raise Unreadable(f"its dtype {descr!r} is unknown") from error


def _shape(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    sizes = [SIZE.fullmatch(part) for part in (parts[:-1] if not parts[-1].strip() else parts)]
    if len(sizes) > AXES or None in sizes or (len(parts) == 1 and sizes):
        raise Unreadable(f"its shape ({shortened(text, 80)}) is invalid")
    return tuple(int(size[1]) for size in sizes if size is not None)


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise Unreadable("it is truncated")
    return data


def read_npy(file: IO[bytes], what: str) -> np.ndarray:
    """Return the array of an .npy file. Raises Unreadable, or TooLarge, which names `what`."""
    with _foreign():
        header = read_header(file)
        place = file.tell()
        there = file.seek(0, SEEK_END) - place
        file.seek(place, SEEK_SET)
        _check_size(header, there)
        return _read(file, header, what)


def _check_size(header: Header, there: int) -> None:
    if there < header.size:
        raise Unreadable(
            f"it is truncated: its array {header.shape} takes {header.size:,} bytes and {there:,} are there"
        )
    if there > header.size:
        raise Unreadable(f"behind its array {header.shape} there are {there - header.size:,} more bytes")


def _read(file: IO[bytes], header: Header, what: str) -> np.ndarray:
    """Return the array behind a header, in the machine's byte order."""
    limits.check_array(what, header.shape, header.dtype.itemsize)
    limits.hold(what, header.size)
    try:
        data = np.empty(header.size, np.uint8)
    except MemoryError as error:
        raise TooLarge(f"{what} needs {limits.in_words(header.size)}, more than this machine gives") from error
    for start in range(0, header.size, CHUNK):
        part = _exactly(file, min(CHUNK, header.size - start))
        data[start : start + len(part)] = np.frombuffer(part, np.uint8)
    if file.read(1):
        raise Unreadable("it holds more than its header says")
    return _formed(data, header)


def _formed(data: np.ndarray, header: Header) -> np.ndarray:
    """Return bytes as the array that they are."""
    if header.dtype.kind == "b" and data.max(initial=0) > 1:
        raise Unreadable("some of its truth values are neither true nor false")
    if not header.dtype.itemsize:  # empty text
        return np.zeros(header.shape, header.dtype)
    found = data.view(header.dtype)
    if not found.dtype.isnative:
        found = found.byteswap(inplace=True).view(found.dtype.newbyteorder("="))
    return found.reshape(header.shape[::-1]).T if header.fortran else found.reshape(header.shape)


class Archive:
    """The arrays of an .npz by name. Nothing is unpacked before it is asked for.

    Attributes
    ----------
    names : list of str
        The arrays' names: those of the members without their `.npy`.
    others : list of str
        Members that are no arrays by their names.

    """

    def __init__(self, file: IO[bytes], what: str) -> None:
        with _foreign():
            _check_directory(file)
            self._zip = zipfile.ZipFile(file)
            infos = self._zip.infolist()
        self._what = what
        self._members = {info.filename.removesuffix(".npy"): info for info in infos if info.filename.endswith(".npy")}
        self.names = list(self._members)
        self.others = [info.filename for info in infos if not info.filename.endswith(".npy")]
        if len(self.names) + len(set(self.others)) < len(infos):
            raise Unreadable("two of its members have the same name")
        if any(info.filename != info.orig_filename for info in infos):
            raise Unreadable("the name of a member holds a zero byte")

    def header(self, name: str, text: bool = False) -> Header:
        """Return what a member says of its array."""
        with _foreign(name), self._opened(name) as file:
            return read_header(file, text)

    def read(self, name: str, text: bool = False) -> np.ndarray:
        """Return an array. Raises Unreadable, or TooLarge, which names the file and the member."""
        with _foreign(name), self._opened(name) as file:
            header = read_header(file, text)
            _check_size(header, self._members[name].file_size - header.length)
            return _read(file, header, f"{self._what}: {shortened(name, 200)!r}")

    def _opened(self, name: str) -> IO[bytes]:
        info = self._members[name]
        if info.flag_bits & 1:
            raise Unreadable("it is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unreadable("it is packed in a way that NumPy does not use")
        if info.file_size > DENSEST * info.compress_size:
            raise Unreadable(
                f"it claims {info.file_size:,} bytes, more than its {info.compress_size:,} packed ones can hold"
            )
        return self._zip.open(info)


@contextmanager
def _foreign(name: str | None = None) -> Iterator[None]:
    """Turn the errors of the libraries into Unreadable, with the name of the member."""
    where = "" if name is None else f"{shortened(name, 200)!r}: "
    try:
        yield
    except FOREIGN as error:
        raise Unreadable(f"{where}{why(error)}") from error


def _check_directory(file: IO[bytes]) -> None:
    """Refuse a zip whose directory is larger than an honest one, before it is read; the numbers are those zipfile uses."""
    end = file.seek(0, SEEK_END)
    tail = 22 + 20 + 56  # the end, before it the locator and the end of a zip beyond 4 GB
    file.seek(max(end - tail, 0), SEEK_SET)
    last = file.read(tail).rjust(tail, b"\0")
    if last[-22:-18] != b"PK\x05\x06" or last[-2:] != b"\0\0":
        raise Unreadable("it is a zip that is truncated, or ends in a comment")
    size = int.from_bytes(last[-10:-6], "little")
    if last[56:60] == b"PK\x06\x07":
        size = int.from_bytes(last[40:48], "little")
    if size > DIRECTORY:
        raise Unreadable(f"its directory has {size:,} bytes, more than {DIRECTORY:,}")
    file.seek(0, SEEK_SET)
