"""The shortest lengths that rules hold for: for shorter ones, a composite may give others."""

from __future__ import annotations

from reflrp.arrays import ZERO
from reflrp.arrays.tracing.dims import BATCH, Dim, TooShort, Undecided, Unsettled, bounds, is_open, symbols_of, total
from reflrp.arrays.tracing.polynomials import larger_by
from reflrp.arrays.tracing.spans import check_order, check_room, strided
from reflrp.composites import Composite
from reflrp.errors import RuleError
from reflrp.ir import Graph, Node, Shape
from reflrp.passes.bias import opened, path_back

TURNS = 64
"""How often a least or largest length is found before the search is given up."""

LITTLE = 8
"""Up to which length rules may be others than for all longer ones; such lengths are left out."""

SMALL = 128
"""The same for lengths that strides make others of: 128 pixels are 4 after five of stride 2."""


def check_biases(graph: Graph) -> None:
    """Raise TooShort where what is added behind a layer is a bias of it at lengths of 1 (`passes/bias.py`): one entry a feature.

    A table of positions that is cut to a length is one; for other lengths it is an addition of its own.
    """
    nodes, place, readers = opened(graph)
    for node in graph.nodes:
        shapes = [graph.values[i].shape for i in node.inputs if not graph.values[i].active]
        moved = [i for i in node.inputs if graph.values[i].active]
        if node.op_type != "Add" or len(moved) != 1 or len(shapes) != 1 or not is_open(shapes[0]):
            continue
        path = path_back(moved[0], nodes, place, readers)
        layer = nodes[path[-1]] if path else None
        if layer is not None and not layer.op.has_bias and layer.op.b is ZERO:
            _check_longer(node, shapes[0], graph.values[layer.output].shape)


def _check_longer(node: Node, shape: Shape, out: Shape) -> None:
    """Raise TooShort where a shape may have as many entries as an axis of a layer's output, and not where it has more."""
    lengths = sorted((n for n in shape if isinstance(n, Dim)), key=lambda n: BATCH in symbols_of((n,)))
    fixed = total(tuple(n for n in shape if not isinstance(n, Dim)))
    if fixed not in [n for n in out if not isinstance(n, Dim)] or any(bounds(n, 2)[0] >= 0 for n in lengths):
        return
    for n in lengths:
        check_room(n, 2)
    raise Unsettled(f"node {node.name!r} (onnx {node.op_type}) adds what is a bias where {lengths[0]} is 1")


def check_rules(composite: Composite, graph: Graph) -> None:
    """Raise TooShort where a composite has other rules for short lengths, as where a window has nowhere to slide."""
    beyond, last = dict[str, int](), None
    for _ in range(TURNS):
        try:
            with larger_by(beyond):
                _check_assigned(composite, graph)
            break
        except TooShort as error:
            beyond[error.symbol], last = beyond.get(error.symbol, 0) + error.by, error
    for symbol, by in beyond.items():
        raise TooShort(str(last), symbol, by)


def _check_assigned(composite: Composite, graph: Graph) -> None:
    try:
        composite.assign(graph)
    except Undecided as error:
        if not isinstance(error.other, Dim) and error.other <= LITTLE:
            check_room(error.n, error.other + 1)
        if strided((error.n, error.other)):
            check_order(error.n, error.other, SMALL)
        raise
    except RuleError:
        return  # the plain graph has its own, and is asked next
