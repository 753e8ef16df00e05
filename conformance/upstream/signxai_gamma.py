"""SignXAI2: GammaRule turns relevance round, and gives 0 for gamma 1.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" six version-parser
    pip install --no-deps --ignore-requires-python signxai2==0.14.1
    python signxai_gamma.py

The rule is R_j = sum_k a_j (w + gamma w+)_jk R_k / (a (w + gamma w+) + b + gamma b+)_k, Montavon et al. (2019), which conserves
relevance but for the bias. GammaRule computes gamma A - B, where for inputs that are not negative A and B are both the rule with
gamma 1: (gamma - 1) times that.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_analyzer as analyzers


def run() -> dict[str, list[float]]:
    """Return SignXAI's relevance of one dense layer for two gammas, and the formula's."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    layer = keras.layers.Dense(1, input_shape=(2,))
    model = keras.Sequential([layer])
    layer.set_weights([np.array([[2.0], [-1.0]]), np.array([1.0])])
    x, found = np.array([[1.0, 1.0]]), {}
    for gamma in (0.25, 1.0):
        (relevance,) = analyzers.LRPGamma(model, gamma=gamma).analyze(x, neuron_selection=0).values()
        found[f"gamma {gamma}"] = np.asarray(relevance)[0].tolist()
    # R = 2; weights 2.5 and -1, bias 1.25: 2.5 / 2.75 and -1 / 2.75; with gamma 1 weights 4 and -1, bias 2
    return {**found, "formula, gamma 0.25": [5 / 2.75, -2 / 2.75], "formula, gamma 1.0": [8 / 5, -2 / 5]}


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
