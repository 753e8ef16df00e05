"""The demo: a small network that reads 8x8 digits, two images of each digit, and a picture of what it looks at."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from reflrp.errors import InputError
from reflrp.explainer import explain
from reflrp.storage.files import why

RULES = "epsilon_plus"
PICTURE = "reflrp_demo.png"


def load() -> tuple[Path, np.ndarray, np.ndarray]:
    """Return the path of the model, the images (20, 1, 8, 8) in 0..1, and their labels (20,)."""
    folder = Path(str(files(__name__)))
    with np.load(folder / "digits.npz") as data:
        return folder / "digits.onnx", data["images"], data["labels"]


def run(out: Path) -> Path:
    """Explain one image of each digit, write the picture into the folder `out`, and return its absolute path.

    Raises ReflrpError where matplotlib is not installed, InputError where `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder for the picture")
    model, images, _ = load()
    explanation = explain(model, images[::2], rules=RULES)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {out} cannot be made: {why(error)}") from error
    path = (out / PICTURE).resolve()
    explanation.plot(path)
    return path
