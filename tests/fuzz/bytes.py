"""Broken bytes: overwritten, nudged, cut out, put in or repeated, whatever they were."""

from __future__ import annotations

import random

from fuzz.networks import tried
from fuzz.seeds import seeds

__all__ = ["make", "mutated_bytes", "tried"]


def make(chance: random.Random) -> bytes:
    """Return a model file with broken bytes."""
    return mutated_bytes(chance.choice(seeds()), chance)


def mutated_bytes(data: bytes, chance: random.Random) -> bytes:
    """Return a file with some bytes overwritten, nudged, cut out, put in or moved."""
    found = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4])):
        if len(found) > 2:
            _mutate_byte(found, chance)
    return bytes(found)


def _mutate_byte(data: bytearray, chance: random.Random) -> None:
    place = chance.randrange(min(len(data), 6000))
    how = chance.choice(["overwrite", "nudge"] * 6 + ["cut", "insert", "end", "repeat"])  # these rarely parse
    if how == "overwrite":
        data[place] = chance.randrange(256)
    elif how == "nudge":
        data[place] = (data[place] + chance.choice([-1, 1, 128])) % 256
    elif how == "cut":
        del data[place : place + chance.choice([1, 2, 5, 50])]
    elif how == "insert":
        data[place:place] = bytes(chance.choice([[0], [255] * 9, [chance.randrange(256)]]))
    elif how == "end":
        del data[max(place, 1) :]
    else:
        data[place:place] = data[place : place + chance.choice([1, 8, 64])]
