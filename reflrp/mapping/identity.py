"""What a store is of: so that it is not gone on with for another model, other rules or another question."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.ground.checks import shown
from reflrp.mapping import digests
from reflrp.mapping.digests import Unrecognisable
from reflrp.mapping.work import Work
from reflrp.seeds import Contrast

Identity = dict[str, Any]

FORMAT = 1
UNKNOWN = "unknown"
"""In place of a digest, where another process could not tell a thing from another of its kind."""

WORDS = {
    "model_sha256": "another model",
    "rules_sha256": "other rules",
    "target_sha256": "other targets",
    "inputs": "other inputs",
    "conditions": "other conditions",
    "layers": "other layers",
    "samples": "another number of samples",
    "chunk": "chunks of another size",
    "reflrp": "another version of reflrp",
    "format": "another format",
}
"""What to say where a part differs; of others, their name."""


def identity_of(work: Work) -> Identity:
    """Return what a store of this work is of, as JSON holds it."""
    explainer, asked = work.explainer, work.asked
    return {
        "format": FORMAT,
        "reflrp": version("reflrp"),
        "model": explainer.model.source.name,
        "model_sha256": digests.of_model(explainer.model),
        "rules": explainer.composite.title,
        "rules_sha256": _known(explainer.composite),
        "output": explainer.output,
        "strip": explainer.strip,
        "canonize": list(explainer.passes),
        "backend": explainer.backend,
        "dtype": explainer.dtype,
        "target": shown(_plain(asked.target)),
        "target_sha256": digests.of_thing(_plain(asked.target)) if isinstance(asked.init, str) else "",
        "init": asked.init if isinstance(asked.init, str) else "an array",
        "layers": list(checks.texts("layers", asked.layers))
        if asked.inner and asked.layers is not True
        else asked.inner,
        "conditions": {k: checks.array("conditions", v).tolist() for k, v in (asked.conditions or {}).items()},
        "inputs": {k: f"{a.dtype} {a.shape[1:]}" for k, a in work.source.first.items()},
        "samples": work.source.count,
        "chunk": work.size,
    }


def check_same(place: Any, there: Mapping[str, Any], wanted: Identity) -> None:
    """Raise InputError, which says what differs, for a store that is of something else."""
    if there.get("rules_sha256") == UNKNOWN:
        raise InputError(
            f"{place} cannot be gone on with: its rules hold a function, which another process cannot recognise; give another "
            "place, and rules that are plain data where you want to go on after an interruption"
        )
    different = [k for k in wanted if k not in ("model", "rules", "target") and there.get(k) != wanted[k]]
    if different:
        raise InputError(
            f"{place} is a store of {'; '.join(_said(k, there, wanted) for k in different)}; give another place"
        )


def _said(key: str, there: Mapping[str, Any], wanted: Identity) -> str:
    name = key.removesuffix("_sha256")
    name = key if there.get(name) == wanted[name] else name
    return f"{WORDS.get(key, f'another {key}')} ({shown(there.get(name))}, and not {shown(wanted[name])})"


def _known(thing: Any) -> str:
    try:
        return digests.of_thing(thing)
    except Unrecognisable:
        return UNKNOWN


def _plain(target: Any) -> Any:
    """Return a target as numbers, lists and None, so that an array and a list of the same ints are the same."""
    if isinstance(target, Contrast):
        return {"target": _plain(target.target), "against": _plain(target.against)}
    if isinstance(target, tuple | list):
        return [*("(" for _ in range(isinstance(target, tuple))), *map(_plain, target)]
    return target if target is None or isinstance(target, int) else np.asarray(target).tolist()
