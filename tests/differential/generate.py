"""Random cases: the same seed and number make the same case."""

from __future__ import annotations

import numpy as np

from differential import flows, layers, meetings, pointwise, routes
from differential.case import Case
from differential.draft import Draft

ROOMS = {layers: 30, pointwise: 28, meetings: 30, routes: 34, flows: 6}
MAKERS = [(make, share * part) for room, part in ROOMS.items() for make, share in room.MAKERS.items()]  # type: ignore[attr-defined]
OPSETS = (9, 10, 11, 12, 13, 13, 14, 15, 16, 17, 17, 18, 18, 19, 20, 21, 22)
TRIES = 60


def inputs(d: Draft) -> None:
    """One or two inputs: rows, sequences, maps of one to three axes; token ids and their table."""
    n = d.one(1, 2, 2, 3, 3, 4)
    for _ in range(d.one(1, 1, 1, 2)):
        how = d.one("row", "sequence", "signal", "image", "image", "cube", "ids", "row")
        if how == "ids":
            table = d.weights(7, d.whole(2, 4))
            x = d.feed(d.rng.integers(0, 7, (n, d.whole(1, 5))), active=False)
            y = d.emit("Gather", table, x, axis=0)
            d.active.append(y)
            continue
        size = {
            "row": (d.whole(1, 7),), "sequence": (d.whole(1, 5), d.whole(1, 5)), "signal": (d.whole(1, 4), d.whole(2, 9)),
            "image": (d.whole(1, 4), d.whole(1, 6), d.whole(2, 6)), "cube": (d.whole(1, 2), *(d.whole(1, 4) for _ in range(3))),
        }[how]  # fmt: skip
        d.feed(numbers(d, n, *size))


def numbers(d: Draft, *shape: int) -> np.ndarray:
    """Return random numbers: any, positive ones, with ties and zeros, or the same for each sample."""
    x = d.normal(*shape)
    how = d.whole(0, 5)
    if how == 0:
        x = np.abs(x)
    elif how == 1:
        x = np.round(x * 2) / 2
    elif how == 2:
        x[:] = x[0]
    elif how == 3:
        x[d.rng.random(shape) < 0.3] = 0
    return x + np.float32(0)


def case(seed: int, number: int) -> Case:
    """Return a case by its number."""
    rng = np.random.default_rng([seed, number])
    d = Draft(rng, int(rng.choice(OPSETS)))
    while not d.block(inputs):
        pass
    wanted, tried = d.whole(1, 10), 0
    weights = np.array([w for _, w in MAKERS], float)
    while wanted and tried < TRIES:
        tried += 1
        wanted -= d.block(MAKERS[int(rng.choice(len(MAKERS), p=weights / weights.sum()))][0])
    n = len(next(iter(d.feeds.values())))
    made = [k for k in d.active if k not in d.feeds and d.values[k].ndim and len(d.values[k]) == n]
    made = made or [k for k in d.active if k not in d.feeds] or [d.emit("Relu", d.active[-1])]
    outputs = (made[-1], *({made[d.whole(0, len(made) - 1)]} - {made[-1]} if d.maybe(0.1) else ()))
    return d.case(outputs, d.maybe(0.75), f"{seed}:{number}")
