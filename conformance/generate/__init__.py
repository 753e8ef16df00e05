"""How the vectors are made: `python -m reflrp.conformance.generate FOLDER`.

| file | holds |
|---|---|
| `net`, `draft` | a network with rules and dyadic numbers; a case before it is written |
| `write` | the oracle's answer, what refuses a bad vector, the files |
| `linear`, ... | the cases, a file a level |
"""

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

from reflrp.conformance.generate import (
    attention,
    batchnorm,
    close,
    close_graphs,
    edges,
    edges_signs,
    functions,
    linear,
    meetings,
    moves,
    native,
    networks,
    pools,
    recurrence,
    refusals,
)
from reflrp.conformance.generate.draft import Draft

GROUPS = (
    linear,
    edges,
    edges_signs,
    pools,
    moves,
    meetings,
    batchnorm,
    functions,
    attention,
    recurrence,
    networks,
    refusals,
    native,
    close,
    close_graphs,
)
"""What makes cases, in the order of the suite."""

SINCE = dict.fromkeys((native, close, close_graphs), "2026.2")
"""The version of the vectors that a group came with, where it is not the first."""


def drafts() -> Iterator[Draft]:
    """Yield all cases of the suite."""
    for group in GROUPS:
        yield from drafts_of(group)


def drafts_of(group: ModuleType) -> Iterator[Draft]:
    """Yield the cases of a group, each with the version that it came with."""
    return (replace(draft, since=SINCE.get(group, draft.since)) for draft in group.drafts())
