"""The examples of the profiles that no script of conformance/upstream has, in iNNvestigate and in SignXAI2: one network each."""

from typing import Any

import numpy as np

Numbers = dict[str, list[float]]


def networks(keras: Any) -> dict[str, tuple[Any, list[Any]]]:
    """What is explained, and at which input."""
    L = keras.layers
    x = L.Input((1,))
    cancelling = L.Dense(1, use_bias=False, input_shape=(2,))
    dense = L.Dense(2, use_bias=False, input_shape=(2,))
    found = {
        "a sum of 0": (keras.Sequential([cancelling, L.Activation("exponential")]), [[1.0, -1.0]]),
        "x + x": (keras.Model(x, L.Add()([x, x])), [[1.0]]),
        "equal maxima": (
            keras.Sequential([L.GlobalMaxPooling2D(input_shape=(1, 2, 1)), L.Flatten()]),
            [[[[1.0], [1.0]]]],
        ),
        "a rule for Dense alone": (keras.Sequential([dense, L.Activation("relu")]), [[1.0, 2.0]]),
    }
    cancelling.set_weights([np.array([[1.0], [1.0]])])
    dense.set_weights([np.eye(2)])
    return found


def run(library: Any, explained: Any, keras: Any) -> Numbers:
    """What `explained(make, x)` gives of each network under Z, and of a box turned round and of a negative gamma."""
    found = {k: explained(library.LRP(model, rule="Z"), np.array(x)) for k, (model, x) in networks(keras).items()}
    layer = keras.layers.Dense(1, input_shape=(2,))
    model = keras.Sequential([layer])
    layer.set_weights([np.array([[2.0], [-1.0]]), np.array([1.0])])
    box = library.made(library.BoundedRule, low=1, high=-1)
    found["low above high"] = explained(library.LRP(model, rule=box), np.array([[1.0, 1.0]]))
    if hasattr(library, "LRPGamma"):
        found["gamma -1"] = explained(library.LRPGamma(model, gamma=-1), np.array([[1.0, 1.0]]))
    return {k: np.asarray(R).ravel().tolist() for k, R in found.items()}
