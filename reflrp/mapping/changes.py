"""What was done to images so that they fit a model: each by itself, and of many how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

FEW = 3
"""So many images are named one by one."""


@dataclass(frozen=True)
class Change:
    """What was done to one image: `what` in its own words, `kind` in those that it shares with others."""

    name: str
    what: str
    kind: str

    def __str__(self) -> str:
        """Return it as a note."""
        return f"{self.name} {self.what}"


@dataclass
class Changes:
    """Changes summed up, however many there are: how often each kind was made, and the first of each."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[Change]] = field(default_factory=dict)

    def add(self, changes: Iterable[Change]) -> None:
        """Count some more."""
        for change in changes:
            self.counts[change.kind] = self.counts.get(change.kind, 0) + 1
            named = self.first.setdefault(change.kind, [])
            if len(named) < FEW:
                named.append(change)

    def notes(self) -> tuple[str, ...]:
        """Return a note for each of a few, and one for many of a kind."""
        found: list[str] = []
        for kind, count in self.counts.items():
            named = self.first[kind]
            found += (
                map(str, named) if count <= FEW else [f"{count} images {kind}: {', '.join(c.name for c in named)}, ..."]
            )
        return tuple(found)


def summed(changes: Iterable[Change]) -> tuple[str, ...]:
    """Return the notes of some changes."""
    found = Changes()
    found.add(changes)
    return found.notes()
