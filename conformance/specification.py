"""The clauses: what each rule means, as spec/clauses.toml says it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal


@dataclass(frozen=True)
class Clause:
    """One statement about a rule, which rules and tests cite by its id.

    Attributes
    ----------
    id : str
        As "AB-2"; permanent.
    statement : str
        What holds, precisely enough to be tested.
    equation : str
        The same in plain text.
    kind : str
        "required": all published definitions agree. "variant": several answers are published, of which `statement` is
        the one that stands for the name alone. "informative": follows from other clauses.
    source : tuple of str
        Keys of `sources()`.
    since : str
        The release that brought it.
    variants : dict
        {"field=value": what holds instead}.

    """

    id: str
    statement: str
    equation: str
    kind: Literal["required", "variant", "informative"]
    source: tuple[str, ...]
    since: str
    variants: Mapping[str, str] = field(default_factory=dict)


def clauses() -> dict[str, Clause]:
    """Return all clauses by id."""
    records = {key: dict(value) for key, value in _spec().items() if key != "sources"}
    return {key: Clause(key, source=tuple(record.pop("source")), **record) for key, record in records.items()}


def sources() -> dict[str, str]:
    """Return the papers and libraries that clauses cite, by key."""
    return dict(_spec()["sources"])


@cache
def _spec() -> dict[str, Any]:
    return tomllib.loads((resources.files("reflrp.conformance") / "spec" / "clauses.toml").read_text("utf-8"))
