"""The conservation ledger: for each node, what relevance came in, what went on, and where the rest stayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isinf
from typing import Any

from reflrp.arrays import Array, magnitude, total
from reflrp.arrays.looks import block
from reflrp.ground.views import shown


@dataclass(frozen=True)
class Row:
    """One node's account, summed over the batch; in units of relevance.

    received = passed_on + bias + stabilizer + dropped + error.

    Attributes
    ----------
    received : float
        Relevance that arrived at the node's output.
    passed_on : float
        Relevance given to its inputs.
    bias : float
        Absorbed by the bias, and by other constants that the node adds.
    stabilizer : float
        Absorbed by the stabiliser; where a rule finds no contribution at all, all of it.
    dropped : float
        What a rule loses (or, negative, creates) by its definition, because it does not conserve.
    error : float
        What is left: rounding. A conserving rule closes to about 1e-15 of the relevance that flows.
    flow : float
        The sum of absolute relevance that arrived, against which `error` is to be judged.
    uncertainty : float, optional
        How far rounding may have moved each entry of what it gives to its inputs, summed over the entries. None where nobody asked
        (`explain(..., uncertainty=True)`); infinite where rounding decides whether there is an answer at all.

    """

    node: str
    kind: str
    rule: str
    received: float
    passed_on: float
    bias: float = 0.0
    stabilizer: float = 0.0
    dropped: float = 0.0
    error: float = 0.0
    flow: float = 0.0
    uncertainty: float | None = None

    def __repr__(self) -> str:
        """Return the account as an equation, without the parts that are zero."""
        parts = ("passed_on", "bias", "stabilizer", "dropped", "error")
        kept = " + ".join(f"{k} {getattr(self, k):.5g}" for k in parts if getattr(self, k) or k == "passed_on")
        return block(f"Row {self.node!r}", [f"{self.kind}, {self.rule}", f"received {self.received:.5g} = {kept}"])

    def __add__(self, other: Row) -> Row:
        """Return the sum of two batches' accounts of the same node."""
        numbers = {k: getattr(self, k) + getattr(other, k) for k in NUMBERS}
        known = [row.uncertainty for row in (self, other) if row.uncertainty is not None]
        numbers |= {"uncertainty": sum(known)} if known else {}
        return Row(self.node, _either(self.kind, other.kind), _either(self.rule, other.rule), **numbers)


def _either(one: str, two: str) -> str:
    return one if two in one.split(" or ") else f"{one} or {two}"


NUMBERS = ("received", "passed_on", "bias", "stabilizer", "dropped", "error", "flow")


@dataclass(frozen=True)
class Ledger(Mapping[str, Row]):
    """The accounts of all nodes, output first: `ledger["conv1"].bias`, `for row in ledger.rows`.

    Attributes
    ----------
    seed : float
        The initial relevance, summed over the batch.
    inputs : dict
        The relevance that reached each input, summed over the batch.

    """

    rows: tuple[Row, ...]
    seed: float
    inputs: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, node: str) -> Row:
        """Return a node's account."""
        for row in self.rows:
            if row.node == node:
                return row
        raise KeyError(node)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the nodes' names, output first."""
        return (row.node for row in self.rows)

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.rows)

    @property
    def totals(self) -> dict[str, float]:
        """Where the initial relevance went: seed = inputs + bias + stabilizer + dropped + error, over all nodes."""
        kept = {k: sum(getattr(row, k) for row in self.rows) for k in ("bias", "stabilizer", "dropped", "error")}
        return {"seed": self.seed, "inputs": sum(self.inputs.values()), **kept}

    @property
    def worst(self) -> float:
        """The largest error of a node, relative to the relevance that flowed through it."""
        return max((abs(row.error) / row.flow for row in self.rows if row.flow > 0), default=0.0)

    @property
    def uncertain(self) -> Row | None:
        """The node that gives to its inputs what is the least certain beside what flows; None where nobody asked."""
        known = [row for row in self.rows if row.uncertainty is not None and row.flow > 0]
        return max(known, key=lambda row: (row.uncertainty or 0.0) / row.flow, default=None)

    def __add__(self, other: Ledger) -> Ledger:
        """Return the accounts of two batches together; a node that one of them did not take has that of the other."""
        if [*self] == [*other]:
            rows = tuple(a + b for a, b in zip(self.rows, other.rows, strict=True))
        else:
            rows = _merged(self.rows, other.rows)
        inputs = {k: v + other.inputs[k] for k, v in self.inputs.items()}
        return Ledger(rows, self.seed + other.seed, inputs)

    def table(self) -> str:
        """Return the ledger as plain text, one line a node."""
        table: str = shown("ledger", self)
        return table

    def __str__(self) -> str:
        """Return the table."""
        return self.table()

    def __repr__(self) -> str:
        """Return where the initial relevance went, in a few lines; `str` is the table."""
        kept = {k: f"{v:.5g}" for k, v in self.totals.items() if v or k in ("seed", "inputs")}
        seed = kept.pop("seed")
        rows = [f"seed {seed} = {' + '.join(f'{k} {v}' for k, v in kept.items())}"]
        return block("Ledger", [*rows, f"{len(self.rows)} nodes; largest rounding of one: {self.worst:.1e}"])

    def _repr_html_(self) -> str:
        html: str = shown("ledger_html", self)
        return html

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        names = ("node", "kind", "rule", *NUMBERS)
        rows = [{k: getattr(row, k) for k in names} | _certainty(row) for row in self.rows]
        return {"seed": self.seed, "inputs": dict(self.inputs), "rows": rows}


def _certainty(row: Row) -> dict[str, Any]:
    """Return a row's uncertainty for JSON, which has no infinity."""
    return {} if row.uncertainty is None else {"uncertainty": "inf" if isinf(row.uncertainty) else row.uncertainty}


def _merged(one: tuple[Row, ...], two: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return the accounts by name, those of nodes that only the second has behind the one that they follow there."""
    found = {row.node: row for row in one}
    names, place = [*found], 0
    for row in two:
        if row.node in found:
            found[row.node], place = found[row.node] + row, names.index(row.node) + 1
        else:
            found[row.node] = row
            names.insert(place, row.node)
            place += 1
    return tuple(found[name] for name in names)


def restricted(name: str, r: Array, mask: Array) -> tuple[Array, Row]:
    """Return a value's relevance at the chosen neurons only, and the account of what is left out."""
    left = r * mask
    before, after = total(r), total(left)
    return left, Row(
        f"{name}:condition", "condition", "restrict", before, after, dropped=before - after, flow=magnitude(r)
    )
