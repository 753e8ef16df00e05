"""iNNvestigate: where contributions cancel, relevance is multiplied by 1e7.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" future==0.18.3
    pip install --no-deps innvestigate==2.1.2
    python innvestigate_zero_sum.py

`safe_divide` puts 1e-7 in place of a denominator of 0, so that R / 0 becomes 1e7 R. Other libraries pass nothing there, or have an
epsilon that the user chooses.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()

from innvestigate import analyzer  # noqa: E402


def run() -> dict[str, list[float]]:
    """Return iNNvestigate's relevance of exp(x0 + x1) at (1, -1), where the output is 1."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    layer = keras.layers.Dense(1, activation="exponential", use_bias=False, input_shape=(2,))
    model = keras.Sequential([layer])
    layer.set_weights([np.array([[1.0], [1.0]])])
    found = analyzer.LRPZ(model, disable_model_checks=True).analyze(np.array([[1.0, -1.0]]))
    return {"LRPZ": found[0].tolist(), "formula": [0.0, 0.0]}


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
