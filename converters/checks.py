"""What every converter needs: optional imports, and the check of the forward pass."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from reflrp.errors import ReflrpError

# Relative to the largest output, by the size of the floating-point type in bytes.
TOLERANCES = {2: 1e-2, 4: 1e-4, 8: 1e-9}


class MissingExtra(ReflrpError, ImportError):
    """A library that a converter needs is not installed."""


class ForwardMismatch(ReflrpError):
    """The ONNX model does not compute what the original computes."""


def require(module: str, extra: str) -> Any:
    """Import an optional dependency.

    Parameters
    ----------
    module
        Name of the module, such as ``"torch.onnx"``.
    extra
        The extra of reflrp that installs it.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    MissingExtra
        The module cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        message = f"{module} cannot be imported ({error}); it comes with: pip install 'reflrp[{extra}]'"
        raise MissingExtra(message) from error


def run_onnx(model: bytes, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a serialised model with onnxruntime, or with onnx's reference evaluator where that is missing."""
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(model)
        return dict(zip(evaluator.output_names, evaluator.run(None, dict(feeds)), strict=True))
    runner = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in runner.get_outputs()]
    return dict(zip(names, runner.run(names, dict(feeds)), strict=True))


def check_forward(model: bytes, feeds: Mapping[str, np.ndarray], expected: Sequence[np.ndarray]) -> None:
    """Compare the model's outputs with the original's.

    Parameters
    ----------
    model
        The serialised ONNX model.
    feeds
        Its inputs by name.
    expected
        What the original computes, in the order of the model's outputs.

    Raises
    ------
    ForwardMismatch
        An output is missing, has another shape, or differs by more than the tolerance of its type times the
        largest expected value. All such outputs are named.
    """
    outputs = run_onnx(model, feeds)
    if len(outputs) != len(expected):
        raise ForwardMismatch(f"the ONNX model has {len(outputs)} outputs, the original {len(expected)}")
    found = [_difference(*pair) for pair in zip(outputs.values(), expected, strict=True)]
    lines = [f"  {name!r}: {text}" for name, text in zip(outputs, found, strict=True) if text]
    if lines:
        raise ForwardMismatch("the ONNX model and the original differ:\n" + "\n".join(lines))


def _difference(got: np.ndarray, want: np.ndarray) -> str:
    """Say how two outputs differ; an empty string where they agree."""
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    if not want.size:
        return ""
    itemsize = min(got.dtype.itemsize, want.dtype.itemsize)
    error = np.max(np.abs(got.astype(np.float64) - want.astype(np.float64)))
    limit = TOLERANCES.get(itemsize, 0.0) * np.max(np.abs(want.astype(np.float64)))
    return "" if error <= limit else f"largest difference {error:.3g}, allowed {limit:.3g}"
