"""The presets: what `rules="name"` means. Each is a function that returns a Composite."""

from __future__ import annotations

from typing import Any

from reflrp import rules as r
from reflrp.composites.composite import Composite, Pairs, defaults
from reflrp.composites.matchers import anything, depth, first, kind, last, op_type
from reflrp.composites.rectifying import rectifier
from reflrp.composites.registry import presets, register, resolve
from reflrp.errors import RuleError
from reflrp.ground.checks import shown
from reflrp.ir import WEIGHTED
from reflrp.rules.base import Rule


@register("epsilon")
def epsilon(epsilon: float = 1e-6) -> Composite:
    """LRP-epsilon everywhere."""
    return Composite(((kind(*WEIGHTED), r.Epsilon(epsilon)), *defaults()), "epsilon")


@register("lrp_0")
def lrp_0() -> Composite:
    """LRP-0 everywhere: input times gradient, on a network of ReLUs."""
    return Composite(((kind(*WEIGHTED), r.Epsilon(0)), *defaults(0)), "lrp_0")


def _layered(title: str, conv: Rule, dense: Rule, stabilizer: float, flat: bool = False) -> Composite:
    pairs: Pairs = ((first(), r.Flat(stabilizer)),) if flat else ()
    return Composite((*pairs, (kind("conv"), conv), (kind("dense"), dense), *defaults(stabilizer)), title)


