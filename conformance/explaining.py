"""What a case tests, in words and numbers: `reflrp conformance explain CASE`."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import onnx

from reflrp.conformance.cases import Case
from reflrp.conformance.literal import Oracle
from reflrp.conformance.specification import clauses

MOST = 24
"""Entries of an array that are printed."""


def explained(case: Case) -> str:
    """Return the case: its clauses, its network, its numbers as fractions, and what other readings would give."""
    lines = [f"{case.id}: {case.record['comment']}", ""]
    for clause in case.clauses:
        lines += [f"{clause}: {clauses()[clause].statement}", f"  {clauses()[clause].equation}"]
    graph = onnx.load(case.model).graph
    lines += ["", "network"]
    rules = {spec.node: spec for spec in case.rules}
    for node in graph.node:
        spec = rules.get(node.name)
        how = f"   by {spec.rule} {json.dumps(dict(spec.params))}" if spec else ""
        lines.append(f"  {', '.join(node.output)} = {node.op_type}({', '.join(node.input)}){how}")
    for constant in graph.initializer:
        lines.append(f"  {constant.name} = {_numbers(onnx.numpy_helper.to_array(constant))}")
    for prefix, word in (("in", "input"), ("out", "output"), ("seed", "relevance of")):
        lines += [f"{word} {k} = {_numbers(v)}" for k, v in case.part(prefix).items()]
    if case.expect != "reject":
        lines += ["", "relevance, from the output backwards", *_relevance(case)]
    lines += [f"otherwise: {tag}: {v['text']} {_first(case, tag)}" for tag, v in case.variants.items()]
    return "\n".join(lines)


def _relevance(case: Case) -> list[str]:
    """Return the relevance of every value, as the literal oracle has it: fractions where they are short."""
    answer = Oracle()(onnx.load(case.model), case.part("in"), case.part("seed"), case.rules)
    return [f"  R({k}) = {_numbers(v)}" for k, v in answer.relevance.items()]


def _first(case: Case, tag: str) -> str:
    (name, values), *_ = case.part(f"variant/{tag}").items()
    return f"R({name}) = {_numbers(values)}"


def _numbers(values: np.ndarray) -> str:
    flat = [_number(x) for x in np.asarray(values).ravel()[:MOST]]
    more = ", ..." if values.size > MOST else ""
    return f"[{', '.join(flat)}{more}]" + (f" {values.shape}" if values.ndim > 1 else "")


def _number(x: object) -> str:
    if isinstance(x, Fraction) and x.denominator < 10**6:
        return str(x)
    return "-inf" if x is None else f"{float(x):.6g}"  # type: ignore[arg-type]
