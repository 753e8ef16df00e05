"""The backend "onnxruntime": each cut of a batch is explained by one run of a compiled graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp import limits
from reflrp.arrays.tracing.dims import BATCH
from reflrp.batches import Feeds
from reflrp.compiler.signs import BEST, EXPLAINED, MASK, SIGNS, SUMS, TIMES, signs_of
from reflrp.engine import Program
from reflrp.engine.program import BACKWARD
from reflrp.errors import InputError, ModelError, NonFiniteError, ReflrpError, UnsupportedOperator
from reflrp.explainer.backends import Wishes
from reflrp.explainer.cuts import Cut
from reflrp.explainer.programs import Programs, started
from reflrp.explanation import Explanation
from reflrp.ground.caches import Cache, tried
from reflrp.ir import Shape
from reflrp.ledger import Row
from reflrp.neurons import keeper, masks_of
from reflrp.runtime.filed import by_file
from reflrp.runtime.halves import Halves
from reflrp.runtime.measuring import factor, give_back, measured, passing
from reflrp.runtime.sessions import CPU, LARGE, run, session
from reflrp.runtime.watched import Looked
from reflrp.seeds import Target

if TYPE_CHECKING:
    from reflrp.compiler.accounts import Accounts
    from reflrp.compiler.orders import Compiled
    from reflrp.compiler.source import Given

Open = tuple[tuple[str, tuple[int | str, ...]], ...]
"""The shapes of inputs by name; BATCH for a batch size that stays open, and is one for all inputs."""

HALVED = 2**17
"""How many values a network has at least where targets share a run of what they have in common: of fewer, two runs cost more."""

KEPT = 4
"""How many sessions an explainer keeps: those last used."""


@dataclass(frozen=True)
class Asked:
    """What a graph is compiled for: input shapes, the values to keep, those under a condition with their masks' shapes.

    With `halved` it is for several targets at once, which share what they have in common.
    """

    shapes: Open
    layers: tuple[str, ...]
    masks: tuple[tuple[str, Shape], ...]
    turned: int
    halved: bool


@dataclass(frozen=True, eq=False)
class Ready:
    """A session, and what is known of the graph that it runs.

    `weights` are fed with each run. `grown` has how many bytes the process grew by in the first run, as a multiple of all values of
    the network.
    """

    session: Any
    accounts: Accounts | None
    inputs: Mapping[str, np.dtype[Any]]
    outputs: tuple[str, ...]
    weights: Mapping[str, np.ndarray]
    grown: list[float] = field(default_factory=list)

    def run(self, given: Mapping[str, np.ndarray], shared: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the outputs; what all targets share is computed where `shared` is empty, and entered there."""
        if not isinstance(self.session, Halves):
            return run(self.session, self.outputs, given)
        if not shared:
            shared |= self.session.early(self.outputs, given)
        return self.session.late(self.outputs, given, shared)


