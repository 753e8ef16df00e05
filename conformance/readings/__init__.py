"""Other readings of the clauses: what libraries do otherwise, and what a slip would do. Each is the literal oracle with one change.

A vector carries the answers of the readings that it can tell apart, so that a verdict can name them; and each reading is a
mutant that some vector must kill (`mutants`).
"""

from reflrp.conformance.readings.base import Reading, Specs
from reflrp.conformance.readings.close import CLOSE
from reflrp.conformance.readings.graphs import GRAPHS
from reflrp.conformance.readings.keras import KERAS
from reflrp.conformance.readings.libraries import LIBRARIES as TORCH
from reflrp.conformance.readings.linear_table import LINEAR
from reflrp.conformance.readings.others import OTHERS

READINGS: tuple[Reading, ...] = (*LINEAR, *OTHERS, *GRAPHS, *CLOSE)
"""All readings, in the order of the clauses."""

LIBRARIES: tuple[Reading, ...] = (*TORCH, *KERAS)
"""Those that only a library has."""

PUBLISHED: tuple[Reading, ...] = (*(r for r in READINGS if r.status == "variant" or r.seen_in), *LIBRARIES)
"""Those that some library or paper has, which verdicts try in combination."""

__all__ = ["LIBRARIES", "PUBLISHED", "READINGS", "Reading", "Specs"]
