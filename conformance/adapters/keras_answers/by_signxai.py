"""SignXAI2's rules (its part for TensorFlow) on the layers of a case's network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf
from signxai.tf_signxai.methods_impl.innvestigate.analyzer import reverse_map
from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based import relevance_rule_base
from signxai.tf_signxai.methods_impl.innvestigate.analyzer.relevance_based.relevance_analyzer import LRP

from . import asked
from .asked import KERNEL, Asked, Params
from .network import Network, built
from .nodes import Unsupported

PACKAGE = "signxai2"
"""Under which name it is installed."""

# Where a layer without a kernel has several readers their relevance is added in float32, whatever Keras is set to. Here it is
# added in Keras's type, so that the rules are judged and not this rounding.
reverse_map.keras_layers = SimpleNamespace(Add=lambda dtype=None: tf.keras.layers.Add())


@contextmanager
def constant(size: float) -> Iterator[None]:
    """Set what stands where a sum is 0: Keras's epsilon."""
    before = tf.keras.backend.epsilon()
    tf.keras.backend.set_epsilon(size)
    try:
        yield
    finally:
        tf.keras.backend.set_epsilon(before)


def made(wanted: Asked) -> Any:
    """Return a rule with its arguments, as the library wants one: a subclass."""
    rule = getattr(relevance_rule_base, wanted.rule)

    class Made(rule):  # type: ignore[misc,valid-type]
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more, **wanted.arguments)

        def explain_hook(self, *args: Any, **more: Any) -> Any:
            with constant(wanted.zero):
                return super().explain_hook(*args, **more)

    return Made


def _gamma(params: Params) -> Asked:
    if params["generalized"]:
        raise Unsupported("SignXAI has no generalised gamma rule")
    counts = params["bias"] != "ignore"
    return Asked("GammaRule", {"gamma": params["gamma"], "bias": counts}, asked.zero(params))


def _sign(params: Params) -> Asked:
    return Asked("SIGNmuRule", {"mu": params["mu"], "bias": asked.bias(params)}, asked.zero(params))


def _stdx(params: Params) -> Asked:
    return Asked("StdxEpsilonRule", {"stdfactor": params["factor"], "bias": asked.bias(params)}, asked.UNSEEN)


RULES: dict[str, Callable[[Params], Asked]] = {**KERNEL, "gamma": _gamma, "sign": _sign, "stdx_epsilon": _stdx}
"""The rules that SignXAI has for layers with a kernel."""


def answer(path: Path, inputs: Mapping[str, np.ndarray], seed: Mapping[str, np.ndarray], rules: list[Any]) -> Any:
    """Return the outputs, and a function that explains: what it raises is the library's answer, and nothing of this program."""
    tf.keras.backend.clear_session()
    tf.keras.backend.set_floatx("float64")
    if len(inputs) > 1:
        raise Unsupported("SignXAI enters a network at its first layer alone")
    network = built(path, inputs, {r["node"]: r["rule"] for r in rules})
    chosen, size = chosen_of(network, rules)
    model = asked.seeded(network, seed, rank=6)  # as no value has, for what keeps its shape is passed through
    (given,) = network.given(inputs)
    return network.forward(inputs), lambda: network.back(explained(model, given, chosen, size))


def chosen_of(network: Network, rules: list[Any]) -> tuple[list[Any], float]:
    """Return the rules of layers as conditions, and the constant of sums. Raises Unsupported."""
    chosen, specs = [], []
    for spec in rules:
        rule, params = spec["rule"], spec["params"]
        if spec["node"] not in network.made:
            raise Unsupported(f"node {spec['node']!r} has no layer")
        layer = network.made[spec["node"]]
        specs.append((rule, params, layer._replace(kind="sum") if layer.kind == "norm" else layer))
        if layer.kind == "kernel":
            wanted = made(asked.kernel(rule, params, RULES, layer, network))
            chosen.append((lambda found, name=layer.layer.name: found.name == name, wanted))
        elif layer.kind != "norm":
            asked.on_others(rule, layer, frozenset({"pass"}))
    return chosen, asked.sums(specs)


def explained(model: Any, given: np.ndarray, chosen: list[Any], size: float) -> list[np.ndarray]:
    """Return the relevance of the input."""
    with constant(size):
        found = LRP(model, rule=chosen or "Z", allow_lambda_layers=True).analyze(given, neuron_selection="all")
    return list(found.values())
