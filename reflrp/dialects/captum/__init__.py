"""captum's LRP."""

from reflrp.dialects.captum import modules
from reflrp.dialects.captum.composites import COMPOSITES, LRP
from reflrp.dialects.captum.layers import LayerLRP, convergence_delta
from reflrp.dialects.captum.rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule

__all__ = [
    "COMPOSITES",
    "LRP",
    "Alpha1_Beta0_Rule",
    "EpsilonRule",
    "GammaRule",
    "IdentityRule",
    "LayerLRP",
    "convergence_delta",
    "modules",
]
