"""iNNvestigate's rules on the layers of a case's network, in graph mode, which it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()

from innvestigate import backend  # noqa: E402
from innvestigate.analyzer.relevance_based import relevance_rule  # noqa: E402
from innvestigate.analyzer.relevance_based.relevance_analyzer import LRP  # noqa: E402

from . import asked  # noqa: E402
from .asked import KERNEL, Asked  # noqa: E402
from .network import Network, built  # noqa: E402
from .nodes import Made, Unsupported  # noqa: E402

PACKAGE = "innvestigate"
"""Under which name it is installed."""


@contextmanager
def constant(size: float) -> Iterator[None]:
    """Set what stands where a sum is 0: Keras's epsilon, and the default of a function that read it when it was imported."""
    before, was = tf.keras.backend.epsilon(), backend.safe_divide.__defaults__
    tf.keras.backend.set_epsilon(size)
    backend.safe_divide.__defaults__ = (size,)
    try:
        yield
    finally:
        tf.keras.backend.set_epsilon(before)
        backend.safe_divide.__defaults__ = was


def made(wanted: Asked) -> Any:
    """Return a rule with its arguments, as the library wants one: a subclass."""
    rule = getattr(relevance_rule, wanted.rule)

    class Made(rule):  # type: ignore[misc,valid-type]
        def __init__(self, layer: Any, state: Any) -> None:
            super().__init__(layer, state, **wanted.arguments)

        def apply(self, *args: Any, **more: Any) -> Any:
            with constant(wanted.zero):
                return super().apply(*args, **more)

    return Made


def answer(path: Path, inputs: Mapping[str, np.ndarray], seed: Mapping[str, np.ndarray], rules: list[Any]) -> Any:
    """Return the outputs, and a function that explains: what it raises is the library's answer, and nothing of this program."""
    tf.keras.backend.clear_session()
    tf.keras.backend.set_floatx("float64")
    tf.keras.backend.set_learning_phase(0)
    network = built(path, inputs, {r["node"]: r["rule"] for r in rules})
    chosen, norm, size = chosen_of(network, rules)
    model, given = asked.seeded(network, seed, rank=2), network.given(inputs)
    return network.forward(inputs), lambda: network.back(explained(model, given, chosen, norm, size))


def chosen_of(network: Network, rules: list[Any]) -> tuple[list[Any], Any, float]:
    """Return the rules of layers as conditions, that of all BatchNormalizations, and the constant of sums. Raises Unsupported."""
    chosen, norms, specs = [], {}, []
    for spec in rules:
        rule, params = spec["rule"], spec["params"]
        if spec["node"] not in network.made:
            raise Unsupported(f"node {spec['node']!r} has no layer")
        layer = network.made[spec["node"]]
        specs.append((rule, params, layer))
        if layer.kind == "kernel":
            wanted = made(asked.kernel(rule, params, KERNEL, layer, network))
            chosen.append((lambda found, name=layer.layer.name: found.name == name, wanted))
        elif layer.kind == "norm":
            norms[str(spec["rule"]) + str(params)] = made(asked.kernel(rule, params, KERNEL, layer, network))
        else:
            asked.on_others(rule, layer, _functions(layer))
    if len(norms) > 1:
        raise Unsupported("iNNvestigate has one rule for all BatchNormalizations")
    return chosen, next(iter(norms.values()), "Z"), asked.sums(specs)


def _functions(layer: Made) -> frozenset[str]:
    """Return what iNNvestigate does on a function: it passes relevance through an Activation, and has a gradient for the rest."""
    return frozenset({"pass"} if isinstance(layer.layer, tf.keras.layers.Activation) else {"gradient"})


def explained(model: Any, given: list[np.ndarray], chosen: list[Any], norm: Any, size: float) -> list[np.ndarray]:
    """Return the relevance of the inputs, in their order."""
    with constant(size):
        analyzer = LRP(
            model,
            rule=chosen or "Z",
            bn_layer_rule=norm,
            neuron_selection_mode="all",
            disable_model_checks=True,
            allow_lambda_layers=True,
        )
        found = analyzer.analyze(given if len(given) > 1 else given[0])
    return found if isinstance(found, list) else [found]
