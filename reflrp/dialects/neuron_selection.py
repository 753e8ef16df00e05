"""How Keras libraries choose what they explain: the neurons, and the relevance that these start with."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.engine import Program
from reflrp.errors import InputError
from reflrp.explainer import Explainer
from reflrp.ground import checks
from reflrp.model import Inputs, Model, load
from reflrp.ops.normaliser import Softmax

MODES = ("max_activation", "index", "all")


def forwarded(explainer: Explainer, X: Inputs) -> tuple[Program, dict[str, Any]]:
    """Return the program for a whole batch, and all values of its forward pass."""
    program = explainer.program(X)
    feeds = explainer.model.feeds(X)
    inputs = {k: a.astype(explainer.dtype) if a.dtype.kind == "f" else a for k, a in feeds.items()}
    return program, program.forward(inputs)


def whole(model: Any, rules: Any, X: Any, softmax: bool) -> Explainer:
    """Return an explainer that never cuts the batch, whose samples some rules of these libraries mix.

    softmax: whether it begins with the values of a final Softmax; without, as behind `model_wo_softmax`, with what goes into it.
    A final Sigmoid or LogSoftmax is a function like any other in these libraries, which begin with its values.
    """
    first = next(iter(X.values())) if isinstance(X, dict) else X
    count = np.shape(first)[0] if np.ndim(first) else 1
    loaded = load(model)
    strip = not softmax and ends_in_softmax(loaded, X)
    return Explainer(loaded, rules, batch_size=max(count, 1), strip=strip)


def ends_in_softmax(model: Model, X: Any) -> bool:
    """Return whether the output of a model is that of a Softmax."""
    feeds = model.feeds(X)
    graph = model.graph({name: a.shape for name, a in feeds.items()}, feeds)
    last = graph.producers().get(graph.resolve(model.output(None)))
    return last is not None and isinstance(last.op, Softmax)


def selected(y: np.ndarray, mode: str, selection: Any = None) -> np.ndarray:
    """Return the initial relevance: the output's value at the selected neurons, and 0 elsewhere.

    mode: "max_activation" (each sample's largest; where several are, in equal parts), "index" (`selection`: an int, or
    one a sample, into the flattened output), "all" (the whole output). Raises InputError for anything else.
    """
    checks.choice("neuron_selection_mode", mode, MODES, InputError)
    if (selection is None) == (mode == "index"):
        raise InputError(
            f"neuron_selection_mode={mode!r} {'needs' if mode == 'index' else 'takes no'} neuron_selection"
        )
    if mode == "all":
        return y
    flat = y.reshape(len(y), -1)
    if mode == "max_activation":
        hits = flat == flat.max(axis=1, keepdims=True)
    else:
        hits = np.arange(flat.shape[1]) == _indices(selection, *flat.shape)[:, None]
    return np.where(hits, flat / hits.sum(axis=1, keepdims=True), 0).reshape(y.shape)


def _indices(selection: Any, count: int, size: int) -> np.ndarray:
    given = checks.whole_array("neuron_selection", selection)
    if given is None or given.size not in (1, count):
        raise InputError(f"neuron_selection={checks.shown(selection)} must be an int, or {count}, one a sample")
    found = given.reshape(-1)
    if not ((found >= 0) & (found < size)).all():
        raise InputError(f"neuron_selection={checks.shown(selection)} is out of range for {size} neurons")
    return np.broadcast_to(found, (count,))
