"""Attributes of a model's own functions, written out before the functions are inlined.

A function may declare attributes with default values, and nodes in it may take an attribute from the call
(`ref_attr_name`). ONNX's inliner knows what a call says and nothing of defaults, so that a default would be lost in
silence. Here each call gets the defaults that it leaves out. Where an attribute has no default either, the nodes that refer
to it are without theirs, in a copy of the function that only such calls go to; so that a function that is called inside
with a default of its own finds it.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import FunctionProto, ModelProto, NodeProto

from reflrp import limits
from reflrp.errors import ModelError, Offender, TooLarge, UnsupportedOperator
from reflrp.importer.files.read import domain_of, nodes_within

Key = tuple[str, str, str]
"""The domain, name and overload by which a node calls a function."""


def completed(proto: ModelProto, name: str) -> ModelProto:
    """Return the model with its functions ready to be inlined; it is changed in place.

    Raises ModelError for a function that goes by the name of a standard operator, UnsupportedOperator for one that is
    written for another opset in which its operators mean something else.
    """
    if proto.functions:
        _leave_out_uncalled(proto)
        _check_names(proto, name)
        _same_opsets(proto)
        _Calls(proto, name).complete()
    return proto


def _leave_out_uncalled(proto: ModelProto) -> None:
    """Take away the functions that no call reaches: what is wrong with them does not matter."""
    functions = {(f.domain, f.name, f.overload): f for f in proto.functions}
    reached: set[Key] = set()
    todo: list[Iterable[NodeProto]] = [proto.graph.node]
    while todo:
        called = {(n.domain, n.op_type, n.overload) for n in nodes_within(todo.pop())} & functions.keys()
        todo.extend(functions[key].node for key in called - reached)
        reached |= called
    for i in reversed(range(len(proto.functions))):
        f = proto.functions[i]
        if (f.domain, f.name, f.overload) not in reached:
            del proto.functions[i]


def _check_names(proto: ModelProto, name: str) -> None:
    """Raise ModelError for a function that runtimes may or may not take for a standard operator, as the standard has it."""
    opsets = {domain_of(o.domain): o.version for o in proto.opset_import}
    for f in proto.functions:
        domain = domain_of(f.domain)
        if domain in opsets and onnx.defs.has(f.name, opsets[domain], domain):
            raise ModelError(f"{name} defines a function {f.name!r} that bears a standard operator's name; rename it")


def _same_opsets(proto: ModelProto) -> None:
    """Set each function's opsets to the model's, where all its operators are the same in both."""
    opsets = {domain_of(o.domain): o.version for o in proto.opset_import}
    wrong = []
    for f in proto.functions:
        for own in f.opset_import:
            domain = domain_of(own.domain)
            version = opsets.get(domain, own.version)
            nodes = [n for n in nodes_within(f.node) if domain_of(n.domain) == domain]
            changed = [n for n in nodes if _since(n, own.version) != _since(n, version)]
            if changed:
                what = f"of a function for opset {own.version}, in which {changed[0].op_type} is not that of the model's opset"
                wrong.append(
                    Offender(f.name, f.name, f.domain, own.version, f"{what} {version}; export with one opset")
                )
            own.version = version
    if wrong:
        raise UnsupportedOperator(wrong)


def _since(node: NodeProto, opset: int) -> int | None:
    """Return the opset in which a node's operator came to be as it is; None for what is not of the standard."""
    domain = domain_of(node.domain)
    if not onnx.defs.has(node.op_type, opset, domain):
        return None
    return int(onnx.defs.get_schema(node.op_type, opset, domain).since_version)


class _Calls:
    """The functions of a model, what their nodes refer to, and the copies made so far."""

    def __init__(self, proto: ModelProto, name: str) -> None:
        self.proto, self.name = proto, name
        self.functions: dict[Key, FunctionProto] = {(f.domain, f.name, f.overload): f for f in proto.functions}
        self.referred = {key: _referred(f) for key, f in self.functions.items()}
        self.copies: dict[tuple[Key, frozenset[str]], str] = {}
        self.todo: list[Iterable[NodeProto]] = [proto.graph.node, *(f.node for f in self.functions.values())]
        self.size = 0

    def complete(self) -> None:
        """Complete all calls, those in copies of functions included."""
        while self.todo:
            for node in nodes_within(self.todo.pop()):
                self._complete(node)

    def _complete(self, node: NodeProto) -> None:
        key = (node.domain, node.op_type, node.overload)
        function = self.functions.get(key)
        if function is None:
            return
        given = {a.name for a in node.attribute}
        defaults = [a for a in function.attribute_proto if a.name not in given]
        node.attribute.extend(defaults)
        missing = self.referred[key] - given - {a.name for a in defaults}
        if missing:
            node.op_type = self._without(key, missing)

    def _without(self, key: Key, missing: frozenset[str]) -> str:
        """Return the name of a function's copy in which nobody refers to the missing attributes."""
        if (key, missing) not in self.copies:
            copy = self.proto.functions.add()
            copy.CopyFrom(self.functions[key])
            copy.name = f"{copy.name} without {', '.join(sorted(missing))} #{len(self.copies)}"
            for node in nodes_within(copy.node):
                _drop(node, missing)
                self._count()
            self.copies[key, missing] = copy.name
            self.todo.append(copy.node)
        return self.copies[key, missing]

    def _count(self) -> None:
        self.size += 1
        if self.size > limits.NODES:
            raise TooLarge(f"{self.name} has functions of more than {limits.NODES} nodes (reflrp.limits.NODES)")


def _drop(node: NodeProto, missing: frozenset[str]) -> None:
    """Take away the attributes that refer to the missing ones."""
    for i in reversed(range(len(node.attribute))):
        if node.attribute[i].ref_attr_name in missing:
            del node.attribute[i]


def _referred(function: FunctionProto) -> frozenset[str]:
    """Return the attributes of the call that a function's nodes refer to."""
    return frozenset(a.ref_attr_name for n in nodes_within(function.node) for a in n.attribute if a.ref_attr_name)
