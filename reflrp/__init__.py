"""reflrp: the framework-neutral reference engine for Layer-wise Relevance Propagation on ONNX networks.

>>> import reflrp
>>> e = reflrp.explain("model.onnx", x)  # doctest: +SKIP
>>> e.relevance  # doctest: +SKIP
"""

from reflrp import starting as _starting  # noqa: F401, I001 (first: Ctrl-C is quiet from here on)

from importlib.metadata import version as _version

from reflrp import composites, dialects, limits, rules, show
from reflrp import runtime as _runtime  # noqa: F401 (it enters its backends)
from reflrp.comparison import Comparison, compare
from reflrp.composites import Composite
from reflrp.compiler import compile
from reflrp.errors import (
    AdviceWarning,
    ForwardChanged,
    InputError,
    ModelError,
    NonFiniteError,
    ReflrpError,
    RuleError,
    TooLarge,
    UnassignedNodes,
    UnsupportedOperator,
)
from reflrp.explainer import Explainer
from reflrp.explainer import explain
from reflrp.explanation import Explanation
from reflrp.ledger import Ledger
from reflrp.mapping import Images
from reflrp.model import Model, load
from reflrp.rules.base import Rule
from reflrp.seeds import Contrast

__version__ = _version("reflrp")

__all__ = [
    "AdviceWarning",
    "Comparison",
    "Composite",
    "Contrast",
    "Explainer",
    "Explanation",
    "ForwardChanged",
    "Images",
    "InputError",
    "Ledger",
    "Model",
    "ModelError",
    "NonFiniteError",
    "ReflrpError",
    "Rule",
    "RuleError",
    "TooLarge",
    "UnassignedNodes",
    "UnsupportedOperator",
    "compare",
    "compile",
    "composites",
    "dialects",
    "explain",
    "limits",
    "load",
    "rules",
    "show",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
