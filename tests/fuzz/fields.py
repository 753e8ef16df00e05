"""What is done to fields, of whatever message: protobuf says which there are, so none is forgotten.

Any field of any message, however deep, is set to an extreme, cleared, doubled, repeated thousands of times, swapped, taken from
another message or put into itself; members of a oneof stand in for one another; fields that nobody knows are added.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message
from onnx import ModelProto

from fuzz.networks import tried
from fuzz.seeds import seeds
from fuzz.values import FLOATS, PLACES, SIZES, TEXTS

__all__ = ["changed", "make", "tried"]

LARGEST = 2**20
"""Bytes beyond which a file is not grown."""

MANY = (2, 3, 100, 3000)
"""How often something is repeated."""

MESSAGE, GROUP = FieldDescriptor.CPPTYPE_MESSAGE, 10
WHOLE = {FieldDescriptor.CPPTYPE_INT32: 31, FieldDescriptor.CPPTYPE_INT64: 63, FieldDescriptor.CPPTYPE_ENUM: 31}
COUNTING = {FieldDescriptor.CPPTYPE_UINT32: 32, FieldDescriptor.CPPTYPE_UINT64: 64}
REAL = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def make(chance: random.Random) -> bytes:
    """Return a model with one to four fields changed."""
    proto = ModelProto.FromString(chance.choice(seeds()))
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        with suppress(ValueError, TypeError, DecodeError):  # a number that an enum lacks, a text that is none
            changed(proto, chance)
    try:
        return proto.SerializeToString()
    except (EncodeError, ValueError):  # nested deeper than protobuf writes
        return b""


def changed(proto: ModelProto, chance: random.Random) -> None:
    """Change one field of one message."""
    found = _messages(proto)
    message = chance.choice(found)
    field = _field(message, chance)
    if chance.random() < 0.03:
        unknown(message, chance)
    elif field.is_repeated:
        chance.choice(REPEATED)(message, field, found, chance)
    elif field.cpp_type == MESSAGE:
        chance.choice(SINGLE)(message, field, found, chance)
    elif chance.random() < 0.2:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(field, chance))


def _messages(message: Message) -> list[Message]:
    """Return a message and all within it."""
    found = [message]
    for outer in found:
        if len(found) > 5000:
            break
        for field, value in outer.ListFields():
            if field.cpp_type == MESSAGE:
                found.extend(value if field.is_repeated else [value])
    return found


def _field(message: Message, chance: random.Random) -> Any:
    """Return a field, of those that are set more often than not."""
    present = [f for f, _ in message.ListFields()]
    return chance.choice(present if present and chance.random() < 0.65 else message.DESCRIPTOR.fields)


def _value(field: Any, chance: random.Random) -> Any:
    """Return an extreme of what a field may hold."""
    if field.cpp_type in REAL:
        return chance.choice(FLOATS)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        text = chance.choice([*TEXTS[:-1], *PLACES, "\0", "\x1b[2J", "é" * 300, "a" * 70_000])
        raw = chance.choice([b"", b"\0" * 7, b"\xff" * 64, bytes(chance.randrange(5000)), text.encode()])
        return raw if field.type == FieldDescriptor.TYPE_BYTES else text
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice([*range(-1, 30), 2**31 - 1, -(2**31)])
    bits = WHOLE.get(field.cpp_type) or COUNTING[field.cpp_type]
    low = -(2**bits) if field.cpp_type in WHOLE else 0
    return min(max(chance.choice([*range(-2, 12), *SIZES]), low), 2**bits - 1)


def _others(message_type: Any, found: list[Message], chance: random.Random) -> Message | None:
    """Return a message of a type from anywhere in the model."""
    alike = [m for m in found if m.DESCRIPTOR is message_type or m.DESCRIPTOR.full_name == message_type.full_name]
    return chance.choice(alike) if alike else None


# Fields that hold one message


def clear(message: Any, field: Any, found: list[Message], chance: random.Random) -> None:
    """Take a field away."""
    message.ClearField(field.name)


def fill(message: Any, field: Any, found: list[Message], chance: random.Random) -> None:
    """Set a field to a message without anything in it; of a oneof this unsets what was there."""
    message.ClearField(field.name)
    getattr(message, field.name).SetInParent()


def take(message: Any, field: Any, found: list[Message], chance: random.Random) -> None:
    """Set a field to a copy of a message from elsewhere, which may hold this one."""
    other = _others(field.message_type, found, chance)
    if other is not None and other.ByteSize() + message.ByteSize() < LARGEST:
        copy = type(other)()
        copy.CopyFrom(other)
        getattr(message, field.name).CopyFrom(copy)


def deepen(message: Any, field: Any, found: list[Message], chance: random.Random) -> None:
    """Put a message into itself, again and again, by the same field or by one on the way."""
    if field.message_type is None:
        return
    for _ in range(chance.choice([2, 10, 40, 98, 150])):
        within = next((f for f in field.message_type.fields if f.message_type is not None), None)
        same = next((f for f in field.message_type.fields if f.message_type is field.message_type), within)
        if same is None or message.ByteSize() > LARGEST:
            return
        message = getattr(message, field.name)
        message = message.add() if field.is_repeated else message
        message.SetInParent()
        field = same


SINGLE: tuple[Callable[..., None], ...] = (clear, fill, take, take, deepen)


# Fields that hold many


def drop(message: Any, field: Any, found: list[Message], chance: random.Random) -> None:
    """Delete an entry, or all."""
    entries = getattr(message, field.name)
    if len(entries) and chance.random() < 0.7:
        del entries[chance.randrange(len(entries))]
    else:
        del entries[:]


def repeat(message: Any, field: Any, found: list[Message], chance: random.Random) -> None:
    """Repeat an entry, a few times or thousands of times."""
    entries = getattr(message, field.name)
    if not len(entries):
        return append(message, field, found, chance)
    entry, times = entries[chance.randrange(len(entries))], chance.choice(MANY)
    size = entry.ByteSize() if field.cpp_type == MESSAGE else 16
    entries.extend([entry] * min(times, LARGEST // max(size, 1)))
    return None


def append(message: Any, field: Any, found: list[Message], chance: random.Random) -> None:
    """Append an entry: an extreme, an empty message, or one from elsewhere."""
    entries = getattr(message, field.name)
    if field.cpp_type != MESSAGE:
        entries.extend([_value(field, chance)] * chance.choice([1, 1, *MANY]))
        return
    other = _others(field.message_type, found, chance)
    new = entries.add()
    if other is not None and chance.random() < 0.7 and other.ByteSize() + message.ByteSize() < LARGEST:
        copy = type(other)()
        copy.CopyFrom(other)
        new.CopyFrom(copy)


def swap(message: Any, field: Any, found: list[Message], chance: random.Random) -> None:
    """Let two entries change places, or turn all round."""
    entries = list(getattr(message, field.name))
    chance.shuffle(entries)
    copies = [type(e).FromString(e.SerializeToString()) if field.cpp_type == MESSAGE else e for e in entries]
    message.ClearField(field.name)
    getattr(message, field.name).extend(copies)


def replace(message: Any, field: Any, found: list[Message], chance: random.Random) -> None:
    """Put an extreme, or a message from elsewhere, in an entry's place."""
    entries = getattr(message, field.name)
    if not len(entries):
        return append(message, field, found, chance)
    place = chance.randrange(len(entries))
    if field.cpp_type != MESSAGE:
        entries[place] = _value(field, chance)
        return None
    other = _others(field.message_type, found, chance)
    if other is not None and other.ByteSize() + message.ByteSize() < LARGEST:
        copy = type(other)()
        copy.CopyFrom(other)
        entries[place].CopyFrom(copy)
    return None


REPEATED: tuple[Callable[..., None], ...] = (drop, repeat, append, swap, replace, replace, deepen)


# Fields that nobody knows


def unknown(message: Message, chance: random.Random) -> None:
    """Add bytes of a field that the message has not, or has with another type."""
    number = chance.choice([*range(1, 30), 1000, 19_000, 2**29 - 1])
    kind = chance.choice([0, 1, 2, 5])
    payload = {0: b"\xff" * 9 + b"\x01", 1: bytes(8), 2: b"\x05hello", 5: b"\xff" * 4}[kind]
    message.MergeFromString((_varint(number << 3 | kind) + payload) * chance.choice([1, 1, 2, 1000]))


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
