"""Other readings of denominators and of the rules for linear maps, clause by clause."""

from __future__ import annotations

from reflrp.conformance.readings.base import Reading, chosen, formula, instead, signed, stabilizer
from reflrp.conformance.readings.linear import (
    absolute,
    away,
    below_or_equal,
    beta_added,
    box_with_bias,
    by_size,
    by_weight,
    corners_swapped,
    epsilon_of_sums,
    flat_by_size,
    flat_by_weights,
    flat_with_bias,
    flat_with_padding,
    gamma_negative,
    gamma_of_products,
    generalized_always_up,
    generalized_at_zero,
    halved,
    inputless,
    positive_only,
    renormalised,
    sample_deviation,
    share_squared,
    spread,
    times_input,
    turned_biases,
    zero_counts_one,
    zero_is_negative,
)

LINEAR = (
    Reading("STAB-1", "sgn 0 = -1", "deviation", "A denominator of 0 becomes -epsilon.", signed(zero_is_negative)),
    Reading("STAB-1", "towards 0", "deviation", "Epsilon moves the denominator towards 0.", signed(away)),
    Reading("STAB-2", "0 counts as 1", "deviation", "A denominator of 0 is replaced by 1.", signed(zero_counts_one)),
    Reading("STAB-3", "form=signed", "variant", "z + epsilon sgn z.", stabilizer(form="signed")),
    Reading(
        "STAB-3", "form=plain", "variant", "z + epsilon, whatever the sign of z.", stabilizer(form="plain"), ("lxt",)
    ),
    Reading(
        "STAB-3", "form=clip", "variant", "The denominator is at least epsilon.", stabilizer(form="clip"), ("zennit",)
    ),
    Reading(
        "STAB-3",
        "form=nonzero",
        "variant",
        "Epsilon stands only where z = 0.",
        stabilizer(form="nonzero"),
        ("innvestigate",),
    ),
    Reading("STAB-3", "norm_scale=False", "deviation", "Epsilon is not scaled.", stabilizer(norm_scale=False)),
    Reading(
        "EPS-1", "without input", "deviation", "The input is left out of the numerator.", formula(epsilon=inputless)
    ),
    Reading("EPS-1", "absolute", "deviation", "Contributions count by their size.", formula(epsilon=absolute)),
    Reading(
        "EPS-2",
        "bias=ignore",
        "variant",
        "No bias in the denominator.",
        chosen("epsilon", bias="ignore"),
        ("innvestigate",),
    ),
    Reading("EPS-2", "bias=absorb", "variant", "The bias stands in the denominator.", chosen("epsilon", bias="absorb")),
    Reading(
        "EPS-2",
        "bias spread",
        "deviation",
        "Bias and stabiliser in equal parts to the inputs.",
        formula(epsilon=spread),
        ("lrp_toolbox",),
    ),
    Reading("EPS-3", "gradient", "deviation", "The gradient without the input.", formula(epsilon=inputless)),
    Reading(
        "GAMMA-1",
        "by contributions",
        "deviation",
        "Positive contributions, not weights, are raised.",
        formula(gamma=gamma_of_products),
    ),
    Reading("GAMMA-1", "negative raised", "deviation", "Negative weights are raised.", formula(gamma=gamma_negative)),
    Reading("GAMMA-2", "bias=keep", "variant", "The bias is not scaled.", chosen("gamma", bias="keep"), ("captum",)),
    Reading("GAMMA-2", "bias=scale", "variant", "The bias is scaled as weights are.", chosen("gamma", bias="scale")),
    Reading("GAMMA-2", "bias=ignore", "variant", "No bias in the denominator.", chosen("gamma", bias="ignore")),
    Reading(
        "GAMMA-3", "generalized=False", "variant", "Positive weights are raised.", chosen("gamma", generalized=False)
    ),
    Reading(
        "GAMMA-3",
        "generalized=True",
        "variant",
        "The contributions of the sign of z are raised.",
        chosen("gamma", generalized=True),
        ("zennit",),
    ),
    Reading(
        "GAMMA-3",
        "always up",
        "deviation",
        "Positive contributions are raised also where z < 0.",
        formula(gamma=generalized_always_up),
    ),
    Reading(
        "GAMMA-4", "shares at 0", "deviation", "Relevance is shared where z = 0.", formula(gamma=generalized_at_zero)
    ),
    Reading(
        "AB-1",
        "by weight",
        "deviation",
        "The sign of the weight decides, not of the contribution.",
        formula(alpha_beta=by_weight),
        ("captum",),
    ),
    Reading("AB-1", "beta added", "deviation", "The negative part is added.", formula(alpha_beta=beta_added)),
    Reading(
        "AB-2",
        "bias=full",
        "variant",
        "All of the bias in both denominators.",
        chosen("alpha_beta", bias="full"),
        ("innvestigate",),
    ),
    Reading(
        "AB-2", "bias=split", "variant", "Positive bias to alpha, negative to beta.", chosen("alpha_beta", bias="split")
    ),
    Reading("AB-2", "bias=ignore", "variant", "No bias.", chosen("alpha_beta", bias="ignore")),
    Reading(
        "AB-3",
        "renormalised",
        "deviation",
        "Where one part is empty the other gets R.",
        formula(alpha_beta=renormalised),
    ),
    Reading("ZP-1", "positive inputs", "deviation", "Negative inputs get nothing.", formula(z_plus=positive_only)),
    Reading("ZP-2", "bias=full", "variant", "All of the bias.", chosen("z_plus", bias="full"), ("captum",)),
    Reading("ZP-2", "bias=split", "variant", "The positive bias.", chosen("z_plus", bias="split")),
    Reading("ZP-2", "bias=ignore", "variant", "No bias.", chosen("z_plus", bias="ignore"), ("innvestigate",)),
    Reading(
        "ZP-3",
        "inputs=raw",
        "variant",
        "Inputs are not split by sign.",
        chosen("z_plus", inputs="raw"),
        ("innvestigate", "captum"),
    ),
    Reading("ZP-3", "inputs=split", "variant", "Inputs are split by sign.", chosen("z_plus", inputs="split")),
    Reading(
        "ZB-1",
        "corners swapped",
        "deviation",
        "Low for negative weights, high for positive.",
        formula(z_box=corners_swapped),
    ),
    Reading(
        "ZB-1",
        "no box",
        "deviation",
        "The bounds are left out: LRP-epsilon.",
        instead("z_box", "epsilon", bias="ignore"),
    ),
    Reading("ZB-2", "bias kept", "deviation", "The bias stands in the denominator.", formula(z_box=box_with_bias)),
    Reading("WSQ-1", "by size", "deviation", "Weights by their size, not squared.", formula(w_square=by_size)),
    Reading("WSQ-1", "times input", "deviation", "The input is a factor.", formula(w_square=times_input)),
    Reading("WSQ-1", "share squared", "deviation", "A pool's share is squared.", formula(w_square=share_squared)),
    Reading(
        "WSQ-2",
        "bias=square",
        "variant",
        "The squared bias in the denominator.",
        chosen("w_square", bias="square"),
        ("zennit",),
    ),
    Reading("WSQ-2", "bias=ignore", "variant", "No bias.", chosen("w_square", bias="ignore")),
    Reading("FLAT-1", "by size", "deviation", "Weights by their size.", formula(flat=flat_by_size)),
    Reading(
        "FLAT-1", "bias counted", "deviation", "The bias is one more input.", formula(flat=flat_with_bias), ("zennit",)
    ),
    Reading(
        "FLAT-2",
        "stored zeros",
        "deviation",
        "An input with the weight 0 does not count.",
        formula(flat=flat_by_weights),
    ),
    Reading("FLAT-2", "padding counted", "deviation", "Padding counts as inputs.", formula(flat=flat_with_padding)),
    Reading("NORM-1", "equal parts", "deviation", "In equal parts, whatever the contributions.", formula(norm=halved)),
    Reading(
        "NORM-1",
        "epsilon of sums",
        "deviation",
        "An average's epsilon is in units of the sum.",
        formula(norm=epsilon_of_sums),
    ),
    Reading("SIGN-1", "input kept", "deviation", "The input in place of its sign.", instead("sign", "epsilon")),
    Reading(
        "SIGN-2", "sgn 0 = -1", "deviation", "An input at the threshold counts as -1.", formula(sign=below_or_equal)
    ),
    Reading(
        "SIGN-2", "bias=ignore", "variant", "No bias in the denominator.", chosen("sign", bias="ignore"), ("signxai",)
    ),
    Reading("SIGN-2", "bias=absorb", "variant", "The bias stands in the denominator.", chosen("sign", bias="absorb")),
    Reading("STDX-1", "n - 1", "deviation", "The deviation divides by n - 1.", formula(stdx_epsilon=sample_deviation)),
    Reading(
        "STDX-2",
        "over=batch",
        "variant",
        "One deviation for the batch.",
        chosen("stdx_epsilon", over="batch"),
        ("signxai",),
    ),
    Reading("STDX-2", "over=sample", "variant", "Each sample's own deviation.", chosen("stdx_epsilon", over="sample")),
    Reading("STDX-2", "bias=ignore", "variant", "No bias in the denominator.", chosen("stdx_epsilon", bias="ignore")),
    Reading("ABX-1", "bias=ignore", "variant", "No bias.", chosen("alpha_beta_x", bias="ignore")),
    Reading("ABX-1", "bias=split", "variant", "b+ with w+, b- with w-.", chosen("alpha_beta_x", bias="split")),
    Reading(
        "ABX-1", "biases turned", "deviation", "Each bias has its sign turned.", formula(alpha_beta_x=turned_biases)
    ),
    Reading(
        "ABX-2",
        "second=beta",
        "variant",
        "beta[1] in place of alpha[1].",
        chosen("alpha_beta_x", second="beta"),
        ("innvestigate",),
    ),
    Reading(
        "ABX-2",
        "second=alpha",
        "variant",
        "alpha[1] for negative inputs and weights.",
        chosen("alpha_beta_x", second="alpha"),
    ),
)
