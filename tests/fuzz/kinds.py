"""The kinds of cases: how each is made from a chance, and what is done with it in the judged process."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """A kind of case.

    Attributes
    ----------
    room : str
        The module of this package that has `make(chance) -> bytes`, which returns a case; `tried(data, folder) -> str`, which
        does with it what a user would and returns how it ended; and, if it likes, `warm()`, which imports what that needs.
    share : float
        Its share of all cases, by what one costs.
    suffix : str
        How a file that holds a case is called.

    """

    room: str
    share: float
    suffix: str = ".onnx"

    def make(self, seed: int | str, index: int) -> bytes:
        """Return a case: the same for the same seed and number, on any machine."""
        return self.made(random.Random(f"{seed} {self.room} {index}"))

    @property
    def made(self) -> Callable[[random.Random], bytes]:
        """What makes a case of a chance."""
        found: Callable[[random.Random], bytes] = import_module(f"fuzz.{self.room}").make
        return found

    @property
    def tried(self) -> Callable[[bytes, Path], str]:
        """What does with a case what a user would."""
        found: Callable[[bytes, Path], str] = import_module(f"fuzz.{self.room}").tried
        return found

    def warm(self) -> None:
        """Import what the cases need, so that none of them is charged with it."""
        getattr(import_module(f"fuzz.{self.room}"), "warm", lambda: None)()


KINDS = {
    "bytes": Kind("bytes", 24),
    "graphs": Kind("nested", 26),
    "fields": Kind("fields", 26),
    "bombs": Kind("bombs", 6),
    "arguments": Kind("arguments", 6, ".json"),
    "saved": Kind("saved", 8, ".npz"),
    "images": Kind("images", 2.5, ".case"),
    "names": Kind("names", 1, ".onnx"),
    "threads": Kind("threads", 0.5, ".json"),
}
