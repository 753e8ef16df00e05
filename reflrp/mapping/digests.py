"""Digests: whether two things are the same, in another process and on another day, without keeping either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cached_property
from hashlib import sha256
from types import FunctionType
from typing import Any

import numpy as np

from reflrp.ground.caches import Kept
from reflrp.model import Model

Part = bytes | memoryview


class Unrecognisable(ValueError):
    """Something that another process cannot tell from another of its kind, as a function of the caller's."""


def of_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the sha256 of arrays: of their names, dtypes, shapes and every number."""
    return _digest(_parts({name: np.asarray(a) for name, a in sorted(arrays.items())}))


def of_model(model: Model) -> str:
    """Return the sha256 of a model: of its nodes, its constants and its ports, wherever the file lies."""
    source = model.source
    nodes = [(n.name, n.op_type, n.domain, n.opset, n.inputs, n.outputs, n.proto) for n in source.nodes]
    ports = {name: str(port) for name, port in source.inputs.items()}
    return _digest(_parts([nodes, dict(source.constants), ports, source.outputs, dict(source.opsets)])).hex()


def of_thing(thing: Any) -> str:
    """Return the sha256 of rules, of targets, of conditions: of whatever is made of plain data, and of classes by their names.

    Raises Unrecognisable for a function that is not reflrp's own, which only the process knows that made it.
    """
    return _digest(_parts(thing)).hex()


def _digest(parts: Iterator[Part]) -> bytes:
    found = sha256()
    for part in parts:
        found.update(part)
    return found.digest()


def _parts(thing: Any) -> Iterator[Part]:
    """Yield the bytes of a thing; each begins with its kind and length, so that no two things have the same bytes."""
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        yield from _text(f"array {thing.dtype.str} {thing.shape}")
        yield np.ascontiguousarray(thing).data.cast("B") if thing.size else b""
    elif isinstance(thing, np.ndarray):
        yield from _text(f"objects {thing.shape}")
        yield from _parts(thing.ravel().tolist())
    elif thing is None or isinstance(thing, bool | int | float | str | bytes | Enum):
        yield from _text(f"{type(thing).__name__} {thing!r}")
    elif isinstance(thing, np.generic | np.dtype):
        yield from _text(f"{type(thing).__name__} {thing!s}")
    else:
        yield from _of_many(thing)


def _of_many(thing: Any) -> Iterator[Part]:
    if isinstance(thing, Mapping):
        yield from _listed("mapping", [part for item in thing.items() for part in item])
    elif isinstance(thing, list | tuple):
        yield from _listed("list", thing)
    elif isinstance(thing, set | frozenset):
        yield from _listed("set", sorted(map(of_thing, thing)))
    elif hasattr(thing, "SerializeToString"):  # a message of protobuf
        yield from _parts(thing.SerializeToString(deterministic=True))
    elif isinstance(thing, type | FunctionType):
        yield from _text(f"{type(thing).__name__} {_named(thing)}")
    elif _plain(type(thing)):
        yield from _listed(_named(type(thing)), sorted(_state(thing).items()))
    else:
        yield from _listed(_named(type(thing)), _reduced(thing))


def _listed(kind: str, things: Any) -> Iterator[Part]:
    yield from _text(f"{kind} of {len(things)}")
    for thing in things:
        yield from _parts(thing)


def _text(text: str) -> Iterator[Part]:
    data = text.encode("utf-8", "surrogatepass")
    yield f"{len(data)}:".encode()
    yield data


def _named(thing: Any) -> str:
    """Return the name of a class or a function that any process finds under it; of reflrp's own version the store says more."""
    name = f"{thing.__module__}.{thing.__qualname__}"
    if "<" in name or (isinstance(thing, FunctionType) and not thing.__module__.startswith("reflrp.")):
        raise Unrecognisable(f"the function {name}")
    return name


def _plain(kind: type) -> bool:
    """Return whether the objects of a class are what stands in their `__dict__`: the class says nothing else of a copy."""
    own = (vars(base) for base in kind.__mro__ if base is not object)
    return not any("__reduce_ex__" in part or "__reduce__" in part for part in own)


def _state(thing: Any) -> dict[str, Any]:
    """Return what an object is made of, without what it has worked out and keeps."""
    if not hasattr(thing, "__dict__"):
        raise Unrecognisable(f"a {_named(type(thing))}")
    kept = Kept, cached_property
    return {k: v for k, v in vars(thing).items() if not isinstance(getattr(type(thing), k, None), kept)}


def _reduced(thing: Any) -> list[Any]:
    """Return what a copy of an object is made of, as its class says it: of a range, a fraction, a `functools.partial`."""
    found = thing.__reduce_ex__(4)
    if isinstance(found, str) and not type(thing).__module__.startswith(
        "reflrp."
    ):  # a name, as of a function of NumPy's
        raise Unrecognisable(f"a {_named(type(thing))}")
    return [found] if isinstance(found, str) else list(found)
