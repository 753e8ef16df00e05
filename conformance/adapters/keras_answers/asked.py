"""What both libraries share: which of their rules a case asks for, and the layer that starts with the case's seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from .network import Network, turned
from .nodes import Made, Unsupported

Params = Mapping[str, Any]

UNSEEN = 1e-7
"""What Keras's epsilon is unless it is set: both libraries divide by it where a sum is 0."""

BORDERS = frozenset({"flat", "w_square", "z_box", "stdx_epsilon"})
"""Rules to which a border of zeros is inputs, so that a ZeroPadding layer is another network than padding of the convolution."""


class Asked(NamedTuple):
    """A rule of a library with its arguments, and the constant that stands where a sum is 0."""

    rule: str
    arguments: dict[str, Any]
    zero: float


class Seeded(tf.keras.layers.Layer):  # type: ignore[misc]
    """A layer whose output is 1 a sample, with the seed as its gradient: both libraries start with the output's value."""

    def __init__(self, seeds: list[np.ndarray], rank: int) -> None:
        super().__init__(name="seeded")
        self.seeds, self.rank = [np.asarray(R, np.float64) for R in seeds], rank

    def call(self, inputs: Any) -> Any:
        """Return 1 for each sample, with `rank` axes in all."""
        values = inputs if isinstance(inputs, list | tuple) else [inputs]
        total = 1.0
        for v, R in zip(values, self.seeds, strict=True):
            part = (v - tf.stop_gradient(v)) * tf.constant(R, v.dtype)
            total = total + tf.reduce_sum(part, axis=list(range(1, len(v.shape))))
        return tf.reshape(total, [-1] + [1] * (self.rank - 1))


def seeded(network: Network, seed: Mapping[str, np.ndarray], rank: int) -> Any:
    """Return the model with a last layer that starts with the seed. Raises Unsupported for a seed of another shape."""
    if any(R.shape[1:] != turned_back(network, k) for k, R in seed.items()):
        raise Unsupported("a seed of another shape is no question: neither library takes a seed")
    starts = network.seeded(seed)
    tensors = [network.outputs[k].tensor for k in starts]
    layer = Seeded(list(starts.values()), rank)
    return tf.keras.Model(network.model.inputs, layer(tensors if len(tensors) > 1 else tensors[0]))


def turned_back(network: Network, output: str) -> tuple[int, ...]:
    """Return the shape of an output as ONNX has it, without the batch."""
    shape = network.outputs[output].shape
    return (shape[-1], *shape[:-1]) if network.spatial and len(shape) > 1 else shape


def stabilizer(params: Params) -> tuple[str, float]:
    """Return form and epsilon. Raises Unsupported for a form that neither library has."""
    given = params["stabilizer"]
    if given["form"] not in ("signed", "nonzero") or given["norm_scale"]:
        raise Unsupported(f"there is no stabiliser {given}")
    return given["form"], float(given["epsilon"])


def zero(params: Params) -> float:
    """Return what stands where a sum is 0: the case's epsilon, or Keras's own where it is 0. Raises Unsupported."""
    _, epsilon = stabilizer(params)
    if epsilon < 0:
        raise Unsupported("there is no argument epsilon, and nothing that could be refused")
    return epsilon or UNSEEN


def bias(params: Params) -> bool:
    """Return whether the bias counts. Raises Unsupported for a way that there is not."""
    if params["bias"] not in ("absorb", "split", "full", "ignore"):
        raise Unsupported(f"there is no bias={params['bias']!r}")
    return bool(params["bias"] != "ignore")


def plain(rule: str) -> Callable[[Params], Asked]:
    """Return a rule without arguments."""
    return lambda params: Asked(rule, {}, zero(params))


def epsilon(params: Params) -> Asked:
    """EpsilonRule; ZRule where epsilon is 0, or stands only where the sum is 0."""
    form, size = stabilizer(params)
    if form == "nonzero" or size == 0:
        return Asked("ZRule", {"bias": bias(params)}, size or UNSEEN)
    return Asked("EpsilonRule", {"epsilon": size, "bias": bias(params)}, UNSEEN)


