"""Storing a compiled model: one file, or with its weights in a file beside where it is too large for one."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto

LARGEST = 2**31 - 2**24
"""Bytes beyond which a file of the format cannot be; a little room is left."""


def store(proto: ModelProto, path: str | Path) -> None:
    """Write a model; beyond 2 GB its weights go to `NAME.data` beside it."""
    path = Path(path)
    large = proto.ByteSize() >= LARGEST
    onnx.save_model(proto, str(path), save_as_external_data=large, location=f"{path.name}.data" if large else None)
