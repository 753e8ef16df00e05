"""SignXAI2: BoundedRule returns 0 for every input.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" six version-parser
    pip install --no-deps --ignore-requires-python signxai2==0.14.1
    python signxai_bounded.py

The rule is zB of Montavon et al. (2017): R_j = sum_k (a_j w_jk - l w+_jk - h w-_jk) / z_k R_k, z_k the sum of what stands
above. It conserves relevance.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_analyzer as analyzers
from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_rule_base as rules


class Box(rules.BoundedRule):
    """BoundedRule in [-1, 2]."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **{**more, "low": -1, "high": 2})


def run() -> dict[str, list[float]]:
    """Return SignXAI's relevance of one dense layer, and the formula's."""
    tf.keras.backend.set_floatx("float64")
    layer = tf.keras.layers.Dense(1, input_shape=(2,))
    model = tf.keras.Sequential([layer])
    layer.set_weights([np.array([[2.0], [-1.0]]), np.array([1.0])])
    x = np.array([[1.0, 1.0]])
    (found,) = analyzers.LRP(model, rule=Box).analyze(x, neuron_selection=0).values()
    # z = (2 + 2, -1 + 2) = (4, 1), their sum 5; R = 2
    return {"BoundedRule": np.asarray(found)[0].tolist(), "formula": [1.6, 0.4]}


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
