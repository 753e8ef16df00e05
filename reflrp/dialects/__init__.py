"""Other libraries' names, arguments and numbers, one module each.

A dialect is imported when it is asked for: `rules="zennit.EpsilonPlus"`, or `from reflrp.dialects import zennit`.
"""

from functools import partial
from importlib import import_module

from reflrp.composites.registry import REGISTRY

LIBRARIES = (
    "captum",
    "innsight",
    "innvestigate",
    "lczerolens",
    "lrp_for_lstm",
    "lrp_toolbox",
    "lxt",
    "pnpxai",
    "relevance_propagation_jl",
    "signxai",
    "zennit",
)

REGISTRY.dialects.update({name: partial(import_module, f"{__name__}.{name}") for name in LIBRARIES})
