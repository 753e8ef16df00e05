"""captum's LRP (0.9.0): its names, its arguments, its numbers.

>>> from reflrp.dialects import captum
>>> rules = captum.LRP({"conv1": captum.GammaRule(), "fc*": captum.EpsilonRule(1e-4)})  # doctest: +SKIP
>>> reflrp.explain(model, x, rules=rules, target=3)  # doctest: +SKIP
>>> reflrp.explain(model, x, rules=captum.composite(net))  # as the torch network's modules say  # doctest: +SKIP

captum divides and multiplies in hooks on tensors; what that makes of values with several readers is in `hooks`, and
`LRP(hooks="layer")` leaves it out. A Relu is taken for nn.ReLU and an Add of two values for captum's Addition_Module;
`LRP(functions=...)` says what the network does by functions, which are plain gradients. docs/captum.md lists what
differs from the papers, and what is refused.

captum starts with the output at the target: init="output". Where a network ends in a softmax, it starts behind it,
`Explainer` before it unless `strip=False`.
"""

from reflrp.dialects.captum import modules
from reflrp.dialects.captum.composites import COMPOSITES, LRP
from reflrp.dialects.captum.layers import LayerLRP, convergence_delta
from reflrp.dialects.captum.living import composite
from reflrp.dialects.captum.rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule

__all__ = [
    "COMPOSITES",
    "LRP",
    "Alpha1_Beta0_Rule",
    "EpsilonRule",
    "GammaRule",
    "IdentityRule",
    "LayerLRP",
    "composite",
    "convergence_delta",
    "modules",
]
