"""What must hold of a library's own answers, whatever they are: each returns (error, what it is)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reflrp.conformance.cases import Case
from reflrp.conformance.protocol import Adapter, Arrays
from reflrp.conformance.verdicts import distance, malformed

Found = tuple[float, str]


def _explained(case: Case, adapter: Adapter, model: Any, inputs: Arrays, seed: Arrays) -> dict[str, np.ndarray]:
    return _sound(adapter.explain(model, _copied(inputs), _copied(seed), case.rules), inputs)


def _sound(found: Any, inputs: Arrays) -> dict[str, np.ndarray]:
    """Return an answer as arrays of our own: a library may write its next answer over this one. Raises ValueError."""
    wrong = malformed(found, inputs)
    if wrong:
        raise ValueError(wrong)
    return {k: np.array(found[k], np.float64) for k in inputs}


def _copied(arrays: Arrays) -> dict[str, np.ndarray]:
    return {k: v.copy() for k, v in arrays.items()}


def batch(case: Case, adapter: Adapter, model: Any) -> Found:
    """Samples of a batch do not change one another: R(x)_n = R(x_n)."""
    inputs, seed = case.part("in"), case.part("seed")
    whole = _explained(case, adapter, model, inputs, seed)
    errors = []
    for n in range(len(next(iter(inputs.values())))):
        cut = [{k: v[n : n + 1] for k, v in group.items()} for group in (inputs, seed)]
        one = _explained(case, adapter, model, cut[0], cut[1])
        errors.append(distance({k: v[n : n + 1] for k, v in whole.items()}, one))
    return max(errors), "a sample of a batch is explained otherwise than alone"


def linear(case: Case, adapter: Adapter, model: Any) -> Found:
    """Relevance is linear in the seed: R(2 s - t) = 2 R(s) - R(t)."""
    inputs, seed, other = case.part("in"), case.part("seed"), case.part("other")
    s = _explained(case, adapter, model, inputs, seed)
    t = _explained(case, adapter, model, inputs, other)
    both = _explained(case, adapter, model, inputs, {k: 2 * seed[k] - other[k] for k in seed})
    return distance(both, {k: 2 * s[k] - t[k] for k in s}), "relevance is not linear in the seed"


def conserves(case: Case, adapter: Adapter, model: Any) -> Found:
    """Without biases and stabiliser the inputs get what the outputs started with, sample by sample."""
    inputs, seed = case.part("in"), case.part("seed")
    found = _explained(case, adapter, model, inputs, seed)
    error = distance({"sum": _sums(found)}, {"sum": _sums(seed)})
    return error, f"the inputs' relevance sums to {_sums(found).tolist()}, not {_sums(seed).tolist()}"


def _sums(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.asarray(sum(v.reshape(len(v), -1).sum(axis=1) for v in arrays.values()))


def again(case: Case, adapter: Adapter, model: Any) -> Found:
    """The same question has the same answer, and asking changes neither inputs nor seed."""
    inputs, seed = case.part("in"), case.part("seed")
    given = _copied(inputs), _copied(seed)
    one = _sound(adapter.explain(model, *given, case.rules), inputs)
    changed = any((given[0][k] != v).any() for k, v in inputs.items()) or any(
        (given[1][k] != v).any() for k, v in seed.items()
    )
    other = _explained(case, adapter, model, inputs, seed)
    return (
        (float("inf"), "inputs or seed were overwritten")
        if changed
        else (distance(other, one), "asked twice, it answers twice")
    )


def nothing(case: Case, adapter: Adapter, model: Any) -> Found:
    """A seed of zeros gives zeros."""
    inputs = case.part("in")
    found = _explained(case, adapter, model, inputs, {k: 0 * v for k, v in case.part("seed").items()})
    return max(float(np.abs(v).max(initial=0.0)) for v in found.values()), "a seed of zeros gives relevance"


def forward(case: Case, adapter: Adapter, model: Any) -> Found:
    """Nothing but the outputs, which the runner has compared already."""
    return 0.0, ""


PROPERTIES: dict[str, Callable[[Case, Adapter, Any], Found]] = {
    "again": again,
    "batch": batch,
    "conserves": conserves,
    "forward": forward,
    "linear": linear,
    "nothing": nothing,
}
"""The properties by the names that cases give them."""
