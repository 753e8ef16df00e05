"""Export architectures into a folder: NAME.EXPORTER.onnx, and NAME.EXPORTER.npz with inputs and outputs.

    PYTHONPATH=tests python -m zoo.export FOLDER [NAME ...] [--framework torch|sklearn|keras] [--keep]

The .npz holds `input:NAME` for each input of the ONNX file, `output:NAME` for each output as the framework computes
it, and `stamp`, a hash of the files that the architecture is written in. An export with the same stamp is not done
again; with --keep none is that is there already. Where an export fails, NAME.EXPORTER.txt says why.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo import exporters
from zoo.architectures import FILES, Architecture, load


@dataclass(frozen=True)
class Export:
    """One architecture with one exporter, and the folder that it goes into."""

    architecture: Architecture
    exporter: str
    folder: Path

    def path(self, suffix: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / f"{self.architecture.name}.{self.exporter}.{suffix}"

    def stamp(self) -> str:
        """Return a hash of the sources that it comes from."""
        here = Path(__file__).parent
        tools = ["exporters.py", *(["torch_tools.py"] if self.architecture.framework == "torch" else [])]
        files = [sys.modules[self.architecture.file].__file__ or "", *(here / name for name in tools)]
        return hashlib.sha256(b"".join(Path(f).read_bytes() for f in files)).hexdigest()[:16]

    def row(self) -> dict[str, Any]:
        """Return its line in the manifest, which `zoo.check` reads."""
        a = self.architecture
        known = {"name": a.name, "exporter": self.exporter, "family": a.family}
        return {**known, "presets": a.presets, "output": a.output}

    def is_there(self, keep: bool = False) -> bool:
        """Whether it was done, or failed, from the same sources; any will do with `keep`."""
        if self.path("txt").exists():
            return keep or self.path("txt").read_text("utf-8").splitlines()[0] == self.stamp()
        if not (self.path("npz").exists() and self.path("onnx").exists()):
            return False
        with np.load(self.path("npz")) as data:
            return keep or str(data["stamp"]) == self.stamp()

    def make(self) -> None:
        """Export it, or write down why that failed."""
        for suffix in ("onnx", "npz", "txt"):
            self.path(suffix).unlink(missing_ok=True)
        try:
            with _quiet():
                model, inputs, outputs = exporters.run(self.architecture, self.exporter)
        except Exception as error:  # whatever an exporter raises
            self.path("txt").write_text(f"{self.stamp()}\n{_told(error)}\n", "utf-8")
            return
        self.path("onnx").write_bytes(model)
        arrays = {f"input:{k}": v for k, v in inputs.items()} | {f"output:{k}": v for k, v in outputs.items()}
        np.savez_compressed(self.path("npz"), stamp=np.array(self.stamp()), **arrays)


def _told(error: Exception) -> str:
    """Return an exporter's error in one line, without colours and advice."""
    text = re.sub(r"\x1b\[\d*m", "", f"{type(error).__name__}: {error}")
    advice, _, summary = text.partition("## Exception summary")
    kept = f"{advice.partition('.')[0]}: {summary}" if summary else text
    return " ".join(kept.split())[:600]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporters, which warn, log and print at length, from C++ too."""
    logging.disable(logging.WARNING)
    sys.stdout.flush()
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nothing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in (1, 2):
            os.dup2(nothing.fileno(), number)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, original in zip((1, 2), kept, strict=True):
                os.dup2(original, number)
                os.close(original)
            logging.disable(logging.NOTSET)


def exports(framework: str, folder: Path, names: Sequence[str] = ()) -> list[Export]:
    """Return the exports of one framework, or those of the named architectures."""
    found = load(framework)
    return [Export(a, e, folder) for n, a in found.items() if not names or n in names for e in a.exporters]


def manifest(framework: str, folder: Path, names: Sequence[str] = ()) -> None:
    """Write FRAMEWORK.manifest.json: the exports that shall be there, and how to explain them."""
    rows = [export.row() for export in exports(framework, folder, names)]
    (folder / f"{framework}.manifest.json").write_text(json.dumps(rows, indent=1), "utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the exports that are missing, one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--framework", choices=FILES, default="torch")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    if not given.names:
        manifest(given.framework, given.folder)
    for export in exports(given.framework, given.folder, given.names):
        if export.is_there(given.keep):
            continue
        start = time.perf_counter()
        export.make()
        failed = export.path("txt").exists() and export.path("txt").read_text("utf-8").splitlines()[1][:150]
        print(f"{export.path('onnx').stem:45} {time.perf_counter() - start:5.1f} s  {failed or 'ok'}", flush=True)


if __name__ == "__main__":
    main()
