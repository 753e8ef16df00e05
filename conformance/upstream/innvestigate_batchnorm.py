"""iNNvestigate: a BatchNormalization is taken for a layer with a squared variance and an unscaled mean.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" future==0.18.3
    pip install --no-deps innvestigate==2.1.2
    python innvestigate_batchnorm.py

`apply_mapping_to_fused_bn_layer` has tmp = sqrt(variance**2 + epsilon), k = gamma / tmp, b = beta - mean / tmp; the layer itself
is k = gamma / sqrt(variance + epsilon), b = beta - k mean. With gamma 2, mean 1, variance 4, x = 3 the output is 2.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()

from innvestigate import analyzer  # noqa: E402


def run() -> dict[str, list[float]]:
    """Return iNNvestigate's relevance, and the formula's: x k R / y."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    layer = keras.layers.BatchNormalization(epsilon=0.0, input_shape=(1,))
    model = keras.Sequential([layer])
    layer.set_weights([np.array([v]) for v in (2.0, 0.0, 1.0, 4.0)])
    found = analyzer.LRPZ(model, disable_model_checks=True).analyze(np.array([[3.0]]))
    return {"LRPZ": found[0].tolist(), "formula": [3.0]}


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
