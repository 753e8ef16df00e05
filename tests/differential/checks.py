"""What must hold of any case. Each check returns how it ended, and raises `Fault` where something is not as it must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

import reflrp
from differential import folding, forward, literal, nodes, rules, whole
from differential.compiled import check_compiled, check_lengths
from differential.evaluate import close
from differential.forward import Fault
from differential.trial import Trial, apart, blamed, hangs, prepared, recognised
from reflrp import rules as r
from reflrp.composites import Composite, kind, preset
from reflrp.composites.composite import defaults
from reflrp.ir import Node

SAME = 1e-7
"""How far two ways through reflrp may differ, relative to the largest entry: by rounding alone."""

LITERAL = 1e-4
"""How far the oracle of whole graphs may be off: some nodes it computes in float32, and denominators amplify that."""


def check_forward(t: Trial) -> str:
    """What the network computes: reflrp, onnxruntime, and the reference code node by node."""
    forward.check(t.case, t.model, t.chain)
    return "same"


def check_whole(t: Trial) -> str:
    """Relevance of the inputs, from the ONNX nodes alone."""
    rng = t.rng(2)
    st = float(rng.choice(rules.EPSILONS))
    products = (r.Half(st), r.SignalTakesAll("auto", st), r.SignalTakesAll("activated", st))
    chosen = whole.Chosen(rules.linear(rng), rules.linear(rng), r.Norm(st), products[int(rng.integers(3))])
    pairs = ((kind("conv"), chosen.conv), (kind("dense"), chosen.dense), (kind("product"), chosen.product))
    try:
        oracle = whole.Whole(t.case, dict(t.chain.values))
        want = oracle.relevance({t.output: t.init.copy()}, chosen)
    except (nodes.Wordless, literal.Edge) as why:
        return f"no words: {why}" if isinstance(why, nodes.Wordless) else "on an edge"
    explainer = t.explainer(Composite((*pairs, *defaults(st)), "whole", ()).preprocessed("absorb"), strip=False)
    found = explainer(t.case.feeds, init=t.init)
    if recognised(t, explainer):
        return "recognised across blocks"
    for k, R in found.relevances.items():
        expected = np.broadcast_to(np.asarray(want.get(k, 0.0), float), R.shape)
        if not close(R, expected, LITERAL, 1e-7):
            raise Fault("whole", blamed(t), f"input {k}: {R.ravel()[:5]}, literally {expected.ravel()[:5]}; {chosen}")
    return "same"


def check_nodes(t: Trial) -> str:
    """Relevance of every value, by any rules, each node as the matrix that it is observed to be; and every account closes."""
    composite = rules.composite(t.rng(3))
    program, values = prepared(t, composite)
    end = program.graph.resolve(program.graph.outputs[0])
    init = t.rng(5).normal(size=values[end].shape)
    found, rows = program.backward(dict(values), {end: init.copy()}, keep=lambda name: True)
    closes(rows)
    try:
        want = nodes.backward(program, values, {end: init.copy()})
    except (nodes.Wordless, literal.Edge) as why:
        return f"no words: {why}" if isinstance(why, nodes.Wordless) else "on an edge"
    for node in reversed(program.graph.nodes):
        for k in node.inputs:
            R = np.asarray(found.get(k, 0.0), float)
            expected = np.asarray(want.get(k, 0.0), float)
            R, expected = np.broadcast_arrays(R, expected)
            if not close(R, expected, 1e-6, 1e-8):
                where = f"{node.op_type} ({type(node.op).__name__}), {type(program.rules.get(node.name)).__name__}"
                raise Fault(
                    "nodes", where, f"{R.ravel()[:5]}, literally {expected.ravel()[:5]}; {program.rules.get(node.name)}"
                )
    return "same"


def closes(rows: Any, given: Mapping[str, float] = MappingProxyType({})) -> None:
    """Check each node's account; `given` says how large all is that a node hands down."""
    for row in rows:
        parts = row.passed_on + row.bias + row.stabilizer + row.dropped + row.error
        size = max(
            row.flow,
            abs(row.passed_on),
            abs(row.bias),
            abs(row.stabilizer),
            abs(row.dropped),
            given.get(row.node, 0.0),
            1e-12,
        )
        if abs(row.error) > 1e-9 * size or abs(row.received - parts) > 1e-9 * size:
            raise Fault("ledger", f"{row.kind}, {row.rule}", repr(row))


def check_batch(t: Trial) -> str:
    """A batch against one by one, inner values too."""
    t = Trial(replace(t.case, dynamic=True))
    if t.case.count < 2 or not apart(t):
        return "samples meet"
    composite = rules.composite(t.rng(6), alone=True)
    explainer = t.explainer(composite)
    e = explainer(t.case.feeds, init=t.init, layers=True)
    try:
        t.explainer(composite, batch_size=1)(t.case.feeds, init=t.init)
    except reflrp.InputError:
        return "not proven apart"
    for i in range(t.case.count):
        one = explainer(t.case.sample(i), init=t.init[i : i + 1], layers=True)
        for k, R in one.relevances.items():
            alike(t, explainer, "batch", k, e.relevances[k][i : i + 1], R)
    return "same"


