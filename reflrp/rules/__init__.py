"""The rules: frozen dataclasses, each an explicit formula.

| file | rules for |
|---|---|
| `linear` | linear maps: dense, conv, diagonal, sum, pool, max |
| `product` | products of two values |
| `other` | pointwise functions, maxima, normalisers |
| `base` | what all of them share |
"""

from reflrp.ops.stabilizer import Stabilizer, safe_div, stabilize
from reflrp.rules.base import Rule
from reflrp.rules.linear import (
    AlphaBeta,
    AlphaBetaX,
    Epsilon,
    Flat,
    Gamma,
    LinearRule,
    Norm,
    Sign,
    StdxEpsilon,
    WSquare,
    ZBox,
    ZPlus,
)
from reflrp.rules.other import (
    BetaSmooth,
    DeconvNet,
    Gradient,
    GuidedBackprop,
    Pass,
    Ratio,
    Stop,
    Taylor,
    WinnerTakesAll,
)
from reflrp.rules.product import EpsilonUniform, Half, ProductAlphaBeta, SignalTakesAll, Uniform

__all__ = [
    "AlphaBeta",
    "AlphaBetaX",
    "BetaSmooth",
    "DeconvNet",
    "Epsilon",
    "EpsilonUniform",
    "Flat",
    "Gamma",
    "Gradient",
    "GuidedBackprop",
    "Half",
    "LinearRule",
    "Norm",
    "Pass",
    "ProductAlphaBeta",
    "Ratio",
    "Rule",
    "Sign",
    "SignalTakesAll",
    "Stabilizer",
    "StdxEpsilon",
    "Stop",
    "Taylor",
    "Uniform",
    "WSquare",
    "WinnerTakesAll",
    "ZBox",
    "ZPlus",
    "safe_div",
    "stabilize",
]
