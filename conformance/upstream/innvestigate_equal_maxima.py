"""iNNvestigate: of equal maxima a GlobalMaxPooling shares relevance, and a MaxPooling gives all to the first.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" future==0.18.3
    pip install --no-deps innvestigate==2.1.2
    python innvestigate_equal_maxima.py

It is TensorFlow's gradient, which is one for `reduce_max` and another for `max_pool`.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()

from innvestigate import analyzer  # noqa: E402


def run() -> dict[str, list[float]]:
    """Return the relevance of two equal inputs under both pools."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    found = {}
    for pool in (
        keras.layers.GlobalMaxPooling2D(input_shape=(1, 2, 1)),
        keras.layers.MaxPooling2D((1, 2), input_shape=(1, 2, 1)),
    ):
        model = keras.Sequential([pool, keras.layers.Flatten()])
        x = np.ones((1, 1, 2, 1))
        found[type(pool).__name__] = analyzer.LRPZ(model, disable_model_checks=True).analyze(x).ravel().tolist()
    return found


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
