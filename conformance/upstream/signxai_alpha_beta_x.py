"""SignXAI2: AlphaBetaXRule cannot be used: its factors are pairs, and are compared with a number.

    pip install "tensorflow-cpu==2.14.1" "numpy<2" "matplotlib<4" six version-parser
    pip install --no-deps --ignore-requires-python signxai2==0.14.1
    python signxai_alpha_beta_x.py

So it is with AlphaBetaX1010Rule, AlphaBetaX1001Rule and AlphaBetaX2m100Rule.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_analyzer as analyzers
from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_rule_base as rules


def run() -> dict[str, list[float] | str]:
    """Return what AlphaBetaX1000Rule gives: the error."""
    keras = tf.keras
    keras.backend.set_floatx("float64")
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    try:
        (found,) = analyzers.LRP(model, rule=rules.AlphaBetaX1000Rule).analyze(np.array([[1.0, 1.0]])).values()
    except TypeError as error:
        return {"AlphaBetaX1000Rule": f"TypeError: {error}"}
    return {"AlphaBetaX1000Rule": np.asarray(found)[0].tolist()}


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
