"""Other readings of what layers are, of routing, and of how relevance meets in a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from reflrp.conformance.literal.layers import LAYERS
from reflrp.conformance.literal.numbers import sqrt
from reflrp.conformance.literal.oracle import Oracle, give_back
from reflrp.conformance.literal.pools import POOLS
from reflrp.conformance.literal.rules import Relevance
from reflrp.conformance.literal.steps import Linear, Numbers, Routing, Site, Step, Term
from reflrp.conformance.readings.base import Change, Reading, Specs, instead, seen

ZERO, ONE = Fraction(0), Fraction(1)
BUILT = {**LAYERS, **POOLS}


def _linear(site: Site) -> Linear:
    step = BUILT[site.op](site)
    assert isinstance(step, Linear)
    return step


def _constant(site: Site, place: int, values: np.ndarray) -> Site:
    return replace(site, constants={**site.constants, place: values})


def flipped(site: Site) -> Step:
    """The kernel mirrored."""
    w = site.constants[1]
    return BUILT[site.op](
        _constant(site, 1, w[(slice(None), slice(None), *[slice(None, None, -1)] * (w.ndim - 2))].copy())
    )


def attributes(**changed: object) -> Callable[[Site], Step]:
    """Return the node with other attributes."""
    return lambda site: BUILT[site.op](replace(site, attributes={**site.attributes, **changed}))


def padding_toggled(site: Site) -> Step:
    """count_include_pad the other way."""
    return attributes(count_include_pad=1 - site.get("count_include_pad", 0))(site)


def no_bias(site: Site) -> Step:
    """A constant operand is left out."""
    step = BUILT[site.op](site)
    return replace(step, bias=[ZERO] * len(step.bias)) if isinstance(step, Linear) else step


def last_greatest(site: Site) -> Step:
    """Among equal maxima the last: the first of the mirrored input."""
    step = _linear(site)
    found = []
    for window in _windows(site, step):
        best = max(window, key=lambda t: (site.values[t.operand].ravel()[t.j], t.operand, t.j))
        found.append([best])
    return replace(step, rows=found)


def shared_ties(site: Site) -> Step:
    """Equal maxima share in equal parts."""
    step = _linear(site)
    found = []
    for window in _windows(site, step):
        top = max(site.values[t.operand].ravel()[t.j] for t in window)
        ties = [t for t in window if site.values[t.operand].ravel()[t.j] == top]
        found.append([t._replace(share=Fraction(1, len(ties))) for t in ties])
    return replace(step, rows=found)


def _windows(site: Site, step: Linear) -> list[list[Term]]:
    """Return all entries that each output could have come from."""
    if site.op == "MaxPool":
        whole = replace(site, op="AveragePool", attributes={**site.attributes, "count_include_pad": 0})
        return [[t._replace(share=ONE) for t in row] for row in _linear(whole).rows]
    if site.op == "Max":
        whole = replace(site, op="Sum")
        return _linear(whole).rows
    named = {"GlobalMaxPool": "GlobalAveragePool", "ReduceMax": "ReduceMean"}[site.op]
    return [[t._replace(share=ONE) for t in row] for row in _linear(replace(site, op=named)).rows]


def epsilon_outside(site: Site) -> Step:
    """Epsilon is added to the root, not under it."""
    var, epsilon = site.constants[4].astype(np.float64), Fraction(float(np.float32(site.get("epsilon", 1e-5))))
    roots = [sqrt(Fraction(v)) + epsilon for v in var.tolist()]
    wide = np.array([float(x * x - epsilon) for x in roots])
    return BUILT[site.op](_constant(site, 4, wide))


def rolled(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
    """Each sample gets the next one's relevance where a value is read."""

    class Rolled(Oracle):
        def __call__(self, model, inputs, seed, rules):  # type: ignore[no-untyped-def]
            found = super().__call__(model, inputs, seed, rules)
            turned = {k: np.roll(v, 1, axis=0) for k, v in found.relevance.items()}
            return replace(found, relevance=turned)

    return Rolled(**{f: getattr(oracle, f) for f in oracle.__dataclass_fields__}), specs


