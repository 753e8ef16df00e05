"""Keras models and their export by tf2onnx; written in the functional style, random weights and statistics."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
from keras import layers as kl

from zoo.architectures import Net, register

OPSET = 18


def _chain(x: Any, *parts: Any) -> Any:
    for part in parts:
        x = part(x)
    return x


def _head(x: Any, classes: int = 4) -> Any:
    return kl.Dense(classes)(kl.GlobalAveragePooling2D()(x))


def _mlp(x: Any) -> Any:
    return _chain(x, kl.Dense(16, "relu"), kl.Dense(8, "tanh"), kl.Dense(4))


def _mlp_softmax(x: Any) -> Any:
    return _chain(x, kl.Dense(16, "relu"), kl.Dropout(0.5), kl.Dense(4, "softmax"))


def _mlp_batchnorm(x: Any) -> Any:
    return _chain(x, kl.Dense(16), kl.BatchNormalization(), kl.ReLU(), kl.Dense(4))


def _mlp_activations(x: Any) -> Any:
    kinds = ("elu", "selu", "softplus", "softsign", "silu", "hard_sigmoid", "leaky_relu", "relu6", "sigmoid")
    return _chain(x, *(kl.Dense(8, kind) for kind in kinds), kl.Dense(4))


def _cnn(x: Any) -> Any:
    convs = (
        kl.Conv2D(6, 3, activation="relu"),
        kl.MaxPooling2D(),
        kl.Conv2D(8, 3, activation="relu"),
        kl.AveragePooling2D(2),
    )
    return _chain(x, *convs, kl.Flatten(), kl.Dense(10))


def _cnn_batchnorm(x: Any) -> Any:
    first = (
        kl.Conv2D(6, 3, padding="same", use_bias=False),
        kl.BatchNormalization(),
        kl.ReLU(),
        kl.MaxPooling2D(),
    )
    return _head(_chain(x, *first, kl.Conv2D(8, 3, strides=2, padding="same"), kl.BatchNormalization(), kl.ReLU()))


def _cnn_batchnorm_first(x: Any) -> Any:
    return _head(_chain(x, kl.BatchNormalization(), kl.Conv2D(6, 3, activation="relu"), kl.BatchNormalization()))


def _rescaled_cnn(x: Any) -> Any:
    return _head(_chain(x, kl.Rescaling(1 / 2, 0.1), kl.Conv2D(6, 3, activation="relu")))


def _conv1d(x: Any) -> Any:
    convs = (
        kl.Conv1D(6, 3, activation="relu", padding="causal"),
        kl.MaxPooling1D(),
        kl.Conv1D(6, 3, dilation_rate=2),
    )
    return _chain(x, *convs, kl.ReLU(), kl.GlobalMaxPooling1D(), kl.Dense(3))


def _conv3d(x: Any) -> Any:
    return _chain(
        x,
        kl.Conv3D(4, 3, activation="relu"),
        kl.MaxPooling3D(),
        kl.GlobalAveragePooling3D(),
        kl.Dense(3),
    )


def _separable(x: Any) -> Any:
    return _head(_chain(x, kl.SeparableConv2D(6, 3, activation="relu"), kl.DepthwiseConv2D(3), kl.BatchNormalization()))


def _resnet(x: Any) -> Any:
    x = kl.Conv2D(6, 3, padding="same", activation="relu")(x)
    y = _chain(
        x,
        kl.Conv2D(6, 3, padding="same"),
        kl.BatchNormalization(),
        kl.ReLU(),
        kl.Conv2D(6, 3, padding="same"),
    )
    return _head(kl.ReLU()(kl.Add()([x, kl.BatchNormalization()(y)])))


def _unet(x: Any) -> Any:
    a = kl.Conv2D(4, 3, padding="same", activation="relu")(x)
    b = _chain(a, kl.MaxPooling2D(), kl.Conv2D(8, 3, padding="same", activation="relu"))
    up = kl.Concatenate()([a, kl.Conv2DTranspose(4, 2, strides=2)(b), kl.UpSampling2D(interpolation="bilinear")(b)])
    return kl.Conv2D(2, 1)(_chain(up, kl.Conv2D(4, 3, padding="same", activation="relu"), kl.UpSampling2D()))


def _squeeze(x: Any) -> Any:
    x = kl.Conv2D(6, 3, activation="relu")(x)
    gate = _chain(x, kl.GlobalAveragePooling2D(keepdims=True), kl.Dense(3, "relu"), kl.Dense(6, "sigmoid"))
    return _head(kl.Multiply()([x, gate]))


def _groupnorm(x: Any) -> Any:
    return _head(_chain(x, kl.Conv2D(6, 3), kl.GroupNormalization(2), kl.PReLU(shared_axes=[1, 2])))


def _layernorm(x: Any) -> Any:
    return _chain(
        x,
        kl.Dense(8, "silu"),
        kl.LayerNormalization(),
        kl.Dense(8, "relu"),
        kl.LayerNormalization(),
        kl.Dense(3),
    )


def _lstm(x: Any) -> Any:
    return _chain(x, kl.LSTM(5, return_sequences=True), kl.LSTM(5), kl.Dense(3))


def _bilstm(x: Any) -> Any:
    return _chain(x, kl.Bidirectional(kl.LSTM(5)), kl.Dense(3))


def _gru(x: Any) -> Any:
    return _chain(x, kl.GRU(5), kl.Dense(3))


def _gru_reset_before(x: Any) -> Any:
    return _chain(x, kl.GRU(5, reset_after=False), kl.Dense(3))


def _simple_rnn(x: Any) -> Any:
    return _chain(x, kl.SimpleRNN(5), kl.Dense(3))


def _token_lstm(x: Any) -> Any:
    return _chain(x, kl.Embedding(20, 4), kl.LSTM(5), kl.Dense(3))


def _token_mean(x: Any) -> Any:
    return _chain(x, kl.Embedding(20, 8), kl.GlobalAveragePooling1D(), kl.Dense(8, "relu"), kl.Dense(2, "softmax"))


def _attention(x: Any) -> Any:
    x = kl.LayerNormalization()(kl.Add()([x, kl.MultiHeadAttention(2, 4)(x, x)]))
    y = _chain(x, kl.Dense(16, "relu"), kl.Dense(8))
    return kl.Dense(3)(kl.GlobalAveragePooling1D()(kl.LayerNormalization()(kl.Add()([x, y]))))


def _dot_attention(x: Any) -> Any:
    q, k, v = (kl.Dense(4)(x) for _ in range(3))
    return _chain(kl.Attention(use_scale=True)([q, v, k]), kl.Flatten(), kl.Dense(3))


def _reshaped(x: Any) -> Any:
    parts = (
        kl.Reshape((4, 2)),
        kl.Permute((2, 1)),
        kl.ZeroPadding1D(1),
        kl.Cropping1D((0, 1)),
        kl.UpSampling1D(2),
    )
    return _chain(x, kl.RepeatVector(2), kl.Flatten(), kl.Dense(8, "relu"), *parts, kl.Flatten(), kl.Dense(3))


IMAGE, SERIES, VECTOR = (12, 12, 3), (6, 8), (8,)
# name -> (what builds the output from the input, input shape, tag)
MODELS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...], str]] = {
    "keras_mlp": (_mlp, VECTOR, "dense"),
    "keras_mlp_softmax": (_mlp_softmax, VECTOR, "dense"),
    "keras_mlp_batchnorm": (_mlp_batchnorm, VECTOR, "dense"),
    "keras_mlp_activations": (_mlp_activations, VECTOR, "dense"),
    "keras_layernorm": (_layernorm, VECTOR, "dense"),
    "keras_reshaped": (_reshaped, VECTOR, "dense"),
    "keras_cnn": (_cnn, IMAGE, "conv"),
    "keras_cnn_batchnorm": (_cnn_batchnorm, IMAGE, "conv"),
    "keras_cnn_batchnorm_first": (_cnn_batchnorm_first, IMAGE, "conv"),
    "keras_rescaled_cnn": (_rescaled_cnn, IMAGE, "conv"),
    "keras_conv1d": (_conv1d, (16, 2), "conv"),
    "keras_conv3d": (_conv3d, (8, 8, 8, 1), "conv"),
    "keras_separable": (_separable, IMAGE, "conv"),
    "keras_resnet": (_resnet, IMAGE, "conv"),
    "keras_unet": (_unet, IMAGE, "conv"),
    "keras_squeeze_excitation": (_squeeze, IMAGE, "conv"),
    "keras_groupnorm": (_groupnorm, IMAGE, "conv"),
    "keras_lstm": (_lstm, SERIES, "recurrent"),
    "keras_bilstm": (_bilstm, SERIES, "recurrent"),
    "keras_gru": (_gru, SERIES, "recurrent"),
    "keras_gru_reset_before": (_gru_reset_before, SERIES, "recurrent"),
    "keras_simple_rnn": (_simple_rnn, SERIES, "recurrent"),
    "keras_token_lstm": (_token_lstm, (6, 0), "recurrent"),
    "keras_token_mean": (_token_mean, (6, 0), "dense"),
    "keras_attention": (_attention, SERIES, "attention"),
    "keras_dot_attention": (_dot_attention, SERIES, "attention"),
}
APPLICATIONS = {
    "keras_mobilenet_v2": lambda: keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=10),
    "keras_mobilenet_v3": lambda: keras.applications.MobileNetV3Small((32, 32, 3), 0.5, True, weights=None, classes=10),
}


def _build(name: str) -> Net:
    """Build a model; a shape that ends with 0 means token ids."""
    build, shape, _ = MODELS[name]
    ids = shape[-1] == 0
    entry = keras.Input(shape[:-1] if ids else shape, dtype="int32" if ids else "float32", name="x")
    return _net(keras.Model(entry, build(entry)))


def _application(name: str) -> Net:
    return _net(APPLICATIONS[name]())


def _net(model: Any) -> Net:
    """Disturb biases, scales and statistics; add two samples."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) <= 1 and "seed" not in weight.path:
            value = np.asarray(weight)
            factor = rng.uniform(0.8, 1.25, value.shape)
            shift = 0.0 if "variance" in weight.path else 0.1 * rng.normal(size=value.shape)
            weight.assign(value * factor + shift)
    port = model.inputs[0]
    shape = (2, *port.shape[1:])
    x = rng.integers(1, 20, shape).astype(np.int32) if "int" in port.dtype else rng.normal(size=shape)
    return Net(model, {port.name: x.astype(port.dtype)})


def export(make: Callable[[], Net]) -> tuple[bytes, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the model, its inputs, and what Keras computes."""
    import onnx

    keras.utils.set_random_seed(0)
    net = make()
    (x,) = net.inputs.values()
    y = np.asarray(net.module(x, training=False))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        net.module.export(str(path), format="onnx", verbose=False, opset_version=OPSET)
        model = path.read_bytes()
    graph = onnx.load_from_string(model).graph
    return model, {graph.input[0].name: x}, {graph.output[0].name: y}


def _enter() -> None:
    options: dict[str, Any] = {"family": "keras", "framework": "keras", "exporters": ("tf2onnx",)}
    for name, (_, _, tag) in MODELS.items():
        register(name, lambda n=name: _build(n), tag, **options)
    for name in APPLICATIONS:
        register(name, lambda n=name: _application(n), "conv", **options)


_enter()