@register("epsilon_plus")
def epsilon_plus(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """z+ on convolutions, epsilon on dense layers."""
    return _layered("epsilon_plus", r.ZPlus(stabilizer=stabilizer), r.Epsilon(epsilon), stabilizer)


@register("epsilon_plus_flat")
def epsilon_plus_flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """As epsilon_plus, flat on the first layer."""
    return _layered("epsilon_plus_flat", r.ZPlus(stabilizer=stabilizer), r.Epsilon(epsilon), stabilizer, flat=True)


@register("epsilon_alpha2_beta1")
def epsilon_alpha2_beta1(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Alpha 2, beta 1 on convolutions, epsilon on dense layers."""
    rule = r.AlphaBeta(2, 1, stabilizer=stabilizer)
    return _layered("epsilon_alpha2_beta1", rule, r.Epsilon(epsilon), stabilizer)


@register("epsilon_alpha2_beta1_flat")
def epsilon_alpha2_beta1_flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """As epsilon_alpha2_beta1, flat on the first layer."""
    rule = r.AlphaBeta(2, 1, stabilizer=stabilizer)
    return _layered("epsilon_alpha2_beta1_flat", rule, r.Epsilon(epsilon), stabilizer, flat=True)


@register("epsilon_gamma_box")
def epsilon_gamma_box(
    low: Any = -3.0, high: Any = 3.0, epsilon: float = 1e-6, gamma: float = 0.25, stabilizer: float = 1e-6
) -> Composite:
    """z^B on the first convolution, gamma on the others, epsilon on dense layers. The input lies in [low, high]."""
    gamma_rule = r.Gamma(gamma, generalized=True, stabilizer=stabilizer)
    base = _layered("epsilon_gamma_box", gamma_rule, r.Epsilon(epsilon), stabilizer)
    return Composite(((first("conv"), r.ZBox(low, high, stabilizer)), *base.pairs), base.title)


@register("excitation_backprop")
def excitation_backprop(stabilizer: float = 1e-6) -> Composite:
    """z+ everywhere, gradients through activations (Zhang et al., IJCV 2018)."""
    pairs = ((kind(*WEIGHTED), r.ZPlus(stabilizer=stabilizer)), (kind("pointwise"), r.Gradient()))
    return Composite((*pairs, *defaults(stabilizer)), "excitation_backprop")


def _gradient_like(title: str, rule: Rule) -> Composite:
    everything = (anything(), r.Gradient())
    return Composite(((rectifier(), rule), everything), title, canonize=())


@register("guided_backprop")
def guided_backprop() -> Composite:
    """Gradients, and positive ones only through ReLUs that are on."""
    return _gradient_like("guided_backprop", r.GuidedBackprop())


@register("deconvnet")
def deconvnet() -> Composite:
    """Gradients, and positive ones only through every ReLU."""
    return _gradient_like("deconvnet", r.DeconvNet())


@register("beta_smooth")
def beta_smooth(beta: float = 10.0) -> Composite:
    """Gradients, as if each ReLU were a softplus."""
    return _gradient_like("beta_smooth", r.BetaSmooth(beta))


@register("gradient")
def gradient() -> Composite:
    """Apply the chain rule at every node: the plain gradient."""
    return Composite(((anything(), r.Gradient()),), "gradient", canonize=())


@register("sequential_a")
def sequential_a(epsilon: float = 0.1) -> Composite:
    """Alpha 1, beta 0 on convolutions, epsilon 0.1 on dense layers (iNNvestigate's LRPSequentialPresetA)."""
    return _layered("sequential_a", r.AlphaBeta(1, 0), r.Epsilon(epsilon), 1e-6)


@register("sequential_b")
def sequential_b(epsilon: float = 0.1) -> Composite:
    """Alpha 2, beta 1 on convolutions, epsilon 0.1 on dense layers (iNNvestigate's LRPSequentialPresetB)."""
    return _layered("sequential_b", r.AlphaBeta(2, 1), r.Epsilon(epsilon), 1e-6)


@register("sequential_a_flat")
def sequential_a_flat(epsilon: float = 0.1) -> Composite:
    """As sequential_a, flat on the first layer."""
    return _layered("sequential_a_flat", r.AlphaBeta(1, 0), r.Epsilon(epsilon), 1e-6, flat=True)


@register("sequential_b_flat")
def sequential_b_flat(epsilon: float = 0.1) -> Composite:
    """As sequential_b, flat on the first layer."""
    return _layered("sequential_b_flat", r.AlphaBeta(2, 1), r.Epsilon(epsilon), 1e-6, flat=True)


@register("until_index")
def until_index(index: int = 1, rule: Rule | None = None, base: Any = "sequential_b_flat") -> Composite:
    """One rule (default: flat) on the dense and conv nodes down to depth `index`, another composite on the rest."""
    if rule is not None and not isinstance(rule, Rule):
        raise RuleError(f"rule={shown(rule)} is no rule; use one of reflrp.rules")
    below = kind(*WEIGHTED) & depth(1, index)
    rest = resolve(base)
    return Composite(((below, rule or r.Flat()), *rest.pairs), f"until_index({index})", rest.canonize)


@register("attnlrp")
def attnlrp(epsilon: float = 1e-6) -> Composite:
    """AttnLRP (Achtibat et al., ICML 2024): epsilon on layers and sums, products in halves, Softmax by Taylor.

    Activations and normalisations pass.
    """
    pairs: Pairs = (
        (kind(*WEIGHTED), r.Epsilon(epsilon)),
        (op_type("Softmax"), r.Taylor()),
        (kind("product"), r.Half(epsilon)),
    )
    return Composite((*pairs, *defaults(epsilon)), "attnlrp")


@register("cp_lrp")
def cp_lrp(epsilon: float = 1e-6) -> Composite:
    """CP-LRP (Ali et al., ICML 2022): as attnlrp, but attention weights and gates are constants.

    Relevance goes through the values only; it stops at the Softmax.
    """
    pairs: Pairs = (
        (kind(*WEIGHTED), r.Epsilon(epsilon)),
        (op_type("Softmax"), r.Stop()),
        (kind("product"), r.SignalTakesAll("activated", epsilon)),
    )
    return Composite((*pairs, *defaults(epsilon)), "cp_lrp")


@register("gamma_attnlrp")
def gamma_attnlrp(gamma: float = 0.25, conv_gamma: float = 0.25, epsilon: float = 1e-6) -> Composite:
    """AttnLRP with gamma on layers, for vision transformers: gamma on dense layers, conv_gamma on the patches."""
    pairs: Pairs = (
        (kind("conv"), r.Gamma(conv_gamma, generalized=True, stabilizer=epsilon)),
        (last(), r.Epsilon(epsilon)),
        (kind("dense"), r.Gamma(gamma, generalized=True, stabilizer=epsilon)),
    )
    return Composite((*pairs, *attnlrp(epsilon).pairs), "gamma_attnlrp")


@register("lstm")
def lstm(epsilon: float = 1e-3) -> Composite:
    """LSTM, GRU and RNN (Arras et al. 2017): epsilon on layers and sums; of a product, the signal takes all."""
    pairs: Pairs = ((kind(*WEIGHTED), r.Epsilon(epsilon)), (kind("product"), r.SignalTakesAll("auto", epsilon)))
    return Composite((*pairs, *defaults(epsilon)), "lstm")


SHIPPED = presets()
"""The names of the presets in this file."""
