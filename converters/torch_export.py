"""torch modules to ONNX, by torch's own exporter."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflrp.converters.checks import check_forward, require
from reflrp.errors import ReflrpError

if TYPE_CHECKING:
    import torch


class ExportFailed(ReflrpError):
    """torch could not export the module."""


def from_torch(
    module: torch.nn.Module,
    args: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    opset: int | None = None,
    dynamic_batch: bool = True,
    path: str | Path | None = None,
) -> bytes | Path:
    """Export a torch module to ONNX and check that its forward pass stays the same.

    The module is exported in evaluation mode and left in the mode in which it was. An only input is named
    ``input``, several are named ``input_0``, ``input_1``, ...; outputs likewise.

    Parameters
    ----------
    module
        The module. It returns a tensor, a sequence of tensors, or a mapping to tensors.
    args
        Example inputs, positional; one tensor, or a tuple of tensors.
    opset
        ONNX opset version; torch's default where None. For old opsets torch may write a newer one.
    dynamic_batch
        Whether the first axis of every input may have any length.
    path
        Where to write the model; the bytes are returned where None.

    Returns
    -------
    bytes or Path
        The serialised model, weights included; or the path of the file.

    Raises
    ------
    MissingExtra
        torch or onnxscript is not installed.
    ExportFailed
        torch cannot export the module.
    ForwardMismatch
        The ONNX model's outputs differ from the module's.
    """
    require("onnxscript", "torch")
    torch = require("torch", "torch")
    inputs = args if isinstance(args, tuple) else (args,)
    with _evaluating(module), torch.no_grad():
        outputs = _tensors(module(*inputs))
        names = _numbered("input", len(inputs)), _numbered("output", len(outputs))
        model = _export(module, inputs, names, opset, dynamic_batch)
    feeds = {name: _array(value) for name, value in zip(names[0], inputs, strict=True)}
    check_forward(model, feeds, [_array(value) for value in outputs])
    if path is None:
        return model
    Path(path).write_bytes(model)
    return Path(path)


def _export(
    module: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    names: tuple[list[str], list[str]],
    opset: int | None,
    dynamic_batch: bool,
) -> bytes:
    exporter = require("torch.onnx", "torch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's exporter warns about torch's own code,
            warnings.filterwarnings("ignore", "# The axis name")  # and about inputs that share the batch axis
            program = exporter.export(
                module,
                _two_samples(inputs) if dynamic_batch else inputs,
                input_names=names[0],
                output_names=names[1],
                opset_version=opset,
                dynamic_shapes=_batch_axes(inputs) if dynamic_batch else None,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except exporter.OnnxExporterError as error:
        hint = "; if the batch size is fixed in the module, try dynamic_batch=False" if dynamic_batch else ""
        raise ExportFailed(f"torch cannot export {type(module).__name__}: {error}{hint}") from error
    return bytes(program.model_proto.SerializeToString())


def _tensors(output: Any) -> list[torch.Tensor]:
    if isinstance(output, Mapping):
        return list(output.values())
    return list(output) if isinstance(output, (tuple, list)) else [output]


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{i}" for i in range(count)]


def _array(value: torch.Tensor) -> Any:
    return value.detach().cpu().numpy()


def _batch_axes(inputs: tuple[torch.Tensor, ...]) -> list[dict[int, str]]:
    return [{0: "batch"} if x.ndim else {} for x in inputs]


def _two_samples(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Repeat a single sample, since torch.export takes an axis of length one for a constant."""
    return tuple(x.repeat_interleave(2, 0) if x.ndim and len(x) == 1 else x for x in inputs)


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; afterwards every submodule is back in the mode in which it was."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
