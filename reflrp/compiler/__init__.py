"""The compiler: a model and its rules -> one ONNX model, the model's own graph and nodes that compute the relevance.

`build` is the way of the data: `source` reads the file, `lift` makes the batch size a symbol, `values` finds the values
that the file computes already, `tracing` runs the engine's way back on symbolic arrays, `emit` writes what they leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal

from reflrp.explainer import RulesLike
from reflrp.ground import checks
from reflrp.model import Model
from reflrp.seeds import Target

if TYPE_CHECKING:
    from onnx import ModelProto

    from reflrp.importer.files.read import ModelLike

__all__ = ["compile"]


def compile(
    model: ModelLike | Model,
    rules: RulesLike = "auto",
    target: Target | Literal["input"] = None,
    init: str = "output",
    output: str | None = None,
    layers: bool | str | Sequence[str] | None = False,
    opset: int | None = None,
    derived: Literal["graph", "stored"] = "graph",
    *,
    conditions: Mapping[str, Sequence[int]] | None = None,
    shapes: Mapping[str, Sequence[int | str | None]] | None = None,
    preprocess: str | None = None,
    strip: bool = True,
    canonize: Sequence[str] | None = None,
    out: str | PathLike[str] | None = None,
) -> ModelProto:
    """Return one ONNX model that computes the relevance: the model's own graph, unchanged and first, and what LRP adds.

    It runs wherever ONNX runs. Its outputs are the model's own, then `relevance/<input>` for each input that carries
    relevance, then `layer/<value>` for the inner values that `layers` asks for. All is computed in float32, by the rules'
    own formulas, which are traced; what they give equals `explain`'s up to rounding.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        What to compile. Of a Model that was loaded from a file, that file is read again.
    rules : str, Rule, Composite or dict, default "auto"
        As for `explain`.
    target : None, int, tuple of int, Contrast, or "input"
        None: each sample's arg-max, in the graph. An int, or an index after the batch axis: that entry. A
        `reflrp.Contrast(3, 5)` of two such: the first against the second. "input": an int64 input `target` (batch,) is
        added; entries that are out of range start from no relevance.
    init : str, default "output"
        "output": start from the output's value at the target; "one": from 1; "input": from an input `init` that is added,
        shaped like the output.
    output : str, optional
        Which output to explain. None: the only one.
    layers : bool, str or sequence of str, default False
        Which inner values' relevance becomes an output too, as for `explain`.
    opset : int, optional
        The opset of the graph, 17 or later. None: the model's own, or 17 where that is older.
    derived : str, default "graph"
        Where weights that rules derive (w+, mirrored kernels) come from: "graph" computes them from the model's own, which
        runtimes do once when they load the file; "stored" keeps them in the file.
    conditions : dict of sequences of int, optional
        As for `explain`.
    shapes : dict, optional
        Input shapes by name, where lengths that the model leaves open are to be fixed: None keeps one open, and a text does
        so under a name, by which lengths of several inputs are one.
    preprocess, strip, canonize : optional
        As for `explain`.
    out : path, optional
        Write the model to this file, too. Weights that the source has in files beside it, and those of a model of more than
        2 GB, go to `OUT.data`, each once and without a copy in memory; the proto that is returned refers to them there.

    Returns
    -------
    onnx.ModelProto
        With `reflrp.version`, `reflrp.rules` and `reflrp.source.sha256` among its metadata.

    Raises
    ------
    ModelError, UnsupportedOperator, RuleError, UnassignedNodes
        As `explain`.
    InputError
        For an argument that does not fit, and for what cannot be compiled; it names the node.

    Examples
    --------
    >>> g = reflrp.compile("model.onnx", rules="epsilon_plus")  # doctest: +SKIP
    >>> onnx.save(g, "model_lrp.onnx")  # doctest: +SKIP

    """
    from reflrp.compiler.build import compiled
    from reflrp.compiler.orders import Order
    from reflrp.compiler.source import given
    from reflrp.compiler.store import embedded, store

    checks.choice("init", init, ("output", "one", "input"))
    order = Order(target, init, layers, {} if conditions is None else conditions, derived)
    source = given(model, opset)
    proto = compiled(
        source,
        order,
        shapes,
        rules=rules,
        output=output,
        dtype="float32",
        strip=strip,
        canonize=canonize,
        preprocess=preprocess,
    ).proto
    if out is None:
        return embedded(proto, source.outside)
    store(proto, out, source.outside)
    return proto
