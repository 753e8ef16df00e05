"""The builders, a file a family of operators. To import this package is to fill the table `site.BUILDERS`."""

from reflrp.importer.builders import (
    attention,
    control,
    indexed,
    linear,
    microsoft,
    ml,
    norm,
    pointwise,
    pool,
    qlinear,
    quantised,
    recurrent,
    routing,
    signal,
    tensor,
)

__all__ = [
    "attention",
    "control",
    "indexed",
    "linear",
    "microsoft",
    "ml",
    "norm",
    "pointwise",
    "pool",
    "qlinear",
    "quantised",
    "recurrent",
    "routing",
    "signal",
    "tensor",
]
