"""A case before it is written: a network with its rules, what it is meant to test, and where relevance starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reflrp.conformance.generate.net import Net

TOLERANCES = {
    "dyadic": {"float64": 1e-12, "float32": 4e-6, "exact": 0.0},
    "network": {"float64": 1e-11, "float32": 4e-5, "exact": 0.0},
    "measured": {"float64": 1e-10, "float32": 2e-4},
}
"""The largest errors that pass, over the largest expected relevance. dyadic: forward sums are exact in float32, so that only
divisions and one transposed sum round. network: several layers of such. measured: roots and exponentials."""


@dataclass(frozen=True)
class Draft:
    """A case to be written.

    Attributes
    ----------
    id : str
        group/slug.
    level : str
        C0 forward, C1 one linear layer, C2 graphs, C3 composites and networks, C4 normalisation, attention, recurrence.
    clauses : tuple of str
        What it may test; it is written with those that it does.
    net : Net
        The network, its inputs and rules.
    comment : str
        What it is there for, in a sentence.
    seed : dict
        The relevance to start from, by output.
    flags : tuple of str
        What makes it special, for coverage.
    basis : str
        A key of TOLERANCES.
    expect, property : str
        As in case.json.
    exact : bool
        Whether it is rational throughout.
    other : dict
        A second seed, for the property "linear".
    since : str
        The version of the vectors that it came with.

    """

    id: str
    level: str
    clauses: tuple[str, ...]
    net: Net
    comment: str
    seed: dict[str, np.ndarray]
    flags: tuple[str, ...] = ()
    basis: str = "dyadic"
    expect: str = "match"
    property: str = ""
    exact: bool = True
    other: dict[str, np.ndarray] = field(default_factory=dict)
    since: str = "2026.1"


SIGNED = {"form": "signed", "epsilon": 33 / 128, "norm_scale": False}
"""A stabiliser that is seen: large, and off the lattice of the sums that it stands beside."""

TINY = {"form": "signed", "epsilon": 2.0**-20, "norm_scale": False}
NONE = {"form": "signed", "epsilon": 0.0, "norm_scale": False}


def how(form: str = "signed", epsilon: float = 33 / 128, norm_scale: bool = False) -> dict[str, Any]:
    """Return a stabiliser's parameters."""
    return {"form": form, "epsilon": epsilon, "norm_scale": norm_scale}
