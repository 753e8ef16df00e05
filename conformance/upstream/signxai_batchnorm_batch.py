"""SignXAI2: a network with a BatchNormalization explains one sample, and raises for two.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" six version-parser
    pip install --no-deps --ignore-requires-python signxai2==0.14.1
    python signxai_batchnorm_batch.py

BatchNormalizationReverseRule subtracts beta from each sample in turn, keeps the first result alone, and multiplies the batch by it.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_analyzer as analyzers


def run() -> dict[str, list[float] | str]:
    """Return the relevance of one sample, and what a batch of two gives."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    layer = keras.layers.BatchNormalization(epsilon=0.0, input_shape=(1,))
    model = keras.Sequential([layer, keras.layers.Flatten()])
    layer.set_weights([np.array([v]) for v in (2.0, 0.0, 1.0, 4.0)])
    found: dict[str, list[float] | str] = {}
    for title, x in {"one": [[3.0]], "two": [[3.0], [5.0]]}.items():
        try:
            (relevance,) = analyzers.LRPZ(model).analyze(np.array(x), neuron_selection=0).values()
            found[title] = np.asarray(relevance).ravel().tolist()
        except ValueError as error:
            found[title] = f"ValueError: {error}"
    return found


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
