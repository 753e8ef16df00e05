"""Arrays: what a formula may do with one, whichever library it comes from.

`namespaces` finds the library of an array and holds the helpers that formulas use; `kernels`, `convolution` and `pools` have
what the array API lacks; `columns`, `products` and `blocks` make it fast on NumPy; `symbolic` has the twins for arrays that
write an ONNX graph.
"""

from reflrp.arrays.namespaces import (
    Array,
    add,
    away_from_zero,
    backend_namespace,
    erf,
    finite,
    full_like,
    inner,
    is_exact,
    is_symbolic,
    magnitude,
    namespace,
    neg,
    ones_like,
    only,
    pos,
    scatter_add,
    sign,
    special,
    square,
    to_host,
    total,
    unbroadcast,
    where,
)
from reflrp.arrays.zero import ZERO, Zero

__all__ = [
    "ZERO",
    "Array",
    "Zero",
    "add",
    "away_from_zero",
    "backend_namespace",
    "erf",
    "finite",
    "full_like",
    "inner",
    "is_exact",
    "is_symbolic",
    "magnitude",
    "namespace",
    "neg",
    "ones_like",
    "only",
    "pos",
    "scatter_add",
    "sign",
    "special",
    "square",
    "to_host",
    "total",
    "unbroadcast",
    "where",
]
