"""The way of the data: model -> graph -> rules -> forward -> seed -> backward -> Explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp import limits
from reflrp.arrays import to_host, total
from reflrp.arrays.convert import converter, shared
from reflrp.arrays.looks import block, ended
from reflrp.batches import Batch, baked_note, choices
from reflrp.composites import Composite, resolve
from reflrp.engine import Program, prepare
from reflrp.errors import ForwardChanged, InputError
from reflrp.explanation import Explanation
from reflrp.ground import checks
from reflrp.ground.caches import Cache
from reflrp.ground.progress import Step, bar
from reflrp.ir import Graph, Shape
from reflrp.ledger import Ledger
from reflrp.limits import guarded
from reflrp.model import Inputs, Model, load
from reflrp.neurons import keeper, masks_of
from reflrp.passes.canonize import canonize, check_passes, strip_output
from reflrp.passes.sizes import check_size
from reflrp.rules.base import Rule
from reflrp.seeds import Target, seed, targets

if TYPE_CHECKING:
    from reflrp.importer.read import ModelLike

MEMORY = 512 * 2**20
"""The values of one cut of the batch take at most this many bytes (or one sample's, where that is more)."""


Shapes = tuple[tuple[str, Shape], ...]
"""The inputs' names and shapes."""


class Explainer:
    """A model and its rules, set up once; call it to explain, as often as you like.

    What is worked out for a shape of inputs (the graph, the rules' assignment, derived weights) is kept for the next
    batch of that shape. One explainer may be called from many threads, and can be pickled into other processes.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or Model
        What to explain: an ONNX file, its bytes, a parsed proto, or what `reflrp.load` returned.
    rules : str, Rule, Composite or dict, default "epsilon_plus_flat"
        A preset's name (`reflrp.composites.presets()` lists them); the name of another library's composite, as
        "zennit.EpsilonPlusFlat"; a Rule (it on every dense and convolution node, the families' defaults elsewhere); a
        Composite; or {node name pattern: Rule}, again with the defaults elsewhere.
    output : str, optional
        Which output to explain. None: the only one; with several, it must be named.
    backend : str, default "numpy"
        "numpy" or "cupy".
    dtype : str or NumPy dtype, default "float64"
        "float64" or "float32": what everything is computed in.
    strip : bool, default True
        Explain what goes into a final Softmax, LogSoftmax or Sigmoid, not what comes out.
    canonize : str or sequence of str, optional
        Canonizing passes. None: the composite's own; () for none.
    batch_size : int, optional
        How many samples to run at once. None: as many as keep their values within 512 MiB.

    Attributes
    ----------
    model : Model
        The imported model.
    composite : Composite
        What `rules` means.
    output : str
        The name of the explained output.

    Raises
    ------
    ModelError, UnsupportedOperator
        As `reflrp.load`.
    RuleError
        For an unknown preset or a rule that is none.
    InputError
        For an unknown output, backend or dtype.

    Examples
    --------
    >>> explainer = reflrp.Explainer("model.onnx", rules="epsilon_plus")  # doctest: +SKIP
    >>> for x in batches:  # doctest: +SKIP
    ...     relevance = explainer(x, target=3).relevance

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
        self.batch_size = None if batch_size is None else checks.whole("batch_size", batch_size, 1)
        self.strip = checks.flag("strip", strip)
        self.backend, self.dtype = checks.text("backend", backend), checks.float_name(dtype)
        self.model = load(model)
        self.composite = resolve(rules)
        self.output = _output(self.model, output)
        self.passes = check_passes(self.composite.canonize if canonize is None else canonize)
        self._convert = converter(self.backend, self.dtype)
        self._programs: Cache[Shapes, Program] = Cache(2)
        self._sizes: Cache[Shapes, tuple[int, tuple[str, ...]]] = Cache(64)

    @guarded("the explanation")
    def __call__(
        self,
        x: Inputs,
        *,
        target: Target = None,
        init: Any = "output",
        layers: bool | str | Sequence[str] | None = False,
        conditions: Mapping[str, Sequence[int]] | None = None,
        progress: bool | None = None,
    ) -> Explanation:
        """Explain one batch.

        Parameters
        ----------
        x : array, or dict of arrays by input name
            Shapes as the model declares them, the batch of N samples first. A dict where the model has several inputs.
        target : int, sequence of int, or tuple of int, optional
            Which entry of the output (N, *shape) to explain. None: each sample's arg-max. An int: that entry, for an
            output (N, K). Ints, N of them: one a sample. A tuple: an index after the batch axis, the same for all.
        init : str or array, default "output"
            The relevance to start from. "output": R = f(x) at the target; "one": R = 1 at the target; or an array
            shaped like the output, and then `target` is not used.
        layers : bool, str or sequence of str, default False
            Keep the relevance of inner values too. True: of all; or patterns of value names, node names or ONNX node
            names, as "conv*".
        conditions : dict of sequences of int, optional
            {pattern: neurons}: let relevance through these neurons or channels only, at the values that match a
            pattern as in `layers`. Channels are counted on axis 1, in sequences (batch, time, features) on the last.
        progress : bool, optional
            Whether to show a bar. None: on a terminal, when the work takes more than a second.

        Returns
        -------
        Explanation
            With `relevance` shaped like `x`.

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
        progress = checks.optional_flag("progress", progress)
        conditions = {} if conditions is None else conditions
        feeds = self.model.feeds(x)
        batch = Batch(self.model, feeds, (self.output,))
        size, notes = self._size(batch)
        cuts = batch.cut(size)
        chosen = choices(target, init, cuts)
        graph = self._program(cuts[0]).graph
        parts = []
        with bar(progress, 2 * len(graph.nodes) * len(cuts)) as step:
            for (cut, where), choice in zip(batch.named_cuts(size), chosen, strict=True):
                with where:
                    parts.append(self._explain(cut, *choice, layers, conditions, step))
        e = Explanation.concatenate(parts, batch.axes(size) if len(cuts) > 1 else {})
        return replace(e, notes=(*e.notes, *notes)) if notes else e

    def __repr__(self) -> str:
        """Return the model in brief, the rules, and what else was chosen."""
        source = self.model.source
        rows = {
            "model": f"{ended(source.name)}, {len(source.nodes)} nodes, {source.size:,} numbers",
            "rules": f"{self.composite.title!r}, {len(self.composite.pairs)} pairs",
            "output": f"{self.output!r}, {'a final Softmax or Sigmoid stripped' if self.strip else 'as it is'}",
            "computed": f"in {self.dtype} by {self.backend}",
            "canonize": ", ".join(self.passes) or "nothing",
            "batch_size": "as many as fit" if self.batch_size is None else str(self.batch_size),
        }
        return block("Explainer", rows)

    @guarded("the program")
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
        return self._sizes.made(key, lambda: self._settle(batch))

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
        with limits.blamed_on(self.model.source.name):
            return self._programs.made(key, lambda: self._set_up(feeds))

    @limits.budget()
    def _set_up(self, feeds: dict[str, np.ndarray]) -> Program:
        whole = self.model.graph({k: a.shape for k, a in feeds.items()})
        if self.output not in whole.outputs:
            raise InputError(f"output {self.output!r} is a constant at these inputs; there is nothing to explain")
        if not whole.values[whole.resolve(self.output)].active:
            raise InputError(
                f"output {self.output!r} carries no relevance at these inputs; there is nothing to explain"
            )
        whole = whole.restricted_to(self.output)
        stripped = strip_output(whole) if self.strip else whole
        check_size(stripped, np.dtype(self.dtype).itemsize)
        graph = canonize(stripped, self.passes)
        program = prepare(graph, self.composite.assign(graph), self._convert)
        if not program.carriers:
            raise InputError(
                f"the relevance of output {self.output!r} leads to no input: it ends at rows of a table that are looked up by "
                "numbers which the network works out; give the model these numbers as its input"
            )
        if graph.nodes != stripped.nodes:
            self._check_unchanged(stripped, program, feeds)
        return program

    def _check_unchanged(self, before: Graph, program: Program, feeds: dict[str, np.ndarray]) -> None:
        """Check the passes' postcondition: the same output, before and after, on the first input."""
        inputs = {k: self._convert(a) for k, a in feeds.items()}
        share = shared(self._convert)
        plain = Program(before, {n.name: n.op.to(share) for n in before.nodes}, {})
        (name,) = before.outputs
        old = to_host(plain.forward(inputs, keep=False)[before.resolve(name)])
        new = to_host(program.forward(inputs, keep=False)[program.graph.resolve(name)])
        scale, limit = np.abs(old).max(initial=0), 1e-9 if self.dtype == "float64" else 1e-3
        if np.abs(old - new).max(initial=0) > limit * max(scale, 1e-30):
            raise ForwardChanged(
                f"canonizing by {self.passes} changed the output {name!r} by {np.abs(old - new).max():.3g} "
                f"(largest entry {scale:.3g}); pass canonize=()"
            )

    @limits.budget()
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
        ledger = Ledger(tuple(rows), total(R), {k: total(v) for k, v in relevances.items()})
        reached = {k: to_host(v) for k, v in found.items() if keep(k)}
        unreached = {k: np.zeros(v.shape, y.dtype) for k, v in graph.values.items() if v.active and keep(k)}
        inner = {k: v for k, v in {**unreached, **reached}.items() if k not in relevances}
        return Explanation(relevances, y, tuple(where), inner, ledger, dict(program.rules), graph.notes, dict(feeds))


def _output(model: Model, output: str | None) -> str:
    names = [o for o in model.outputs if o in model.source.active]
    if not names:
        raise InputError("no output of the model depends on a float input or a token id; there is nothing to explain")
    if output is None:
        if len(names) > 1:
            raise InputError(f"the model has the outputs {names}; say which one to explain: output={names[0]!r}")
        return names[0]
    if checks.text("output", output) not in names:
        raise InputError(f"output={checks.shown(output)} is unknown or carries no relevance; the model has {names}")
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
    layers: bool | str | Sequence[str] | None = False,
    progress: bool | None = None,
    conditions: Mapping[str, Sequence[int]] | None = None,
) -> Explanation:
    """Explain what a model says of a batch: how much each entry of the input contributed to the output.

    It is `Explainer(model, rules, ...)(x, target=..., ...)`; who explains several batches keeps the `Explainer`.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or Model
        What to explain: an ONNX file, its bytes, a parsed proto, or what `reflrp.load` returned.
    x : array, or dict of arrays by input name
        Shapes as the model declares them, the batch of N samples first. A dict where the model has several inputs.
    rules : str, Rule, Composite or dict, default "epsilon_plus_flat"
        A preset's name (`reflrp.composites.presets()` lists them); the name of another library's composite, as
        "zennit.EpsilonPlusFlat"; a Rule (it on every dense and convolution node, the families' defaults elsewhere); a
        Composite; or {node name pattern: Rule}, again with the defaults elsewhere.
    target : int, sequence of int, or tuple of int, optional
        Which entry of the output (N, *shape) to explain. None: each sample's arg-max. An int: that entry, for an output
        (N, K). Ints, N of them: one a sample. A tuple: an index after the batch axis, the same for all samples.
    init : str or array, default "output"
        The relevance to start from. "output": R = f(x) at the target; "one": R = 1 at the target; or an array shaped
        like the output, and then `target` is not used.
    output : str, optional
        Which output to explain. None: the only one; with several, it must be named.
    backend : str, default "numpy"
        "numpy" or "cupy".
    dtype : str, default "float64"
        "float64" or "float32": what everything is computed in.
    layers : bool, str or sequence of str, default False
        Keep the relevance of inner values too. True: of all; or patterns of value names, node names or ONNX node names.
    progress : bool, optional
        Whether to show a bar. None: on a terminal, when the work takes more than a second.
    conditions : dict of sequences of int, optional
        {pattern: neurons}: let relevance through these neurons or channels only, at the values that match a pattern as
        in `layers`.

    Returns
    -------
    Explanation
        `relevance` is shaped like `x`; `relevances` has it by input name, `output` what was explained, `target` where,
        `layers` the inner values, `conservation` the account of where relevance went, `rules` what was applied.

    Raises
    ------
    ModelError
        Where the file is missing, no ONNX model, truncated, or its graph invalid.
    UnsupportedOperator
        With every node on a path of relevance that reflrp cannot explain.
    InputError
        For an input, target, init or other argument that does not fit the model.
    RuleError, UnassignedNodes
        For an unknown preset, a rule on a node that it cannot serve, and nodes without a rule.
    TooLarge
        Where the model asks for more than `reflrp.limits` allow.
    NonFiniteError
        Where a NaN or an infinity arises; names the node.
    ForwardChanged
        Where a canonizing pass changed the output.

    Examples
    --------
    >>> e = reflrp.explain("model.onnx", x, rules="epsilon_plus", target=3)  # doctest: +SKIP
    >>> e.relevance.shape == x.shape  # doctest: +SKIP
    True

    """
    explainer = Explainer(model, rules, output=output, backend=backend, dtype=dtype)
    return explainer(x, target=target, init=init, layers=layers, conditions=conditions, progress=progress)
