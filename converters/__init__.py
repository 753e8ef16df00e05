"""From other frameworks' models to ONNX, with a check that the forward pass stays the same.

Importing this package imports no framework; each function imports its own when it is called, and says what to
install where that fails.
"""

from reflrp.converters.checks import ForwardMismatch, MissingExtra
from reflrp.converters.sklearn_export import from_sklearn
from reflrp.converters.torch_export import ExportFailed, from_torch

__all__ = ["ExportFailed", "ForwardMismatch", "MissingExtra", "from_sklearn", "from_torch"]
