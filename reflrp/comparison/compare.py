"""The way of a comparison, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.arrays import Array
from reflrp.batches import Batch
from reflrp.comparison import causes as why
from reflrp.comparison import local
from reflrp.comparison.causes import SAME, Cause
from reflrp.comparison.local import Row
from reflrp.comparison.sides import Given, Relevances, Ruled, Setting, difference, given, nearest, ruled
from reflrp.comparison.spoken import in_our_words
from reflrp.comparison.variants import changes, others, twice_changed
from reflrp.errors import InputError, ReflrpError
from reflrp.explainer.programs import started
from reflrp.ground import checks
from reflrp.ground.views import shown
from reflrp.ir import Node
from reflrp.limits import guarded
from reflrp.model import Inputs, Model, load
from reflrp.rules.base import Rule
from reflrp.seeds import Goal, Target, digest

if TYPE_CHECKING:
    from reflrp.importer.files.read import ModelLike

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
"""Up to what difference, relative to the largest relevance of a value, both sides say the same."""

START = "the initial relevance"
"""What parts two sides before any node does."""

VARIANTS = 400
"""How many readings of a rule are tried."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Where two answers part, and why: what `reflrp.compare` returns.

    Attributes
    ----------
    a, b : str
        What the two sides are.
    difference : float
        max|R_a - R_b| over the inputs, relative to the largest relevance.
    first : str or None
        The first node, from the output backwards, at which the two part; None where they agree.
    span : tuple of str
        All nodes that may be the one, `first` included: where relevance was given at few values only, those between the first
        value that differs and the next ones above that were given. With "the initial relevance" where none above was.
    rows : tuple of Row
        A row a node, output first: both rules, the relative difference of what arrives, and of what the node adds.
    causes : tuple of Cause
        What differs, each with its clause and the share of the difference that it explains.
    variants : tuple of str
        Readings of the rule at `first` that give what the other side says there, where that is given relevance.
    relevances : dict
        {"a": {input: relevance}, "b": ...}.
    inputs : dict of array
        The explained inputs.
    tolerance : float
        Up to what relative difference two values count as equal.

    """

    a: str
    b: str
    difference: float
    first: str | None
    rows: tuple[Row, ...]
    causes: tuple[Cause, ...]
    variants: tuple[str, ...]
    relevances: Mapping[str, Mapping[str, np.ndarray]]
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    tolerance: float = 1e-9
    span: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the comparison as a table."""
        text: str = shown("comparison", self)
        return text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        html: str = shown("comparison_html", self)
        return html

    def to_html(self, path: str | Path | None = None) -> str:
        """Return a page of its own, with nothing to load; with `path`, also write it there."""
        page: str = shown("comparison_page", self, path)
        return page

    def plot(self, path: str | Path | None = None, *, sample: int = 0) -> Any:
        """Draw both relevances, their difference, and where in the network it arises.

        Returns the matplotlib figure; with `path`, also writes it there. Raises ReflrpError without matplotlib.
        """
        return shown("comparison_plot", self, path, sample=sample)


@guarded("the comparison")
def compare(
    model: ModelLike | Model,
    x: Inputs,
    a: Any,
    b: Any,
    target: Target = None,
    init: Any = None,
    output: str | None = None,
    dtype: str = "float64",
) -> Comparison:
    """Say where two explanations of the same output part, and why.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or Model
        What is explained.
    x : array, or dict of arrays by input name
        Shapes as the model declares them, the batch of N samples first.
    a, b : anything that `rules=` takes, Explanation, path of a saved one, or dict of arrays
        The two sides: a preset's or another library's name, a Rule, a Composite; or relevance that was computed already: an
        `Explanation`, an .npz file, or {value name: relevance} from any program. One of them must be rules. What lies within
        the error bars of an explanation that has some (`uncertainty=True`) is no difference.
    target, init : optional
        As for `reflrp.explain`. Where a side is an explanation, its target and its init stand for None; other ones are refused.
    output : str, optional
        Which output, where there are several.
    dtype : str, default "float64"
        What is computed in.

    Returns
    -------
    Comparison
        `first`, the first node at which they part; `rows`, the way there; `causes`, what differs and what it explains.

    Raises
    ------
    InputError, RuleError, UnassignedNodes, UnsupportedOperator
        As `reflrp.explain`; and where no side is rules, or given relevance does not fit the graph; for an explanation of
        another network, other inputs, another target or init.

    Examples
    --------
    >>> c = reflrp.compare("model.onnx", x, a="zennit.EpsilonPlus", b="epsilon_plus")  # doctest: +SKIP
    >>> c.first, c.causes  # doctest: +SKIP

    """
    loaded = load(model)
    feeds = loaded.feeds(x)
    sides = {"a": given("a", a, feeds), "b": given("b", b, feeds)}
    known = next((s for s in sides.values() if s is not None), None)
    if all(sides.values()):
        raise InputError(
            "a and b are both given relevance: one of them must be rules, so that there are nodes to compare at"
        )
    strip = known is None or known.of is None or known.of.score != "output"
    setting = Setting(loaded, feeds, loaded.output(output), checks.float_name(dtype), strip)
    by_rules = [ruled(name, value, setting) for name, value in (("a", a), ("b", b)) if sides[name] is None]
    R = _seed(setting, by_rules[0], target, init, known)
    if known is None:
        return _of_rules(setting, by_rules[0], by_rules[1], R)
    return _of_given(setting, by_rules[0], known, R, swapped=sides["a"] is known)


