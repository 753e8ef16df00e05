"""Random composites: a rule for each kind of node, drawn from all that serve it."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp import rules as r
from reflrp.composites import Composite, anything, kind, op_type
from reflrp.composites.composite import defaults

EPSILONS = (0.25, 0.01, 1.0)

PRESETS = (
    *(
        "epsilon",
        "epsilon_plus",
        "epsilon_plus_flat",
        "epsilon_alpha2_beta1",
        "epsilon_gamma_box",
        "excitation_backprop",
    ),
    *("auto", "gradient", "guided_backprop", "attnlrp", "cp_lrp", "gamma_attnlrp", "lstm", "sequential_a_flat"),
    *("until_index", "lrp_0"),
)


def linear(rng: np.random.Generator, layer: bool = True) -> Any:
    """Return a rule for linear maps; `layer`: of dense layers and convolutions, whose input is one array."""
    st = float(rng.choice(EPSILONS))
    bias = str(rng.choice(["absorb", "ignore"]))
    split = str(rng.choice(["split", "full", "ignore"]))
    ways = [
        lambda: r.Epsilon(st, bias=bias),
        lambda: r.Gamma(0.5, generalized=True, bias=str(rng.choice(["scale", "keep", "ignore"])), stabilizer=st),
        lambda: r.AlphaBeta(2, 1, bias=split, stabilizer=st),
        lambda: r.ZPlus(bias=split, inputs=str(rng.choice(["split", "raw"])), stabilizer=st),
        lambda: r.ZBox(-4.0, 4.0, stabilizer=st),
        lambda: r.WSquare(bias=str(rng.choice(["ignore", "square"])), stabilizer=st),
        lambda: r.Flat(stabilizer=st),
        lambda: r.Sign(mu=0.1, bias=bias, stabilizer=st),
        lambda: r.AlphaBetaX((1.0, 0.5), (0.25, -0.25), second=str(rng.choice(["alpha", "beta"])), stabilizer=st),
        lambda: r.Gamma(0.25, stabilizer=st),
        r.Gradient,
        lambda: r.Norm(st),
    ]
    if layer:
        ways += [lambda: r.StdxEpsilon(0.25, over="batch", bias=bias)]
    return ways[int(rng.integers(len(ways)))]()


def composite(rng: np.random.Generator, alone: bool = False) -> Composite:
    """Return a composite of random rules, without gates that are guessed and canonizing passes.

    `alone`: of rules that see one sample at a time.
    """
    st = float(rng.choice(EPSILONS))
    products = (
        r.Half(st), r.Half(st, over="all"), r.EpsilonUniform(st), r.ProductAlphaBeta(2.0, 1.0, st), r.SignalTakesAll(0, st),
        r.SignalTakesAll(1, st), r.Gradient(),
    )  # fmt: skip
    functions = (
        r.Pass(),
        r.Pass(),
        r.Gradient(),
        r.Ratio(0.25),
        r.GuidedBackprop(),
        r.DeconvNet(),
        r.BetaSmooth(2.0),
        r.Stop(),
    )
    maxima = (r.WinnerTakesAll(), r.Gradient(), r.Norm(st))
    softmax = (r.Taylor(), r.Taylor(over="last"), r.Pass(), r.Gradient(), r.Stop())
    pick: Any = lambda ways: ways[int(rng.integers(len(ways)))]  # noqa: E731
    pairs = (
        (kind("conv"), linear(rng, not alone)),
        (kind("dense"), linear(rng, not alone)),
        (kind("sum"), linear(rng, layer=False)),
        (kind("pool"), linear(rng, layer=False)),
        (kind("diagonal"), linear(rng, layer=False)),
        (kind("max"), pick(maxima)),
        (kind("product"), pick(products)),
        (kind("pointwise"), pick(functions)),
        (op_type("Softmax"), pick(softmax)),
        (kind("normaliser"), pick((r.Pass(), r.Gradient()))),
        (anything(), r.Epsilon(st)),
    )
    return Composite((*pairs, *defaults(st)), "random", ())
