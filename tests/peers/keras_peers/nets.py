"""The networks on which iNNvestigate and SignXAI2 are compared with their dialects: Keras 2 models with random weights.

Written against `layers`, that is `tensorflow.keras.layers`, which only `answer.py` imports. Weights and inputs have signs,
biases are negative as often as positive, and all numbers are those of float32, so that both float types mean the same.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Net = tuple[Any, Any]
"""Inputs and output of a functional model."""

NETS: dict[str, Callable[[Any], Net]] = {}
SEEDS: dict[str, int] = {}


def net(seed: int) -> Callable[[Callable[[Any], Net]], Callable[[Any], Net]]:
    """Enter a network, and the number that its weights are drawn with."""

    def enter(build: Callable[[Any], Net]) -> Callable[[Any], Net]:
        NETS[build.__name__], SEEDS[build.__name__] = build, seed
        return build

    return enter


@net(13)
def mlp(L: Any) -> Net:
    x = L.Input((7,), name="x")
    h = L.Dense(9, "relu", name="d1")(x)
    h = L.Dense(8, "relu", name="d2", use_bias=False)(h)
    return x, L.Dense(5, name="out")(h)


@net(8)
def dense_bn(L: Any) -> Net:
    """BatchNorm of two axes, before and after the activation, and Dropout."""
    x = L.Input((7,), name="x")
    h = L.BatchNormalization(name="bn1")(L.Dense(9, name="d1")(x))
    h = L.Dropout(0.5, name="drop")(L.Activation("relu", name="a1")(h))
    h = L.BatchNormalization(name="bn2", scale=False)(L.Dense(8, "relu", name="d2")(h))
    h = L.BatchNormalization(name="bn3")(L.Dense(6, name="d3")(h))
    return x, L.Dense(5, name="out")(h)


@net(21)
def uncentred(L: Any) -> Net:
    """A BatchNorm that adds nothing: of one sample only, SignXAI raises otherwise."""
    x = L.Input((7,), name="x")
    h = L.BatchNormalization(name="bn1", center=False)(L.Dense(9, name="d1")(x))
    return x, L.Dense(5, name="out")(L.Activation("relu", name="a1")(h))


@net(5)
def conv(L: Any) -> Net:
    x = L.Input((8, 9, 3), name="x")
    h = L.Conv2D(4, 3, activation="relu", name="c1")(x)
    h = L.Conv2D(5, (2, 3), strides=2, padding="same", activation="relu", name="c2")(h)
    h = L.Conv2D(4, 2, dilation_rate=2, name="c3", use_bias=False)(L.Conv2D(4, 1, name="c4")(h))
    return x, L.Dense(5, name="out")(L.Flatten(name="flat")(h))


@net(15)
def pools(L: Any) -> Net:
    x = L.Input((14, 15, 2), name="x")
    h = L.MaxPooling2D(2, name="mp1")(L.Conv2D(4, 3, activation="relu", name="c1")(x))
    h = L.AveragePooling2D(2, padding="same", name="ap1")(h)
    h = L.MaxPooling2D(2, strides=1, padding="same", name="mp2")(L.Conv2D(6, 2, name="c2")(h))
    h = L.AveragePooling2D(2, strides=1, name="ap2")(h)
    a, b = L.GlobalAveragePooling2D(name="gap")(h), L.GlobalMaxPooling2D(name="gmp")(h)
    return x, L.Dense(5, name="out")(L.Concatenate(name="cat")([a, b]))


@net(3)
def bn_before(L: Any) -> Net:
    """BatchNorm at the input, and behind a ReLU."""
    x = L.Input((6, 6, 2), name="x")
    h = L.Conv2D(4, 3, activation="relu", name="c1")(L.BatchNormalization(name="bn1")(x))
    h = L.BatchNormalization(name="bn2")(h)
    return x, L.Dense(5, name="out")(L.Flatten(name="flat")(h))


@net(2)
def bn_after(L: Any) -> Net:
    """BatchNorm right behind convolutions."""
    x = L.Input((8, 8, 2), name="x")
    h = L.Activation("relu", name="a1")(L.BatchNormalization(name="bn1")(L.Conv2D(4, 3, name="c1")(x)))
    h = L.BatchNormalization(name="bn2", epsilon=1e-2)(L.Conv2D(5, 3, name="c2")(h))
    return x, L.Dense(5, name="out")(L.GlobalAveragePooling2D(name="gap")(L.Activation("relu", name="a2")(h)))


@net(22)
def folded(L: Any) -> Net:
    """A convolution without a bias and a BatchNorm behind it: tf2onnx makes one node of both."""
    x = L.Input((6, 6, 2), name="x")
    h = L.BatchNormalization(name="bn1")(L.Conv2D(4, 3, name="c1", use_bias=False)(x))
    return x, L.Dense(5, name="out")(L.Flatten(name="flat")(h))


@net(17)
def residual(L: Any) -> Net:
    x = L.Input((6, 6, 3), name="x")
    h = L.Conv2D(4, 3, padding="same", activation="relu", name="c1")(x)
    g = L.Conv2D(4, 3, padding="same", name="c2")(h)
    h = L.Activation("relu", name="a1")(L.Add(name="add1")([h, g]))
    k = L.Conv2D(4, 1, name="c3")(x)
    h = L.Add(name="add2")([h, L.Conv2D(4, 3, padding="same", name="c4")(h), k])
    return x, L.Dense(5, name="out")(L.Flatten(name="flat")(h))


@net(9)
def depthwise(L: Any) -> Net:
    x = L.Input((7, 7, 3), name="x")
    h = L.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="dw1")(x)
    h = L.Conv2D(4, 1, activation="relu", name="c1")(L.DepthwiseConv2D(3, padding="same", name="dw2")(h))
    return x, L.Dense(5, name="out")(L.Flatten(name="flat")(h))


@net(18)
def separable(L: Any) -> Net:
    x = L.Input((7, 7, 3), name="x")
    h = L.SeparableConv2D(4, 3, activation="relu", name="s1")(x)
    h = L.SeparableConv2D(5, 2, depth_multiplier=2, name="s2")(h)
    return x, L.Dense(5, name="out")(L.Flatten(name="flat")(h))


@net(6)
def conv1d(L: Any) -> Net:
    x = L.Input((20, 3), name="x")
    h = L.MaxPooling1D(2, name="mp")(L.Conv1D(4, 3, activation="relu", name="c1")(x))
    h = L.AveragePooling1D(2, name="ap")(L.Conv1D(5, 3, dilation_rate=2, padding="causal", name="c2")(h))
    h = L.Dense(4, "relu", name="d1")(h)
    return x, L.Dense(5, name="out")(L.GlobalMaxPooling1D(name="gmp")(h))


@net(7)
def conv3d(L: Any) -> Net:
    x = L.Input((5, 6, 5, 2), name="x")
    h = L.Conv3D(3, 2, activation="relu", name="c1")(x)  # of the pools over three axes none is there in float64
    h = L.Conv3D(4, 2, strides=2, padding="same", name="c2")(h)
    return x, L.Dense(5, name="out")(L.Flatten(name="flat")(h))


@net(20)
def transposed(L: Any) -> Net:
    x = L.Input((5, 5, 2), name="x")
    h = L.Conv2DTranspose(4, 3, strides=2, activation="relu", name="t1")(x)
    h = L.Conv2DTranspose(3, 2, padding="same", name="t2")(h)
    return x, L.Dense(5, name="out")(L.Flatten(name="flat")(h))


@net(4)
def concat(L: Any) -> Net:
    """Branches, and all that moves values: pads, crops, upsampling, Permute, Reshape."""
    x = L.Input((6, 8, 2), name="x")  # SignXAI does not go back through a Permute that keeps the shape
    a = L.Conv2D(3, 3, padding="same", activation="relu", name="c1")(x)
    b = L.Conv2D(2, 1, name="c2")(L.ZeroPadding2D(1, name="pad")(a))
    b = L.Cropping2D(((1, 1), (2, 0)), name="crop")(b)
    h = L.Concatenate(name="cat")([b, a])  # the order in which SignXAI comes to them, which it takes for theirs
    h = L.UpSampling2D(2, name="up")(L.MaxPooling2D(2, name="mp")(h))
    h = L.Reshape((-1, 6), name="shape")(L.Permute((2, 1, 3), name="perm")(h))
    h = L.Conv1D(4, 2, strides=3, activation="relu", name="c3")(h)
    return x, L.Dense(5, name="out")(L.Flatten(name="flat")(h))


@net(19)
def shared(L: Any) -> Net:
    """A layer that is called twice, and values that several read."""
    x = L.Input((6,), name="x")
    same = L.Dense(6, "relu", name="same")
    h = same(x)
    h = L.Add(name="plus")([h, same(L.Dense(6, name="d1")(h))])
    return x, L.Dense(5, name="out")(h)


@net(1)
def activations(L: Any) -> Net:
    """Functions that pass in iNNvestigate, because they are fused or of the class Activation."""
    x = L.Input((6, 6, 2), name="x")
    h = L.Conv2D(4, 3, activation="tanh", name="c1")(x)
    h = L.Activation("sigmoid", name="a1")(L.Conv2D(4, 2, activation="elu", name="c2")(h))
    h = L.Dense(6, "softplus", name="d1")(L.Flatten(name="flat")(h))
    return x, L.Dense(5, name="out")(L.Activation("relu", name="a2")(h))


@net(0)
def activation_layers(L: Any) -> Net:
    """The same functions as layers of their own, which iNNvestigate gives a gradient."""
    x = L.Input((6, 6, 2), name="x")
    h = L.LeakyReLU(name="l1")(L.Conv2D(4, 3, name="c1")(x))
    h = L.ELU(name="e1")(L.Conv2D(4, 2, name="c2")(h))
    h = L.ReLU(name="r1")(L.Dense(9, name="d1")(L.Flatten(name="flat")(h)))
    return x, L.Dense(5, name="out")(h)


@net(12)
def merges(L: Any) -> Net:
    x = L.Input((8,), name="x")
    a, b = L.Dense(6, "relu", name="d1")(x), L.Dense(6, "sigmoid", name="d2")(x)
    h = L.Multiply(name="mul")([a, b])
    h = L.Subtract(name="sub")([h, L.Dense(6, name="d3")(x)])
    h = L.Average(name="avg")([h, a])
    h = L.Maximum(name="max")([h, L.Dense(6, name="d4")(x)])
    return x, L.Dense(5, name="out")(h)


@net(14)
def padded(L: Any) -> Net:
    """ZeroPadding before the first layer: iNNvestigate no longer sees an input layer, SignXAI does."""
    x = L.Input((6, 6, 2), name="x")
    h = L.Conv2D(4, 3, activation="relu", name="c1")(L.ZeroPadding2D(1, name="pad")(x))
    return x, L.Dense(5, name="out")(L.Flatten(name="flat")(h))


@net(16)
def reshaped(L: Any) -> Net:
    """Flatten before the first layer, which is an input layer in both; and two of these."""
    x = L.Input((2, 4), name="x")
    h = L.Flatten(name="flat")(x)
    h = L.Concatenate(name="cat")([L.Dense(5, "relu", name="d1")(h), L.Dense(4, name="d2")(h)])
    return x, L.Dense(5, name="out")(h)


@net(10)
def doubled(L: Any) -> Net:
    """A layer Add of one tensor with itself, and the operator +."""
    x = L.Input((6,), name="x")
    h = L.Dense(6, "relu", name="d1")(x)
    h = L.Add(name="plus")([h, h])
    h = h + L.Dense(6, name="d2")(h)
    return x, L.Dense(5, name="out")(h)


@net(11)
def embedding(L: Any) -> Net:
    x = L.Input((9,), name="x")
    h = L.Conv1D(4, 3, activation="relu", name="c1")(L.Embedding(11, 5, name="emb")(x))
    return x, L.Dense(5, name="out")(L.GlobalAveragePooling1D(name="gap")(h))


@net(2)
def softmax(L: Any) -> Net:
    """A Softmax in the last layer, which is explained with disable_model_checks=True alone, and then from its values."""
    x = L.Input((7,), name="x")
    return x, L.Dense(5, "softmax", name="out")(L.Dense(9, "relu", name="d1")(x))


@net(17)
def softmax_layer(L: Any) -> Net:
    """A Softmax that is a layer of its own."""
    x = L.Input((7,), name="x")
    h = L.Dense(5, name="d2")(L.Dense(9, "relu", name="d1")(x))
    return x, L.Softmax(name="out")(h)


@net(22)
def sigmoid(L: Any) -> Net:
    """A Sigmoid in the last layer."""
    x = L.Input((6, 6, 2), name="x")
    h = L.Conv2D(4, 3, activation="relu", name="c1")(x)
    return x, L.Dense(5, "sigmoid", name="out")(L.Flatten(name="flat")(h))


@net(23)
def sigmoid_layer(L: Any) -> Net:
    """A Sigmoid as the layer Activation behind the last layer with a kernel."""
    x = L.Input((7,), name="x")
    h = L.Dense(5, name="d2")(L.Dense(9, "relu", name="d1")(x))
    return x, L.Activation("sigmoid", name="out")(h)


def built(keras: Any, name: str) -> Any:
    """A network with its weights, in the float type that Keras is set to."""
    model = keras.Model(*NETS[name](keras.layers), name="net")
    rng = np.random.default_rng(SEEDS[name])
    for layer in model.layers:
        layer.set_weights(
            [_weights(rng, w.shape, v.name) for w, v in zip(layer.get_weights(), layer.weights, strict=True)]
        )
    return model


def _weights(rng: np.random.Generator, shape: tuple[int, ...], name: str) -> np.ndarray:
    if name.endswith(("variance:0",)):
        w = rng.uniform(0.3, 2.0, shape)
    else:
        w = rng.standard_normal(shape) * (1.0 if len(shape) < 2 else 1.5 / np.sqrt(np.prod(shape[:-1])))
    return w.astype("float32").astype("float64")


def sample(model: Any, name: str) -> np.ndarray:
    """Three inputs of either sign; of the embedding, tokens."""
    rng = np.random.default_rng(7)
    shape = (3, *model.input_shape[1:])
    if name == "embedding":
        return rng.integers(0, 11, shape).astype("float64")
    return rng.standard_normal(shape).astype("float32").astype("float64")
