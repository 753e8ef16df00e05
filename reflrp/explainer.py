"""The way of the data: model -> graph -> rules -> forward -> seed -> backward -> Explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.arrays.convert import converter
from reflrp.arrays.looks import block, ended
from reflrp.batches import Batch, choices
from reflrp.composites import Composite, resolve
from reflrp.composites.advice import Watch
from reflrp.engine import Program
from reflrp.explanation import Explanation
from reflrp.ground import checks
from reflrp.ground.caches import Cache
from reflrp.ground.progress import bar
from reflrp.limits import guarded
from reflrp.model import Inputs, Model, load
from reflrp.passes.canonize import check_passes
from reflrp.programs import Programs, Shapes, advised
from reflrp.rules.base import Rule
from reflrp.seeds import Target

if TYPE_CHECKING:
    from reflrp.importer.read import ModelLike

MEMORY = 512 * 2**20
"""The values of one cut of the batch take at most this many bytes (or one sample's, where that is more)."""


class Explainer:
    """A model and its rules, set up once; call it to explain, as often as you like.

    What is worked out for a shape of inputs (the graph, the rules' assignment, derived weights) is kept for the next
    batch of that shape. One explainer may be called from many threads, and can be pickled into other processes.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or Model
        What to explain: an ONNX file, its bytes, a parsed proto, or what `reflrp.load` returned.
    rules : str, Rule, Composite or dict, default "auto"
        "auto", which chooses by what the graph is made of and says so in `notes`; another preset's name
        (`reflrp.composites.presets()` lists them); the name of another library's composite, as
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
    preprocess : str, optional
        What becomes of the relevance of a scaler or a normalisation by constants before the first layer. "pass": it goes
        on to the input unchanged; "absorb": the constants keep their part, as at any other node. None: as the composite
        says, which is "pass" for reflrp's own rules, and each library's own way in the dialects.

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
    ModelError, UnsupportedOperator, TooLarge
        As `reflrp.load`.
    RuleError
        For an unknown preset or canonizing pass, or a rule that is none.
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
        rules: str | Rule | Composite | dict[str, Rule] = "auto",
        *,
        output: str | None = None,
        backend: str = "numpy",
        dtype: str = "float64",
        strip: bool = True,
        canonize: Sequence[str] | None = None,
        batch_size: int | None = None,
        preprocess: str | None = None,
    ) -> None:
        self.batch_size = None if batch_size is None else checks.whole("batch_size", batch_size, 1)
        self.strip = checks.flag("strip", strip)
        self.backend, self.dtype = checks.text("backend", backend), checks.float_name(dtype)
        self.model = load(model)
        self.composite = resolve(rules).preprocessed(preprocess)
        self.output = self.model.output(output)
        self.passes = check_passes(self.composite.canonize if canonize is None else canonize)
        self._convert = converter(self.backend, self.dtype)
        self._programs = Programs(self.model, self.composite, self.output, self.strip, self.passes, self._convert)
        self._sizes: Cache[tuple[bool, Shapes], tuple[int, tuple[str, ...]]] = Cache(64)

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
            Where a canonizing pass changed the output, or a recognised function is not what the file's nodes compute.

        """
        progress = checks.optional_flag("progress", progress)
        conditions = {} if conditions is None else conditions
        feeds = self.model.feeds(x)
        batch = Batch(self.model, feeds, (self.output,))
        size, notes = self._size(batch, inner=layers is not None and layers is not False)
        cuts = batch.cut(size)
        chosen = choices(target, init, cuts)
        parts, watch = [], Watch({node.name: node.op_type for node in self.model.source.nodes})
        with bar(progress, 2 * len(self.model.source.nodes) * len(cuts)) as step:
            for (cut, where), choice in zip(batch.named_cuts(size), chosen, strict=True):
                with where:
                    parts.append(self._programs.explained(cut, *choice, layers, conditions, step, watch))
        e = Explanation.concatenate(parts, batch.axes(size) if len(cuts) > 1 else {})
        return advised(replace(e, notes=(*notes, *e.notes)) if notes else e, watch, init, conditions)

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
        batch = Batch(self.model, self.model.feeds(x), (self.output,))
        return self._programs.of(batch.cut(self._size(batch)[0])[0])

    def _size(self, batch: Batch, inner: bool = False) -> tuple[int, tuple[str, ...]]:
        """Return how many samples to run at once, and what to say of it."""
        asked, itemsize = self.batch_size, np.dtype(self.dtype).itemsize
        key = inner, tuple((k, a.shape) for k, a in batch.feeds.items())
        return self._sizes.made(key, lambda: batch.settled(asked, MEMORY, itemsize, inner))


def explain(
    model: ModelLike | Model,
    x: Inputs,
    rules: str | Rule | Composite | dict[str, Rule] = "auto",
    target: Target = None,
    init: Any = "output",
    output: str | None = None,
    backend: str = "numpy",
    dtype: str = "float64",
    layers: bool | str | Sequence[str] | None = False,
    progress: bool | None = None,
    conditions: Mapping[str, Sequence[int]] | None = None,
    preprocess: str | None = None,
) -> Explanation:
    """Explain what a model says of a batch: how much each entry of the input contributed to the output.

    It is `Explainer(model, rules, ...)(x, target=..., ...)`; who explains several batches keeps the `Explainer`.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or Model
        What to explain: an ONNX file, its bytes, a parsed proto, or what `reflrp.load` returned.
    x : array, or dict of arrays by input name
        Shapes as the model declares them, the batch of N samples first. A dict where the model has several inputs.
    rules : str, Rule, Composite or dict, default "auto"
        "auto", which chooses by what the graph is made of and says so in `notes`; another preset's name
        (`reflrp.composites.presets()` lists them); the name of another library's composite, as
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
    preprocess : str, optional
        What becomes of the relevance of a scaler or a normalisation by constants before the first layer. "pass": it goes
        on to the input unchanged; "absorb": the constants keep their part, as at any other node. None: as the composite
        says, which is "pass" for reflrp's own rules, and each library's own way in the dialects.

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
        Where a canonizing pass changed the output, or a recognised function is not what the file's nodes compute.

    Examples
    --------
    >>> e = reflrp.explain("model.onnx", x, rules="epsilon_plus", target=3)  # doctest: +SKIP
    >>> e.relevance.shape == x.shape  # doctest: +SKIP
    True

    """
    explainer = Explainer(model, rules, output=output, backend=backend, dtype=dtype, preprocess=preprocess)
    return explainer(x, target=target, init=init, layers=layers, conditions=conditions, progress=progress)
