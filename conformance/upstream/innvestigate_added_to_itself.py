"""iNNvestigate: where a tensor is added to itself relevance doubles.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" future==0.18.3
    pip install --no-deps innvestigate==2.1.2
    python innvestigate_added_to_itself.py

AddReverseLayer multiplies each input with the gradient with respect to it. Of Add()([x, x]) that gradient is 2 for each place, and
the two are summed at x: 4 x R / (2 x).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()

from innvestigate import analyzer  # noqa: E402


def run() -> dict[str, list[float]]:
    """Return iNNvestigate's relevance of x + x at 1, where the output is 2, and the formula's."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    x = keras.layers.Input((1,))
    model = keras.Model(x, keras.layers.Add()([x, x]))
    found = analyzer.LRPZ(model, disable_model_checks=True).analyze(np.array([[1.0]]))
    return {"LRPZ": found[0].tolist(), "formula": [2.0]}


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
