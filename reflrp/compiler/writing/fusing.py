"""Fusing: what is added to a convolution alone becomes part of its bias, and narrow convolutions of one value become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from reflrp.arrays.tracing.moves import concat, index
from reflrp.arrays.tracing.terms import Term

NARROW = 8
"""Runtimes make the outputs of a convolution in blocks of 8 or 16, and up to so many take as long as one."""


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


def side_by_side(roots: Iterable[Term]) -> dict[int, Term]:
    """Return, by the ids of convolutions of one value to few channels, what each takes of one convolution to all of these.

    What a run may leave out stays apart, and so does what has a bias behind it, which runtimes take into the convolution.
    """
    alike: dict[Hashable, list[Term]] = {}
    needed = _always(roots)
    biased = {id(t.inputs[0]) for t in needed if t.op == "Add" and t.inputs[1].value is not None}
    for term in needed:
        if term.op == "Conv" and term.inputs[1].value is not None and term.get("group") == 1 and id(term) not in biased:
            alike.setdefault((id(term.inputs[0]), term.attributes), []).append(term)
    few = (t for t in alike.values() if len(t) > 1 and sum(one.shape[1] for one in t) <= NARROW)
    return {id(term): part for terms in few for term, part in zip(terms, _parts(terms), strict=True)}


def _always(roots: Iterable[Term]) -> list[Term]:
    """Return the terms that every run needs."""
    waiting, found = list(roots), dict[int, Term]()
    while waiting:
        term = waiting.pop()
        if id(term) not in found:
            found[id(term)] = term
            waiting.extend(term.inputs)
    return list(found.values())


def _parts(terms: list[Term]) -> Iterator[Term]:
    """Yield the channels of each of some convolutions, which one makes by all their kernels."""
    first, ends = terms[0], [0, *accumulate(t.shape[1] for t in terms)]
    kernels = concat([t.inputs[1] for t in terms], 0)
    shape, attributes = (first.shape[0], ends[-1], *first.shape[2:]), dict[str, Any](first.attributes)
    made = first.trace.make("Conv", (first.inputs[0], kernels), shape, **attributes)
    for start, end in pairwise(ends):
        yield index(made, (slice(None), slice(start, end)))
