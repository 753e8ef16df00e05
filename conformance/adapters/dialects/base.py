"""What the adapters of dialects share: reflrp, with rules that have another library's names and arguments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

from reflrp.composites import Composite, anything, name
from reflrp.conformance.adapters import reflrp
from reflrp.conformance.adapters.reflrp import Loaded, literally
from reflrp.conformance.protocol import Info, RuleSpec, Unsupported
from reflrp.rules import Gradient
from reflrp.rules.base import Rule

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """A node of the file, as far as a library tells its layers apart.

    Attributes
    ----------
    name, op_type : str
        Of the ONNX node.
    values : int
        How many of its inputs are no constants.
    constants : tuple of int
        The ranks of those that are.
    before : str
        The operator that made its first value for it alone; "" where that is an input, or read by others too.
    makers : tuple of str
        The operators that made its inputs.

    """

    name: str
    op_type: str
    values: int
    constants: tuple[int, ...]
    before: str
    makers: tuple[str, ...]

    @property
    def is_dense(self) -> bool:
        """Whether the node is a dense layer: a product with one constant matrix."""
        return self.op_type in ("Gemm", "MatMul") and self.constants[:1] == (2,)

    @property
    def is_conv(self) -> bool:
        """Whether the node is a convolution with a constant kernel."""
        return self.op_type in ("Conv", "ConvTranspose") and self.values == 1


class Dialect(reflrp.Adapter):
    """reflrp by a dialect's rules. A subclass says what a case's rule is there, or that the library has no such choice.

    Attributes
    ----------
    library : str
        The dialect's name.
    rules : frozenset of str
        The rules that the library has, by the names that cases give them.
    operators : frozenset of str or None
        The operators that it has layers for; None: each is tried.

    """

    library: ClassVar[str]
    rules: ClassVar[frozenset[str]]
    operators: ClassVar[frozenset[str] | None] = None

    def describe(self) -> Info:
        """Return who is judged."""
        title = f"reflrp.dialects.{self.library}"
        return Info(title, version("reflrp"), self.rules, self.operators, ("float64", "float32"), intermediates=True)

    def rule(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return the dialect's rule for a node; None where it stands on none. Raises Unsupported."""
        raise NotImplementedError

    def composite(self, model: Loaded, rules: Sequence[RuleSpec]) -> Composite:
        """Return what a case's rules are in the dialect."""
        places = places_of(model)
        found = {spec.node: (_place(places, spec), spec) for spec in rules}
        ruled = {node: rule for node, given in found.items() if (rule := self.rule(*given)) is not None}
        return self.composed(model, ruled, rules)

    def composed(self, model: Loaded, ruled: Mapping[str, Rule], rules: Sequence[RuleSpec]) -> Composite:
        """Return the composite: what has no rule is a plain gradient, as in libraries that hook layers."""
        pairs = tuple((name(literally(node)), rule) for node, rule in ruled.items())
        return Composite((*pairs, (anything(), Gradient())), self.library, ())


def places_of(model: Loaded) -> dict[str, Place]:
    """Return the nodes of a model by name."""
    source, found = model.model.source, {}
    makers = {output: node.op_type for node in source.nodes for output in node.outputs}
    readers = Counter(value for node in source.nodes for value in node.inputs)
    for node in source.nodes:
        known = tuple(source.constants[i].ndim for i in node.inputs if i in source.constants)
        values = sum(1 for i in node.inputs if i and i not in source.constants)
        first = node.inputs[0] if node.inputs and readers[node.inputs[0]] == 1 else ""
        made = tuple(makers.get(i, "") for i in node.inputs)
        found[node.name] = Place(node.name, node.op_type, values, known, makers.get(first, ""), made)
    return found


def _place(places: Mapping[str, Place], spec: RuleSpec) -> Place:
    if spec.node not in places:
        raise Unsupported(f"there is no node {spec.node!r}")
    return places[spec.node]


def only(library: str, params: Params, **wanted: Any) -> None:
    """Raise Unsupported where a parameter is another than the one that the library has."""
    for key, value in wanted.items():
        if params[key] != value:
            raise Unsupported(f"{library}'s rule has no {key}={params[key]!r}")


def epsilon_of(library: str, params: Params, forms: Sequence[str] = ("signed",)) -> float:
    """Return a stabiliser's epsilon. Raises Unsupported for a form that the library does not have."""
    given = params["stabilizer"]
    if given["form"] not in forms or given["norm_scale"] or given["epsilon"] < 0:
        raise Unsupported(f"{library} has no stabiliser {given}")
    return float(given["epsilon"])
