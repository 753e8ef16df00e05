"""SignXAI2: relevance goes through a Permute of equal axes unturned.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" six version-parser
    pip install --no-deps --ignore-requires-python signxai2==0.14.1
    python signxai_permute.py

What keeps its shape passes relevance as it is; a Permute of a square keeps its shape, and moves every entry off the diagonal.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_analyzer as analyzers


def run() -> dict[str, list[float]]:
    """Return SignXAI's relevance of an output that reads the entry (1, 0) of a 2 x 2 input alone, and where it belongs."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    layer = keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.layers.Permute((2, 1), input_shape=(2, 2)), keras.layers.Flatten(), layer])
    layer.set_weights([np.array([[0.0], [1.0], [0.0], [0.0]])])  # of the turned input the entry (0, 1)
    (found,) = analyzers.LRPZ(model).analyze(np.array([[[1.0, 2.0], [3.0, 4.0]]]), neuron_selection=0).values()
    return {"LRPZ": np.asarray(found).ravel().tolist(), "formula": [0.0, 0.0, 3.0, 0.0]}


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
