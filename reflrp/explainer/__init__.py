"""The way of the data: a model and its rules made ready, kept by input shape, and run on what is to be explained."""

from reflrp.explainer.explainer import Explainer, RulesLike
from reflrp.explainer.explaining import explain

__all__ = ["Explainer", "RulesLike", "explain"]
