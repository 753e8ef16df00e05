"""The compiler: a model and its rules -> one ONNX model, the model's own graph and nodes that compute the relevance.

`compile` is the way of the data: `source` reads the file, `lift` makes the batch size a symbol, `values` finds the values
that the file computes already, `tracing` runs the engine's way back on symbolic arrays, `emit` writes what they leave.
"""

from reflrp.compiler.compile import compile

__all__ = ["compile"]
