"""The way of the data: model -> graph -> rules -> forward -> seed -> backward -> Explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.arrays.convert import converter
from reflrp.arrays.looks import block, ended
from reflrp.batches import Batch
from reflrp.composites import Composite, resolve
from reflrp.composites.advice import Watch
from reflrp.engine import Program
from reflrp.engine.uncertainty import copies
from reflrp.errors import InputError
from reflrp.explainer.backends import arrays_of, running, stamp_of
from reflrp.explainer.programs import Programs, Shapes, advised
from reflrp.explanation import Explanation
from reflrp.ground import checks
from reflrp.ground.caches import Cache
from reflrp.limits import guarded
from reflrp.mapping import Maps
from reflrp.model import Inputs, Model, load
from reflrp.passes.apart import Together
from reflrp.passes.canonize import check_passes
from reflrp.rules.base import Rule
from reflrp.seeds import Target

if TYPE_CHECKING:
    from reflrp.importer.files.read import ModelLike

RulesLike = str | Rule | Composite | Mapping[str, Rule | str]

MEMORY = 512 * 2**20
"""The values of one cut of the batch take at most this many bytes (or one sample's, where that is more)."""


class Explainer(Maps):
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
        "zennit.Gamma(gamma=0.5)"; a Rule or its name (it on every dense and convolution node, the families' defaults
        elsewhere); a Composite; or {node name pattern: Rule or name}, again with the defaults elsewhere.
    output : str, optional
        Which output to explain. None: the only one; with several, it must be named.
    backend : str, default "numpy"
        "numpy"; "cupy"; "onnxruntime", which runs the rules compiled into one graph (`docs/backends.md`); or "auto":
        onnxruntime where it is installed, float32 is asked for and the model compiles, else NumPy, as `notes` says.
    dtype : str or NumPy dtype, default "float64"
        "float64" or "float32": what everything is computed in; "exact": fractions, for graphs of rational operators.
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
    ledger : bool, default True
        Whether `conservation` has the accounts of the nodes. Without them "onnxruntime" is faster.
    providers : sequence, optional
        onnxruntime's execution providers, best first, by name or as (name, options). None: the CPU's.
    threads : int, optional
        How many threads onnxruntime computes with. None: one a core.

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
        rules: RulesLike = "auto",
        *,
        output: str | None = None,
        backend: str = "numpy",
        dtype: str = "float64",
        strip: bool = True,
        canonize: Sequence[str] | None = None,
        batch_size: int | None = None,
        preprocess: str | None = None,
        ledger: bool = True,
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
    ) -> None:
        self.batch_size = None if batch_size is None else checks.whole("batch_size", batch_size, 1)
        self.strip = checks.flag("strip", strip)
        self.backend, self.dtype = checks.text("backend", backend), checks.number_name(dtype)
        stamp, self.model = stamp_of(model), load(model)
        self.composite = resolve(rules).preprocessed(preprocess)
        self.output = self.model.output(output)
        self.passes = check_passes(self.composite.canonize if canonize is None else canonize)
        self.ledger = checks.flag("ledger", ledger)
        self._convert = converter(arrays_of(self.backend, self.dtype), self.dtype)
        plain = Programs(self.model, self.composite, self.output, self.strip, self.passes, self._convert, self.ledger)
        self._programs = running(self.backend, plain, model, stamp, providers, threads)
        self._sizes: Cache[tuple[bool, int, Shapes], tuple[int, tuple[str, ...]]] = Cache(64)
        self._turned: Cache[Shapes, int] = Cache(64)

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
        uncertainty: bool = False,
    ) -> Explanation:
        """Explain one batch.

        Parameters
        ----------
        x : array, or dict of arrays by input name
            Shapes as the model declares them, the batch of N samples first. A dict where the model has several inputs.
        target : int, sequence of int, tuple of int, or Contrast, optional
            Which entry of the output (N, *shape) to explain. None: each sample's arg-max. An int: that entry, for an
            output (N, K). Ints, N of them: one a sample. A tuple: an index after the batch axis, the same for all. A
            `reflrp.Contrast(3, 5)`: the first against the second. An explanation's `target`: the same again.
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
        uncertainty : bool, default False
            Whether to say how far rounding may have moved each entry, in the explanation's `uncertainty` and its ledger. It
            takes two more runs; docs/uncertainty.md says what is promised.

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
        return self._explained(x, [target], init, layers, conditions, progress, uncertainty)[0]

    @guarded("the explanation")
    def each(
        self,
        x: Inputs,
        targets: Sequence[Target],
        *,
        init: Any = "output",
        layers: bool | str | Sequence[str] | None = False,
        conditions: Mapping[str, Sequence[int]] | None = None,
        progress: bool | None = None,
        uncertainty: bool = False,
    ) -> list[Explanation]:
        """Explain one batch for several targets, with one forward pass: what calls for each of them give, one by one.

        `targets` is a list of what `target=` takes, as [3, 5, None, reflrp.Contrast(3, 5)]; the rest is as in a call.

        Examples
        --------
        >>> three, five = explainer.each(x, [3, 5])  # doctest: +SKIP

        """
        wanted = "a list of targets, one an explanation"
        listed = checks.listed_things("targets", _plain(targets), wanted)
        if not listed:
            raise checks.refuse("targets", targets, wanted)
        if not isinstance(init, str):
            raise InputError(
                "init is an array, so that targets say nothing; call the explainer with it instead of each()"
            )
        return self._explained(x, listed, init, layers, conditions, progress, uncertainty)

    def _explained(
        self,
        x: Inputs,
        targets: Sequence[Target],
        init: Any,
        layers: Any,
        conditions: Any,
        progress: bool | None,
        uncertainty: bool,
    ) -> list[Explanation]:
        """Return the explanations of one batch, one for each target."""
        progress, bars = checks.optional_flag("progress", progress), checks.flag("uncertainty", uncertainty)
        conditions = checks.mapping("conditions", {} if conditions is None else conditions, "a dict {pattern: neurons}")
        batch = Batch(self.model, self.model.feeds(x, exact=self.dtype == "exact"), (self.output,))
        inner, times = layers is not None and layers is not False, copies(len(targets)) if bars else 1
        size, notes = self._size(batch, inner, times)
        turned = self._turned.made(_key(batch), lambda: Batch(self.model, batch.cut(size)[0], (self.output,)).turned())
        if turned:
            where = f"the output {self.output!r} holds the samples on axis {turned}"
            if size < batch.count:
                raise InputError(
                    f"{where}, so that parts of a batch are not put together: give {size} samples at a time"
                )
            notes = (*notes, f"{where}: targets and e.output have them first, an array init has the order of the file")
        watch = Watch({node.name: node.op_type for node in self.model.source.nodes})
        found = self._programs.of_batch(batch, size, targets, init, layers, conditions, progress, watch, turned, bars)
        self.model.source.mapped.check()
        # of an array of another order there is no share by sample
        begun = None if turned and not isinstance(init, str) else init
        return [advised(replace(e, notes=(*notes, *e.notes)) if notes else e, watch, begun, conditions) for e in found]

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

    def _size(self, batch: Batch, inner: bool = False, times: int = 1) -> tuple[int, tuple[str, ...]]:
        """Return how many samples to run at once, whose values are in memory so many times, and what to say of it."""
        allowed = self._programs.allowed(MEMORY) // times
        return self._sizes.made((inner, allowed, _key(batch)), lambda: self._settled(batch, inner, allowed))

    def _settled(self, batch: Batch, inner: bool, allowed: int) -> tuple[int, tuple[str, ...]]:
        looks, itemsize = self.composite.looks, self._convert.itemsize
        together = f"a rule of {self.composite.title!r} looks at all samples of a batch" if looks == "batch" else ""
        size, notes = batch.settled(self.batch_size, allowed, itemsize, inner, together)
        try:
            if size > 1 and looks == "sample":
                self._programs.of(batch.cut(size)[0])
        except Together as error:
            if batch.meeting(1, inner):
                raise
            return 1, (f"the samples are explained one by one: {error}",)
        mixed = batch.mixed() if size >= batch.count and looks != "batch" else ""
        return size, (*notes, mixed) if mixed and not any("samples meet" in note for note in notes) else notes


def _key(batch: Batch) -> Shapes:
    return tuple((k, a.shape) for k, a in batch.feeds.items())


def _plain(targets: Any) -> Any:
    """Return an array of ints as a list of them, and anything else as it is."""
    flat = isinstance(targets, np.ndarray) and targets.ndim == 1 and targets.dtype.kind in "iu"
    return targets.tolist() if flat else targets
