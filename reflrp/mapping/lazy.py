"""dask arrays: one task a chunk, which any process of a cluster may do, or do again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reflrp.batches import Feeds
from reflrp.errors import InputError
from reflrp.mapping.carried import Carried, carried
from reflrp.mapping.identity import identity_of
from reflrp.mapping.results import Arrays, arrays_of
from reflrp.mapping.sources import Rows
from reflrp.mapping.store import RECORD, Store, opened, said
from reflrp.mapping.work import Asked, Chunk, Explains, Work


@dataclass(frozen=True, eq=False)
class Lazy:
    """What explaining dask arrays gives: dask arrays, of which nothing is computed before it is asked for.

    `dask.compute(found.relevance, found.output)` explains each chunk once for both.

    Attributes
    ----------
    relevances : dict of dask array
        Each input's relevance by name, in chunks of whole samples.
    output : dask array (N, ...)
        The explained output.
    target, against : dask array (N, axes), optional
        What was explained, as indices after the batch axis; `against` of a Contrast. None where there is none.

    """

    relevances: Mapping[str, Any]
    output: Any
    target: Any = None
    against: Any = None

    @property
    def relevance(self) -> Any:
        """The relevance of the one input. Raises InputError where there are several; use `relevances`."""
        if len(self.relevances) != 1:
            raise InputError(f"the model has the inputs {list(self.relevances)}; use relevances[name]")
        return next(iter(self.relevances.values()))


def is_lazy(array: Any) -> bool:
    """Return whether an array is dask's."""
    return hasattr(array, "__dask_graph__")


def lengths_of(source: Rows, asked: Asked) -> tuple[int, ...]:
    """Return how many samples each chunk has: as asked for, else as the first dask array has them."""
    first = next(a for a in source.arrays.values() if is_lazy(a))
    if asked.batch_size is None:
        return tuple(int(n) for n in first.chunks[0] if n)
    whole, rest = divmod(source.count, asked.batch_size)
    return (asked.batch_size,) * whole + ((rest,) if rest else ())


def parts(work: Work, lengths: tuple[int, ...]) -> Iterator[Chunk]:
    """Yield the chunks, whose inputs are dask arrays of one block each. All samples are proven to be apart before."""
    assert isinstance(work.source, Rows)
    for rest in {n % work.size for n in lengths} if len(lengths) > 1 else ():
        work.check_apart(rest)
    arrays = {k: _blocks(a, lengths) for k, a in work.source.arrays.items()}
    targets, init, start = work.targets, work.asked.init, 0
    for n in lengths:
        stop = start + n
        feeds = work.source.shared | {k: a[start:stop] for k, a in arrays.items()}
        target = work.asked.target if targets is None else targets[start:stop]
        yield Chunk(start, feeds, target, init if isinstance(init, str) else init[start:stop])
        start = stop


def _blocks(array: Any, lengths: tuple[int, ...]) -> Any:
    return array.rechunk((lengths, *(-1,) * (array.ndim - 1))) if is_lazy(array) else array


def lazy(explainer: Explains, asked: Asked, source: Rows) -> Lazy:
    """Return the dask arrays of an explanation."""
    import dask
    import dask.array as da

    if asked.inner:
        raise InputError("layers= of dask arrays are stored only: give out=")
    lengths = lengths_of(source, asked)
    work = Work.of(explainer, asked, source, max(lengths))
    shapes, sent = _shapes(work), dask.delayed(carried(explainer), pure=True)
    task = dask.delayed(_explained, pure=True)
    each = _for_each(asked)
    tasks = [(part, task(sent, each, part, work.contrasts)) for part in parts(work, lengths)]

    def whole(place: str) -> Any:
        shape, dtype = shapes[place]
        blocks = [da.from_delayed(done[place], (_length(part), *shape), dtype) for part, done in tasks]
        return da.concatenate(blocks)

    arrays = {place: whole(place) for place in shapes}
    relevances = {k: arrays[f"relevance/{k}"] for k in source.arrays if f"relevance/{k}" in arrays}
    return Lazy(relevances, arrays["output"], arrays.get("target"), arrays.get("against"))


def _for_each(asked: Asked) -> Asked:
    """Return what each task is told: targets and an init come with the chunk that they are of."""
    return replace(asked, target=None, init="output")


def _length(part: Chunk) -> int:
    return int(next(a.shape[0] for a in part.feeds.values() if a.ndim))


def _shapes(work: Work) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Return the shape of one sample and the dtype of each array, as the graph tells them."""
    program = work.explainer.program(work.source.first)
    graph, dtype = program.graph, np.dtype(work.explainer.dtype)
    output = graph.values[graph.resolve(graph.outputs[0])].shape[1:]
    found: dict[str, tuple[tuple[int, ...], Any]] = {
        f"relevance/{k}": (a.shape[1:], dtype) for k, a in work.source.first.items() if k in program.carriers
    }
    found["output"] = output, dtype
    if isinstance(work.asked.init, str) and output:
        sides = ("target", "against") if work.contrasts else ("target",)
        found |= {side: ((len(output),), np.dtype(np.int64)) for side in sides}
    return found


def _explained(sent: Carried, asked: Asked, part: Chunk, contrasts: bool) -> Arrays:
    """Explain a chunk, in whatever process."""
    explainer = sent.explainer()
    e = _work(explainer, asked, part.feeds).explained(part)
    return {f"relevance/{k}": R for k, R in e.relevances.items()} | {
        k: a for k, a in arrays_of(e, contrasts).items() if "/" not in k
    }


def _work(explainer: Explains, asked: Asked, feeds: Feeds) -> Work:
    """Return the work of one chunk: of what was proven for all, nothing is left to be proven."""
    source = Rows.of(feeds)
    return Work(explainer, asked, source, source.count)


# Into a store


def stored(explainer: Explains, asked: Asked, source: Rows, path: Path, size: int | None) -> None:
    """Have dask explain what a store lacks. Each task writes its own chunk; who dies over one leaves it to the next."""
    import dask

    size = size or asked.batch_size or max(lengths_of(source, asked))
    work = Work.of(explainer, asked, source, size)
    whole, rest = divmod(source.count, size)
    chunks = list(parts(work, (size,) * whole + ((rest,) if rest else ())))
    each, identity, sent = _for_each(asked), identity_of(work), dask.delayed(carried(explainer), pure=True)
    with opened(path, identity, size) as store:
        if RECORD not in store.arrays or not store.records[:1].any():
            first, arrays, words = dask.delayed(_begun)(sent, each, chunks[0], work.contrasts).compute()
            store.create(identity, words, arrays, source.count)
            store.write(first, arrays)
        task = dask.delayed(_written)
        place = os.path.abspath(path)  # workers may stand in another folder
        dask.compute(*(task(sent, each, place, size, chunk, work.contrasts) for chunk in chunks))
        store.load()
        store.finish(source.count)


def _begun(sent: Carried, asked: Asked, part: Chunk, contrasts: bool) -> tuple[Chunk, Arrays, dict[str, Any]]:
    """Explain the first chunk, and return it with all that a store begins with."""
    e = _work(sent.explainer(), asked, part.feeds).explained(part)
    return part, arrays_of(e, contrasts), said(e)


def _written(sent: Carried, asked: Asked, path: str, size: int, part: Chunk, contrasts: bool) -> None:
    """Explain a chunk and write it, unless it is there."""
    store = Store(Path(path), size)
    store.load()
    if not store.arrays:
        raise InputError(f"{path} is not there for this worker: give a place that all workers have under one path")
    if not store.done(part):
        store.write(part, arrays_of(_work(sent.explainer(), asked, part.feeds).explained(part), contrasts))