def written_once(step: Routing, R: Numbers, a: list[Numbers]) -> Relevance:
    """An entry that was copied gets the relevance of its last copy alone."""
    found = [[ZERO] * len(x) for x in a]
    for place, r in zip(step.source, R, strict=True):
        if place is not None:
            found[place[0]][place[1]] = r
    return found


def averaged_copies(step: Routing, R: Numbers, a: list[Numbers]) -> Relevance:
    """An entry that was copied gets the mean of its copies' relevance."""
    count = [[0] * len(x) for x in a]
    for place in step.source:
        if place is not None:
            count[place[0]][place[1]] += 1
    return [
        [r / max(n, 1) for r, n in zip(*rows, strict=True)] for rows in zip(give_back(step, R, a), count, strict=True)
    ]


def routed(
    how: Callable[[Routing, Numbers, list[Numbers]], Relevance],
) -> Callable[[Oracle, Specs], tuple[Oracle, Specs]]:
    """Return the change of how copies are summed."""
    return lambda oracle, specs: (replace(oracle, routed=how), specs)


def unturned(step: Routing, R: Numbers, a: list[Numbers]) -> Relevance:
    """Relevance goes back in row-major order, whatever was moved."""
    if len(a) != 1 or len(R) != len(a[0]):
        return give_back(step, R, a)
    return [list(R)]


def joined(how: Callable[[Numbers, Numbers], Numbers]) -> Callable[[Oracle, Specs], tuple[Oracle, Specs]]:
    """Return the change of what several readers of a value give it."""
    return lambda oracle, specs: (replace(oracle, joined=how), specs)


