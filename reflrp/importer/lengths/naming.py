"""What the names of lengths stand for: a length of the file, or a formula of such, as floor((H + 1)/2) behind a stride.

Two lengths are one for all inputs where their formulas are one, whatever way the file computes them; so each formula has one name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from reflrp.arrays.tracing.dims import Dim, example, length
from reflrp.arrays.tracing.polynomials import Monomial, at_most, larger_by
from reflrp.arrays.tracing.residues import filed_as
from reflrp.importer.lengths.inferring import made_up
from reflrp.ir import Lengths, Shape


@dataclass
class Names:
    """The names of lengths in one graph: `known` are those of all values so far, `formulas` says what some of them stand for.

    `counts` are the formulas of numbers that a graph with open lengths finds in the run.
    `beyond` says by how much lengths are larger than 1, where a slice or a window is that far from a border: of shorter ones the
    file makes nothing.
    """

    known: set[str] = field(default_factory=set)
    beyond: dict[str, int] = field(default_factory=dict)
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    formulas: dict[str, int] = field(default_factory=dict)
    called: dict[tuple[tuple[Monomial, int], ...], str] = field(default_factory=dict)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nothing else be known of lengths, inside the block: names are to be alike in all graphs of a file."""
        with at_most({}), larger_by(self.beyond), filed_as({}):
            yield

    def dims(self, lengths: Lengths, shape: Shape) -> Shape:
        """Return lengths as formulas, whose example is a shape."""
        return tuple(n if isinstance(n, int) else self._dim(n, at) for n, at in zip(lengths, shape, strict=True))

    def _dim(self, name: str, at: int) -> int:
        found = self.formulas.get(name)
        return length(name, example(at)) if found is None else found

    def named(self, dims: Shape, of_file: Collection[str]) -> Lengths:
        """Return formulas by their names."""
        return tuple(self._name(n, of_file) if isinstance(n, Dim) else int(n) for n in dims)

    def _name(self, n: Dim, of_file: Collection[str]) -> str:
        ((monomial, times), *rest) = n.terms
        if not rest and times == 1 and len(monomial) == 1 and type(monomial[0]) is str:
            return monomial[0]
        if n.terms not in self.called:
            name = made_up(f"({n!r})", {*of_file, *self.formulas})
            self.called[n.terms], self.formulas[name] = name, n
        return self.called[n.terms]

    def lacks(self, lengths: Iterable[int | str]) -> bool:
        """Return whether any of these lengths has a name that no value had before."""
        return any(isinstance(n, str) and n not in self.known for n in lengths)

    def know(self, lengths: Lengths) -> Lengths:
        """Return lengths whose names a value has from now on."""
        self.known.update(n for n in lengths if isinstance(n, str))
        return lengths
