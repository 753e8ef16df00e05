"""The whole way in one call: a model, an input, an Explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reflrp.explainer.explainer import Explainer, RulesLike
from reflrp.explanation import Explanation
from reflrp.model import Inputs, Model
from reflrp.seeds import Target

if TYPE_CHECKING:
    from reflrp.importer.files.read import ModelLike


def explain(
    model: ModelLike | Model,
    x: Inputs,
    rules: RulesLike = "auto",
    target: Target = None,
    init: Any = "output",
    output: str | None = None,
    backend: str = "numpy",
    dtype: str = "float64",
    layers: bool | str | Sequence[str] | None = False,
    progress: bool | None = None,
    conditions: Mapping[str, Sequence[int]] | None = None,
    *,
    strip: bool = True,
    canonize: Sequence[str] | None = None,
    batch_size: int | None = None,
    preprocess: str | None = None,
    uncertainty: bool = False,
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
        "zennit.Gamma(gamma=0.5)"; a Rule or its name (it on every dense and convolution node, the families' defaults
        elsewhere); a Composite; or {node name pattern: Rule or name}, again with the defaults elsewhere.
    target : int, sequence of int, tuple of int, or Contrast, optional
        Which entry of the output (N, *shape) to explain. None: each sample's arg-max. An int: that entry, for an output
        (N, K). Ints, N of them: one a sample. A tuple: an index after the batch axis, the same for all samples. A
        `reflrp.Contrast(3, 5)`: the first against the second. An explanation's `target`: the same again.
    init : str or array, default "output"
        The relevance to start from. "output": R = f(x) at the target; "one": R = 1 at the target; or an array shaped
        like the output, and then `target` is not used.
    output : str, optional
        Which output to explain. None: the only one; with several, it must be named.
    backend : str, default "numpy"
        "numpy"; "cupy"; "onnxruntime", which runs the rules compiled into one graph (`docs/backends.md`); or "auto":
        onnxruntime where it is installed, float32 is asked for and the model compiles, else NumPy, as `notes` says.
    dtype : str, default "float64"
        "float64" or "float32": what everything is computed in.
    layers : bool, str or sequence of str, default False
        Keep the relevance of inner values too. True: of all; or patterns of value names, node names or ONNX node names.
    progress : bool, optional
        Whether to show a bar. None: on a terminal, when the work takes more than a second.
    conditions : dict of sequences of int, optional
        {pattern: neurons}: let relevance through these neurons or channels only, at the values that match a pattern as
        in `layers`.
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
    uncertainty : bool, default False
        Whether to say how far rounding may have moved each entry, in the explanation's `uncertainty` and its ledger. It takes
        two more runs; docs/uncertainty.md says what is promised.

    Returns
    -------
    Explanation
        `relevance` is shaped like `x`; `relevances` has it by input name, `output` what was explained, `target` where,
        `layers` the inner values, `conservation` the account of where relevance went, `rules` what was applied.

    Raises
    ------
    ModelError, UnsupportedOperator, TooLarge
        Where the file cannot be read or explained, with every node in the way, or asks for more than `reflrp.limits` allow.
    InputError, RuleError, UnassignedNodes
        For an argument that does not fit the model, a rule on a node that it cannot serve, and nodes without a rule.
    NonFiniteError, ForwardChanged
        Where a NaN or an infinity arises, with the node; where canonizing or recognising changed the output.

    Examples
    --------
    >>> e = reflrp.explain("model.onnx", x, rules="epsilon_plus", target=3)  # doctest: +SKIP
    >>> e.relevance.shape == x.shape  # doctest: +SKIP
    True

    """
    explainer = Explainer(
        model,
        rules,
        output=output,
        backend=backend,
        dtype=dtype,
        strip=strip,
        canonize=canonize,
        batch_size=batch_size,
        preprocess=preprocess,
    )
    return explainer(
        x, target=target, init=init, layers=layers, conditions=conditions, progress=progress, uncertainty=uncertainty
    )
