"""What living analyzers of Keras libraries, and the rule classes that they hold, are: read from their attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from types import FunctionType
from typing import Any

import numpy as np

from reflrp.composites.matchers import Survey
from reflrp.dialects.innvestigate.base import released
from reflrp.dialects.innvestigate.keras_rule import KerasRule
from reflrp.dialects.keras import KERNEL, KerasModel
from reflrp.dialects.keras_matchers import Layers
from reflrp.errors import RuleError
from reflrp.ground.checks import refuse, shown
from reflrp.ir import Graph
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.linear import Dense

Table = Mapping[str, tuple[type[KerasRule], tuple[str, ...]]]
"""{the name of a library's class: (our rule, the names of its arguments behind the layer, in the library's order)}."""

KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
"""The attributes by which the libraries tell layers with a kernel."""

UNUSED = frozenset({"copy_weights", "as_released", "stabilizer"})
"""Arguments that change no number of the library's, and fields that are ours alone."""


class Layer:
    """Stands for the layer when a rule class is asked for its arguments: no attribute of it can be read."""

    def __getattribute__(self, name: str) -> Any:
        raise RuleError(f"it reads {name!r} of its layer")


def library_of(kind: Any) -> str:
    """Return the package that a class or function is from."""
    return str(getattr(kind, "__module__", "") or "").partition(".")[0]


def check_own(kind: type, library: str) -> None:
    """Raise RuleError for a class of which a method of the library's is another's; constructors may be."""
    own = [c for c in kind.__mro__ if library_of(c) == library]
    for base in kind.__mro__:
        for name, value in vars(base).items():
            another = isinstance(value, FunctionType) and name != "__init__" and library_of(value) != library
            if another and any(name in vars(c) for c in own):
                raise RuleError(f"{kind.__name__} was changed: its {name} is not {library}'s own")


def analyzer_of(analyzer: Any, library: str, known: Sequence[str]) -> str:
    """Return which of the known analyzers an object is, by the first of its classes that is the library's and known.

    Raises RuleError for anything else, and for analyzers that were changed.
    """
    if isinstance(analyzer, type) or not any(library_of(c) == library for c in type(analyzer).__mro__):
        raise refuse("analyzer", analyzer, f"an analyzer of {library}'s", RuleError)
    found = next((c.__name__ for c in type(analyzer).__mro__ if library_of(c) == library and c.__name__ in known), None)
    if found is None:
        raise RuleError(
            f"{library}'s {type(analyzer).__name__} is no analyzer of relevance, and has no equivalent here; "
            f"there is {', '.join(known)}"
        )
    check_own(type(analyzer), library)
    over = [name for name in vars(analyzer) if callable(getattr(type(analyzer), name, None))]
    if over:
        raise RuleError(f"the {type(analyzer).__name__} was changed: its {over[0]} is not {library}'s own")
    return found


def read(analyzer: Any, name: str) -> Any:
    """Return an attribute. Raises RuleError where there is none, as in another version of the library."""
    try:
        return getattr(analyzer, name)
    except AttributeError as error:
        raise RuleError(
            f"the {type(analyzer).__name__} has no {name!r}: it is of another version of its library"
        ) from error


def model_of(analyzer: Any) -> KerasModel:
    """Return the description of an analyzer's Keras model. Raises RuleError for layers of classes that are not Keras's."""
    model = read(analyzer, "_model")
    described = KerasModel.of(model)
    if described is None:
        raise RuleError(f"the {type(analyzer).__name__} has no model")
    for layer in model.layers:
        if library_of(type(layer)) not in ("keras", "tensorflow", "tf_keras"):
            raise RuleError(f"layer {layer.name!r} is of the class {type(layer).__name__}, which is not Keras's")
    return described


def check_weights(graph: Graph, model: KerasModel) -> None:
    """Raise RuleError for a convolution or dense node that holds other numbers than its layer, in whatever order of axes."""
    survey = Survey(graph)
    for node in graph.nodes:
        if not isinstance(node.op, Dense | Conv | ConvTranspose):
            continue
        layer = model.layer(node, survey)
        if not any(_same(np.asarray(node.op.w), w) for w in layer.weights):
            raise RuleError(
                f"node {node.name!r} (onnx {node.op_type}) is of layer {layer.name!r}, but its weights are others; was the file "
                "exported from the analyzer's model?"
            )


def _same(held: np.ndarray, kernel: np.ndarray) -> bool:
    """Return whether a node holds a kernel's numbers, to the rounding of the file's type, relative to the largest."""
    if held.size != kernel.size:
        return False
    limit = (1e-12 if held.dtype.itemsize == 8 else 1e-6) * np.max(np.abs(kernel), initial=0.0)
    apart = np.sort(np.ravel(held)).astype(float) - np.sort(np.ravel(kernel)).astype(float)
    return bool(np.all(np.abs(apart) <= limit))


