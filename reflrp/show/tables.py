"""Tables as text: the layers of a model, and the ledger. Wide as needed, and without control codes, for any pipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any

from rich.box import Box
from rich.cells import cell_len
from rich.table import Table

from reflrp.errors import InputError, ReflrpError
from reflrp.ir import Graph, Node, Shape
from reflrp.limits import guarded
from reflrp.passes.canonize import canonize
from reflrp.passes.stripping import strip_output
from reflrp.show.text import cell, inline

if TYPE_CHECKING:
    from reflrp.ledger import Ledger, Row
    from reflrp.model import Model
    from reflrp.rules.base import Rule

RULED = Box("    \n    \n -- \n    \n    \n -- \n    \n    \n", ascii=True)
"""A line under the head and one above the foot; ASCII, so that any terminal and any pipe can carry it."""

PROSE = ("what", "ONNX", "rule", "rules", "why", "strongest inputs")
"""The columns that may wrap where a terminal is narrow."""

LISTED = 4
"""How many inputs' shapes are written out."""

Assigned = Mapping[str, "Rule"]
Part = Table | str


def plain(*parts: Part) -> str:
    """Return tables and lines as plain text, as wide as they are; the same text that rich writes, in less time."""
    text = [line.rstrip() for part in parts for line in (_lines(part) if isinstance(part, Table) else [inline(part)])]
    return "\n".join(line for line, after in zip(text, [*text[1:], ""], strict=True) if line or after)


def _lines(table: Table) -> list[str]:
    """Return a table's lines, a rule under its head and above its foot."""
    columns = [
        [str(c.header), *map(str, c.cells), *([str(c.footer)] if table.show_footer else [])] for c in table.columns
    ]
    widths = [max(map(cell_len, cells)) for cells in columns]
    right = [c.justify == "right" for c in table.columns]
    rule = f" {'-' * (sum(widths) + 3 * len(widths) - 3)}"
    rows = [
        f" {'   '.join(_set(*cell) for cell in zip(row, widths, right, strict=True))}"
        for row in zip(*columns, strict=True)
    ]
    foot = [rule, rows.pop()] if table.show_footer else []
    return ["", rows[0], rule, *rows[1:], *foot, ""]


def _set(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str] = ()) -> Table:
    """Return a table; a column whose name starts with ">" is set to the right."""
    table = Table(box=RULED, show_footer=bool(foot), pad_edge=False, header_style="bold", footer_style="bold")
    for i, name in enumerate(columns):
        justify: Any = "right" if name.startswith(">") else "left"
        text = name.lstrip(">")
        table.add_column(text, foot[i] if foot else "", justify=justify, overflow="fold", no_wrap=text not in PROSE)
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def summary(
    model: Model, rules: Any = None, shapes: Mapping[str, Shape] | None = None, output: str | None = None
) -> str:
    """Return the layer table of a model as text; with `rules`, of the graph as it is explained.

    Raises InputError where the file leaves sizes open that the table needs, RuleError where a rule does not fit.
    """
    return plain(*summary_parts(model, rules, shapes, output))


@guarded("the table of layers")
def summary_parts(
    model: Model, rules: Any = None, shapes: Mapping[str, Shape] | None = None, output: str | None = None
) -> list[Part]:
    """Return the layer table and the lines around it."""
    graph, assigned = _prepared(model, rules, shapes, output)
    nodes = [n for n in graph.nodes if n.kind != "plumbing"]
    rows = [_layer(n, graph, assigned) for n in nodes]
    total = sum(n.op.parameters for n in nodes)
    columns = ["node", "kind", "what", "input", "output", ">parameters", "ONNX", "rule"]
    foot = [f"{len(nodes)} nodes", "", "", "", "", f"{total:,}", "", ""]
    if assigned is None:
        columns, foot, rows = columns[:-1], foot[:-1], [r[:-1] for r in rows]
    return [*_ports(model), grid(columns, rows, foot), *_notes(model, graph, shapes)]


def _prepared(model: Model, rules: Any, shapes: Any, output: str | None) -> tuple[Graph, Assigned | None]:
    """Return the graph to show, and its rules: with `rules` as it is explained, else as it was imported."""
    from reflrp.composites import resolve

    whole = _graph(model, shapes)
    active = [o for o in model.outputs if o in model.source.active]
    if output is not None and output not in active:
        raise InputError(f"output={output!r} is unknown or carries no relevance; the model has {active}")
    names = [output] if output else active
    if rules is None:
        return whole, None
    composite = resolve(rules)
    one = strip_output(whole.restricted_to(names[0])) if len(names) == 1 else whole
    graph = canonize(one, composite.canonize)
    assigned = composite.assign(graph)
    return replace(graph, notes=(*graph.notes, *composite.remarks(graph, assigned))), assigned


def _graph(model: Model, shapes: Mapping[str, Shape] | None) -> Graph:
    """Return the graph at the given or declared shapes; where the declared ones do not do, say what to give."""
    if shapes is not None:
        return model.graph(shapes)
    try:
        graph = model.graph(model.example_shapes())
    except ReflrpError as error:
        if not _open(model):
            raise
        raise InputError(f"{_ask_for_shapes(model)} ({error})") from error
    if _open(model) and any(n < 1 for v in graph.values.values() for n in v.shape):
        raise InputError(_ask_for_shapes(model))
    return graph


def _open(model: Model) -> list[str]:
    """Return the inputs that leave more open than their batch."""
    ports = model.source.inputs.items()
    return [k for k, p in ports if p.dims is None or not all(isinstance(d, int) for d in p.dims[1:])]


