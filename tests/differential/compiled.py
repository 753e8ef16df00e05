"""What `reflrp.compile` makes of a case, run by onnxruntime, against the engine in float64: at two sizes and more.

How far the two may be apart is observed: `FACTOR` times what float32 moves (NumPy's own explanation in float32, and shakes of the
inputs), and `PART` of the largest entry. Where that is more than `LOOSE` of the largest entry, or where the answer in float64
jumps when all inner values, or all parts of the relevance, are shaken, there is no second answer, and the case counts as not
compared; so it does where the engine, at the values that onnxruntime computed, says what the graph says (`byvalues`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import reflrp
from differential import byvalues
from differential.evaluate import Failed, close, run
from differential.forward import Fault
from differential.sizes import moved, openable, opened, sizes
from differential.trial import Trial, blamed
from differential.ways import Arrays, Size, Way, way
from reflrp.engine import Program
from reflrp.ir import Node

PART, FACTOR, LOOSE = 1e-3, 50, 0.05

SHAKES = 2
"""How many shakes of the inputs the bound is made of; to see a jump there are four times as many."""


@dataclass(frozen=True, eq=False)
class Shaken(Program):
    """A program of which each node hands down what a shake makes of its parts, as rounding does: equal ones cancel no more."""

    salt: int = 1

    def _share(self, node: Node, values: Any, r: Any) -> Any:
        parts, row = super()._share(node, values, r)
        return tuple(moved(p, self.salt) if isinstance(p, np.ndarray) else p for p in parts), row


def jumps(w: Way, at: Size, name: str, far: float) -> bool:
    """Return whether an answer in float64 moves about as far as it is off when values are shaken: all, the inputs, or relevance."""
    program = w.explainer().program(at.feeds)
    wide = {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in at.feeds.items()}
    end = program.graph.resolve(program.graph.outputs[0])
    active = {k for k, v in program.graph.values.items() if v.active}

    def back(values: Any, by: Program = program) -> Any:
        R = by.backward(dict(values), {end: at.init.astype(np.float64)}, keep=lambda _: True)[0]
        return np.asarray(R.get(name.partition("/")[2], 0.0))

    def shaken() -> Iterator[Any]:
        for salt in range(1, 4 * SHAKES + 1):
            yield back({k: moved(a, salt) if k in active else a for k, a in values.items()})
            yield back(program.forward({k: moved(a, salt) for k, a in wide.items()}))
            yield back(values, Shaken(program.graph, program.ops, program.rules, salt))

    values = program.forward(wide)
    want = back(values)
    return any(np.abs(R - want).max(initial=0) > far / 10 for R in shaken())


@dataclass(frozen=True)
class Forward:
    """The model's own outputs without optimisations, and what they are where the inputs are shaken."""

    outputs: Arrays
    again: Arrays

    def same(self, found: Arrays) -> bool:
        """Return whether others are the same but for rounding."""
        slack = {k: FACTOR * float(np.abs(self.again[k] - a).max(initial=0)) + 1e-6 for k, a in self.outputs.items()}
        return all(close(found[k], a, PART, slack[k]) for k, a in self.outputs.items())


def forward(w: Way, feeds: Arrays) -> Forward | str:
    """Return what onnxruntime makes of the model itself, or why that is no answer."""
    try:
        ways = [run(w.proto, x) for x in (feeds, {k: moved(a, 1) for k, a in feeds.items()})]
    except Exception:
        return "not a size of the model"
    found = Forward(*(dict(zip(w.outputs, x, strict=True)) for x in ways))
    try:
        if found.same(dict(zip(w.outputs, w.itself.run(None, w.given(w.itself, feeds)), strict=True))):
            return found
    except Exception:
        return "onnxruntime's optimisations break the model itself"
    return "onnxruntime's optimisations change the model itself"


def compared(t: Trial, check: str, w: Way, label: str, feeds: Arrays) -> str:
    """Compare at one size, and say how that ended."""
    itself = forward(w, feeds)
    if isinstance(itself, str):
        return itself
    at = w.size(label, feeds, itself.outputs[w.output], t.rng(14))
    try:
        ways = [w.explained(at), w.explained(at, "float32")]
        ways += [
            w.explained(replace(at, feeds={k: moved(a, s) for k, a in feeds.items()})) for s in range(1, SHAKES + 1)
        ]
    except reflrp.NonFiniteError:
        return "not finite"
    except reflrp.ReflrpError:
        return "explain refuses a size"
    try:
        found = w.found(at)
    except Exception as error:
        if not w.limits(feeds):
            return "not a length of the graph"
        raise Fault(check, blamed(t), f"{label}, {w.words}: the compiled graph fails: {error}") from error
    if not itself.same(found):
        raise Fault(check, blamed(t), f"{label}, {w.words}: the compiled graph has other outputs than the model")
    if w.init != "input":
        if w.target is None and tied(ways[0].output):
            return "on an edge: the largest entry of the output"
        at = replace(at, init=started(ways[0], w.init, itself.outputs[w.output].shape))
    named = [relevance(e) for e in ways]
    ends = [judged(t, check, w, at, k, found, [x[k] for x in named]) for k in named[0]]
    return next((end for end in ends if end != "same"), "same")


