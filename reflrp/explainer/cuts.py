"""What one run explains: a cut of a batch, and all that is asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reflrp.batches import Feeds
from reflrp.composites.advice import Watch
from reflrp.ground.progress import Step
from reflrp.seeds import Target


@dataclass(frozen=True, eq=False)
class Cut:
    """Some samples of a batch, and what is asked of them.

    Attributes
    ----------
    feeds : dict of array
        The inputs of these samples.
    choices : sequence of (target, init)
        What to explain; one explanation for each. Both are those of these samples.
    layers
        The inner values to keep, as callers ask for them.
    conditions : dict of pattern to neurons
        The neurons that relevance may pass.
    axes : dict of name to int
        The axis of the samples in inner values, where it is known.
    turned : int
        The axis of the samples in the output.
    watch : Watch, optional
        What looks at the values of the forward pass.
    uncertainty : bool
        Whether to tell how far rounding may have moved each entry.
    step
        What to call for each node that is done.

    """

    feeds: Feeds
    choices: Sequence[tuple[Target, Any]]
    layers: Any
    conditions: Mapping[str, Sequence[int]]
    axes: Mapping[str, int]
    turned: int
    watch: Watch | None
    uncertainty: bool
    step: Step = field(repr=False)
