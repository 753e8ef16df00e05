"""All rules by the names that cases give them."""

from __future__ import annotations

from collections.abc import Callable

from reflrp.conformance.literal.rules import Node, Params, Relevance
from reflrp.conformance.literal.rules_linear import (
    alpha_beta,
    alpha_beta_x,
    epsilon,
    flat,
    gamma,
    norm,
    sign,
    stdx_epsilon,
    w_square,
    z_box,
    z_plus,
)
from reflrp.conformance.literal.rules_other import (
    beta_smooth,
    deconvnet,
    gradient,
    guided_backprop,
    pass_,
    ratio,
    recurrent,
    stop,
    taylor,
    transposed,
)
from reflrp.conformance.literal.rules_product import (
    epsilon_uniform,
    half,
    product_alpha_beta,
    signal_takes_all,
    uniform,
)
from reflrp.conformance.literal.steps import Numbers

Rule = Callable[[Node, Numbers, Params], Relevance]


RULES: dict[str, Rule] = {
    "alpha_beta": alpha_beta,
    "alpha_beta_x": alpha_beta_x,
    "beta_smooth": beta_smooth,
    "deconvnet": deconvnet,
    "epsilon": epsilon,
    "epsilon_uniform": epsilon_uniform,
    "flat": flat,
    "gamma": gamma,
    "gradient": gradient,
    "guided_backprop": guided_backprop,
    "half": half,
    "norm": norm,
    "pass": pass_,
    "product_alpha_beta": product_alpha_beta,
    "ratio": ratio,
    "recurrent": recurrent,
    "sign": sign,
    "signal_takes_all": signal_takes_all,
    "stdx_epsilon": stdx_epsilon,
    "stop": stop,
    "taylor": taylor,
    "uniform": uniform,
    "w_square": w_square,
    "winner_takes_all": transposed,
    "z_box": z_box,
    "z_plus": z_plus,
}
"""The rules by the names that cases give them."""
