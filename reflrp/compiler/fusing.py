"""Fusing: what is added to a convolution alone becomes part of its bias, so that a runtime makes one step of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from reflrp.arrays.tracing.terms import Term


def users_of(roots: Iterable[Term]) -> Counter[int]:
    """Return how many terms read each term, by its id, of those that some terms need."""
    found: Counter[int] = Counter()
    waiting, seen = list(roots), set[int]()
    while waiting:
        term = waiting.pop()
        if id(term) not in seen:
            seen.add(id(term))
            read = (*term.inputs, *term.get("branches", ()))
            found.update(map(id, read))
            waiting.extend(read)
    return found


def fused(term: Term, users: Counter[int]) -> Term | None:
    """Return (L + b) + c as L + (b + c) where c > 0 and L + b >= 0, and max(L + b, 0) + c as max(L + (b + c), c).

    Only for a convolution L, whose bias and bounds runtimes take into it, and where no other term reads what lies between.
    """
    step = term.inputs[1].uniform if term.op == "Add" and term.is_float else None
    if step is None or not step > 0 or not users[id(term)] or users[id(term.inputs[0])] != 1:
        return None  # what was fused before is read by none of them
    inner = term.inputs[0]
    biased = inner.inputs[0] if inner.op == "Relu" else inner
    layer, bias = biased.inputs if biased.op == "Add" else (biased, None)
    if layer.op != "Conv" or users[id(biased)] != 1 or not inner.nonneg or (bias is not None and bias.value is None):
        return None
    own = np.zeros((), term.dtype) if bias is None or bias.value is None else bias.value
    axes = (1,) * (len(term.shape) - 2)
    if own.size > 1 and own.shape[-len(axes) - 1 :] != (own.size, *axes):
        return None  # it varies along more than the channels, as a box's lower end where windows reach into the padding
    row = np.broadcast_to(own.reshape(-1, *axes), (term.shape[1], *axes))
    made = term.trace.make("Add", (layer, term.trace.constant(row + term.dtype.type(step))), term.shape)
    if inner is biased:
        return made
    return term.trace.make("Clip", (made, term.trace.constant(np.asarray(step), term.dtype)), term.shape, nonneg=True)
