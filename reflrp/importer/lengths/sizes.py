"""Which values have a size that depends on the data, and not on the shapes of the inputs alone.

Such a value's shape at a sample of zeros says nothing. Most nodes that read it notice: in the run, a value of another shape
than the graph was built with is an error, and the graph is built again, of the observed input. But what reads the shape
only (Shape, Size, how often a Scan turns) would take it for a constant, and nothing would be left in the graph to notice.
"""

from __future__ import annotations

from collections.abc import Collection

from reflrp.importer.nodes.allowed import ENTRYWISE, PRODUCTS, QUANTISED
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.site import Arg, Items, Ref, Work

MAKERS = frozenset(
    ["BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "If", "Loop", "MelWeightMatrix", "NonZero"]
    + ["Range", "Unique"]
)
"""Operators whose first operand's entries say how large the output is."""

BY_SHAPES = ENTRYWISE | PRODUCTS | QUANTISED
BY_SHAPES |= frozenset(
    ["ArrayFeatureExtractor", "BatchNormalization", "Concat", "CumProd", "CumSum", "FeatureVectorizer", "Gather"]
    + ["GatherElements", "GatherND", "GridSample", "GroupNormalization", "InstanceNormalization", "LayerNormalization"]
    + ["RMSNormalization", "ReverseSequence", "Scatter", "ScatterElements", "ScatterND", "TensorScatter", "Trilu"]
)
"""Operators whose output's shape follows from the shapes of all operands. Of any other, it may hang on all but the first."""

READERS = frozenset(["GRU", "LSTM", "RNN", "Scan", "Shape", "Size", "SplitToSequence"])
"""Operators that read a shape, and maybe nothing else."""


def sized_by_data(node: OnnxNode, places: Collection[int]) -> bool:
    """Return whether the entries of the operands at `places`, which are no constants, decide on the output's shape."""
    return node.op_type in MAKERS or (node.op_type not in BY_SHAPES and any(p > 0 for p in places))


def read_shapes(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> None:
    """See to it that the shapes that a node reads are those of the input. Raises NeedsData where it is not known."""
    for ref in args if node.op_type in READERS else ():
        for one in ref if isinstance(ref, Items) else (ref,):
            if isinstance(one, Ref) and one.name in work.sized_by_data:
                work.observe(one)
