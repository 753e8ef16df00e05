"""Composites: which rule stands on which node. Ordered pairs (matcher, rule); the first match wins.

`composite` has the class and the families' defaults, `matchers` what nodes can be told apart by, `presets` the presets
that ship, `registry` what `rules=` means.

Clauses: COMP-1, COMP-2.
"""

from reflrp.composites.auto import auto
from reflrp.composites.composite import Composite, Pairs, defaults, uniform
from reflrp.composites.matchers import (
    Matcher,
    Survey,
    anything,
    depth,
    earliest,
    first,
    kind,
    last,
    name,
    op_type,
)
from reflrp.composites.preprocessing import preprocessing
from reflrp.composites.presets import SHIPPED
from reflrp.composites.registry import REGISTRY, Preset, preset, presets, register, resolve

__all__ = [
    "REGISTRY",
    "SHIPPED",
    "Composite",
    "Matcher",
    "Pairs",
    "Preset",
    "Survey",
    "anything",
    "auto",
    "defaults",
    "depth",
    "earliest",
    "first",
    "kind",
    "last",
    "name",
    "op_type",
    "preprocessing",
    "preset",
    "presets",
    "register",
    "resolve",
    "uniform",
]
