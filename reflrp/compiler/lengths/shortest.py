"""The shortest lengths that rules hold for: for shorter ones, a composite may give others."""

from __future__ import annotations

from reflrp.arrays.tracing.dims import Dim, TooShort, Undecided
from reflrp.arrays.tracing.polynomials import larger_by
from reflrp.arrays.tracing.spans import check_order, check_room, strided
from reflrp.composites import Composite
from reflrp.errors import RuleError
from reflrp.ir import Graph

TURNS = 64
"""How often a least or largest length is found before the search is given up."""

LITTLE = 8
"""Up to which length rules may be others than for all longer ones; such lengths are left out."""

SMALL = 128
"""The same for lengths that strides make others of: 128 pixels are 4 after five of stride 2."""


def check_rules(composite: Composite, graph: Graph) -> None:
    """Raise TooShort where a composite has other rules for short lengths, as where a window has nowhere to slide."""
    beyond, last = dict[str, int](), None
    for _ in range(TURNS):
        try:
            with larger_by(beyond):
                _check_assigned(composite, graph)
            break
        except TooShort as error:
            beyond[error.symbol], last = beyond.get(error.symbol, 0) + error.by, error
    for symbol, by in beyond.items():
        raise TooShort(str(last), symbol, by)


def _check_assigned(composite: Composite, graph: Graph) -> None:
    try:
        composite.assign(graph)
    except Undecided as error:
        if not isinstance(error.other, Dim) and error.other <= LITTLE:
            check_room(error.n, error.other + 1)
        if strided((error.n, error.other)):
            check_order(error.n, error.other, SMALL)
        raise
    except RuleError:
        return  # the plain graph has its own, and is asked next
