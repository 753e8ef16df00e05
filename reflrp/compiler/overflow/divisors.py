"""By what the values of a network are divided: the statistics of its normalisers, and what its quotients have below.

Where one is infinite, what is divided is 0 without a word, in the model's own output, too. So these are watched as the
denominators of relevance are, whether relevance meets them or not.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from reflrp.arrays import is_symbolic
from reflrp.arrays.tracing.dims import Dim
from reflrp.arrays.tracing.terms import Divided, Trace
from reflrp.engine import Program, Values
from reflrp.engine.guards import reciprocal
from reflrp.ops.norms import LocalResponse, Standardise

ENTRIES = 2**40
"""More entries than a statistic of an open number is made of: four terabytes of float32."""

ROOM = 4
"""By how much a sum of squares is proven to stay below what its dtype holds."""


def watch(program: Program, values: Values, trace: Trace) -> None:
    """Tell the trace by what the values of a program are divided."""
    graph = program.graph
    for node in graph.nodes:
        x: Any = values[node.inputs[0]] if node.inputs else None
        op = program.ops[node.name]
        if not is_symbolic(x) or not x.term.is_float or not graph.values[node.inputs[0]].active:
            continue
        if isinstance(op, Standardise):
            n = op.count(x)
            most = sqrt(float(np.finfo(trace.real).max) / ROOM / (ENTRIES if isinstance(n, Dim) else max(n, 1)))
            trace.denominators.append(Divided(op.squares(x).term, None, x.term, most))
        elif isinstance(op, LocalResponse):
            trace.denominators.append(Divided(op.divisor(x).term, None))
        elif reciprocal(op):
            trace.denominators.append(Divided(x.term, None))