def _ask_for_shapes(model: Model) -> str:
    ports = "; ".join(f"{k}: {model.inputs[k]}" for k in _open(model))
    return f"the model leaves sizes open ({ports}), and 1 for each does not do; give shapes={{name: shape}}"


def _layer(node: Node, graph: Graph, assigned: Assigned | None) -> list[str]:
    rule = (assigned or {}).get(node.name)
    inputs = _joined([_shape(graph.values[i].shape) for i in node.inputs])
    count = node.op.parameters
    return [
        node.name,
        node.kind,
        node.op.describe(),
        inputs,
        _shape(graph.values[node.output].shape),
        f"{count:,}" if count else "",
        _provenance(node),
        describe_rule(rule) if rule else "-",
    ]


def _joined(shapes: Sequence[str]) -> str:
    """Return the shapes of a node's inputs; of many, how many there are, and the ends."""
    if len(shapes) <= LISTED:
        return " + ".join(shapes)
    if len(set(shapes)) == 1:
        return f"{len(shapes)} x {shapes[0]}"
    return f"{len(shapes)} inputs: {shapes[0]} + ... + {shapes[-1]}"


def _shape(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"


def _provenance(node: Node) -> str:
    """Return the ONNX operator, and the nodes' names where these are not just the node's own; of many, the ends."""
    if node.onnx in ((), (node.name,)):
        return node.op_type
    if len(node.onnx) > 3:
        return f"{node.op_type} of {len(node.onnx)} nodes: {node.onnx[0]} ... {node.onnx[-1]}"
    return f"{node.op_type}: {' + '.join(node.onnx)}"


def describe_rule(rule: Rule) -> str:
    """Return a rule as text: its name, its numbers, and whatever else differs from the default."""
    shown = []
    for f in fields(rule):
        value = getattr(rule, f.name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if hasattr(value, "shape") or number or (f.default is not MISSING and value != f.default):
            shown.append(f"{f.name}={_value(value)}")
    return f"{type(rule).__name__}({', '.join(shown)})" if shown else type(rule).__name__


def _value(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"array{_shape(value.shape)}"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _ports(model: Model) -> list[str]:
    inputs = [f"input   {name}: {text}" for name, text in model.inputs.items()]
    return [*inputs, f"output  {', '.join(model.outputs)}"]


def _notes(model: Model, graph: Graph, shapes: Mapping[str, Shape] | None) -> list[str]:
    notes = list(graph.notes)
    hidden = sum(n.kind == "plumbing" for n in graph.nodes)
    if hidden:
        notes.append(f"{hidden} nodes of integer and mask arithmetic, which carry no relevance, are not listed")
    if shapes is None and _open(model):
        notes.append(f"sizes that the file leaves open are taken as 1 (inputs: {', '.join(_open(model))})")
    return [f"note: {n}" for n in notes]


def ledger_table(ledger: Ledger) -> str:
    """Return the ledger as text: one line a node, output first, and the totals."""
    return plain(*ledger_parts(ledger))


def ledger_parts(ledger: Ledger) -> list[Part]:
    """Return the ledger's table, and the lines of the totals."""
    kept = ledger.totals
    names = ("bias", "stabilizer", "dropped", "error")
    foot = ["total", "", "", number(ledger.seed), number(kept["inputs"]), *(number(kept[k]) for k in names)]
    columns = ["node", "kind", "rule", ">received", ">passed on", *(f">{k}" for k in names)]
    rows = [_account(r) for r in ledger.rows]
    if ledger.uncertain is not None:
        columns, foot = [*columns, ">uncertain"], [*foot, ""]
        rows = [[*cells, _uncertain(row)] for cells, row in zip(rows, ledger.rows, strict=True)]
    return [grid(columns, rows, foot), *_worst(ledger)]


def totals_parts(ledger: Ledger) -> list[Part]:
    """Return where the initial relevance went, over the whole network."""
    kept = ledger.totals
    inputs = [(f"reached {k}", v) for k, v in ledger.inputs.items()]
    labels = {
        "bias": "stayed in biases",
        "stabilizer": "stayed in stabilisers",
        "dropped": "dropped by rules that do not conserve",
        "error": "rounding",
    }
    rest = [(labels[k], kept[k]) for k in labels]
    rows = [[label, number(v), _share(v, ledger.seed)] for label, v in (*inputs, *rest)]
    table = grid(["conservation", ">relevance", ">share"], rows, ["initial relevance", number(ledger.seed), ""])
    return [table, *_worst(ledger)]


def _account(row: Row) -> list[str]:
    numbers = (row.received, row.passed_on, row.bias, row.stabilizer, row.dropped, row.error)
    return [row.node, row.kind, row.rule, *map(number, numbers)]


def _uncertain(row: Row) -> str:
    """Return how far rounding may have moved what a node gives to its inputs, as a part of what flowed through it."""
    return f"{row.uncertainty / row.flow:.1e}" if row.uncertainty is not None and row.flow else ""


def _worst(ledger: Ledger) -> list[str]:
    told = [f"largest rounding of a node: {ledger.worst:.1e} of the relevance that flowed through it"]
    row = ledger.uncertain
    if row is not None:
        told.append(f"uncertain by rounding: up to {_uncertain(row)} of what flows, behind {row.node!r} ({row.kind})")
    return told


def _share(value: float, seed: float) -> str:
    return f"{round(100 * value / seed, 3) + 0.0:.3f} %" if seed else ""  # adding 0.0 turns -0.0 into 0.0


def number(value: float) -> str:
    """Return a number with six digits; an exact zero as 0."""
    return "0" if value == 0 else f"{value:.6g}"
