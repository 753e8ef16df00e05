"""Building: a `Source` at fixed input shapes -> a `Graph`, by the builders that stand in the table (site.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from reflrp import limits
from reflrp.arrays.measured import plain
from reflrp.arrays.tracing.dims import example
from reflrp.errors import DependsOnData, InputError, ModelError, Offender, TooLarge, UnsupportedOperator
from reflrp.importer.construction import Construction
from reflrp.importer.lengths.inferring import named
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.placing import place
from reflrp.importer.quantised.byhand import by_hand
from reflrp.importer.quantised.dequantise import dequantised
from reflrp.importer.site import Items, Lost, NeedsData, Oversized, Ref, Unbuildable
from reflrp.importer.source import Port, Source
from reflrp.ir import Graph, Shape, Value


@limits.budget()
def build(source: Source, shapes: Mapping[str, Shape], x: Mapping[str, np.ndarray] | None = None) -> Graph:
    """Return the graph of a model at the given input shapes, or that of an input `x`.

    Raises UnsupportedOperator with every node that cannot be built; DependsOnData where these lack the input's numbers.
    """
    with limits.holding(source.made, source.constants.values()) as made:
        graph = _built(source, shapes, x)
        return replace(graph, made=made.held)


def _built(source: Source, shapes: Mapping[str, Shape], x: Mapping[str, np.ndarray] | None) -> Graph:
    feeds = None if x is None else {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in x.items()}
    work = Construction(
        frozenset(source.inputs), feeds, known=dict(source.constants), reserved=_names(source), source=source
    )
    belied = _belied(source, shapes)
    work.belied = bool(belied)
    for name, port in source.inputs.items():
        dims = (None if n in belied else n for n in port.dims or (None,) * len(shapes[name]))
        open_as = named(name, tuple(dims), source.said)
        value = Value(tuple(shapes[name]), port.dtype, name in source.active, open_as=open_as or ())
        work.values[name], work.known[name] = value, Ref(name, value)
    failed: list[Offender] = []
    waiting: list[Offender] = []
    lost: dict[str, str] = {}
    for node in source.nodes:
        reads = node.reads if node.op_type in ("Loop", "Scan") else node.inputs
        cause = next((i for i in reads if i and i not in work.known), None)
        if cause is not None:
            lost.update({o: lost.get(cause, cause) for o in node.outputs})
            continue
        try:
            place(node, work)
        except Lost as error:
            lost.update({o: lost.get(error.args[0], error.args[0]) for o in node.outputs})
        except UnsupportedOperator as error:
            failed.extend(error.nodes)
        except Oversized as error:
            raise TooLarge(f"node {node.name!r} ({node.op_type}): {error}") from error
        except NeedsData as error:
            waiting.append(node.offender(str(error)))
        except Unbuildable as error:
            failed.append(node.offender(str(error)))
    if failed or waiting:
        found = (UnsupportedOperator if failed else DependsOnData)([*failed, *waiting])
        found.final = not waiting and not work.samples
        raise found
    for sample in work.samples.values():
        limits.release(sample)
    return _finish(source, work, lost)


def _belied(source: Source, shapes: Mapping[str, Shape]) -> frozenset[str]:
    """Return the names that the file has for lengths which differ in this input: they say nothing."""
    found: dict[str, set[int]] = {}
    for name, port in source.inputs.items():
        for n, length in zip(port.dims or (), shapes[name], strict=False):
            if isinstance(n, str):
                found.setdefault(n, set()).add(example(length))
    return frozenset(n for n, lengths in found.items() if len(lengths) > 1)


def _names(source: Source) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the file's nodes, and of its values."""
    values = {*source.inputs, *source.constants, *(o for n in source.nodes for o in n.outputs)}
    return frozenset(n.name for n in source.nodes), frozenset(values)


def _finish(source: Source, work: Construction, lost: Mapping[str, str]) -> Graph:
    """Return the graph; `lost` says for values that could not be built which one they lack that nobody computes."""
    outputs, constants = [], {}
    for name in source.outputs:
        found = work.known.get(name)
        if isinstance(found, Ref):
            outputs.append(name)
        elif isinstance(found, Items):
            raise ModelError(f"output {name!r} is a sequence; reflrp explains tensors only")
        elif found is not None:
            constants[name] = plain(found)
        else:
            cause = lost.get(name, name)
            raise ModelError(
                f"output {name!r} belongs to {cause!r}, an output of its operator that reflrp does not compute"
            )
    graph = Graph(
        tuple(work.nodes),
        tuple(source.inputs),
        tuple(outputs),
        work.values,
        work.aliases,
        constants,
        tuple(dict.fromkeys(work.notes)),
        names=frozenset(_all_names(source.nodes)),
        formulas=work.names.formulas,
    )
    whole = by_hand(dequantised(graph))
    return replace(whole, names=whole.names.union(*(n.names for g in (graph, whole) for n in g.nodes)))


def _all_names(nodes: Iterable[OnnxNode], prefix: str = "") -> Iterator[str]:
    """Yield the names of nodes and of their outputs, those in subgraphs included, as a graph that takes them has them."""
    for node in nodes:
        yield from (prefix + name for name in (node.name, *node.outputs) if name)
        for body in node.bodies.values():
            yield from _all_names(body.nodes, f"{prefix}{node.name}/")


def check_shapes(source: Source, shapes: Mapping[str, Shape], *, free_batch: bool = False) -> None:
    """Raise InputError where a shape does not fit what the file declares; with free_batch, the first axis may differ."""
    sizes: dict[str, int] = {}
    for name, port in source.inputs.items():
        given = tuple(shapes[name])
        wrong = port.dims is not None and len(given) != len(port.dims)
        for i, (want, got) in enumerate(zip(port.dims or (), given, strict=False)):
            want = sizes.setdefault(want, got) if isinstance(want, str) and i else want
            wrong = wrong or (isinstance(want, int) and want != got and not (free_batch and i == 0))
        if wrong:
            raise InputError(f"input {name!r} has shape {given}, but the model expects {port}{_hint(port, given)}")


def _hint(port: Port, given: Shape) -> str:
    baked = port.dims and len(port.dims) == len(given) and isinstance(port.dims[0], int) and port.dims[0] != given[0]
    return (
        "; the batch size is baked into the file: give a multiple of it, or export it with a dynamic batch"
        if baked
        else ""
    )
