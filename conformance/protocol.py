"""What a library must say and do to be judged: the four methods of an adapter, NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reflrp.ground import checks

Arrays = Mapping[str, np.ndarray]
"""Arrays by the names of values in the ONNX graph."""


METHODS = ("describe", "load", "forward", "explain")
"""What an adapter can do."""


class Unsupported(Exception):
    """What an adapter raises where its library has no such operator, rule or choice: honest, and not counted.

    Raise it in `load` or `explain`, with the reason; never answer with something near.
    """


@dataclass(frozen=True)
class Info:
    """Who is judged.

    Attributes
    ----------
    name, version : str
        Of the library.
    rules : frozenset of str, optional
        The names of rules that it has, as in `case.json`. A case that asks for another is `UNSUPPORTED` without being
        tried. None: each case is tried.
    ops : frozenset of str, optional
        Likewise the ONNX operators.
    dtypes : tuple of str
        What it can compute in: "float64", "float32", "exact".
    intermediates : bool
        Whether `explain` returns the relevance of inner values too.
    refusals : tuple of exception types
        Exceptions by which the library refuses on purpose, as it documents, that would else be taken for a breakdown of it or of
        its adapter: TypeError, AttributeError, KeyError, IndexError, OSError and the like.

    """

    name: str
    version: str
    rules: frozenset[str] | None = None
    ops: frozenset[str] | None = None
    dtypes: tuple[str, ...] = ("float64", "float32")
    intermediates: bool = False
    refusals: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        """Check what is compared with the cases."""
        checks.text("name", self.name)
        checks.text("version", self.version)
        object.__setattr__(self, "dtypes", checks.texts("dtypes", self.dtypes))
        for key in ("rules", "ops"):
            if getattr(self, key) is not None:
                object.__setattr__(self, key, frozenset(checks.texts(key, getattr(self, key))))
        found = checks.listed_things("refusals", self.refusals, "a list of exception types")
        if not all(isinstance(e, type) and issubclass(e, Exception) and e is not Exception for e in found):
            raise checks.refuse("refusals", self.refusals, "a list of exception types, and not of Exception itself")
        object.__setattr__(self, "refusals", found)


@dataclass(frozen=True)
class RuleSpec:
    """Which rule stands on which node, with every choice that the rule leaves.

    Attributes
    ----------
    node : str
        The name of an ONNX node.
    rule : str
        As "alpha_beta"; INTERPRETING.md lists them with their parameters.
    params : dict
        Numbers, texts, lists, and for `stabilizer` a dict {"form", "epsilon", "norm_scale"}.

    """

    node: str
    rule: str
    params: Mapping[str, Any] = field(default_factory=dict)


class Adapter(Protocol):
    """A library under test. `explain` must use the rules that it is given, or raise `Unsupported`."""

    def describe(self) -> Info:
        """Return who is judged, and what it can do."""

    def load(self, model: Path, dtype: str) -> Any:
        """Return the library's own model of an ONNX file, in "float64", "float32" or "exact"."""

    def forward(self, model: Any, inputs: Arrays) -> Arrays:
        """Return the model's outputs by name."""

    def explain(self, model: Any, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of the inputs by name (and of inner values, where the library offers it).

        `seed` is the relevance of the outputs to start from, by name, each shaped like its output. An input that gets no
        relevance is answered with zeros.
        """
