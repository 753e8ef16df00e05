"""The way of the data: model -> graph -> rules -> forward -> seed -> backward -> Explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.arrays import to_host
from reflrp.batches import Batch, baked_note, choices
from reflrp.composites import Composite, resolve
from reflrp.engine import Program, check_size, converter, prepare
from reflrp.errors import ForwardChanged, InputError
from reflrp.explanation import Explanation
from reflrp.ir import Graph, Shape
from reflrp.ledger import Ledger
from reflrp.model import Inputs, Model, load
from reflrp.neurons import keeper, masks_of
from reflrp.passes.canonize import canonize, strip_output
from reflrp.progress import Step, bar
from reflrp.rules.base import Rule
from reflrp.seeds import Target, seed, targets

if TYPE_CHECKING:
    from reflrp.importer.read import ModelLike

MEMORY = 512 * 2**20
"""The values of one cut of the batch take at most this many bytes (or one sample's, where that is more)."""


class Explainer:
    """A model and its rules, set up once; call it to explain, as often as you like.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or Model
        What to explain.
    rules : str, Rule, Composite or dict
        A preset's name, "zennit.EpsilonPlusFlat", a Rule (it on every dense and convolution node, the families'
        defaults elsewhere), a Composite, or {node name pattern: Rule}.
    output : str, optional
        Which output to explain, where the model has several.
    backend : str
        "numpy" or "cupy".
    dtype : str
        "float64" or "float32": what everything is computed in.
    strip : bool
        Explain what goes into a final Softmax, LogSoftmax or Sigmoid, not what comes out.
    canonize : tuple of str, optional
        Canonizing passes in place of the composite's own.
    batch_size : int, optional
        How many samples to run at once. None: as many as keep their values within 512 MiB.

    Raises
    ------
    ModelError, UnsupportedOperator
        As `reflrp.load`.
    RuleError
        For an unknown preset or a rule that is none.
    InputError
        For an unknown output, backend or dtype.

    """

    def __init__(
        self,
        model: ModelLike | Model,
        rules: str | Rule | Composite | dict[str, Rule] = "epsilon_plus_flat",
        *,
        output: str | None = None,
        backend: str = "numpy",
        dtype: str = "float64",
        strip: bool = True,
        canonize: Sequence[str] | None = None,
        batch_size: int | None = None,
    ) -> None:
        _check_batch_size(batch_size)
        self.model = load(model)
        self.composite = resolve(rules)
        self.output = _output(self.model, output)
        self.backend, self.dtype, self.strip = backend, dtype, strip
        self.passes = tuple(self.composite.canonize if canonize is None else canonize)
        self.batch_size = batch_size
        self._convert = converter(backend, dtype)
        self._programs: dict[tuple[tuple[str, Shape], ...], Program] = {}
        self._sizes: dict[tuple[tuple[str, Shape], ...], tuple[int, tuple[str, ...]]] = {}

    def __call__(
        self,
        x: Inputs,
        *,
        target: Target = None,
        init: Any = "output",
        layers: bool | str | Sequence[str] = False,
        conditions: Mapping[str, Sequence[int]] | None = None,
        progress: bool | None = None,
    ) -> Explanation:
        """Explain one batch.

        Parameters
        ----------
        x : array, or dict of arrays by input name
            Shapes as the model declares them, the batch first.
        target : None, int, ints or tuple
            None: each sample's arg-max; an int; ints, one a sample; an index tuple after the batch axis.
        init : str or array
            "output": R = f(x) at the target; "one": R = 1; or an array shaped like the output.
        layers : bool, str or list of str
            True, or patterns of value names, node names or ONNX node names: keep the relevance of inner values too.
        conditions : dict, optional
            {pattern: neurons}: let relevance through these neurons or channels only, at the values that match a
            pattern as in `layers`. Channels are counted on axis 1, in sequences (batch, time, features) on the last.
        progress : bool, optional
            None: a bar on a terminal when the work takes more than a second.

        Returns
        -------
        Explanation

        Raises
        ------
        InputError
            For inputs, a target or an init that do not fit.
        UnassignedNodes, RuleError
            For nodes without a rule, or with one that cannot serve them.
        NonFiniteError
            Where a NaN or an infinity arises; names the node.
        ForwardChanged
            Where a canonizing pass changed the output.

        """
        feeds = self.model.feeds(x)
        batch = Batch(self.model, feeds, (self.output,))
        size, notes = self._size(batch)
        cuts = batch.cut(size)
        chosen = choices(target, init, cuts)
        graph = self._program(cuts[0]).graph
        with bar(progress, 2 * len(graph.nodes) * len(cuts)) as step:
            pairs = zip(cuts, chosen, strict=True)
            parts = [self._explain(cut, *choice, layers, conditions or {}, step) for cut, choice in pairs]
        e = Explanation.concatenate(parts, batch.axes(size) if len(cuts) > 1 else {})
        return replace(e, notes=(*e.notes, *notes)) if notes else e

    def program(self, x: Inputs) -> Program:
        """Return the prepared graph with its rules, for inputs shaped like `x`."""
        return self._program(self._cuts(self.model.feeds(x))[0])

    def _cuts(self, feeds: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Cut the batch, so that the values of one cut fit into the memory that is allowed, and the file takes it."""
        batch = Batch(self.model, feeds, (self.output,))
        return batch.cut(self._size(batch)[0])

    def _size(self, batch: Batch) -> tuple[int, tuple[str, ...]]:
        """Return how many samples to run at once, and what to say of it."""
        key = tuple((k, a.shape) for k, a in batch.feeds.items())
        if key not in self._sizes:
            self._sizes[key] = self._settle(batch)
        return self._sizes[key]

    def _settle(self, batch: Batch) -> tuple[int, tuple[str, ...]]:
        wanted = self.batch_size or batch.fitting(MEMORY, np.dtype(self.dtype).itemsize)
        baked = batch.baked(wanted) if batch.count > 1 else None
        if baked:
            return baked, (baked_note(baked, batch.count),) if baked < batch.count else ()
        if wanted >= batch.count or batch.separable():
            return wanted, ()
        if self.batch_size:
            raise InputError(
                f"batch_size={self.batch_size} would change the answer: the model's samples influence one another, or are "
                "not on the first axis; leave batch_size out"
            )
        return batch.count, (f"the samples influence one another: all {batch.count} run at once",)

    def _program(self, feeds: dict[str, np.ndarray]) -> Program:
        key = tuple((k, a.shape) for k, a in feeds.items())
        if key not in self._programs:
            if len(self._programs) > 1:
                self._programs.pop(next(iter(self._programs)))
            self._programs[key] = self._set_up(feeds)
        return self._programs[key]

    def _set_up(self, feeds: dict[str, np.ndarray]) -> Program:
        whole = self.model.graph({k: a.shape for k, a in feeds.items()})
        if self.output not in whole.outputs:
            raise InputError(f"output {self.output!r} is a constant at these inputs; there is nothing to explain")
        whole = whole.restricted_to(self.output)
        stripped = strip_output(whole) if self.strip else whole
        check_size(stripped, np.dtype(self.dtype).itemsize)
        graph = canonize(stripped, self.passes)
        program = prepare(graph, self.composite.assign(graph), self._convert)
        if graph.nodes != stripped.nodes:
            self._check_unchanged(stripped, program, feeds)
        return program

    def _check_unchanged(self, before: Graph, program: Program, feeds: dict[str, np.ndarray]) -> None:
        """Check the passes' postcondition: the same output, before and after, on the first input."""
        inputs = {k: self._convert(a) for k, a in feeds.items()}
        plain = Program(before, {n.name: n.op.to(self._convert) for n in before.nodes}, {})
        (name,) = before.outputs
        old = to_host(plain.forward(inputs, keep=False)[before.resolve(name)])
        new = to_host(program.forward(inputs, keep=False)[program.graph.resolve(name)])
        scale, limit = np.abs(old).max(initial=0), 1e-9 if self.dtype == "float64" else 1e-3
        if np.abs(old - new).max(initial=0) > limit * max(scale, 1e-30):
            raise ForwardChanged(
                f"canonizing by {self.passes} changed the output {name!r} by {np.abs(old - new).max():.3g} "
                f"(largest entry {scale:.3g}); pass canonize=()"
            )

    def _explain(
        self,
        feeds: dict[str, np.ndarray],
        target: Target,
        init: Any,
        layers: Any,
        conditions: Mapping[str, Sequence[int]],
        step: Step,
    ) -> Explanation:
        program = self._program(feeds)
        graph = program.graph
        values = program.forward({k: self._convert(a) for k, a in feeds.items()}, step)
        name = graph.resolve(graph.outputs[0])
        y = to_host(values[name])
        where = targets(y, target) if isinstance(init, str) else []
        R = seed(y, where, init)
        keep = keeper(layers, graph)
        masks = {k: self._convert(v) for k, v in masks_of(conditions, graph).items()}
        found, rows = program.backward(values, {name: self._convert(R.astype(y.dtype))}, keep, step, masks)
        relevances = {
            k: to_host(found[k]) if k in found else np.zeros(a.shape, dtype=y.dtype)
            for k, a in feeds.items()
            if k in found or k in program.carriers
        }
        ledger = Ledger(tuple(rows), float(R.sum()), {k: float(v.sum()) for k, v in relevances.items()})
        reached = {k: to_host(v) for k, v in found.items() if keep(k)}
        unreached = {k: np.zeros(v.shape, y.dtype) for k, v in graph.values.items() if v.active and keep(k)}
        inner = {k: v for k, v in {**unreached, **reached}.items() if k not in relevances}
        return Explanation(relevances, y, tuple(where), inner, ledger, dict(program.rules), graph.notes, dict(feeds))


def _check_batch_size(size: Any) -> None:
    if size is not None and (not isinstance(size, int) or size < 1):
        raise InputError(f"batch_size={size!r} must be an int of at least 1, or None")


def _output(model: Model, output: str | None) -> str:
    names = [o for o in model.outputs if o in model.source.active]
    if not names:
        raise InputError("no output of the model depends on a float input or a token id; there is nothing to explain")
    if output is None:
        if len(names) > 1:
            raise InputError(f"the model has the outputs {names}; say which one to explain: output={names[0]!r}")
        return names[0]
    if output not in names:
        raise InputError(f"output={output!r} is unknown or carries no relevance; the model has {names}")
    return output


def explain(
    model: ModelLike | Model,
    x: Inputs,
    rules: str | Rule | Composite | dict[str, Rule] = "epsilon_plus_flat",
    target: Target = None,
    init: Any = "output",
    output: str | None = None,
    backend: str = "numpy",
    dtype: str = "float64",
    layers: bool | str | Sequence[str] = False,
    progress: bool | None = None,
    conditions: Mapping[str, Sequence[int]] | None = None,
) -> Explanation:
    """Explain what a model says of a batch: `Explainer(model, rules, ...)(x, target=..., ...)`.

    See `Explainer` for `model`, `rules`, `output`, `backend` and `dtype`, and `Explainer.__call__` for the rest.
    """
    explainer = Explainer(model, rules, output=output, backend=backend, dtype=dtype)
    return explainer(x, target=target, init=init, layers=layers, conditions=conditions, progress=progress)