def check_cuts(t: Trial) -> str:
    """A batch in cuts against the whole, inner values too."""
    if t.case.count < 2:
        return "one sample"
    composite = rules.composite(t.rng(7), alone=True)
    size = 1 if t.case.count < 3 else t.case.count - 1
    wholly, explainer = t.explainer(composite), t.explainer(composite, batch_size=size)
    e = wholly(t.case.feeds, init=t.init, layers=True)
    try:
        cut = explainer(t.case.feeds, init=t.init, layers=True)
    except reflrp.InputError:
        return "not cut"
    if set(e.layers) != set(cut.layers):
        raise Fault("cuts", blamed(t), f"inner values differ: {set(e.layers) ^ set(cut.layers)}")
    for k, R in {**e.relevances, **e.layers}.items():
        alike(t, wholly, "cuts", k, cut.relevances[k] if k in cut.relevances else cut.layers[k], R)
    return "same"


def alike(t: Trial, explainer: reflrp.Explainer, check: str, name: str, found: np.ndarray, want: np.ndarray) -> None:
    """Check that two ways give the same relevance, unless it hangs on rounding."""
    if close(found, want, SAME, 1e-10):
        return
    moved = {k: a * (1 + 1e-9) if a.dtype.kind == "f" else a for k, a in t.case.feeds.items()}
    try:
        one, two = (explainer(x, init=t.init, layers=True) for x in (t.case.feeds, moved))
    except reflrp.ReflrpError:
        return
    for k, R in {**one.relevances, **one.layers}.items():
        again = two.relevances[k] if k in two.relevances else two.layers.get(k, R)
        if not close(again, R, 1e-5, 1e-8):
            return  # it jumps
    raise Fault(check, blamed(t), f"{name}: {found.shape} {found.ravel()[:5]} and {want.shape} {want.ravel()[:5]}")


def check_presets(t: Trial) -> str:
    """Any preset explains, and every account closes; what arrives is what the accounts say."""
    name = rules.PRESETS[int(t.rng(8).integers(len(rules.PRESETS)))]
    try:
        e = t.explainer(preset(name))(t.case.feeds, init=t.init)
    except reflrp.NonFiniteError:
        return "not finite"
    try:
        closes(e.conservation.rows)
    except Fault:
        closes(e.conservation.rows, given(t, name))
    for k, R in e.relevances.items():
        if abs(e.conservation.inputs[k] - R.sum()) > 1e-9 * (np.abs(R).sum() + 1e-12):
            raise Fault("presets", name, f"the ledger says {e.conservation.inputs[k]} of {k}, which gets {R.sum()}")
        if R.shape != t.case.feeds[k].shape:
            raise Fault("presets", name, f"{R.shape} for {t.case.feeds[k].shape}")
    return "same"


def given(t: Trial, name: str) -> dict[str, float]:
    """Return the sum of the magnitudes of all that each node hands down: rounding of an account is a part of that."""
    program, found = t.explainer(preset(name)).program(t.case.feeds), dict[str, float]()
    values = program.forward({k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in t.case.feeds.items()})

    def seen(node: Node, parts: tuple[Any, ...]) -> None:
        found[node.name] = sum(float(np.abs(p).sum()) for p in parts if isinstance(p, np.ndarray))

    end = program.graph.resolve(program.graph.outputs[0])
    program.backward(values, {end: t.init.copy()}, keep=lambda _: False, seen=seen)
    return found


def check_folded(t: Trial) -> str:
    """A BatchNormalization that is folded, against the same network folded by hand."""
    hand = folding.by_hand(t.case)
    if hand is None:
        return "nothing to fold"
    rng = t.rng(9)
    st = float(rng.choice(rules.EPSILONS))
    pairs = ((kind("conv"), rules.linear(rng, layer=False)), (kind("dense"), rules.linear(rng, layer=False)))
    composite = Composite((*pairs, *defaults(st)), "folded")
    one = t.explainer(composite, strip=False)(t.case.feeds, init=t.init)
    two = reflrp.Explainer(hand.model(), composite, output=t.output, strip=False)(t.case.feeds, init=t.init)
    plain = t.explainer(composite, strip=False, canonize=())(t.case.feeds, init=t.init)
    if not close(one.output, plain.output, 1e-9):
        raise Fault("folded", "forward", "folding changes the output")
    for k, R in one.relevances.items():
        if not close(R, two.relevances[k], 1e-4, 1e-6):
            alike(t, t.explainer(composite, strip=False), "folded", k, two.relevances[k], R)
    return "same"


def check_single(t: Trial) -> str:
    """Relevance in float32 against float64."""
    composite = rules.composite(t.rng(10))
    double, single = t.explainer(composite), t.explainer(composite, dtype="float32")
    e = double(t.case.feeds, init=t.init)
    try:
        f = single(t.case.feeds, init=t.init)
    except reflrp.NonFiniteError:
        return "not finite"
    again = double(forward.shaken(t.case), init=t.init)
    for k, R in e.relevances.items():
        slack = 30 * np.abs(again.relevances[k] - R).max(initial=0) + 1e-5
        if f.relevances[k].dtype != np.float32 or not close(f.relevances[k], R, 1e-3, slack):
            if hangs(double, t):
                return "on an edge"
            found = f.relevances[k]
            raise Fault("single", blamed(t), f"{k}: {found.dtype} {found.ravel()[:5]}, in float64 {R.ravel()[:5]}")
    return "same"


CHECKS: dict[str, Callable[[Trial], str]] = {
    "forward": check_forward, "whole": check_whole, "nodes": check_nodes, "batch": check_batch, "cuts": check_cuts,
    "presets": check_presets, "folded": check_folded, "single": check_single,
    "compiled": check_compiled, "lengths": check_lengths,
}  # fmt: skip
