"""`python -m keras_answers LIBRARY VECTORS RESULTS [GLOB ...]`: what a library answers to the cases, a file each.

LIBRARY is innvestigate or signxai; each needs a process of its own, for one runs without eager execution and one with it.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import warnings
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402

from .nodes import Unsupported  # noqa: E402


def part(data: Any, prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin so, by the rest."""
    return {k.removeprefix(prefix): data[k] for k in data if k.startswith(prefix)}


def answered(library: Any, folder: Path, case: dict[str, Any], target: Path) -> None:
    """Write the answer to one case, or why there is none."""
    with np.load(folder / case["arrays"]["file"], allow_pickle=False) as data:
        inputs, seed = part(data, "in/"), part(data, "seed/")
    target.parent.mkdir(parents=True, exist_ok=True)
    for end in (".npz", ".txt"):
        target.with_suffix(end).unlink(missing_ok=True)
    try:
        outputs, explain = library.answer(folder / case["model"]["file"], inputs, seed, case["rules"])
    except Unsupported as error:
        target.with_suffix(".txt").write_text(f"unsupported: {error}\n", "utf-8")
        return
    try:
        relevance = explain()
    except Exception as error:  # whatever the library raises is its answer
        target.with_suffix(".txt").write_text(f"rejected: {type(error).__name__}: {_first(error)}\n", "utf-8")
        return
    arrays = {f"out/{k}": y for k, y in outputs.items()} | {f"relevance/{k}": R for k, R in relevance.items()}
    np.savez(target.with_suffix(".npz"), **arrays)


def _first(error: Exception) -> str:
    """Return the first line of a message, without addresses and names of nodes, which differ from run to run."""
    line = (str(error).splitlines() or [""])[0]
    return re.sub(r" at 0x[0-9a-f]+|^Node '[^']*': ", "", line)[:160]


def main(name: str, vectors: str, results: str, *globs: str) -> None:
    """Answer all cases that match one of the globs."""
    library = importlib.import_module(f".by_{name}", __package__)
    root = Path(vectors)
    Path(results).mkdir(parents=True, exist_ok=True)
    about = {"library": name, "version": version(library.PACKAGE)}
    (Path(results) / "about.json").write_text(json.dumps(about) + "\n", "utf-8")
    for path in sorted(root.glob("*/*/case.json")):
        case = json.loads(path.read_text("utf-8"))
        if case["expect"] != "property" and any(fnmatchcase(case["id"], glob) for glob in globs or ("*",)):
            answered(library, path.parent, case, Path(results) / f"{case['id']}.npz")


if __name__ == "__main__":
    main(*sys.argv[1:])