def _seed(setting: Setting, rules: Ruled, target: Target, init: Any, known: Given | None) -> Array:
    """Return the initial relevance, by default that of an explanation.

    Raises InputError for an explanation of another network, target or init, in which no node is to blame.
    """
    batch = Batch(setting.model, dict(setting.feeds), (setting.output,))
    of = known.of if known else None
    start = init if init is not None else "one" if of and of.init == "one" else "output"
    wanted = target if target is not None or of is None else of.target or None
    y, goals, R = started(rules.values[rules.output], wanted, start, batch.turned())
    if known:
        known.check_output(y)
        known.check_init(start, R, digest(start, y, batch.turned()))
        if known.target and goals and tuple(goals) != known.target:
            ours, theirs = _listed(tuple(goals)), _listed(known.target)
            raise InputError(f"{known.title} is of the targets {theirs}, and target= means {ours}; leave target= out")
    return R


def _listed(goals: tuple[Goal, ...]) -> str:
    return f"[{', '.join(map(str, goals[:8]))}{', ...' if goals[8:] else ''}]"


def _of_rules(setting: Setting, a: Ruled, b: Ruled, R: Array) -> Comparison:
    Ra, Rb, limit = a.spread(R), b.spread(R), TOLERANCE[setting.dtype]
    rows = local.of_rules(a, b, Ra, Rb)
    end = difference(a.inputs(Ra), b.inputs(Rb))
    first = next((r.node for r in rows if r.adds is not None and r.adds > limit), None)
    first = first or (next((r.node for r in rows if (r.arrives or 0) > limit), None) if end > limit else None)
    found = why.found(setting, a, b, Ra, Rb, R) if end > limit else ()
    span = (first,) if first else ()
    return _made(setting, a.title, b.title, end, span, rows, found, (), _inputs(a, Ra), _inputs(b, Rb))


def _of_given(setting: Setting, rules: Ruled, given: Given, R: Array, swapped: bool) -> Comparison:
    limit, Ra = TOLERANCE[setting.dtype], rules.spread(R)
    named = nearest(given, rules.graph, Ra)
    rows, handed, apart = local.of_given(rules, Ra, named, swapped)
    ends = {k: named[k] for k in rules.graph.inputs if k in named}
    end = max((difference(Ra.get(k, 0 * v), v) for k, v in (ends or named).items()), default=0.0)
    first = next((r.node for r in rows if r.adds is not None and r.adds > limit), None)
    if first is None and difference(Ra[rules.output], named.get(rules.output, Ra[rules.output])) > limit:
        first = START
    span = _span(rules, named, first, {k for k, off in apart.items() if off > limit}) if first else ()
    readings = _readings(rules, named, handed, first, limit) if first else ()
    sides = {"a": _inputs(rules, Ra), "b": ends}
    titles = (given.title, rules.title) if swapped else (rules.title, given.title)
    return _made(setting, *titles, end, span, rows, (), readings, *(sides[k] for k in ("ba" if swapped else "ab")))


def _span(rules: Ruled, given: Relevances, first: str, apart: set[str]) -> tuple[str, ...]:
    """Return all nodes that may be the first: those between the values where it differs and the next ones that were given."""
    names = [first]
    node = next((n for n in rules.graph.nodes if n.name == first), None)
    unsure = apart.intersection(node.inputs if node else ())
    for n in rules.graph.nodes:
        if unsure.intersection(n.inputs):
            names.append(n.name)
            unsure |= {n.output} - given.keys()
    begins = [START] if rules.output in unsure else []
    return tuple(dict.fromkeys([*names, *begins]))


def _readings(
    rules: Ruled, given: Relevances, handed: Mapping[str, Relevances], first: str, limit: float
) -> tuple[str, ...]:
    """Return the readings of the first node's rule that give what the other side says of its inputs."""
    node = next((n for n in rules.graph.nodes if n.name == first), None)
    own = rules.rule(node) if node else None
    if node is None or own is None:
        return ()
    readers = rules.graph.consumers()
    alone = {i: given[i] for i in node.inputs if i in given and readers[i] == [node]}
    r = handed[""].get(node.output)
    if not alone or r is None:
        return ()

    def same(x: Rule, y: Rule) -> bool:
        given = _handed(rules, node, x, r)
        return given is not None and _gives(rules, node, y, r, given, SAME)

    for base, readings in product(in_our_words(node, own, same), (changes, twice_changed, others)):
        tried = islice(readings(base), VARIANTS)
        found = [what for what, rule in tried if rule.fits(node) and _gives(rules, node, rule, r, alone, limit)]
        if found:
            return tuple(dict.fromkeys(found))
    return ()


def _handed(rules: Ruled, node: Node, rule: Rule, r: Array) -> Relevances | None:
    """Return what a rule hands to a node's inputs; None for a reading that cannot be computed here."""
    try:
        return rules.with_rules({node.name: rule}).program.handed_down(node, rules.values, r)
    except ReflrpError:
        return None


def _gives(rules: Ruled, node: Node, rule: Rule, r: Array, wanted: Relevances, limit: float) -> bool:
    parts = _handed(rules, node, rule, r)
    return parts is not None and all(difference(parts.get(k, 0 * v), v) <= limit for k, v in wanted.items())


def _inputs(rules: Ruled, R: Relevances) -> dict[str, np.ndarray]:
    graph = rules.graph
    return {k: R.get(k, np.zeros(graph.values[k].shape)) for k in graph.inputs if k in rules.program.carriers}


def _made(
    setting: Setting, a: str, b: str, end: float, span: tuple[str, ...], rows: list[Row], found: tuple[Cause, ...],
    readings: tuple[str, ...], Ra: Mapping[str, np.ndarray], Rb: Mapping[str, np.ndarray],
) -> Comparison:  # fmt: skip
    relevances = {"a": dict(Ra), "b": dict(Rb)}
    limit = TOLERANCE[setting.dtype]
    first = span[0] if span else None
    return Comparison(a, b, end, first, tuple(rows), found, readings, relevances, dict(setting.feeds), limit, span)
