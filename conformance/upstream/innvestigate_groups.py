"""iNNvestigate: the flat and the w-squared rule raise on a convolution in groups.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" future==0.18.3
    pip install --no-deps innvestigate==2.1.2
    python innvestigate_groups.py

The forward pass runs, and so does LRPZ. Both rules take the gradient of a forward pass that nothing else asks for, and graph mode,
which iNNvestigate needs, then drops what the gradient of a grouped convolution reads.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()

from innvestigate import analyzer  # noqa: E402


def run() -> dict[str, list[float] | str]:
    """Return the output of the network, the relevance of its greatest, and what else is raised."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    layer = keras.layers.Conv2D(2, 1, groups=2, use_bias=False, input_shape=(1, 1, 2))
    model = keras.Sequential([layer, keras.layers.Flatten()])
    layer.set_weights([np.array([[[[1.0, 2.0]]]])])
    x = np.array([[[[3.0, 4.0]]]])
    found: dict[str, list[float] | str] = {"output": model.predict_on_batch(x)[0].tolist()}
    for kind in (analyzer.LRPZ, analyzer.LRPFlat, analyzer.LRPWSquare):
        try:
            found[kind.__name__] = kind(model, disable_model_checks=True).analyze(x).ravel().tolist()
        except tf.errors.InvalidArgumentError as error:
            found[kind.__name__] = type(error).__name__
    return found


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
