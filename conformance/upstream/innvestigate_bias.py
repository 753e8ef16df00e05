"""iNNvestigate: the alpha-beta rules add the whole bias to both denominators (iNNvestigate issue 273).

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" future==0.18.3
    pip install --no-deps innvestigate==2.1.2
    python innvestigate_bias.py

Equation 60 of Bach et al. (2015) parts the bias by its sign, as it does the contributions. With weights 1, -1, bias -1 and
input 1, 1, the positive denominator is 1, not 1 - 1 = 0.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()

from innvestigate import analyzer  # noqa: E402


def run() -> dict[str, list[float]]:
    """Return iNNvestigate's relevance, and the formula's."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    layer = keras.layers.Dense(1, input_shape=(2,))
    model = keras.Sequential([layer])
    layer.set_weights([np.array([[1.0], [-1.0]]), np.array([-1.0])])
    x, found = np.array([[1.0, 1.0]]), {}
    for title, kind in {"alpha 1, beta 0": analyzer.LRPAlpha1Beta0, "alpha 2, beta 1": analyzer.LRPAlpha2Beta1}.items():
        found[title] = kind(model, disable_model_checks=True).analyze(x)[0].tolist()
    # R = -1; (a w)+ = (1, 0), z+ = 1; (a w)- = (0, -1), z- = -1 + -1
    found["formula, alpha 1, beta 0"] = [-1.0, 0.0]
    found["formula, alpha 2, beta 1"] = [-2.0, 0.5]
    return found


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
