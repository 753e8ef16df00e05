"""How a batch is cut: to keep its values within bounds, and where the file holds a batch size of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from reflrp.errors import DependsOnData, InputError, ReflrpError, TooLarge
from reflrp.ir import Graph, Shape
from reflrp.passes.samples import Samples, alike, fewer, trace

Feeds = dict[str, np.ndarray]

MIXING = (
    "along the samples",
    "some of the samples",
    "several samples",
    "one sample by another",
    "sums over the samples",
)
"""What nodes are said to do (`passes/laws.py`) in which entries of the first axis meet for certain; of others it is not shown."""


class Network(Protocol):
    """What a batch asks of a model: its graph for some number of samples, and the batch sizes it declares."""

    @property
    def declared(self) -> Mapping[str, int | str | None]:
        """For each input with axes the size of the first, as the file says it: a number, a name, or None."""

    def graph(self, shapes: Mapping[str, Shape], x: Feeds | None = None) -> Graph:
        """Return the graph at the given input shapes, or that of an input."""


def samples_in(feeds: Feeds) -> int:
    """Return how many samples there are; 0 where the inputs do not agree on it."""
    counts = {a.shape[0] for a in feeds.values() if a.ndim}
    return counts.pop() if len(counts) == 1 else 0


@dataclass(frozen=True)
class Batch:
    """Inputs that have the batch on their first axis, and the outputs whose first axis it must be then.

    Attributes
    ----------
    network : Network
        The model.
    feeds : dict of array
    outputs : tuple of str

    """

    network: Network
    feeds: Feeds
    outputs: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many samples there are; 0 where the inputs do not agree on it."""
        return samples_in(self.feeds)

    def cut(self, size: int) -> list[Feeds]:
        """Return the inputs in cuts of so many samples."""
        if size >= self.count:
            return [self.feeds]
        starts = range(0, self.count, size)
        return [{k: a[i : i + size] if a.ndim else a for k, a in self.feeds.items()} for i in starts]

    def named_cuts(self, size: int) -> Iterator[tuple[Feeds, AbstractContextManager[None]]]:
        """Yield the cuts, each with a context in which errors say which samples they are of, where there are several."""
        cuts = self.cut(size)
        for i, cut in enumerate(cuts):
            first, last = i * size, min(self.count, (i + 1) * size) - 1
            which = f"sample {first}" if first == last else f"samples {first} to {last}"
            yield cut, told_where(f"{which} of {self.count}") if len(cuts) > 1 else nullcontext()

    def graph(self, size: int) -> Graph:
        """Return the model's graph for so many samples."""
        shapes = {k: (size, *a.shape[1:]) if a.ndim else () for k, a in self.feeds.items()}
        try:
            return self.network.graph(shapes)
        except DependsOnData:
            if size > self.count:
                raise
            return self.network.graph(shapes, {k: a[:size] if a.ndim else a for k, a in self.feeds.items()})

    def built(self, size: int) -> Graph | None:
        """Return the graph for so many samples, or None where the model does not take so many."""
        try:
            return self.graph(size)
        except TooLarge:
            raise
        except ReflrpError:
            return None

    def declared(self) -> int | None:
        """Return the batch size that all inputs declare."""
        fixed = set(self.network.declared.values())
        size = fixed.pop() if len(fixed) == 1 else None
        return size if isinstance(size, int) and size > 0 else None

    def leads(self, size: int) -> bool:
        """Return whether so many samples make outputs of so many entries."""
        graph = self.built(size)
        return graph is not None and all(_shape(graph, o)[:1] == (size,) for o in self.outputs)

    def fitting(self, allowed: int, itemsize: int) -> int:
        """Return how many samples keep all values, and what one node lays out beside them, within `allowed` bytes."""
        one = self.built(1) if self.count > 1 else None
        if one is None:
            return max(self.count, 1)
        entries = sum(prod(v.shape) for v in one.values.values())
        entries = max(entries, max(map(one.takes, one.nodes), default=0))
        size = max(1, allowed // max(1, entries * itemsize))
        return size if self.leads(1) else self.count

    def settled(
        self, asked: int | None, allowed: int, itemsize: int, inner: bool = False, together: str = ""
    ) -> tuple[int, tuple[str, ...]]:
        """Return how many samples to run at once, and what to say of it: `asked`, or what fits into `allowed` bytes.

        With `inner`, inner values are wanted too, which must be put together again. `together` says of a rule that it looks
        at all samples of a batch.

        Raises InputError where the samples that were asked for would change the answer.
        """
        wanted = asked or self.fitting(allowed, itemsize)
        baked = self.baked(wanted) if self.count > 1 else None
        if baked:
            more = f"; {together}, and here at those of each part only" if together else ""
            return baked, (baked_note(baked, self.count) + more,) if baked < self.count else ()
        met = (together or self.meeting(wanted, inner)) if wanted < self.count else ""
        if not met:
            return wanted, ()
        if asked:
            raise InputError(
                f"batch_size={asked} would change the answer, or it cannot be shown that it would not: {met}; "
                "leave batch_size out"
            )
        return self.count, (f"all {self.count} samples run at once, not {wanted} at a time: {met}",)

    def meeting(self, size: int, inner: bool = False) -> str:
        """Return where samples may influence one another; "" where it is proven that cuts of `size` change nothing.

        Proven on the graph, by `passes/samples.py`: the samples meet nowhere in the graph of them all on the way to the
        outputs, which hold them on their first axis, and the graphs of the cuts do the same to each sample. Where all
        samples are too many to build a graph for, the largest cut and twice that are compared. With `inner` each value on the
        way is wanted, too, so that the samples must be told apart in all of them; what lies beside the way has no relevance.
        """
        whole = self._traced(self.count, 2 * size)
        if whole is None:
            return "no graph is to be had for all samples from their shapes alone"
        graph, seen = whole
        ends = seen.meetings if inner else map(graph.resolve, self.outputs)
        met = next((seen.meetings[n] for n in ends if n in seen.meetings), None)
        if met is not None:
            return f"samples meet in node {met}"
        if any(seen.axis(graph.resolve(o)) != 0 for o in self.outputs):
            return "the samples are not on the first axis of the output"
        odd = next((k for k, p in seen.places.items() if p is not None and p.before > 1), None)
        if inner and odd is not None:
            return f"layers= asks for inner values, of which {odd!r} has each sample's entries in several places"
        return next(filter(None, (self._another(n, *whole) for n in {size, self.count % size or size})), "")

    def _another(self, size: int, graph: Graph, seen: Samples) -> str:
        """Return how the graph for so many samples differs from that for more; "" where it does the same to each."""
        try:
            few = self._shown(size)
        except ReflrpError as error:
            return f"for {size} at a time the graph cannot be built: {error}"
        return "" if alike(graph, few, seen, fewer(few, seen, size)) else f"for {size} at a time the graph is another"

    def _shown(self, size: int) -> Graph:
        """Return what the outputs depend on of the graph for so many samples, as shapes alone tell it."""
        graph = self.network.graph({k: (size, *a.shape[1:]) if a.ndim else () for k, a in self.feeds.items()})
        return graph.restricted_to(*self.outputs)

    def _traced(self, size: int, instead: int) -> tuple[Graph, Samples] | None:
        """Return the graph for so many samples, and where it holds them; None where there is none from shapes alone.

        Where so many are too many within the limits, that for as many as are to be taken `instead`.
        """
        try:
            graph = self._shown(size)
        except TooLarge:
            return None if instead >= size else self._traced(instead, instead)
        except ReflrpError:
            return None
        return graph, self._seen(graph)

    def _seen(self, graph: Graph) -> Samples:
        """Return where a graph holds the samples."""
        return trace(graph, {k: 0 for k in graph.inputs if self.feeds[k].ndim})

    def axes(self, size: int) -> dict[str, int]:
        """Return the axis that the samples are on, for each inner value on the way to the outputs where that is known.

        One sample alone does not show it; two in its place do.
        """
        if not self.count:
            return {}
        for count in dict.fromkeys([max(self.count, 2), size]):
            with suppress(ReflrpError):
                if count > 1:
                    places = self._seen(self._shown(count)).places
                    return {k: place.axis for k, place in places.items() if place is not None and place.before == 1}
        return {}

    def turned(self) -> int:
        """Return the axis of the output that is proven to hold the samples; 0 where it is the first, or none is theirs alone.

        One sample alone does not show it; two in its place do.
        """
        if self.count == 0 or (self.count == 1 and self.leads(1)):
            return 0
        count = max(self.count, 2)
        whole = self._traced(count, instead=count)
        return (whole[1].axis(whole[0].resolve(self.outputs[0])) or 0) if whole else 0

    def mixed(self) -> str:
        """Return a note on the node in which entries along the first axis of the inputs meet; "" where none is seen to.

        Such an axis holds no samples, as the time of a sequence that comes first, or the network looks at its whole batch.
        """
        whole = self._traced(self.count, instead=self.count) if self.count > 1 else None
        ends = map(whole[0].resolve, self.outputs) if whole else ()
        met = next((whole[1].meetings[n] for n in ends if n in whole[1].meetings), "") if whole else ""
        if not any(words in met for words in MIXING):
            return ""
        return (
            f"entries along the first axis of the inputs meet in node {met}; if that axis is the time, or another that "
            "holds no samples, this is right; if it holds samples, one's relevance is of them all"
        )

    def baked(self, wanted: int) -> int | None:
        """Return the batch size that the file fixes, by its inputs or inside, where that is not the one wanted.

        Raises InputError where this batch is no multiple of what the inputs declare, or cannot be put together again.
        """
        size = self.declared()
        if size is None:
            if any(self.built(n) is not None for n in (min(wanted, self.count), self.count)):
                return None
            size = next((n for n in _candidates(self.count) if self.leads(n)), self.count)
        elif size < self.count and self.count % size == 0 and not self.leads(size):
            raise InputError(
                f"the file fixes a batch of {size}, and its outputs have no axis for the batch: give {size} at a time"
            )
        return size if self.count % size == 0 else None


@contextmanager
def told_where(where: str) -> Iterator[None]:
    """Put before the message of an error of ours where it arose."""
    try:
        yield
    except ReflrpError as error:
        error.args = (f"{where}: {error}",)
        raise


def _shape(graph: Graph, output: str) -> Shape:
    if output in graph.constants:
        return tuple(np.shape(graph.constants[output]))
    return graph.values[graph.resolve(output)].shape


def _candidates(count: int) -> Iterator[int]:
    """Yield 1, then the other divisors of a count, the largest first."""
    yield 1
    yield from (n for n in range(count // 2, 1, -1) if count % n == 0)


def baked_note(size: int, count: int) -> str:
    """Return what a note says of a batch that is explained in parts because of the file."""
    which = "sample by sample" if size == 1 else f"{size} samples at a time"
    return f"the batch size {size} is baked into the file: the {count} samples are explained {which}"
