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
import inspect
import io
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.architectures import FILES, Architecture, Net, load

OPSET23 = 23


@dataclass(frozen=True)
class Export:
    """Where one export is, or why it failed."""

    architecture: Architecture
    exporter: str
    folder: Path

    def path(self, suffix: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / f"{self.architecture.name}.{self.exporter}.{suffix}"

    def stamp(self) -> str:
        """Return a hash of the sources that it comes from."""
        files = [Path(__file__), Path(sys.modules[self.architecture.make.__module__].__file__ or "")]
        tools = Path(__file__).with_name("torch_tools.py")
        files += [tools] if self.architecture.framework == "torch" else []
        return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]

    def row(self) -> dict[str, Any]:
        """Return its line in the manifest, which `zoo.check` reads."""
        a = self.architecture
        return {
            "name": a.name,
            "exporter": self.exporter,
            "family": a.family,
            "presets": a.presets,
            "output": a.output,
        }

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
                model, inputs, outputs = EXPORTERS[self.exporter](self.architecture, self.exporter)
        except Exception as error:  # whatever an exporter raises
            text = " ".join(f"{type(error).__name__}: {error}".split())
            self.path("txt").write_text(f"{self.stamp()}\n{text[:2000]}\n", "utf-8")
            return
        self.path("onnx").write_bytes(model)
        arrays = {f"input:{k}": v for k, v in inputs.items()} | {f"output:{k}": v for k, v in outputs.items()}
        np.savez_compressed(self.path("npz"), stamp=np.array(self.stamp()), **arrays)


Result = tuple[bytes, Mapping[str, np.ndarray], Mapping[str, np.ndarray]]


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


def _torch(architecture: Architecture, exporter: str) -> Result:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = architecture.make()
    inputs = tuple(net.inputs.values())
    with torch.no_grad():
        found = net.module(*inputs)
    outputs = list(found) if isinstance(found, (tuple, list)) else [found]
    names = [f"y_{i}" for i in range(len(outputs))] if len(outputs) > 1 else ["y"]
    model = _torch_model(net, exporter, names)
    arrays = dict(zip(names, (y.numpy() for y in outputs), strict=True))
    return model, _used(model, {k: x.numpy() for k, x in net.inputs.items()}), arrays


def _torch_model(net: Net, exporter: str, names: list[str]) -> bytes:
    import torch

    inputs = tuple(net.inputs.values())
    options: dict[str, Any] = {"input_names": list(net.inputs), "output_names": names, "dynamo": exporter != "legacy"}
    if exporter == "dynamic":
        shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
        options["dynamic_shapes"] = (shapes,) if _variadic(net.module) else shapes
    if exporter == "opset23":
        options["opset_version"] = OPSET23
    if exporter == "legacy":
        buffer = io.BytesIO()
        torch.onnx.export(net.module, inputs, buffer, **options)
        return buffer.getvalue()
    program = torch.onnx.export(net.module, inputs, external_data=False, verbose=False, **options)
    return bytes(program.model_proto.SerializeToString())


def _variadic(module: Any) -> bool:
    """Whether the module's forward takes `*inputs`."""
    return any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(module.forward).parameters.values())


def _used(model: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the inputs that the file has: legacy exports leave out those that are not used."""
    import onnx

    names = {value.name for value in onnx.load_from_string(model).graph.input}
    return {k: v for k, v in inputs.items() if k in names}


def _sklearn(architecture: Architecture, exporter: str) -> Result:
    from zoo.sklearn_nets import export

    return export(architecture.make())


def _keras(architecture: Architecture, exporter: str) -> Result:
    from zoo.keras_nets import export

    return export(architecture.make)


EXPORTERS = {
    **dict.fromkeys(("dynamo", "dynamic", "opset23", "legacy"), _torch),
    "skl2onnx": _sklearn,
    "tf2onnx": _keras,
}


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
