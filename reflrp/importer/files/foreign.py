"""What to do with a model of another framework: known by the names of its classes' modules; no framework is imported."""

from __future__ import annotations

from typing import Any

KERAS = (
    "a Keras model: write it as ONNX with model.export('model.onnx', format='onnx'), and give that file "
    "(reflrp.converters has from_torch and from_sklearn)"
)
FOREIGN = {
    "torch.nn": "a PyTorch module: give reflrp.converters.from_torch(model, x), with an example input x",
    "torch.jit": "a TorchScript module: give reflrp.converters.from_torch(model, x) of the module that it was made of",
    "torch.export": "an exported PyTorch program: give reflrp.converters.from_torch(model, x) of its module",
    "sklearn": "a scikit-learn estimator: give reflrp.converters.from_sklearn(estimator, n_features)",
    "keras": KERAS,
    "tf_keras": KERAS,
    "tensorflow": "a TensorFlow model: write it as ONNX with tf2onnx, and give that file",
    "flax": "a Flax module: write it as ONNX with jax2onnx, and give that file",
    "equinox": "an Equinox module: write it as ONNX with jax2onnx, and give that file",
    "onnxruntime": "a session of onnxruntime: give the .onnx file that it was made of",
    "onnx": "a part of an ONNX model: give the onnx.ModelProto as a whole, as onnx.load returns it",
}
"""The module that a class, or one that it derives from, is defined in -> what to say of it."""


def advice(model: Any) -> str | None:
    """Return what another framework's model is and what to give instead, or None where it is none that is known.

    A class is told apart from an object of it: it has no weights yet.
    """
    made = model if isinstance(model, type) else type(model)
    for base in made.__mro__:
        module = str(base.__module__)
        found = next((text for k, text in FOREIGN.items() if f"{module}.".startswith(f"{k}.")), None)
        if found is not None:
            return f"the class {made.__name__}, and no object of it; that would be {found}" if made is model else found
    return None