def seeded(factor: str) -> Callable[[Oracle, Specs], tuple[Oracle, Specs]]:
    """Return the change of the seed: "one" is 1 where the seed is not 0, "value" times the output's value."""

    def change(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
        class Seeded(Oracle):
            def __call__(self, model, inputs, seed, rules):  # type: ignore[no-untyped-def]
                if factor == "one":
                    other = {k: np.where(np.asarray(v) != 0, 1.0, 0.0) for k, v in seed.items()}
                else:
                    values = super().__call__(model, inputs, seed, rules).values
                    other = {k: np.asarray(v) * np.vectorize(float)(values[k]) for k, v in seed.items()}
                return super().__call__(model, inputs, other, rules)

        return Seeded(**{f: getattr(oracle, f) for f in oracle.__dataclass_fields__}), specs

    return change


def everywhere_first(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
    """The first layer's rule on every layer of its kind."""
    weighted = [s for s in specs if s.rule in ("epsilon", "gamma", "alpha_beta", "z_plus", "z_box", "w_square", "flat")]
    if len({s.rule for s in weighted}) < 2 or weighted[0].rule == "z_box":
        return oracle, specs
    return oracle, tuple(
        replace(s, rule=weighted[0].rule, params=weighted[0].params) if s in weighted else s for s in specs
    )


def everywhere_last(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
    """The last layer's rule on every layer: the first one's is forgotten."""
    weighted = [s for s in specs if s.rule in ("epsilon", "gamma", "alpha_beta", "z_plus", "z_box", "w_square", "flat")]
    if len({s.rule for s in weighted}) < 2:
        return oracle, specs
    return oracle, tuple(
        replace(s, rule=weighted[-1].rule, params=weighted[-1].params) if s in weighted else s for s in specs
    )


def computed(**operators: Callable[[Site], Step]) -> Change:
    """Return the change of what operators compute."""
    return lambda oracle, specs: (replace(oracle, layers={**oracle.layers, **operators}), specs)


ANY_MAX = dict.fromkeys(("GlobalMaxPool", "Max", "MaxPool", "ReduceMax"), last_greatest)
TIES = dict.fromkeys(("GlobalMaxPool", "Max", "MaxPool", "ReduceMax"), shared_ties)

GRAPHS = (
    Reading("POOL-2", "last", "deviation", "Among equal maxima the last wins.", seen(**ANY_MAX)),
    Reading("POOL-2", "ties share", "deviation", "Equal maxima share in equal parts.", seen(**TIES)),
    Reading(
        "FWD-1",
        "kernel mirrored",
        "deviation",
        "Convolutions mirror the kernel.",
        computed(Conv=flipped, ConvTranspose=flipped),
    ),
    Reading(
        "FWD-1",
        "padding toggled",
        "deviation",
        "Padding counts the other way in averages.",
        computed(AveragePool=padding_toggled),
    ),
    Reading(
        "FWD-1",
        "epsilon outside",
        "deviation",
        "A BatchNormalization adds epsilon to the root.",
        computed(BatchNormalization=epsilon_outside),
    ),
    Reading("FWD-1", "constant ignored", "deviation", "A constant that is added is left out.", computed(Add=no_bias)),
    Reading(
        "LAYER-1",
        "kernel mirrored",
        "deviation",
        "The kernel is mirrored on the way back.",
        seen(Conv=flipped, ConvTranspose=flipped),
    ),
    Reading(
        "LAYER-2",
        "padding toggled",
        "deviation",
        "Padding counts where it should not, or the other way.",
        seen(AveragePool=padding_toggled),
    ),
    Reading(
        "LAYER-3",
        "constant ignored",
        "deviation",
        "A constant that is added has no part in the sum.",
        seen(Add=no_bias, Sub=no_bias, Sum=no_bias),
    ),
    Reading(
        "ROUTE-1", "last copy", "deviation", "Of several copies the last one's relevance counts.", routed(written_once)
    ),
    Reading("ROUTE-1", "mean of copies", "deviation", "Copies are averaged.", routed(averaged_copies)),
    Reading("ROUTE-1", "order kept", "deviation", "Relevance goes back in the order of the output.", routed(unturned)),
    Reading(
        "GRAPH-1",
        "last reader",
        "deviation",
        "Of several readers the last one visited counts.",
        joined(lambda one, other: other),
    ),
    Reading(
        "GRAPH-1",
        "first reader",
        "deviation",
        "Of several readers the first one visited counts.",
        joined(lambda one, other: one),
    ),
    Reading(
        "GRAPH-1",
        "mean of readers",
        "deviation",
        "Readers are averaged.",
        joined(lambda one, other: [(x + y) / 2 for x, y in zip(one, other, strict=True)]),
    ),
    Reading("BATCH-1", "samples mixed", "deviation", "A sample gets another one's relevance.", rolled),
    Reading(
        "SEED-1",
        "seed one",
        "deviation",
        "Relevance starts with 1 wherever the seed is not 0.",
        seeded("one"),
        ("relevance_propagation_jl",),
    ),
    Reading("SEED-1", "seed times output", "deviation", "The seed is multiplied with the output.", seeded("value")),
    Reading(
        "BN-1",
        "epsilon outside",
        "deviation",
        "Epsilon is added to the root, not under it.",
        seen(BatchNormalization=epsilon_outside),
    ),
    Reading(
        "BN-1",
        "shift ignored",
        "deviation",
        "The shift has no part in the denominator.",
        seen(BatchNormalization=no_bias),
    ),
    Reading("BN-2", "passed", "deviation", "The BatchNormalization is passed, not folded.", instead("fold", "pass")),
    Reading(
        "COMP-1", "first rule everywhere", "deviation", "The first layer's rule stands on all layers.", everywhere_first
    ),
    Reading(
        "COMP-1", "last rule everywhere", "deviation", "The last layer's rule stands on all layers.", everywhere_last
    ),
)
