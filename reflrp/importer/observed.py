"""What a builder computes from observed values at each run, as indices; and moves by such indices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reflrp.arrays.tracing.dims import is_open
from reflrp.importer.decompose import call, one
from reflrp.importer.lengths.formulas import Shown, shown
from reflrp.importer.lengths.sizes import sized_by_data
from reflrp.importer.plumbing import Filled, Numbered
from reflrp.importer.site import Ref, Site, Unbuildable
from reflrp.ops.picking import Pick
from reflrp.ops.routing import Embedding


def observed(site: Site, function: Callable[..., np.ndarray], inputs: tuple[Ref, ...], part: str) -> Ref:
    """Return what a function gives for the observed values; it carries no relevance."""
    sample = function(*(site.work.sample(i) for i in inputs))
    return site.work.plumbing(site.node, 0, inputs, function, sample, part)


def picked(site: Site) -> Ref:
    """Return what any operator that moves entries does, for indices that are found in the run.

    The operator is run on the numbers of its input's entries, to see where each comes from.
    """
    x = site.ref(0)
    if is_open(x.shape):
        return found_late(
            site, Numbered(site.node, tuple(None if isinstance(a, Ref) else a for a in site.args[1:]), x.shape)
        )
    numbers = site.numbers(x.shape)
    places = tuple(i for i, a in enumerate(site.args) if isinstance(a, Ref) and i > 0)
    given = (numbers, *(None if isinstance(a, Ref) else a for a in site.args[1:]))
    index = Filled(site.node.evaluate, given, places, dtype=np.int64)
    inputs = tuple(site.ref(i) for i in places)
    found = observed(site, index, inputs, "index")
    if sized_by_data(site.node, places):
        site.work.sized_by_data.add(found.name)
    return site.emit(Pick(x.shape), x, found)


def found_late(site: Site, index: Numbered) -> Ref:
    """Return the entries of data of an open shape that are found in the run."""
    x, whole = site.ref(0), shown(site.node, site.args)[0]
    inputs = (x,) if index.sorted_ else tuple(a for a in site.args[1:] if isinstance(a, Ref))
    if whole is None or any(i.name in site.work.late for i in inputs):
        raise Unbuildable(f"it moves entries by their number among those of the shape {x.shape}, which is left open")
    found = site.work.plumbing(site.node, 0, inputs, index, Shown(whole.shape, np.dtype(np.int64)), "index")
    return site.emit(Pick(x.shape), x, found)


def looked_up(site: Site) -> Ref:
    """Return rows of a constant table by token ids that have an axis of length 1 at their end: GatherND."""
    table, ids = np.asarray(site.const(0)), site.ref(1)
    if site.op_type != "GatherND" or ids.shape[-1:] != (1,) or site.attr("batch_dims", 0):
        raise Unbuildable("it moves constants by numbers that come in")
    flat = one(call(site, "Squeeze", ids, [-1], part="ids"))
    assert isinstance(flat, Ref)
    return site.emit(Embedding(table, 0, flat.ndim), flat)
