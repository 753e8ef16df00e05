"""LXT's rules and its two rule sets, AttnLRP and CP-LRP: its names, its defaults, its numbers (those of LXT 2.1).

>>> from reflrp.dialects import lxt
>>> reflrp.explain(model, x, rules=lxt.AttnLRP())  # doctest: +SKIP
>>> reflrp.explain(model, x, rules="lxt.CP_LRP")  # doctest: +SKIP

Two forms. form="efficient" is `lxt.efficient`, which carries R / value along the tape and multiplies by the value at
the end: LRP-0 everywhere, with the bias absorbing, halves by `divide_gradient`, a detached deviation in normalisations.
Nothing is stabilised but the activations. form="explicit" is `lxt.explicit`, which carries R, with a stabiliser that
does not look at the sign: z + epsilon. For -epsilon < z < 0 the sign of the relevance flips, at z = -epsilon it is
infinite, which LXT passes on, and here is 0.

LXT patches modules or replaces functions; an ONNX graph holds operators. So:

- Every product of two values, softmax, activation, normalisation and sum has its rule, as if LXT's map of the model
  named it. LXT leaves what it does not know to the chain rule. In the efficient form that is LRP-0, as here but for
  products, which it gives to both operands in full.
- The weights of an attention are the operand of a product that comes out of a softmax; the gate of a gated MLP is the
  one that comes out of an activation.
- GroupNorm, InstanceNorm and LRN, which LXT has no rule for, are x * J^T(R / y) in the efficient form, else Pass.
- Inner values of the efficient form: LXT divides at query, key and value, so that what it shows for attention weights
  is twice what stands here. At the inputs both agree.

Where the answer starts is init="output": LXT's `logit.backward(logit)`, or `logit.backward()` and x * x.grad.
`TaylorDecompositionRule`, which cannot run in LXT, is left out.

Source: Achtibat et al., "AttnLRP: Attention-Aware Layer-wise Relevance Propagation for Transformers", ICML 2024; for
CP-LRP Ali et al., "XAI for Transformers: Better Explanations through Conservative Propagation", ICML 2022.
"""

from reflrp.dialects.lxt.composites import COMPOSITES, CP_LRP, AttnLRP
from reflrp.dialects.lxt.living import composite
from reflrp.dialects.lxt.rules import (
    EpsilonRule,
    IdentityImplicit,
    IdentityRule,
    Mean,
    Mul2,
    Patched,
    StopRelevanceRule,
    UniformEpsilonRule,
    UniformRule,
    add2,
    epsilon_lrp,
    identity,
    identity_rule_implicit,
    layer_norm,
    linear_epsilon,
    matmul,
    mean,
    monkey_patch_zennit,
    mul2,
    normalize,
    rms_norm_identity,
    softmax,
)

__all__ = [
    "COMPOSITES",
    "CP_LRP",
    "AttnLRP",
    "EpsilonRule",
    "IdentityImplicit",
    "IdentityRule",
    "Mean",
    "Mul2",
    "Patched",
    "StopRelevanceRule",
    "UniformEpsilonRule",
    "UniformRule",
    "add2",
    "composite",
    "epsilon_lrp",
    "identity",
    "identity_rule_implicit",
    "layer_norm",
    "linear_epsilon",
    "matmul",
    "mean",
    "monkey_patch_zennit",
    "mul2",
    "normalize",
    "rms_norm_identity",
    "softmax",
]
