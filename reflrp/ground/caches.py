"""What was worked out once and is kept for whoever asks again, in any thread.

A model keeps its graphs, an explainer its programs, a linear map the weights derived from its own. Each holds a `Cache`, or
a `Kept` property where there is one value an object. What they keep can be worked out again, so pickling and copying leave it
behind: a copy, or a process that gets the object, starts with an empty cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from copy import copy
from threading import Lock, RLock
from typing import Any, Generic, TypeVar
from weakref import WeakSet

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Slot:
    """The place of one value: who comes first makes it under the lock, who comes later waits there for it."""

    def __init__(self) -> None:
        self.lock, self.done = RLock(), False
        self.value: Any = None


class Allowance:
    """So many bytes that may be kept by all who hold a `Portion` of them."""

    def __init__(self, size: int) -> None:
        self.size = self.left = size
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """Return whether there is room for so many more bytes, which is then taken."""
        with self._lock:
            fits = size <= self.left
            self.left -= size if fits else 0
            return fits

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make an untouched one: what is kept stays behind."""
        return type(self), (self.size,)


class Portion:
    """What one holder keeps of an allowance, and gives back as a whole."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance, self.taken = allowance, 0

    def take(self, size: int) -> bool:
        """Return whether so many more bytes may be kept."""
        fits = self.allowance.take(size)
        self.taken += size if fits else 0
        return fits

    def give_back(self) -> None:
        """Give back all that was taken."""
        self.allowance.take(-self.taken)
        self.taken = 0


def bytes_of(value: Any) -> int:
    """Return the bytes of an array, or of several."""
    return sum(map(bytes_of, value)) if isinstance(value, tuple | list) else int(getattr(value, "nbytes", 0))


class Cache(Generic[K, V]):
    """Values by key, each made once, the `size` last used of them kept (None: all). Safe to use from many threads.

    With a `portion`, arrays are kept while it has room for them, and others are made each time that they are asked for.

    Two threads that ask for the same key get the same value: one makes it, the other waits. Threads that ask for different keys
    do not wait for one another, as no lock of the whole is held while a value is made. Where making a value raises, nothing
    is kept, and the next who asks tries anew.
    """

    def __init__(self, size: int | None = None, portion: Portion | None = None) -> None:
        self.size, self.portion = size, portion
        self._lock = Lock()
        self._slots: dict[K, _Slot] = {}
        _LIVE.add(self)

    def made(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key; `make` makes it where it is not there. Raises what `make` raises."""
        slot = self._slots.get(key) if self.size is None else None  # no lock where nothing is to be moved
        if slot is None or not slot.done:
            slot = self._slot(key)
        if not slot.done:
            with slot.lock:
                if not slot.done:
                    return self._filled(key, slot, make)
        value: V = slot.value
        return value

    def _slot(self, key: K) -> _Slot:
        """Return the key's place, which thereby is the one last used; the one used longest ago makes room for it."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                slot = self._slots[key] = _Slot()
                while self.size is not None and len(self._slots) > self.size:
                    del self._slots[next(iter(self._slots))]
            elif self.size is not None:
                self._slots[key] = self._slots.pop(key)
            return slot

    def _filled(self, key: K, slot: _Slot, make: Callable[[], V]) -> V:
        try:
            value = make()
            if self.portion is None or self.portion.take(bytes_of(value)):
                slot.value, slot.done = value, True
            return value
        finally:
            if not slot.done:
                with self._lock:
                    if self._slots.get(key) is slot:
                        del self._slots[key]

    def values(self) -> list[V]:
        """Return the values that are kept."""
        with self._lock:
            return [slot.value for slot in self._slots.values() if slot.done]

    def items(self) -> list[tuple[K, V]]:
        """Return the values that are kept, with their keys."""
        with self._lock:
            return [(key, slot.value) for key, slot in self._slots.items() if slot.done]

    def drop(self) -> bool:
        """Let go of the value that was used longest ago; return whether there was one."""
        with self._lock:
            oldest = next((key for key, slot in self._slots.items() if slot.done), None)
            if oldest is None:
                return False
            del self._slots[oldest]
            return True

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._slots)

    def __repr__(self) -> str:
        """Return `Cache(2 of 4)`."""
        return f"Cache({len(self)} of {'any' if self.size is None else self.size})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make an empty one: what is kept stays behind, and locks belong to one process."""
        return type(self), (self.size,)

    def _after_fork(self) -> None:
        """Take new locks in a forked child: a thread that held the old ones is not there to give them back."""
        self._lock = Lock()
        self._slots = {key: slot for key, slot in self._slots.items() if slot.done}


def tried(refused: Cache[K, Exception | None], key: K, make: Callable[[], V], kinds: tuple[type[Exception], ...]) -> V:
    """Return what `make` makes. An error of these kinds is kept, and whoever asks again gets it without another try."""

    def attempt() -> Exception | None:
        try:
            make()
        except kinds as error:
            return copy(error)  # without what it would keep alive: the frames that it came through
        return None

    error = refused.made(key, attempt)
    if error is not None:
        raise copy(error)
    return make()


_LIVE: WeakSet[Cache[Any, Any]] = WeakSet()


def _after_fork() -> None:
    for cache in list(_LIVE):
        cache._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Kept(Generic[V]):
    """A property that is worked out once an object, as `functools.cached_property`, for many threads.

    No thread waits for another. Two that ask at once may both work it out, but both get what was done first. (Up to
    Python 3.11 the one of the standard library locks all objects of the class while one works; later ones hand out both.)
    """

    def __init__(self, make: Callable[[Any], V]) -> None:
        self.make, self.name, self.__doc__ = make, make.__name__, make.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> V:
        """Return the value, and keep it in the object's own dict, which is looked into first from then on."""
        if instance is None:
            return self  # type: ignore[return-value]
        value: V = vars(instance).setdefault(self.name, self.make(instance))
        return value
