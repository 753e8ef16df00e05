"""Many threads on one Model and one Explainer: each gets what it gets alone, and nothing is raised that is not raised alone.

A case is the number of a sound model, how many threads there are, and what each does.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from models import feeds_of
from onnx import ModelProto

import reflrp
from fuzz.seeds import seeds

TURNS = 4
"""How often each thread does its work."""


def make(chance: random.Random) -> bytes:
    """Return which model, and what each thread does."""
    work = [
        [chance.choice(["explain", "explain", "run", "summary", "load"]), chance.choice([1, 2, 3, 4, 5, 6])]
        for _ in range(chance.choice([4, 8, 16]))
    ]
    return json.dumps(
        {
            "model": chance.randrange(len(seeds())),
            "work": work,
            "rules": chance.choice(["epsilon", "epsilon_plus_flat"]),
        }
    ).encode()


def tried(data: bytes, folder: Path) -> str:
    """Do everything alone first, each with a model of its own; then at once, with one for all."""
    case = json.loads(data)
    proto = ModelProto.FromString(seeds()[case["model"]])
    wanted = [
        _outcome(lambda what=what, n=n: _job(reflrp.load(proto), None, proto, what, n, case["rules"]))
        for what, n in case["work"]
    ]
    shared = reflrp.load(proto)
    explainer = (
        reflrp.Explainer(shared, rules=case["rules"])
        if len([o for o in shared.outputs if o in shared.source.active]) == 1
        else None
    )
    jobs = [lambda what=what, n=n: _job(shared, explainer, proto, what, n, case["rules"]) for what, n in case["work"]]
    for found, want in zip(at_once(jobs), wanted, strict=True):
        if isinstance(want, reflrp.ReflrpError):
            assert type(found) is type(want), "another error than alone"
        elif isinstance(found, BaseException):
            raise found
        else:
            assert same(found, want), "another answer than alone"
    return "done"


def at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run each job in a thread of its own, all beginning together, a few times; return the last answers, or the first errors."""
    found: list[Any] = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def work(i: int) -> None:
        start.wait(timeout=20)
        for _ in range(TURNS):
            found[i] = _outcome(jobs[i])
            if isinstance(found[i], BaseException):
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return found


def _outcome(job: Callable[[], Any]) -> Any:
    try:
        return job()
    except Exception as error:
        return error


def _job(
    model: reflrp.Model, explainer: reflrp.Explainer | None, proto: ModelProto, what: str, n: int, rules: str
) -> Any:
    if what == "summary":
        return model.summary(rules)
    if what == "load":
        return list(reflrp.load(proto).inputs)
    x = feeds_of(proto, batch=n)
    if what == "run":
        return model.run(x)
    e = (explainer or reflrp.Explainer(model, rules=rules))(x, layers=True)
    return {**e.relevances, **e.layers, "\0": e.output}


def same(found: Any, want: Any) -> bool:
    """Return whether two answers are the same."""
    if isinstance(want, dict):
        return list(found) == list(want) and all(np.array_equal(found[k], want[k]) for k in want)
    return bool(found == want)
