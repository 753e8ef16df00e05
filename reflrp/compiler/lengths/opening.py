"""Open lengths beside the batch size: the graph is built with formulas in place of lengths, so it is right for all of them.

Each length of the graph is worked out from those of the inputs by the same code that works out numbers; nothing is fitted. Three
checks stand behind it: at its example the graph is the one that `explain` would run, node by node; for another example it is
the same graph, formula by formula, so that no number of the example is left in it; and as it is traced, what each
formula makes must have the shape that the graph says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from reflrp.arrays.tracing.dims import BATCH, Dim, Divided, Joined, TooLong, TooShort, Undivided, length, symbols_of
from reflrp.arrays.tracing.polynomials import Floor, at_most, written
from reflrp.arrays.tracing.residues import filed_as
from reflrp.compiler.lengths.moving import stays
from reflrp.compiler.lengths.shortest import LITTLE, TURNS, check_rules
from reflrp.composites import Composite
from reflrp.errors import InputError, ModelError, UnsupportedOperator
from reflrp.ir import Graph, Shape
from reflrp.model import built

FIRST = 5
"""The least example of an open length."""

Marks = Mapping[str, tuple[int | str, ...]]
"""The shapes of the inputs: a symbol for each length that is left open."""


@dataclass(frozen=True)
class Opened:
    """A graph with open lengths.

    Attributes
    ----------
    graph : Graph
        The graph; its lengths are formulas.
    marks : dict
        The inputs' shapes, with symbols.
    times, plus : dict
        The length that is marked with a symbol is times * symbol + plus, and the symbol may be 1.
    most : dict
        How large a symbol may be, where the graph reads tables that end.
    joined : dict
        What stands for a symbol that the graph needs to be another's length.
    start : int
        From where on the symbols' examples are.

    """

    graph: Graph
    marks: Marks
    plus: Mapping[str, int]
    most: Mapping[str, int]
    times: Mapping[str, int]
    joined: Mapping[str, str]
    start: int

    def shapes(self, more: int = 0, step: int = 2, batch: int = 3) -> dict[str, Shape]:
        """Return the inputs' shapes as formulas; symbols have distinct examples, from `start + more` on, and a batch size."""
        return shapes_of(self.marks, self.plus, self.most, self.times, self.start + more, step, batch)

    def limits(self, batch: str) -> str:
        """Return in words which lengths there may be; "" where all may. The batch size has a name in the file."""

        def said(symbol: str) -> str:
            return called(symbol, batch)

        found = [f"{said(s)} > {self.plus[s]}" for s in sorted(self.plus) if self.plus[s] > 0]
        found += [
            f"{said(s)} <= {self.most[s] * self.times.get(s, 1) + self.plus.get(s, 0)}" for s in sorted(self.most)
        ]
        found += [f"{said(s)} % {n} == {self.plus.get(s, 0) % n}" for s, n in sorted(self.times.items())]
        found += equal(self.joined, batch)
        return ", ".join(found)


def equal(joined: Mapping[str, str], batch: str) -> list[str]:
    """Return in words which lengths must be one."""
    return [f"{called(s, batch)} == {called(n, batch)}" for s, n in sorted(joined.items())]


def called(symbol: str, batch: str) -> str:
    """Return what the file calls a symbol: the batch size, or another length that it calls as we call the batch size."""
    return batch if symbol == BATCH else BATCH if symbol == f"{BATCH}'" else symbol


def in_words(shape: Shape, lengths: Mapping[str, Any]) -> list[int | str]:
    """Return a shape with the file's own lengths in its formulas.

    Where a file's length T is 2 T' + 1, of a symbol that we call T too, another axis of T' entries must not be called T: a runtime
    takes what is called alike for as long, and gives one's memory to the other. `lengths` says of each symbol what shows it.
    """
    shifted = {s: (plus, times) for s, (_, _, plus, times) in lengths.items() if plus or times > 1}

    def word(symbol: str) -> str:
        if isinstance(symbol, Floor):
            return Floor(tuple((tuple(map(word, m)), k) for m, k in symbol.terms), symbol.by)
        plus, times = shifted.get(symbol, (0, 1))
        part = f"({symbol} - {plus})" if plus else symbol
        return f"({part}/{times})" if times > 1 else part

    def worded(n: int) -> int | str:
        if not isinstance(n, Dim):
            return n
        own: dict[Any, tuple[str, int]] = {((s,), times): (s, plus) for s, (plus, times) in shifted.items()}
        *rest, (monomial, k) = sorted(n.terms)
        symbol, plus = own.get((monomial, k), ("", 0))
        if symbol and all(m == () for m, _ in rest):
            more = sum(k for _, k in rest) - plus
            return f"{symbol} {'+' if more > 0 else '-'} {abs(more)}" if more else symbol
        return written(tuple((tuple(map(word, m)), k) for m, k in n.terms))

    return [worded(n) for n in shape]


class OneBatch(Exception):
    """All that is open is one batch size, once lengths that the graph needs to be one have one symbol."""

    def __init__(self, marks: Marks, joined: Mapping[str, str]) -> None:
        super().__init__()
        self.marks, self.joined = marks, joined


