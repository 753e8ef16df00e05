"""A compiled graph in two: what is the same for every target, and what each target needs anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from reflrp.compiler.signs import BEST, SIGNS, TIMES


def parted(proto: ModelProto) -> tuple[ModelProto, ModelProto, tuple[str, ...]]:
    """Return the graph of what no target changes, the graph of the rest, and the values that the first hands to the second.

    What depends on weights alone is in each graph that needs it, so that a runtime still works it out once. The inputs of the
    second graph that are handed over have no types yet: a runtime tells them of the outputs of the first, for `typed`.
    """
    graph = proto.graph
    given = {i.name for i in graph.input}
    late = {SIGNS, BEST, TIMES} & given
    early, rest = given - late, list[NodeProto]()
    for node in graph.node:
        read = set(reads(node))
        if read & late:
            late.update(filter(None, node.output))
            rest.append(node)
        elif read & early:
            early.update(filter(None, node.output))
    handed = sorted({name for node in rest for name in reads(node)} & early - given)
    first = dict.fromkeys([*(o.name for o in graph.output if o.name not in late), *handed])
    second = [o.name for o in graph.output if o.name in late]
    return _part(proto, list(first)), _part(proto, second, handed), tuple(handed)


def typed(part: ModelProto, types: Mapping[str, str]) -> None:
    """Enter the types of inputs by a runtime's words for them, as "tensor(float)"."""
    for port in part.graph.input:
        if port.name in types:
            kind = types[port.name].removeprefix("tensor(").removesuffix(")")
            port.type.tensor_type.elem_type = TensorProto.DataType.Value(kind.upper())


def reads(node: NodeProto) -> Iterator[str]:
    """Yield the names that a node reads, those in its bodies too that come from around them."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for body in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            yield from _outside(body)


def _outside(body: GraphProto) -> set[str]:
    own = {i.name for i in (*body.input, *body.initializer)} | {o for n in body.node for o in n.output}
    return ({name for n in body.node for name in reads(n)} | {o.name for o in body.output}) - own


def _part(proto: ModelProto, outputs: Sequence[str], handed: Sequence[str] = ()) -> ModelProto:
    """Return the graph of some outputs, in which what is handed over is given."""
    graph, wanted, kept = proto.graph, set(outputs), list[NodeProto]()
    for node in reversed(graph.node):
        if set(node.output) & wanted - set(handed):
            kept.append(node)
            wanted.update(reads(node))
    known = {o.name: o for o in graph.output}
    found = ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions)
    found.graph.name = graph.name
    found.graph.node.extend(reversed(kept))
    found.graph.initializer.extend(t for t in graph.initializer if t.name in wanted)
    found.graph.input.extend(i for i in graph.input if i.name in wanted)
    found.graph.input.extend(ValueInfoProto(name=name) for name in handed)
    found.graph.output.extend(known.get(name) or ValueInfoProto(name=name) for name in outputs)
    return found
