"""zennit.canonizers and zennit.torchvision, as far as a graph needs them: which canonizing passes run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from reflrp.errors import RuleError
from reflrp.ground import checks

MERGES = {"1.0.0": "merge_batchnorm", "0.5.1": "merge_batchnorm_0_5_1"}
"""The pass that merges a BatchNorm as a version of zennit does."""


@dataclass(frozen=True)
class Canonizer:
    """Base: says which passes of `reflrp.passes.canonize` run before the rules are set."""

    passes: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class SequentialMergeBatchNorm(Canonizer):
    """Merges each BatchNorm into the convolution or dense layer right before it: w' = w s, b' = (b - mean) s + beta.

    s = gamma / sqrt(var + eps). In version "1.0.0" that is all. In "0.5.1" the emptied BatchNorm keeps its eps and stays, a
    node y = x / sqrt(1 + eps) with the rule that the map has for BatchNorm, or with none: the output is off by 5e-6 for
    each of them on the way (with torch's eps of 1e-5), relevance by 1e-5 to 2e-4 of its largest. `e.notes` says so.

    Raises RuleError for versions that are not known.
    """

    version: str = "1.0.0"

    def __post_init__(self) -> None:
        """Check the version."""
        checks.choice("version", self.version, tuple(MERGES), RuleError)

    @property
    def passes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The pass that merges as this version does."""
        return (MERGES[self.version],)


@dataclass(frozen=True)
class VGGCanonizer(SequentialMergeBatchNorm):
    """The same, under the name it has for torchvision's VGG."""


@dataclass(frozen=True)
class ResNetCanonizer(SequentialMergeBatchNorm):
    """The same: residual sums are Sum nodes in any case."""


@dataclass(frozen=True)
class ResNetBasicBlockCanonizer(Canonizer):
    """Nothing: residual sums are Sum nodes in any case."""


@dataclass(frozen=True)
class ResNetBottleneckCanonizer(Canonizer):
    """Nothing: residual sums are Sum nodes in any case."""


class CompositeCanonizer(Canonizer):
    """Several canonizers, one after the other."""

    def __init__(self, canonizers: tuple[Canonizer, ...] | list[Canonizer]) -> None:
        self.canonizers = checks.listed_things("canonizers", canonizers, "a list of canonizers", RuleError)
        for canonizer in self.canonizers:
            if not isinstance(canonizer, Canonizer):
                raise RuleError(f"{checks.shown(canonizer)} is no canonizer of reflrp.dialects.zennit")

    @property
    def passes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The passes of all of them."""
        return tuple(name for canonizer in self.canonizers for name in canonizer.passes)


def check_merges(passes: Iterable[str]) -> tuple[str, ...]:
    """Return the passes of canonizers. Raises RuleError where zennit 0.5.1 would merge what is left of its first merge."""
    found = tuple(passes)
    merging = [name for name in found if name in MERGES.values()]
    if MERGES["0.5.1"] in merging and len(merging) > 1:
        raise RuleError(
            "canonizers: version='0.5.1' and another that merges BatchNorm: the second would merge what the first leaves; give one"
        )
    return found