def shapes_of(
    marks: Marks,
    plus: Mapping[str, int],
    most: Mapping[str, int],
    times: Mapping[str, int],
    start: int,
    step: int = 2,
    batch: int = 3,
) -> dict[str, Shape]:
    """Return shapes as formulas, whose symbols have distinct examples where these are not too large."""
    symbols = list(dict.fromkeys(n for shape in marks.values() for n in shape if isinstance(n, str)))
    at = {s: min(start + step * i, most.get(s, start + step * i)) for i, s in enumerate(symbols)}
    at[BATCH] = min(
        batch, most.get(BATCH, batch)
    )  # three, as it may be a number of steps, the last of which is another one
    return {
        k: tuple(length(n, at[n], plus.get(n, 0), times.get(n, 1)) if isinstance(n, str) else n for n in s)
        for k, s in marks.items()
    }


Check = Callable[[Callable[[dict[str, Shape]], Graph], Callable[..., dict[str, Shape]], Graph, Composite], None]
"""A check of the shortest lengths (`firstturns.check_turns`)."""


def opened(
    source: Any, marks: Marks, passes: Callable[[Graph], Graph], composite: Composite, check_turns: Check
) -> Opened:
    """Return the graph of a source with open lengths, after the passes of a composite.

    Raises InputError where it has none, and OneBatch where the batch size is all that is open.
    """
    plus, most, times, joined = dict[str, int](), dict[str, int](), dict[str, int](), dict[str, str]()
    start = FIRST
    for _ in range(TURNS):
        try:
            with at_most(most), filed_as({s: (times.get(s, 1), plus.get(s, 0)) for s in (*plus, *times)}):
                graph = passes(built(source, shapes_of(marks, plus, most, times, start)))
                if start < FIRST + LITTLE and any(stays(n.op) for n in graph.nodes):  # `explain` has no such node there
                    start += 1
                    continue
                check_rules(composite, graph)
                shapes = partial(shapes_of, marks, plus, most, times, step=0)
                check_turns(lambda s: passes(built(source, s)), shapes, graph, composite)
                return Opened(graph, marks, plus, most, times, joined, start)
        except TooShort as error:
            plus[error.symbol] = plus.get(error.symbol, 0) + error.by * times.get(error.symbol, 1)
            if error.symbol in most:
                most[error.symbol] -= error.by
        except TooLong as error:
            most[error.symbol] = error.most
        except Divided as error:
            _divide(error, plus, most, times)
        except Joined as error:
            marks, plus, most, times = _join(error.symbol, error.other, marks, joined), {}, {}, {}
        except Undivided as error:
            marks, plus, most, times = _join(*_samples(error, marks), marks, joined), {}, {}, {}
        except (InputError, ModelError, UnsupportedOperator) as error:
            raise refused(str(error), marks) from error
        if any(n < 1 for n in most.values()):
            break
    raise refused("no least and largest lengths are found", marks)


def _samples(error: Undivided, marks: Marks) -> tuple[str, str]:
    """Return the numbers of samples of two inputs, where entries of the one are divided by the other; raises InputError if not."""
    first = {m[0] for m in marks.values() if m}
    over, under = ({s for s in symbols_of((n,)) if s in first} for n in (error.n, error.by))
    if len(over - under) != 1 or len(under - over) != 1:
        raise refused(str(error), marks) from error
    return (over - under).pop(), (under - over).pop()


def _join(one: str, two: str, marks: Marks, joined: dict[str, str]) -> Marks:
    """Return the marks with one symbol for two that must be one length: BATCH, or the one that comes first."""
    order = [BATCH, *(n for shape in marks.values() for n in shape if isinstance(n, str))]
    kept, gone = sorted((one, two), key=order.index)
    joined.update({s: kept for s, n in joined.items() if n == gone} | {gone: kept})
    found = {k: tuple(kept if n == gone else n for n in shape) for k, shape in marks.items()}
    if not beyond_batch(found):
        raise OneBatch(found, joined)
    return found


def beyond_batch(marks: Marks) -> bool:
    """Return whether anything is open but the batch size on first axes."""
    return any(isinstance(n, str) and (i or n != BATCH) for shape in marks.values() for i, n in enumerate(shape))


def leading(found: Opened) -> str:
    """Return what the file calls the length that is on the first axis of the output and of an input, and is not BATCH; else ""."""
    graph = found.graph
    first = symbols_of(graph.values[graph.resolve(graph.outputs[0])].shape[:1])
    known = {m[0] for m in found.marks.values() if m} - {BATCH}
    return first[0].removesuffix("'") if len(first) == 1 and first[0] in known else ""


def _divide(error: Divided, plus: dict[str, int], most: dict[str, int], times: dict[str, int]) -> None:
    """Take by * symbol + rest for a symbol, so that the least length stays where it can."""
    symbol, own = error.symbol, times.get(error.symbol, 1)
    rest = error.rest - error.by if error.rest else 0
    plus[symbol], times[symbol] = plus.get(symbol, 0) + own * rest, own * error.by
    if symbol in most:
        most[symbol] = (most[symbol] - rest) // error.by


def refused(why: str, marks: Marks) -> InputError:
    """Return an error that says why lengths must be fixed, and how."""
    is_open = [k for k, shape in marks.items() if any(isinstance(n, str) for n in shape)]
    name = next((k for k in is_open if any(isinstance(n, str) and n != BATCH for n in marks[k])), is_open[0])
    what, it, batch = ("length", "lengths", "None") if beyond_batch(marks) else ("batch size", "it", "8")
    shape = ", ".join(batch if n == BATCH else str(n) if isinstance(n, int) else "128" for n in marks[name])
    shape += "," if len(marks[name]) == 1 else ""
    return InputError(
        f"the graph cannot be compiled for any {what}: {why}; fix {it}, as by shapes={{{name!r}: ({shape})}}"
    )
