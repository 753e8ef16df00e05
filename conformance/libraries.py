"""The verdicts on other libraries: `python -m reflrp.conformance.libraries conformance/reports [library or folder ...]`.

Runs where the libraries are installed (`make verdicts`), in float64, against all vectors and with the profiles of
conformance/profiles. Two are no packages: environment variables name their checkouts (`CHECKOUTS`). A folder holds the answers of
a library that runs where reflrp does not (`make verdicts-tf`). The reports are the same wherever they are made: without times,
errors rounded to two digits.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

from reflrp.conformance.cases import select
from reflrp.conformance.judging import Written
from reflrp.conformance.protocol import Adapter
from reflrp.conformance.report import SCHEMA, Report, Row
from reflrp.conformance.running import run
from reflrp.storage.files import write_beside

LIBRARIES = (
    "captum",
    "lczerolens",
    "lrp_for_lstm",
    "lrp_toolbox",
    "lxt",
    "pnpxai",
    "relevance_propagation_jl",
    "zennit",
)
"""Whose reports are kept, by the modules of their adapters."""

CHECKOUTS = {"lrp_for_lstm": "LRP_FOR_LSTM", "lrp_toolbox": "LRP_TOOLBOX"}
"""The libraries that are no packages, with the environment variables that name a checkout."""

ABOUT = "about.json"
"""The file of a folder of answers that says whose they are."""

WRITTEN = ("innvestigate", "signxai")
"""Those whose answers are files (`reflrp.conformance.adapters.keras_answers`)."""

PROFILES = Path(str(resources.files("reflrp.conformance"))) / "profiles"
"""Where the deviations of each are declared."""


def report(library: str) -> Report:
    """Return the verdicts on an installed library, or on the answers of a folder, without what would differ from run to run."""
    adapter = written(Path(library)) if Path(library, ABOUT).is_file() else _adapter(library)
    declared = PROFILES / f"{adapter.describe().name}.toml"
    found = run(adapter, profile=declared if declared.is_file() else None, combinations=True)
    return replace(found, rows=tuple(steady(row) for row in found.rows))


def written(folder: Path) -> Written:
    """Return the adapter of a folder of answers, where about.json says which library they are of."""
    about = json.loads((folder / ABOUT).read_text("utf-8"))
    return Written(folder, about["library"], about["version"], select())


def steady(row: Row) -> Row:
    """Return a row without its time, and with no more digits than every machine finds; what conforms is told in no words."""
    passed = row.verdict == "PASS"
    error = 0.0 if passed else float(f"{row.error:.2g}")
    return replace(row, error=error, seconds=0.0, message="" if row.conforms or passed else row.message)


def _adapter(library: str) -> Adapter:
    if library not in CHECKOUTS:
        _without_cuda()
    with warnings.catch_warnings(), _past_init(library):
        warnings.simplefilter("ignore")
        found: Adapter = importlib.import_module(f"reflrp.conformance.adapters.{library}").Adapter()
    return found


def _without_cuda() -> None:
    """Let torchvision, which zennit imports, load beside a CPU torch: its wheel is built for CUDA and wants two operators."""
    import torch

    _KEPT.append(torch.library.Library("torchvision", "FRAGMENT"))
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _KEPT[-1].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_KEPT: list[Any] = []


@contextmanager
def _past_init(library: str) -> Iterator[None]:
    """Let pnpxai's modules be read past their packages' __init__, which import much that LRP has no use for."""
    spec = importlib.util.find_spec("pnpxai") if library == "pnpxai" else None
    if spec is None or spec.origin is None:
        yield
        return
    packages = {name: types.ModuleType(name) for name in ("pnpxai", "pnpxai.explainers", "pnpxai.explainers.zennit")}
    for name, package in packages.items():
        package.__path__ = [str(Path(spec.origin).parent.joinpath(*name.split(".")[1:]))]
    sys.modules.update(packages)  # patch.dict would take back all that is imported meanwhile
    try:
        yield
    finally:
        for name in packages:
            del sys.modules[name]


def save(found: Report, path: Path) -> None:
    """Write a report with a row a line, which `Report.load` reads as any other."""
    record = {"schema": SCHEMA, **asdict(found)}
    rows = record.pop("rows")
    for row in rows:
        row.update({k: None for k in ("error", "tolerance") if row[k] != row[k]})
    head = json.dumps(record)[:-1]
    text = f'{head}, "rows": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]}\n"
    write_beside(path, lambda file: file.write(text.encode()))


def main(folder: str, *libraries: str) -> None:
    """Write each library's report to the folder; where none are named, of all but those whose checkout is not."""
    for library in libraries or LIBRARIES:
        if not libraries and not os.environ.get(CHECKOUTS.get(library, "PATH")):
            sys.stdout.write(f"{library}: not run, {CHECKOUTS[library]} names no checkout; its report stays as it is\n")
            continue
        found = report(library)
        save(found, Path(folder) / f"{found.library}.json")
        sys.stdout.write(f"{found}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
