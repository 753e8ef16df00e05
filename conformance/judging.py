"""Judging by files: a library in any language writes results/<case>.npz, and is judged without an adapter."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reflrp.conformance.cases import Case, select
from reflrp.conformance.profiles import Profile
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported
from reflrp.conformance.report import Report
from reflrp.conformance.running import BREAKDOWNS, run
from reflrp.errors import InputError
from reflrp.ground import checks


class Written:
    """What a library wrote to a folder: `<case>.npz` with relevance/<value> and out/<output>, or `<case>.txt`.

    The text says why there is no answer: "unsupported: ..." or "rejected: ...". One that is rejected by the name of an error that
    refuses nothing, as "rejected: TypeError: ...", is an error (`running.BREAKDOWNS`).
    """

    def __init__(self, folder: Path, name: str, version: str, cases: Sequence[Case]) -> None:
        self.folder, self.name, self.version = folder, name, version
        self.of = {case.model: case for case in cases}

    def describe(self) -> Info:
        """Return who is judged."""
        return Info(self.name, self.version)

    def load(self, model: Path, dtype: str) -> dict[str, np.ndarray]:
        """Return what was written for the case of this model."""
        case = self.of[model]
        if case.expect == "property":
            raise Unsupported("a property is asked of a library itself, which files cannot answer")
        text = self.folder / f"{case.id}.txt"
        if text.is_file():
            _refused(text.read_text("utf-8", errors="replace").strip())
        try:
            with np.load(self.folder / f"{case.id}.npz", allow_pickle=False) as data:
                return dict(data)
        except FileNotFoundError as error:
            raise Unsupported(f"there is no {case.id}.npz") from error
        except Exception as error:  # half a file is no refusal, also where one is asked for
            raise OSError(f"{case.id}.npz cannot be read: {error}") from error

    def forward(self, model: dict[str, np.ndarray], inputs: Arrays) -> Arrays:
        """Return the outputs."""
        return _part(model, "out/")

    def explain(self, model: dict[str, np.ndarray], inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance."""
        return _part(model, "relevance/")


def _refused(text: str) -> None:
    word, _, reason = text.partition(":")
    if word == "rejected":
        kind, _, said = reason.strip().partition(": ")
        found = getattr(builtins, kind, None)
        if isinstance(found, type) and issubclass(found, BREAKDOWNS):
            raise found(said)
        raise ValueError(reason.strip() or "rejected")
    raise Unsupported(reason.strip() or text)


def _part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def judge(
    results: str | Path,
    cases: str | Sequence[str] = "*",
    dtype: str = "float64",
    name: str = "results",
    version: str = "unknown",
    profile: Profile | str | Path | None = None,
    combinations: bool = False,
) -> Report:
    """Judge what a library wrote: `results/<case>.npz`, with the arrays relevance/<input> and out/<output>.

    `results/<case>.txt` says "unsupported: why" or "rejected: why" instead. Arguments as for `run`. Raises InputError where
    there is no such folder.
    """
    folder = checks.path("results", results)
    checks.text("name", name)
    checks.text("version", version)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of results")
    chosen = select(cases)
    if not any((folder / f"{case.id}{end}").is_file() for case in chosen for end in (".npz", ".txt")):
        raise InputError(f"{folder} holds none of the cases: write GROUP/CASE.npz, as {chosen[0].id}.npz")
    return run(Written(folder, name, version, chosen), cases, dtype, profile, combinations=combinations)
