"""Writing files so that nothing is ever half-written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from reflrp.errors import InputError


def write_beside(path: Path, write: Any) -> None:
    """Write a file beside its place and rename it, so that nothing is ever half-written."""
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} exists and is no regular file; give the name of a file")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
