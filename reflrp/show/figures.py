"""Figures of matplotlib: whether it is there, and into which files it writes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from reflrp.errors import InputError, ReflrpError
from reflrp.ground.quiet import quiet
from reflrp.storage.files import write_beside

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_matplotlib(path: Path | None = None) -> None:
    """Raise ReflrpError without matplotlib, and InputError for a path whose ending it cannot write."""
    if find_spec("matplotlib") is None:
        raise ReflrpError('pictures need matplotlib, which is not installed: pip install "reflrp[plot]"')
    if path is not None:
        from matplotlib.backend_bases import FigureCanvasBase

        known = FigureCanvasBase.get_supported_filetypes()
        if path.suffix.lower().removeprefix(".") not in known:
            raise InputError(f"{path} cannot be written as a picture; end the name with one of {', '.join(known)}")


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the path's ending says."""
    require_matplotlib(path)
    ending = path.suffix.lower().removeprefix(".")
    with quiet():
        write_beside(path, lambda file: figure.savefig(file, format=ending, dpi=130))
