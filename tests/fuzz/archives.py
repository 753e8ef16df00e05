"""What is done to .npz and .npy files: members dropped, renamed and broken, headers that say something else, odd packing."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile
from collections.abc import Callable

import numpy as np

from fuzz.bytes import mutated_bytes
from fuzz.values import FLOATS, SIZES

Members = dict[str, bytes]
"""The files in an archive, by name."""

DTYPES = (
    "<f8",
    "<f4",
    ">f8",
    "<i8",
    "|b1",
    "|O",
    "<U9",
    "|S9",
    "<c16",
    "|V8",
    "<M8[s]",
    "<f2",
    "<U99999999",
    "[('a', '<f8')]",
    "<f8, <i4",
)


def zipped(members: Members, chance: random.Random) -> bytes:
    """Return the archive, packed in some way, with a comment or an entry twice now and then."""
    small = len(members) < 20 and sum(map(len, members.values())) < 20_000
    how = chance.choice(
        [zipfile.ZIP_DEFLATED] * 6 + [zipfile.ZIP_STORED, *([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA] if small else [])]
    )
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(file, "w", how) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
                if chance.random() < 0.01:
                    archive.writestr(name, data[:-3])
    data = bytearray(file.getvalue())
    if chance.random() < 0.05:  # encrypted, or packed in a way that nobody knows, as the directory says
        place = data.rfind(b"PK\1\2") + chance.choice([8, 10])
        data[place] ^= chance.choice([1, 8, 99])
    return bytes(data)


# What is done to members


def _some(members: Members, chance: random.Random) -> str:
    return chance.choice(list(members))


def drop(members: Members, chance: random.Random) -> None:
    """Take a member away."""
    del members[_some(members, chance)]


def rename(members: Members, chance: random.Random) -> None:
    """Give a member another name."""
    odd = [
        "x",
        "x.npy",
        "out",
        "out.npy",
        "meta.npy",
        "relevance/.npy",
        "relevance/x.npy",
        "in/x.npy.npy",
        "layer/\0.npy",
        "../x.npy",
        "a" * 60_000,
    ]
    members[chance.choice(odd)] = members.pop(_some(members, chance))


def copy(members: Members, chance: random.Random) -> None:
    """Put one member's bytes in another's place."""
    members[_some(members, chance)] = members[_some(members, chance)]


def scratch(members: Members, chance: random.Random) -> None:
    """Break a member's bytes."""
    name = _some(members, chance)
    members[name] = mutated_bytes(members[name], chance)


def other_array(members: Members, chance: random.Random) -> None:
    """Put another array in a member's place: of another shape or dtype, or with odd numbers."""
    shape = chance.choice(
        [(), (0,), (1,), (2,), (2, 4), (2, 0), (0, 4), (3, 4), (2, 1, 6, 6), (2, 5), (1,) * 32, (4, 2)]
    )
    array = np.zeros(
        shape, chance.choice(["<f8", "<f4", ">f8", "<i8", "?", "<c16", "<U3", "S3", "V8", "<M8[s]", "<f2", "u1"])
    )
    if array.dtype.kind == "f" and chance.random() < 0.6:
        with np.errstate(all="ignore"):
            array[...] = chance.choice(FLOATS)
    members[_some(members, chance)] = npy(array)


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    """Return an .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=pickled)
    return file.getvalue()


def header(members: Members, chance: random.Random) -> None:
    """Let a header say another shape, dtype or version, or nothing that can be read."""
    name = _some(members, chance)
    shape = [chance.choice([0, 1, 2, 4, *SIZES]) for _ in range(chance.choice([0, 1, 2, 3, 33, 70]))]
    dtype = chance.choice(DTYPES)
    order = chance.choice([True, False, 2, None])
    text = f"{{'descr': {dtype!r}, 'fortran_order': {order}, 'shape': ({''.join(f'{n}, ' for n in shape)}), }}"
    odd = [
        "",
        "{",
        "{}",
        "None",
        "[" * 3000,
        "(" * 90 + ")" * 90,
        "{'descr': 1}",
        text[:-3],
        "9" * 5000,
        "lambda: 0",
        "é",
    ]
    text = chance.choice([text] * 6 + odd)
    version = chance.choice([(1, 0), (1, 0), (2, 0), (3, 0), (9, 9)])
    size = len(text.encode()) if chance.random() < 0.9 else chance.choice([0, 65535])
    data = members[name][members[name].find(b"\n") + 1 :]
    length = struct.pack("<H" if version == (1, 0) else "<I", min(size, 65535))
    members[name] = b"\x93NUMPY" + bytes(version) + length + text.encode()[:65535] + data


def pickled(members: Members, chance: random.Random) -> None:
    """Put objects in a member's place."""
    members[_some(members, chance)] = npy(np.array([{"a": 1}, None], dtype=object), pickled=True)


def many(members: Members, chance: random.Random) -> None:
    """Add hundreds of members."""
    for i in range(chance.choice([10, 100, 600])):
        members[f"layer/v{i}.npy"] = members.get("out.npy", b"")


MEMBERWISE: tuple[Callable[[Members, random.Random], None], ...] = (
    *[drop, rename, copy, scratch, scratch, other_array, other_array, header, header, header, pickled, many],
)
