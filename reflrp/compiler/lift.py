"""The batch size as a symbol: a graph for one sample -> the same graph for N.

Where each value holds its samples is proven node by node (`passes/samples.py`), on the graph for two samples; that the graph
for one is the same one, `alike` shows, node by node too. So each length is a multiple of N, or has nothing to do with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from reflrp.arrays.tracing.dims import dim
from reflrp.errors import InputError, ReflrpError
from reflrp.ir import Graph, Op, Value
from reflrp.ops.picking import Index, Pick, ScatterSum
from reflrp.passes.samples import Samples, alike, fewer, trace

def refuse(why: str, graph: Graph) -> InputError:
    """Return an error that says why the batch size must be fixed, and how."""
    name = next(iter(graph.inputs))
    shape = ", ".join(map(str, ("8", *graph.values[name].shape[1:])))
    return InputError(f"the graph cannot be compiled for any batch size: {why}; fix it, as by shapes={{{name!r}: ({shape})}}")


def lifted(built: Callable[[int], Graph]) -> tuple[Graph, Callable[[str, Op], Op]]:
    """Return the graph for N samples, and what lifts an op of the graph for one; `built` makes the graph for a number.

    Raises InputError where samples meet, and where the graph is another for another number of samples.
    """
    one = built(1)
    try:
        two, three = built(2), built(3)
    except ReflrpError as error:
        raise refuse(f"for several samples it cannot be built: {error}", one) from error
    seen = trace(two, {k: 0 for k in two.inputs if two.values[k].shape})
    met = next(iter(seen.meetings.values()), None)
    if met is not None:
        raise refuse(f"samples meet in node {met}", one)
    more = trace(three, {k: 0 for k in three.inputs if three.values[k].shape})
    if not alike(two, one, seen, fewer(one, seen, 1)) or not alike(three, two, more, seen):
        raise refuse("for several samples it is another graph than for one", one)
    others = {node.name: node.op for node in two.nodes}
    nodes = tuple(replace(n, op=_op(n.op, others[n.name], one)) for n in one.nodes)
    graph = replace(one, nodes=nodes, values=_values(one, seen))
    return graph, lambda name, op: _op(op, others[name], one)


def _values(graph: Graph, seen: Samples) -> dict[str, Value]:
    """Return what is known of the values, their shapes with N in place of one sample."""
    found = dict(graph.values)
    for name, place in seen.places.items():
        if place is not None:
            shape = list(found[name].shape)
            shape[place.axis] = dim(shape[place.axis])
            found[name] = replace(found[name], shape=tuple(shape))
    return found


def _op(one: Op, two: Op, graph: Graph) -> Op:
    if isinstance(one, Index | Pick | ScatterSum):
        raise refuse(f"a {type(one).__name__} moves entries by their number among those of all samples", graph)
    return _merged(one, two)


def _merged(one: Any, two: Any) -> Any:
    """Return a field of the op for N samples, from those for one and for two."""
    if type(one) is int and type(two) is int:
        return one if one == two else dim(one) if two == 2 * one else _unequal(one, two)
    if isinstance(one, slice):
        return one if _ends(one) == _ends(two) else slice(None)
    if isinstance(one, tuple) and isinstance(two, tuple) and len(one) == len(two):
        parts = [_merged(a, b) for a, b in zip(one, two, strict=True)]
        return type(one)(*parts) if hasattr(one, "_fields") else tuple(parts)
    if is_dataclass(one) and not isinstance(one, type) and type(one) is type(two) and not hasattr(one, "shares"):
        changed = {f.name: _merged(getattr(one, f.name), getattr(two, f.name)) for f in fields(one) if f.init}
        same = all(v is getattr(one, k) for k, v in changed.items())
        return one if same else replace(one, **changed)
    return one


def _ends(s: slice) -> tuple[Any, Any, Any]:
    return s.start, s.stop, s.step


def _unequal(one: int, two: int) -> int:
    raise InputError(f"a length is {one} for one sample and {two} for two, which is no multiple of the batch size")