@dataclass(frozen=True, eq=False)
class Graphs(Programs):
    """Programs that are compiled, and run by onnxruntime. A graph serves every target, init, and number of samples."""

    wishes: Wishes = field(default_factory=lambda: Wishes(None))
    sessions: Cache[Asked, Ready] = field(default_factory=lambda: Cache(KEPT), repr=False)
    refusals: Cache[Asked, Exception | None] = field(default_factory=lambda: Cache(4 * KEPT), repr=False)

    def allowed(self, most: int) -> int:
        """Return how many bytes the values of a cut may take, by what the runs of the sessions took so far."""
        return int(most / factor([ready.grown for ready in self.sessions.values()]))

    @limits.budget()
    def explained(self, cut: Cut) -> list[Explanation]:
        """Explain one cut of a batch, each target by one run; what holds a NaN or an infinity, NumPy names the node of."""
        if cut.uncertainty:
            raise InputError(
                "uncertainty=True shakes the operands of each node, which a compiled graph cannot; use backend='numpy'"
            )
        program, ready, masks = self.ready(cut)
        graph = program.graph
        if cut.watch is not None:
            with np.errstate(all="ignore"):
                cut.watch.see(graph, program.rules, Looked(program, self._inputs(cut.feeds)))
        keep, found, shared = keeper(cut.layers, graph, self._branches), [], dict[str, Any]()
        whole = sum(prod(v.shape) for v in graph.values.values()) * self.convert.itemsize
        for choice in cut.choices:
            graph.count_work(1 + BACKWARD)
            given = self._given(program, ready, cut, masks, choice)
            with measured(ready.grown, whole):
                made = ready.run(given, shared)
            if not _finite(made):
                found += self._by_numpy(replace(cut, choices=[choice], watch=None))
                continue
            start = started(made[EXPLAINED], *choice, cut.turned)
            relevances = {k.removeprefix("relevance/"): v for k, v in made.items() if k.startswith("relevance/")}
            inner = {k.removeprefix("layer/"): v for k, v in made.items() if k.startswith("layer/")}
            assert all(map(keep, inner))
            found.append(self.answer(program, cut, start, relevances, inner, self._rows(ready, made)))
        return found

    def ready(self, cut: Cut) -> tuple[Program, Ready, dict[str, np.ndarray]]:
        """Return the program for these inputs, the session that stands for it, and the masks of the conditions.

        Raises InputError for what cannot be compiled, for any number of samples or for this one.
        """
        program = self.of(cut.feeds)
        graph = program.graph
        names = tuple(filter(keeper(cut.layers, graph, self._branches), graph.values))
        masks = masks_of(cut.conditions, graph, cut.axes, self._branches)
        shapes = tuple((k, m.shape) for k, m in masks.items())
        whole = tuple((k, a.shape) for k, a in cut.feeds.items())
        halved = len(cut.choices) > 1 and self._by_cpu() and sum(prod(v.shape) for v in graph.values.values()) >= HALVED
        asked = Asked(self._opened(cut.feeds), names, shapes, cut.turned, halved)
        try:
            return program, self._made(asked), masks
        except ReflrpError:
            if asked.shapes == whole:
                raise
            return program, self._made(replace(asked, shapes=whole)), masks

    def _opened(self, feeds: Feeds) -> Open:
        """Return the inputs' shapes, the batch size open where the file leaves it open, and all inputs have it."""
        declared = self.model.declared
        is_open = {k: a.shape[0] for k, a in feeds.items() if a.ndim and not isinstance(declared.get(k), int)}
        alike = len(set(is_open.values())) == 1
        return tuple((k, (BATCH, *a.shape[1:]) if alike and k in is_open else a.shape) for k, a in feeds.items())

    def _made(self, asked: Asked) -> Ready:
        return tried(
            self.refusals, asked, lambda: self.sessions.made(asked, lambda: self._session(asked)), (ReflrpError,)
        )

    @passing()
    def _session(self, asked: Asked) -> Ready:
        """Compile, and make a session."""
        from reflrp.compiler.sessions.fed import feed

        source = self._source()
        made = self._compiled(source, asked)
        give_back()  # weights that rules derived
        weights = source.outside or {}
        large = sum(a.nbytes for a in weights.values()) > LARGE and self._by_cpu()
        taken = feed(made.proto, weights) if large else {}
        live = self._halves(made.proto, weights) if asked.halved else self._live(made.proto, weights)
        del weights
        give_back()
        wanted = {i.name: _numpy(i.type) for i in live.get_inputs() if i.name not in taken}
        own = set(self.model.source.outputs)
        added = tuple(o.name for o in live.get_outputs() if o.name not in own)
        return Ready(live, made.accounts, wanted, added, taken)

    def _live(self, proto: Any, weights: Mapping[str, np.ndarray]) -> Any:
        """Return the session of a graph; `weights` has those that lie outside of it, and maybe more."""
        own = {t.name for t in proto.graph.initializer}
        kept = {k: a for k, a in weights.items() if k in own}

        def made(graph: Any, beside: Mapping[str, np.ndarray], folder: str = "") -> Any:
            wishes, dtype = self.wishes, self.convert.dtype
            return session(graph.SerializeToString(), beside, wishes.providers, wishes.threads, dtype, folder)

        found = by_file(made, proto, kept, self.model.source.constants, self.wishes) if self._by_cpu() else None
        return found or made(proto, kept)

    def _halves(self, proto: Any, weights: Mapping[str, np.ndarray]) -> Any:
        """Return the sessions of a graph in two parts, or one session where nothing is the targets' own."""
        from reflrp.compiler.sessions.parting import parted, typed

        first, second, handed = parted(proto)
        if not second.graph.output:
            return self._live(proto, weights)
        live = self._live(first, weights)
        typed(second, {o.name: o.type for o in live.get_outputs() if o.name in handed})
        return Halves(live, self._live(second, weights), handed)

    def _by_cpu(self) -> bool:
        return set(self.wishes.providers or [CPU]) == {CPU}

    def _source(self) -> Given:
        """Return the file to compile; or the inputs alone: where all is in float64, or no newer opset says what the file does."""
        from reflrp.compiler.sessions.held import bare, held

        if self.convert.dtype == "float64":
            return bare(self.model, self.convert.dtype)
        try:
            return held(self.wishes.given, self.model, self.wishes.stamp)
        except (ModelError, UnsupportedOperator):
            return bare(self.model, self.convert.dtype)

    def _compiled(self, source: Given, asked: Asked) -> Compiled:
        from reflrp.compiler.build import compiled
        from reflrp.compiler.orders import Order

        order = Order(
            init="signs",
            kept=frozenset(asked.layers),
            masked=dict(asked.masks),
            ledger=self.ledger,
            turned=asked.turned,
        )
        return compiled(
            source,
            order,
            dict(asked.shapes),
            rules=self.composite,
            output=self.output,
            dtype=self.convert.dtype,
            strip=self.strip,
            canonize=self.passes,
        )

    def _given(
        self,
        program: Program,
        ready: Ready,
        cut: Cut,
        masks: Mapping[str, np.ndarray],
        choice: tuple[Target, Any],
    ) -> dict[str, np.ndarray]:
        """Return what the session is fed."""
        graph, (target, init), turned = program.graph, choice, cut.turned
        shape = graph.values[graph.resolve(graph.outputs[0])].shape
        found = {**cut.feeds, **{MASK + k: m for k, m in masks.items()}}
        if isinstance(init, str):
            found[SIGNS], found[BEST] = signs_of(shape, target, turned)
            found[TIMES] = np.asarray(init == "output")
        else:
            count = shape[turned] if shape else 1
            found |= {SIGNS: started(np.zeros(shape, self.convert.dtype), target, init, turned)[2]}
            found |= {BEST: np.zeros(count), TIMES: np.zeros(())}
        with np.errstate(over="ignore", invalid="ignore"):
            return {**ready.weights, **{k: found[k].astype(dtype) for k, dtype in ready.inputs.items()}}

    def _rows(self, ready: Ready, made: Mapping[str, np.ndarray]) -> tuple[Row, ...]:
        return ready.accounts.read(made[SUMS].reshape(-1).astype(np.float64)) if ready.accounts else ()

    def _by_numpy(self, cut: Cut) -> list[Explanation]:
        """Return what NumPy finds where onnxruntime has a NaN or an infinity; it raises NonFiniteError, with the node."""
        found = super().explained(cut)
        if all(np.isfinite(R).all() for e in found for R in (*e.relevances.values(), *e.layers.values())):
            raise NonFiniteError(
                "a NaN or an infinity arose under onnxruntime, and none under NumPy: the numbers are near the end of what float32 "
                "holds; use backend='numpy' with dtype='float64'"
            )
        return found


def _finite(made: Mapping[str, np.ndarray]) -> bool:
    """Return whether all is finite; in what is explained -inf may stand, of masks."""
    for name, array in made.items():
        if not np.isfinite(array).all() and not (name == EXPLAINED and not (np.isnan(array) | (array == np.inf)).any()):
            return False
    return True


def _numpy(kind: str) -> np.dtype[Any]:
    """Return the dtype of onnxruntime's word for one."""
    text = kind.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(text, text))


def graphs(programs: Programs, wishes: Wishes) -> Graphs:
    """Return the programs of the backend "onnxruntime"."""
    return Graphs(**{f.name: getattr(programs, f.name) for f in fields(Programs)}, wishes=wishes)
