"""The vectors: each case a folder with case.json, model.onnx and data.npz; index.json has the sums of all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reflrp.conformance.protocol import RuleSpec
from reflrp.errors import InputError
from reflrp.ground import checks

VECTORS = Path(str(resources.files("reflrp.conformance"))) / "vectors" / "v1"
"""Where the vectors of this release lie."""

FILES = frozenset({"case.json", "data.npz", "model.onnx"})
"""The files of a case."""

FIELDS = frozenset({
    "id", "clauses", "comment", "expect", "exact", "requires", "model", "rules", "arrays", "tolerance", "variants",
})  # fmt: skip
"""What is read of case.json."""

Expect = Literal["match", "reject", "property"]


@dataclass(frozen=True)
class Case:
    """One question to a library, and the answer.

    Attributes
    ----------
    folder : Path
        Where its three files lie.
    record : dict
        What case.json says; see `conformance/vectors/v1/INTERPRETING.md`.

    """

    folder: Path
    record: Mapping[str, Any]

    def __repr__(self) -> str:
        """Return the case by its id."""
        return f"Case({self.id!r})"

    @property
    def id(self) -> str:
        """The name, group/slug; permanent."""
        return str(self.record["id"])

    @property
    def clauses(self) -> tuple[str, ...]:
        """The clauses that a wrong answer speaks against."""
        return tuple(self.record["clauses"])

    @property
    def expect(self) -> Expect:
        """What is looked at: relevance, a refusal, or a property of the library's own answers."""
        found: Expect = self.record["expect"]
        return found

    @property
    def rules(self) -> tuple[RuleSpec, ...]:
        """The rules, one a node that leaves a choice; each time anew, for adapters may write into them."""
        return tuple(RuleSpec(r["node"], r["rule"], deepcopy(r["params"])) for r in self.record["rules"])

    @property
    def model(self) -> Path:
        """The network."""
        return self.folder / str(self.record["model"]["file"])

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays of data.npz by key."""
        with np.load(self.folder / self.record["arrays"]["file"], allow_pickle=False) as data:
            return dict(data)

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """Return copies of the arrays whose keys begin so, by the rest: part("in") has the inputs by name."""
        return {k.removeprefix(f"{prefix}/"): v.copy() for k, v in self.arrays.items() if k.startswith(f"{prefix}/")}

    def tolerance(self, dtype: str) -> float:
        """Return the largest error that passes, in units of the largest expected relevance; 0 for fractions."""
        return float(self.record["tolerance"].get(dtype, 0.0 if dtype == "exact" else 1e-12))

    @property
    def variants(self) -> dict[str, Mapping[str, Any]]:
        """What other published or known answers there are: {tag: {"status", "clause", ...}}."""
        return dict(self.record["variants"])


def index(folder: Path | None = None) -> dict[str, Any]:
    """Return what index.json says: the version of the suite, and each case with the sums of its files."""
    path = (folder or VECTORS) / "index.json"
    try:
        found: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no index of conformance vectors: {error}") from error
    cases = found.get("cases") if isinstance(found, dict) else None
    sums = isinstance(cases, dict) and all(isinstance(v, dict) and set(v) == FILES for v in cases.values())
    if not sums or not isinstance(found.get("suite_version"), str):
        raise InputError(
            f"{path} is no index of conformance vectors: it has no suite_version, or not for each case the sums of {sorted(FILES)}"
        )
    return dict(found)


def select(cases: str | Sequence[str] = "*", folder: Path | None = None) -> list[Case]:
    """Return the cases whose ids match one of the globs, in the index's order.

    Raises InputError for a glob that matches nothing, and for no glob.
    """
    globs = [cases] if isinstance(cases, str) else list(checks.texts("cases", cases))
    if not globs:
        raise InputError("cases=[] are none: nothing would be judged; give globs, or '*' for all")
    root = folder or VECTORS
    ids = list(index(root)["cases"])
    empty = [glob for glob in globs if not any(fnmatchcase(i, glob) for i in ids)]
    if empty:
        raise InputError(f"cases={empty[0]!r} matches no case; `reflrp conformance list` has their names")
    return [load_case(root / i) for i in ids if any(fnmatchcase(i, glob) for glob in globs)]


def load_case(folder: Path) -> Case:
    """Return the case of a folder."""
    try:
        record = json.loads((folder / "case.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no case of the conformance suite: {error}") from error
    if not isinstance(record, dict) or FIELDS - set(record):
        raise InputError(f"{folder} holds no case of the conformance suite: case.json needs {sorted(FIELDS)}")
    return Case(folder, record)


def altered(cases: Iterable[Case], folder: Path | None = None) -> list[str]:
    """Return the files of these cases that are not what the index says: an altered vector judges nobody."""
    sums = index(folder)["cases"]
    return [
        f"{case.id}/{name}"
        for case in cases
        for name, found in sums[case.id].items()
        if _sum(case.folder / name) != found
    ]


def _sum(path: Path) -> str:
    """Return the SHA-256 of a file; "" of one that cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
