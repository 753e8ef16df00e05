"""The exporters: each takes an architecture to the bytes of an ONNX file, its inputs, and the framework's outputs."""

from __future__ import annotations

import inspect
import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.architectures import Architecture, Net

Arrays = Mapping[str, np.ndarray]
Result = tuple[bytes, Arrays, Arrays]


def run(architecture: Architecture, exporter: str) -> Result:
    """Build the architecture and export it."""
    if architecture.framework == "sklearn":
        from zoo import sklearn_nets

        return sklearn_nets.export(architecture.make())
    if architecture.framework == "keras":
        from zoo import keras_nets

        return keras_nets.export(architecture.make)
    return _torch(architecture, exporter)


def _torch(architecture: Architecture, exporter: str) -> Result:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = architecture.make()
    with torch.no_grad():
        found = net.module(*net.inputs.values())
    outputs = list(found) if isinstance(found, (tuple, list)) else [found]
    names = [f"y_{i}" for i in range(len(outputs))] if len(outputs) > 1 else ["y"]
    inputs = {name: x.numpy() for name, x in net.inputs.items()}
    model = TORCH[exporter](net, {"input_names": list(net.inputs), "output_names": names}, inputs)
    arrays = dict(zip(names, (y.numpy() for y in outputs), strict=True))
    return model, _used(model, inputs), arrays


def _used(model: bytes, inputs: Arrays) -> dict[str, np.ndarray]:
    """Return the inputs that the file has: legacy exports leave out those that are not used."""
    import onnx

    names = {value.name for value in onnx.load_from_string(model).graph.input}
    return {k: v for k, v in inputs.items() if k in names}


def _dynamo(net: Net, options: dict[str, Any], _: Arrays) -> bytes:
    import torch

    inputs = tuple(net.inputs.values())
    program = torch.onnx.export(net.module, inputs, dynamo=True, external_data=False, verbose=False, **options)
    return bytes(program.model_proto.SerializeToString())


def _dynamic(net: Net, options: dict[str, Any], arrays: Arrays) -> bytes:
    """Export with a symbolic batch axis."""
    import torch

    shapes: tuple[Any, ...] = tuple({0: torch.export.Dim.DYNAMIC} for _ in net.inputs)
    shapes = (shapes,) if _variadic(net.module) else shapes
    return _dynamo(net, {**options, "dynamic_shapes": shapes}, arrays)


def _variadic(module: Any) -> bool:
    """Whether the module's forward takes `*inputs`."""
    return any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(module.forward).parameters.values())


def _opset23(net: Net, options: dict[str, Any], arrays: Arrays) -> bytes:
    return _dynamo(net, {**options, "opset_version": 23}, arrays)


def _unfolded(net: Net, options: dict[str, Any], arrays: Arrays) -> bytes:
    """Export without torch's own optimiser: every BatchNorm stays, constants are computed in the graph."""
    return _dynamo(net, {**options, "optimize": False}, arrays)


def _legacy(net: Net, options: dict[str, Any], _: Arrays) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.onnx.export(net.module, tuple(net.inputs.values()), buffer, dynamo=False, **options)
    return buffer.getvalue()


def _legacy14(net: Net, options: dict[str, Any], arrays: Arrays) -> bytes:
    """Export at opset 14, where LayerNormalization and Gelu are written out."""
    return _legacy(net, {**options, "opset_version": 14}, arrays)


def _fused(net: Net, options: dict[str, Any], arrays: Arrays) -> bytes:
    """Return what onnxruntime's optimiser saves: operators of the domain com.microsoft."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        settings.optimized_model_filepath = str(Path(folder) / "fused.onnx")
        onnxruntime.InferenceSession(_dynamo(net, options, arrays), settings, ["CPUExecutionProvider"])
        return Path(settings.optimized_model_filepath).read_bytes()


def _qdq(net: Net, options: dict[str, Any], arrays: Arrays) -> bytes:
    """Return the statically quantised model: QuantizeLinear and DequantizeLinear around each operator."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds = iter([dict(arrays)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "float.onnx", Path(folder) / "qdq.onnx"
        paths[0].write_bytes(_legacy(net, options, arrays))
        quantization.quantize_static(*paths, Reader(), per_channel=True)
        return paths[1].read_bytes()


TORCH: dict[str, Callable[[Net, dict[str, Any], Arrays], bytes]] = {
    "dynamo": _dynamo,
    "dynamic": _dynamic,
    "opset23": _opset23,
    "unfolded": _unfolded,
    "legacy": _legacy,
    "legacy14": _legacy14,
    "fused": _fused,
    "qdq": _qdq,
}