def rule(given: Any, library: str, table: Table, names: Mapping[str, type[KerasRule]], as_released: bool) -> KerasRule:
    """Return our rule for a text, or for a class of the library's rules or one made from it.

    A rule class is asked what it hands to the class of the library that it inherits from, on which everything else hangs: so
    its arguments are those that the library gets. Raises RuleError for rules with no equivalent, by name.
    """
    if isinstance(given, str):
        if given not in names:
            raise RuleError(f"rule {given!r} is unknown to {library}; there is {', '.join(names)}")
        return names[given](**released(names[given], as_released))
    if not isinstance(given, type):
        raise RuleError(f"{shown(given)} is no rule of {library}'s: it takes a name or a class")
    base = next((c for c in given.__mro__ if library_of(c) == library and c.__name__ in table), None)
    if base is None:
        raise RuleError(f"the rule {given.__name__} is none of {library}'s, and has no equivalent here")
    check_own(given, library)
    ours, known = table[base.__name__]
    return _made(ours, known, given, handed(given, base), as_released)


def _made(ours: type[KerasRule], known: tuple[str, ...], given: type, handed_on: Any, as_released: bool) -> KerasRule:
    positional, named = handed_on
    if len(positional) > len(known):
        raise RuleError(f"the rule {given.__name__} gives {len(positional)} arguments, of which {known} are known")
    arguments = {**dict(zip(known, positional, strict=False)), **named}
    unknown = sorted(set(arguments) - {*known, "copy_weights"})
    if unknown:
        raise RuleError(f"the rule {given.__name__} gives {unknown}, which have no equivalent here")
    free = {f.name for f in fields(ours)} - UNUSED
    fixed = sorted(set(arguments) - free - UNUSED)
    if fixed:
        raise RuleError(f"the rule {given.__name__} gives {fixed}, which {ours.__name__} has settled")
    taken = {k: v for k, v in arguments.items() if k not in UNUSED}
    return ours(**taken, **released(ours, as_released))


def handed(kind: type, base: type) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments behind the layer and the state with which a class calls the constructor of a base.

    Its own constructors run, on an object whose next class in line writes the arguments down in place of the base.
    """
    if kind is base:
        return (), {}
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    class Written:
        def __init__(self, *args: Any, **named: Any) -> None:
            seen.append((args, named))

    order = kind.__mro__
    at = order.index(base)
    line = (*order[:at], Written, *order[at:])
    meta: Any = type("Asked", (type(kind),), {"mro": lambda cls: (cls, *line)})
    layer, state = Layer(), Layer()
    try:
        kind.__init__(object.__new__(meta("Asked", (kind,), {})), layer, state)  # type: ignore[misc]
    except Exception as error:
        raise RuleError(
            f"the rule {kind.__name__} cannot be asked for its arguments: {error}; a constructor "
            "calls super().__init__, and is the same for all layers"
        ) from error
    if len(seen) != 1 or len(seen[0][0]) < 2 or seen[0][0][0] is not layer or seen[0][0][1] is not state:
        raise RuleError(f"the rule {kind.__name__} does not hand its layer on to {base.__name__}, once")
    return seen[0][0][2:], seen[0][1]


def by_conditions(analyzer: Any, model: KerasModel, made: Callable[[Any], KerasRule]) -> list[tuple[Layers, KerasRule]]:
    """Return the pairs (the layers, their rule) of an analyzer that goes by conditions.

    Each condition is asked about each of the model's layers with a kernel, as the library asks it: the first that holds counts.
    """
    chosen: dict[int, tuple[Any, list[str]]] = {}
    for layer in read(analyzer, "_model").layers:
        known = model.by_name.get(layer.name)
        if known is None or known.kind not in KERNEL:
            if any(hasattr(layer, name) for name in KERNELS):
                raise RuleError(f"layer {layer.name!r} has a kernel, and is of a class without an equivalent here")
            continue
        pair = next((pair for pair in read(analyzer, "_rules") if _holds(pair[0], layer)), None)
        if pair is None or pair[1] is None:
            raise RuleError(
                f"no condition of the {type(analyzer).__name__} holds for layer {layer.name!r} ({known.kind})"
            )
        chosen.setdefault(id(pair[1]), (pair[1], []))[1].append(layer.name)
    return [(Layers(model, tuple(names)), made(given)) for given, names in chosen.values()]


def _holds(condition: Any, layer: Any) -> bool:
    try:
        return bool(condition(layer))
    except Exception as error:
        raise RuleError(f"the condition {shown(condition)} fails at layer {layer.name!r}: {error}") from error
