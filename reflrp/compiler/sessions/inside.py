"""Kernels that a session reads in the model's own file: of those that it lays out anew it needs no copy of its own before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from onnx import ModelProto

from reflrp.compiler.sessions.parting import reads
from reflrp.importer.files.skeleton import Piece, skeleton

KERNEL, CHANNELS = 2**20, 16
"""Bytes of a kernel from which on it is read in the file, and what its channels are multiples of: then it is laid out anew."""


def inside(
    proto: ModelProto, weights: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray], path: Path
) -> tuple[ModelProto, set[str]]:
    """Return a graph that names the places of kernels in the file that it was made of, and which these are.

    `weights` stand beside the graph, `own` are the arrays of the loaded model, which has them from the file. A session of the graph
    looks for the file's name in a folder that it is told.
    """
    kernels, found = _kernels(proto), ModelProto()
    places = {k: p for k, p in _places(path).items() if k in kernels and k in weights and weights[k] is own.get(k)}
    places = {k: p for k, p in places.items() if p.length == weights[k].nbytes >= KERNEL}
    if not places:
        return proto, set()
    found.CopyFrom(proto)
    for tensor in found.graph.initializer:
        if tensor.name in places:
            del tensor.external_data[:]
            where = {"location": path.name, **places[tensor.name]._asdict()}
            for key, value in where.items():
                tensor.external_data.add(key=key, value=str(value))
    return found, set(places)


def _places(path: Path) -> dict[str, Piece]:
    """Return where in a file the numbers of its large weights lie."""
    known = skeleton(path)
    if known is None:
        return {}
    names = [t.name for t in ModelProto.FromString(known[0]).graph.initializer]
    return {names[i]: piece for i, piece in known[1].pieces.items()}


def _kernels(proto: ModelProto) -> set[str]:
    """Return the kernels that only convolutions read, and nodes that are worked out once, as they read constants alone."""
    found = {t.name for t in proto.graph.initializer if len(t.dims) == 4 and not any(n % CHANNELS for n in t.dims[:2])}
    constant = {t.name for t in proto.graph.initializer}
    found -= {o.name for o in proto.graph.output}
    for node in proto.graph.node:
        if constant.issuperset(reads(node)):
            constant.update(node.output)
        else:
            found.difference_update(set(reads(node)) - {node.input[1]} if node.op_type == "Conv" else reads(node))
    return found
