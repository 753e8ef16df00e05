"""What is to be done with the samples: how many at a time, and what of them is explained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from reflrp.batches import Batch, Feeds, samples_in
from reflrp.batches.batch import told_where
from reflrp.composites import Composite
from reflrp.engine import Program
from reflrp.errors import InputError
from reflrp.explanation import Explanation
from reflrp.ground import checks
from reflrp.ground.caches import Cache
from reflrp.mapping.changes import Change
from reflrp.mapping.sources import Source, read
from reflrp.model import Model
from reflrp.seeds import Contrast, Target, one_each

MEMORY = 512 * 2**20
"""The values of one chunk take at most this many bytes (or one sample's, where that is more)."""


class Explains(Protocol):
    """What explains one batch: an `Explainer`."""

    model: Model
    composite: Composite
    output: str
    strip: bool
    passes: tuple[str, ...]
    backend: str
    dtype: str
    batch_size: int | None

    def __call__(
        self,
        x: Any,
        *,
        target: Target = None,
        init: Any = "output",
        layers: bool | str | Sequence[str] | None = False,
        conditions: Mapping[str, Sequence[int]] | None = None,
        progress: bool | None = None,
    ) -> Explanation:
        """Explain one batch."""

    def program(self, x: Any) -> Program:
        """Return the prepared graph with its rules."""


@dataclass(frozen=True)
class Asked:
    """What a call of `map` asks for beside the data, checked."""

    target: Target = None
    init: Any = "output"
    layers: bool | str | Sequence[str] | None = False
    conditions: Mapping[str, Sequence[int]] | None = None
    batch_size: int | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without data."""
        if self.batch_size is not None:
            checks.whole("batch_size", self.batch_size, 1)
        checks.optional_flag("progress", self.progress)
        if self.conditions is not None:
            checks.mapping("conditions", self.conditions, "a dict {pattern: neurons}")
        if not isinstance(self.init, str) and not hasattr(self.init, "shape"):
            object.__setattr__(self, "init", checks.array("init", self.init))

    @property
    def inner(self) -> bool:
        """Whether inner values' relevance is wanted too."""
        return self.layers is not None and self.layers is not False


@dataclass(frozen=True)
class Chunk:
    """Samples that are explained together: which they are, their inputs, where relevance starts, and how they were made to fit."""

    start: int
    feeds: Feeds
    target: Target
    init: Any
    changes: tuple[Change, ...] = ()

    @property
    def stop(self) -> int:
        """The number of the sample behind the last."""
        return self.start + samples_in(self.feeds)

    @property
    def read(self) -> dict[str, np.ndarray]:
        """All that was read for it."""
        return {f"in/{k}": a for k, a in self.feeds.items()} | (
            {} if isinstance(self.init, str) else {"init": self.init}
        )

    def __str__(self) -> str:
        """Return which samples they are."""
        last = self.stop - 1
        return f"sample {last}" if last == self.start else f"samples {self.start} to {last}"


@dataclass(frozen=True)
class Work:
    """A model, what is asked of it, and the samples, so many at a time.

    That chunks are explained as the whole would be is proven before the first of several is: no two samples meet. Raises
    InputError where that cannot be shown.
    """

    explainer: Explains
    asked: Asked
    source: Source
    size: int
    _apart: Cache[int, None] = field(default_factory=lambda: Cache(8), repr=False)

    @classmethod
    def of(cls, explainer: Explains, asked: Asked, source: Source, size: int | None = None) -> Work:
        """Return the work, in chunks of `size`, else as was asked for, else as many as keep their values within bounds."""
        size = size or asked.batch_size or explainer.batch_size
        work = cls(explainer, asked, source, size or _fitting(explainer, source))
        explainer.model.feeds(source.first, exact=explainer.dtype == "exact")
        work._check_each()
        return work

    @property
    def targets(self) -> list[Target] | None:
        """The target of each sample, where one is given for each; None where one is given for all."""
        if not isinstance(self.asked.init, str):
            return None
        return one_each(self.asked.target, self.source.count or 1)

    @property
    def contrasts(self) -> bool:
        """Whether some target may be a Contrast."""
        return any(isinstance(t, Contrast) for t in [self.asked.target, *(self.targets or ())])

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks in order. Of several, samples are proven to be apart before the first is given."""
        start, targets, held = 0, self.targets, None
        for feeds in self.source.chunks(self.size):
            if held is not None:
                self.check_apart(0)
                yield held
            held = self._chunk(start, feeds, targets)
            start = held.stop
        if held is None:
            raise InputError("data holds no sample")
        if held.start:
            self.check_apart((held.stop - held.start) % self.size)
        yield held

    def _chunk(self, start: int, feeds: Feeds, targets: list[Target] | None) -> Chunk:
        stop = start + samples_in(feeds)
        target = self.asked.target if targets is None else targets[start:stop]
        init = self.asked.init if isinstance(self.asked.init, str) else read("init", self.asked.init, start, stop)
        return Chunk(start, feeds, target, init, self.source.changes(start, stop))

    def explained(self, chunk: Chunk) -> Explanation:
        """Explain a chunk."""
        asked = self.asked
        with told_where(str(chunk)):
            return self.explainer(
                chunk.feeds,
                target=chunk.target,
                init=chunk.init,
                layers=asked.layers,
                conditions=asked.conditions,
                progress=False,
            )

    def check_apart(self, rest: int) -> None:
        """Raise InputError where it is not proven that chunks of `size`, and a last one of `rest`, change nothing."""
        self._apart.made(rest, partial(self._check_apart, rest))

    def _check_apart(self, rest: int) -> None:
        explainer, size = self.explainer, self.size
        looks = explainer.composite.looks == "batch"
        met = f"a rule of {explainer.composite.title!r} looks at all samples of a batch" if looks else ""
        whole = _batch(explainer, self.source.first, 2 * size + rest)
        fixed = None if met else whole.baked(whole.count)
        if fixed and size % fixed:
            raise InputError(f"the file fixes a batch of {fixed}; give batch_size={fixed}, or a multiple of it")
        met = met or ("" if fixed else whole.meeting(size, self.asked.inner))
        if met:
            raise InputError(
                f"to explain {size} samples at a time would change the answer, or it cannot be shown that it would not: {met}; "
                "explain them at once, explainer(x)"
            )

    def _check_each(self) -> None:
        """Raise InputError for targets and an init that are not one a sample."""
        init, count = self.asked.init, self.source.count
        if count is None and (not isinstance(init, str) or not _for_all(self.asked.target)):
            raise InputError(
                "how many samples the batches hold is not known before they are read: give one target for all, and init as "
                "'output' or 'one'"
            )
        shape = None if isinstance(init, str) else getattr(init, "shape", None)
        if not isinstance(init, str) and not isinstance(shape, tuple):
            raise checks.refuse("init", init, "'output', 'one', or an array shaped like the output")
        if shape is not None and tuple(shape[:1]) != (count,):
            raise InputError(f"init has the shape {tuple(shape)} for {count} samples; give one a sample")
        _ = self.targets


def _for_all(target: Target) -> bool:
    if isinstance(target, Contrast):
        return _for_all(target.target) and _for_all(target.against)
    whole = target is None or isinstance(target, int | np.integer)
    return whole or (isinstance(target, tuple) and all(isinstance(i, int | np.integer) for i in target))


def _batch(explainer: Explains, first: Feeds, count: int) -> Batch:
    """Return a batch of so many samples like the first, which takes the room of one."""
    model = explainer.model
    feeds = {k: np.broadcast_to(a[:1], (count, *a.shape[1:])) if a.ndim else a for k, a in first.items()}
    return Batch(model, feeds, (explainer.output,))


def _fitting(explainer: Explains, source: Source) -> int:
    """Return how many samples to explain at once."""
    many = _batch(explainer, source.first, source.count or 2**30)
    itemsize = 8 if explainer.dtype == "exact" else np.dtype(explainer.dtype).itemsize
    fixed = many.declared()
    two = replace(many, feeds={k: a[:2] if a.ndim else a for k, a in many.feeds.items()})
    fits = max(1, min(two.fitting(MEMORY, itemsize), many.count))
    if fixed:
        return max(1, fits // fixed) * fixed
    return fits if many.built(fits) is not None else 1
