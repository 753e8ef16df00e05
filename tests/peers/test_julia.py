"""The transcription of RelevancePropagation.jl against the relevance that the library's own tests store.

RELEVANCE_PROPAGATION_JL names a checkout (https://github.com/Julia-XAI/RelevancePropagation.jl), and h5py reads it. Inputs and
weights are not stored, but all are prefixes of one random stream, of which ZeroRule/flatten.jld2 holds the beginning.
"""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from reflrp.conformance.adapters import julia_rules as rp

FOLDER = Path(os.environ["RELEVANCE_PROPAGATION_JL"]) / "test" / "references" / "rules"
PARAMS = {"eps": 1e-9, "gamma": 0.25, "low": 0.0, "high": 1.0}
RULES = {
    "AlphaBetaRule": (rp.alpha_beta, {"alpha": 2, "beta": 1}),
    "EpsilonRule": (rp.zero_or_epsilon, {"eps": 1e-6}),
    "FlatRule": (rp.flat, {}),
    "GammaRule": (rp.gamma, {}),
    "GeneralizedGammaRule": (rp.generalized_gamma, {}),
    "LayerNormRule": (rp.zero_or_epsilon, {}),
    "WSquareRule": (rp.w_square, {}),
    "ZBoxRule": (rp.z_box, {}),
    "ZPlusRule": (rp.alpha_beta, {}),
    "ZeroRule": (rp.zero_or_epsilon, {}),
}


def stored(rule: str, layer: str) -> np.ndarray:
    with h5py.File(FOLDER / rule / f"{layer}.jld2") as file:
        return np.asarray(file["R"], np.float64)


S = stored("ZeroRule", "flatten").ravel()


def tensor(count: int, *shape: int) -> torch.Tensor:
    return torch.tensor(S[:count].reshape(shape))


def dense(bias: bool) -> nn.Linear:
    layer = nn.Linear(4, 3, bias=bias).double()
    layer.weight.data = tensor(12, 4, 3).T if bias else torch.eye(4, dtype=torch.float64)[:, :3].T
    if bias:
        layer.bias.data = tensor(3, 3)
    return layer


def conv() -> nn.Conv2d:
    layer = nn.Conv2d(3, 4, 3).double()
    layer.weight.data, layer.bias.data = tensor(108, 4, 3, 3, 3).flip(2, 3), tensor(4, 4)
    return layer


ROWS, IMAGES = tensor(8, 2, 4), tensor(216, 2, 3, 6, 6)
LAYERS = {
    "Conv": (rp.Layer(conv()), IMAGES),
    "Conv_relu": (rp.Layer(conv(), nn.ReLU()), IMAGES),
    "Dense_identity": (rp.Layer(dense(False)), ROWS),
    "Dense_relu": (rp.Layer(dense(True), nn.ReLU()), ROWS),
    "Scale_identity": (rp.Layer(rp.Scale(torch.ones(4, dtype=torch.float64), None)), ROWS),
    "Scale_relu": (rp.Layer(rp.Scale(tensor(4, 4), tensor(4, 4)), nn.ReLU()), ROWS),
}
POOLS = {
    "MaxPool": nn.MaxPool2d(3),
    "MeanPool": nn.AvgPool2d(3),
    "GlobalMaxPool": nn.AdaptiveMaxPool2d(1),
    "GlobalMeanPool": nn.AdaptiveAvgPool2d(1),
}


def close(found: torch.Tensor, rule: str, layer: str) -> None:
    """As upstream's tests compare, but a thousand times as close in relative terms: the references are of Float32."""
    want = stored(rule, layer)
    assert np.abs(found.detach().numpy() - want).max() <= 1e-5 + 2e-5 * np.abs(want).max(), (rule, layer)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layer", LAYERS)
def test_rules_on_layers_with_weights(rule: str, layer: str) -> None:
    (function, more), (module, a) = RULES[rule], LAYERS[layer]
    with torch.no_grad():
        R = module(a)
    close(function(module, a, R, {**PARAMS, **more}), rule, layer)


@pytest.mark.parametrize("rule", ["ZeroRule", "EpsilonRule"])
@pytest.mark.parametrize("layer", POOLS)
def test_rules_on_pools(rule: str, layer: str) -> None:
    module = rp.Layer(POOLS[layer])
    with torch.no_grad():
        R = module(IMAGES)
    close(rp.zero_or_epsilon(module, IMAGES, R, {**PARAMS, **RULES[rule][1]}), rule, layer)