def relevance(e: reflrp.Explanation) -> Arrays:
    """Return what the engine gives, named as the outputs of the compiled graph."""
    return {f"relevance/{k}": R for k, R in e.relevances.items()} | {f"layer/{k}": R for k, R in e.layers.items()}


def tied(y: np.ndarray) -> bool:
    """Return whether rounding may say which entry of a sample's output is the largest."""
    rows = np.sort(y.reshape(len(y), -1), axis=1)
    return rows.shape[1] > 1 and bool((rows[:, -1] - rows[:, -2] <= 1e-4 * np.abs(rows).max(axis=1) + 1e-6).any())


def started(e: reflrp.Explanation, init: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the seed of an explanation, by its words; in the shape of the file's output, which may have samples elsewhere."""
    R = np.zeros(e.output.shape)
    for n, goal in enumerate(e.target):
        sides = ((goal.target, 1), (goal.against, -1)) if isinstance(goal, reflrp.Contrast) else ((goal, 1),)
        for index, sign in sides:
            where = (n, *np.atleast_1d(index))
            R[where] += sign * (e.output[where] if init == "output" else 1)
    turns = (np.moveaxis(R, 0, i) for i in range(R.ndim))
    return next((a for a in turns if a.shape == shape), R)


def judged(t: Trial, check: str, w: Way, at: Size, name: str, found: Arrays, ways: list[np.ndarray]) -> str:
    """Say whether one value's relevance is the engine's."""
    label = f"{at.label} {name}, {w.words}"
    if name not in found:
        if name.startswith("relevance/"):
            raise Fault(check, blamed(t), f"{label}: it is not there")
        return "same"
    got, (R, *others) = found[name].astype(np.float64), ways
    if got.shape != R.shape:
        raise Fault(check, blamed(t), f"{label}: {got.shape} {got.ravel()[:5]}, not {R.shape} {R.ravel()[:5]}")
    far, most = np.abs(got - R).max(initial=0), np.abs(R).max(initial=0)
    slack = FACTOR * sum(np.abs(a - R).max(initial=0) for a in others)
    near = PART * most + min(slack, LOOSE * most) + 1e-9
    if far <= near:
        return "same"
    if np.isfinite(got).all() and (far <= slack or jumps(w, at, name, far)):
        return "on an edge"
    theirs = byvalues.explained(w.proto, w.explainer(), at.feeds, at.init)
    if byvalues.agree(theirs, name, got, near):
        return "on an edge: onnxruntime's own values are far off"
    detail = f"{label}: {got.ravel()[:5]}, not {R.ravel()[:5]}; {far:.2g} off, {slack:.2g} by rounding"
    raise Fault(check, blamed(t), detail)


def check_compiled(t: Trial) -> str:
    """The compiled graph, with its batch size open where the file leaves it open."""
    return at_sizes(t, "compiled", way(t, 12, t.case.model()), ())


def check_lengths(t: Trial) -> str:
    """The compiled graph of a file that leaves all lengths open that may be others."""
    axes = openable(t.case, t.rng(16))
    return at_sizes(t, "lengths", way(t, 13, opened(t.case, axes)), axes) if axes else "no length may be another"


def at_sizes(t: Trial, check: str, w: Way, axes: Sequence[int]) -> str:
    """Compare at all sizes; the same is what is so at two, and on an edge at none."""
    w.explainer()(t.case.feeds)
    try:
        w.itself  # noqa: B018
    except Exception:
        return "onnxruntime does not open the model itself"
    try:
        w.session  # noqa: B018
    except Exception as error:
        if type(error).__name__ == "NotImplemented":
            raise Failed(f"onnxruntime has no kernel: {str(error)[:200]}") from error
        raise
    ends = [compared(t, check, w, label, feeds) for label, feeds in sizes(t.case, t.rng(15), axes)]
    edge = next((end for end in ends if end.startswith("on an edge")), "")
    if edge:
        return edge
    rest = sorted({end for end in ends if end != "same"})
    return "same" if ends.count("same") > 1 else f"at {ends.count('same')} sizes: {', '.join(rest)}"
