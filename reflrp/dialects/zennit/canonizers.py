"""zennit.canonizers and zennit.torchvision, as far as a graph needs them: which canonizing passes run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reflrp.errors import RuleError
from reflrp.ground import checks

VERSIONS = ("1.0.0", "0.5.1")
"""The versions of zennit whose merges are known."""


@dataclass(frozen=True)
class Canonizer:
    """Base: says which passes of `reflrp.passes.canonize` run before the rules are set."""

    passes: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class SequentialMergeBatchNorm(Canonizer):
    """Merges each BatchNorm into the convolution or dense layer right before it: w' = w s, b' = (b - mean) s + beta.

    s = gamma / sqrt(var + eps). The merge is exact, as in zennit 1.0.0. zennit 0.5.1 leaves the emptied BatchNorm its
    eps, so that it still divides by sqrt(1 + eps): with torch's eps of 1e-5 the output is off by 5e-6 for each merged
    BatchNorm on the way, and relevance by 1e-5 to 2e-4 of its largest. version="0.5.1" is refused: what it explains is not
    the network in the file. It is explained as it is from a file that is exported after `canonizer.apply(network)`.

    Raises RuleError for version="0.5.1", and for versions that are not known.
    """

    version: str = "1.0.0"
    passes: ClassVar[tuple[str, ...]] = ("merge_batchnorm",)

    def __post_init__(self) -> None:
        """Check the version."""
        if checks.choice("version", self.version, VERSIONS, RuleError) == "0.5.1":
            raise RuleError(
                "version='0.5.1': its merge leaves each BatchNorm an eps, so that the network computes something else than the "
                "file. Merge by zennit 0.5.1 itself, canonizer.apply(network), export that, and give no canonizers"
            )


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
