"""Storing a compiled model: one file, or with its weights in a file beside where the source has them so or one is too small."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from reflrp import limits
from reflrp.compiler.writing.constants import LARGE
from reflrp.errors import InputError
from reflrp.storage.files import check_place, named, write_beside

LARGEST = 2**31 - 2**24
"""Bytes beyond which a file of the format cannot be; a little room is left."""

ALIGNED = 4096
"""Weights begin at multiples of so many bytes, so that runtimes can map them."""

NONE: Mapping[str, np.ndarray] = {}


def store(proto: ModelProto, path: Any, outside: Mapping[str, np.ndarray] | None = None) -> None:
    """Write a model to a file; `outside` are weights that are not in it, which go to `NAME.data` beside.

    So do those of a model of more than 2 GB. Each is written from where it is, so that no second copy is made of it. The proto
    refers to what was written afterwards. Raises InputError where a file cannot be written.
    """
    place = check_place(named(path))
    weights = dict(outside or {})
    if not weights and proto.ByteSize() >= LARGEST:
        weights = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer if _entries(t) > LARGE}
    if weights:
        beside = Path(f"{place}.data")
        write_beside(beside, lambda file: _written(proto, weights, file, beside.name))
    write_beside(place, lambda file: file.write(proto.SerializeToString()))


def _written(proto: ModelProto, weights: Mapping[str, np.ndarray], file: BinaryIO, location: str) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name not in weights:
            continue
        array = np.ascontiguousarray(weights[tensor.name])
        file.write(bytes(-file.tell() % ALIGNED))
        where = {"location": location, "offset": file.tell(), "length": array.nbytes}
        file.write(array.reshape(-1).view(np.uint8).data)
        tensor.CopyFrom(TensorProto(name=tensor.name, dims=array.shape, data_type=tensor.data_type))
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))


def embedded(proto: ModelProto, outside: Mapping[str, np.ndarray] | None) -> ModelProto:
    """Return a model with the weights in it that were kept outside. Raises InputError for more than a proto can hold."""
    size = (
        proto.ByteSize() + sum(a.nbytes for a in outside.values()) if outside else 0
    )  # to count is to write it all out
    if size >= LARGEST:
        raise InputError(
            f"the compiled model has {limits.in_words(size)}, and a file of ONNX 2 GB at most: give out='model_lrp.onnx', "
            "so that its weights are written beside it"
        )
    for tensor in proto.graph.initializer:
        if outside and tensor.name in outside:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(outside[tensor.name]), tensor.name))
    return proto


def external(proto: ModelProto) -> set[str]:
    """Return the names of the initializers whose numbers lie in other files."""
    return {t.name for t in proto.graph.initializer if onnx.external_data_helper.uses_external_data(t)}


def _entries(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))
