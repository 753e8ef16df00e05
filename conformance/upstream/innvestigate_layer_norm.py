"""iNNvestigate: a network with a LayerNormalization raises, also where its check of layers is switched off.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" future==0.18.3
    pip install --no-deps innvestigate==2.1.2
    python innvestigate_layer_norm.py

Layers that iNNvestigate has no rule for are to have their gradient; that of a LayerNormalization asks for the network's input anew.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()

from innvestigate import analyzer  # noqa: E402


def run() -> dict[str, list[float] | str]:
    """Return the error's name, and TensorFlow's own gradient of the sum of the outputs, which is 0."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    model = keras.Sequential([keras.layers.LayerNormalization(epsilon=0.0, input_shape=(2,))])
    x, found = np.array([[1.0, 3.0]]), {}
    try:
        found["LRPZ"] = analyzer.LRPZ(model, disable_model_checks=True).analyze(x).ravel().tolist()
    except tf.errors.InvalidArgumentError as error:
        found["LRPZ"] = type(error).__name__
    gradient = keras.backend.gradients(model.output, model.input)
    return {**found, "TensorFlow": keras.backend.function([model.input], gradient)([x])[0].ravel().tolist()}


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
