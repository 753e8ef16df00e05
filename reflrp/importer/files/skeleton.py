"""A file's model without its large weights: these are left in the file, and read one by one by whoever needs them.

Parsing a file as a whole has its bytes in memory, then the parsed message beside them, then the arrays. Here the message is taken
apart as far as to the tensors, by the wire format of Protocol Buffers (https://protobuf.dev/programming-guides/encoding/): a field
is a key, that is number and kind, and what follows; a message is a field of a known length.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from onnx import GraphProto, ModelProto, TensorProto

LARGE = 2**16
"""Bytes of a tensor from which on they stay in the file."""

VARINT, FIXED64, MESSAGE, FIXED32 = 0, 1, 2, 5
"""The kinds of fields. Groups (3, 4) are in no model."""

GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
RAW = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


class Piece(NamedTuple):
    """A stretch of a file."""

    offset: int
    length: int


@dataclass(frozen=True)
class Inside:
    """The data of tensors that were left in a file, by the number of the initializer."""

    path: Path | None = None
    pieces: dict[int, Piece] = field(default_factory=dict)

    def read(self, number: int) -> bytes:
        """Return the data of an initializer; fewer bytes where the file has become shorter."""
        assert self.path is not None
        with self.path.open("rb") as file:
            file.seek(self.pieces[number].offset)
            return file.read(self.pieces[number].length)


class _Odd(Exception):
    """The file is not laid out as a model is."""


class _Field(NamedTuple):
    """A field: its number and kind, where it begins, where its content begins, and where it ends."""

    number: int
    kind: int
    start: int
    content: int
    end: int


def skeleton(path: Path) -> tuple[bytes, Inside] | None:
    """Return a model's bytes without the data of large initializers, and where these lie.

    None for a file that is laid out in any unusual way, and for one that is damaged: what is wrong with it says who parses it.
    """
    inside = Inside(path)
    try:
        with path.open("rb") as file:
            end = file.seek(0, io.SEEK_END)
            return _model(file, end, inside), inside
    except _Odd:
        return None


def _model(file: BinaryIO, end: int, inside: Inside) -> bytes:
    out, graphs = io.BytesIO(), 0
    for one in _fields(file, 0, end):
        if one.number != GRAPH or one.kind != MESSAGE:
            out.write(_copied(file, one))
            continue
        graphs += 1
        if graphs > 1:
            raise _Odd  # it is merged into the first, and its tensors are numbered on
        out.write(_message(GRAPH, _graph(file, one, inside)))
    return out.getvalue()


def _graph(file: BinaryIO, graph: _Field, inside: Inside) -> bytes:
    out, count = io.BytesIO(), 0
    for one in _fields(file, graph.content, graph.end):
        if one.number != INITIALIZER or one.kind != MESSAGE:
            out.write(_copied(file, one))
            continue
        large = one.end - one.content >= LARGE
        out.write(_message(INITIALIZER, _tensor(file, one, inside, count)) if large else _copied(file, one))
        count += 1
    return out.getvalue()


def _tensor(file: BinaryIO, tensor: _Field, inside: Inside, number: int) -> bytes:
    out, parts = io.BytesIO(), 0
    for one in _fields(file, tensor.content, tensor.end):
        raw = one.number == RAW and one.kind == MESSAGE
        parts += raw
        if parts > 1:
            raise _Odd  # the last one counts
        if not raw or one.end - one.content < LARGE:
            out.write(_copied(file, one))
            continue
        inside.pieces[number] = Piece(one.content, one.end - one.content)
    return out.getvalue()


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[_Field]:
    """Yield the fields of a message that lies between two places of a file."""
    while start < end:
        file.seek(start)
        key = _varint(file)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            _varint(file)
        length = _varint(file) if kind == MESSAGE else {VARINT: 0, FIXED64: 8, FIXED32: 4}.get(kind)
        if length is None:
            raise _Odd
        content = file.tell()
        if content + length > end:
            raise _Odd
        yield _Field(number, kind, start, content, content + length)
        start = content + length


def _copied(file: BinaryIO, one: _Field) -> bytes:
    file.seek(one.start)
    return file.read(one.end - one.start)


def _varint(file: BinaryIO) -> int:
    found, shift = 0, 0
    while shift < 64:
        byte = file.read(1)
        if not byte:
            raise _Odd
        found |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return found
        shift += 7
    raise _Odd


def _message(number: int, content: bytes) -> bytes:
    """Return a field that is a message."""
    return _written(number << 3 | MESSAGE) + _written(len(content)) + content


def _written(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)