def alpha_beta(params: Params) -> Asked:
    """AlphaBetaRule, all of the bias or none in both denominators."""
    return Asked(
        "AlphaBetaRule", {"alpha": params["alpha"], "beta": params["beta"], "bias": bias(params)}, zero(params)
    )


def z_plus(params: Params) -> Asked:
    """ZPlusRule, or ZPlusFastRule where inputs are not split; neither counts the bias."""
    return Asked("ZPlusRule" if params["inputs"] == "split" else "ZPlusFastRule", {}, zero(params))


def z_box(params: Params) -> Asked:
    """BoundedRule."""
    return Asked("BoundedRule", {k: params[k] for k in ("low", "high")}, zero(params))


def alpha_beta_x(params: Params) -> Asked:
    """AlphaBetaXRule."""
    pairs = {k: tuple(params[k]) for k in ("alpha", "beta")}
    return Asked("AlphaBetaXRule", {**pairs, "bias": bias(params)}, zero(params))


KERNEL: dict[str, Callable[[Params], Asked]] = {
    "alpha_beta": alpha_beta,
    "alpha_beta_x": alpha_beta_x,
    "epsilon": epsilon,
    "flat": plain("FlatRule"),
    "norm": lambda params: epsilon({**params, "bias": "absorb"}),
    "w_square": plain("WSquareRule"),
    "z_box": z_box,
    "z_plus": z_plus,
}
"""The rules that both have for layers with a kernel, by the names that cases give them."""


def bounds(asked: Asked, made: Made, network: Network) -> Asked:
    """Return the rule with its bounds as arrays, channels last where the layer is a convolution."""
    if made.padded:
        raise Unsupported("bounds of a padded input, which in Keras has another shape")
    rank = len(made.layer.input_shape)
    return asked._replace(arguments={k: _bound(v, rank, network.spatial) for k, v in asked.arguments.items()})


def _bound(value: Any, rank: int, spatial: bool) -> Any:
    array = np.asarray(value, np.float64)
    if array.ndim == 0:
        return float(value)
    whole = array.reshape(*(1,) * (rank - array.ndim), *array.shape)
    return turned(whole) if spatial else whole


def kernel(
    rule: str, params: Params, rules: Mapping[str, Callable[[Params], Asked]], made: Made, network: Network
) -> Asked:
    """Return what is asked for on a layer with a kernel. Raises Unsupported."""
    if rule not in rules:
        raise Unsupported(f"there is no rule {rule!r} for a layer with a kernel")
    if made.padded and rule in BORDERS:
        raise Unsupported("a ZeroPadding layer before it makes inputs of the border, which the case's padding does not")
    found = rules[rule](params)
    named = [k for k in ("low", "high", "mu") if k in found.arguments and np.ndim(found.arguments[k])]
    return bounds(found, made, network) if named else found


def sums(specs: list[tuple[str, Params, Made]]) -> float:
    """Return the constant of all sums and pools, whose rule is their own, Z. Raises Unsupported where there are several."""
    sizes = set()
    for rule, params, made in specs:
        if made.kind not in ("pool", "sum"):
            continue
        if rule not in ("norm", "epsilon") or params.get("bias", "absorb") != "absorb":
            raise Unsupported(f"there is no rule {rule!r} for a sum or an average, which have their own, Z")
        sizes.add(zero(params))
    if len(sizes) > 1:
        raise Unsupported("sums and averages have one constant for all")
    return sizes.pop() if sizes else UNSEEN


def on_others(rule: str, made: Made, functions: frozenset[str]) -> None:
    """Refuse, by Unsupported, what a library does not do on layers without a kernel; of sums and averages see `sums`."""
    fits = {
        "difference": {"gradient"},
        "function": functions,
        "max": {"winner_takes_all"},
        "product": {"gradient"},
        "route": {"pass"},
    }
    if made.kind not in ("pool", "sum") and rule not in fits[made.kind]:
        raise Unsupported(f"there is no rule {rule!r} for {type(made.layer).__name__}")
