"""What a graph is to compute, and what is returned of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onnx import ModelProto

from reflrp.compiler.accounts import Accounts
from reflrp.ir import Shape
from reflrp.seeds import Target


@dataclass(frozen=True)
class Order:
    """What a graph is to compute beside its relevance, and from what it starts.

    Attributes
    ----------
    target, init, layers, conditions, derived
        As `reflrp.compile` takes them; init="signs" adds inputs that say target and init in the run (`signs.py`).
    kept : set of str
        More values to keep, by their very names.
    masked : dict of tuple
        The values whose relevance goes through the neurons that an input of a shape says in the run.
    ledger : bool
        Whether there is an output of the sums that the ledger needs.
    turned : int, optional
        The output's axis of samples, where that is known.

    """

    target: Target = None
    init: str = "output"
    layers: bool | str | Sequence[str] | None = False
    conditions: Mapping[str, Sequence[int]] = field(default_factory=dict)
    derived: str = "graph"
    kept: frozenset[str] = frozenset()
    masked: Mapping[str, Shape] = field(default_factory=dict)
    ledger: bool = False
    turned: int | None = None


@dataclass(frozen=True)
class Compiled:
    """A compiled graph, and what its sums are for, where it has some."""

    proto: ModelProto
    accounts: Accounts | None
