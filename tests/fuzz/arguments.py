"""Odd values for every parameter of the public functions: each is taken, or refused by a `ReflrpError` that says what was expected.

A case is a call and the names of its odd values (`fuzz.odd`); the other parameters are given as they should be.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from models import draw, model

import reflrp
from fuzz.odd import ODD
from reflrp import composites, rules
from reflrp.show import images, tokens

RARE = ("Explanation.plot", "images.plot")
"""What takes long."""


@dataclass(frozen=True)
class Call:
    """A function, the arguments that it should get, and what a caller does with what it returns."""

    function: Callable[..., Any]
    given: dict[str, Any]
    then: Callable[[Any], Any] = repr
    may: tuple[type[Exception], ...] = ()


BASES = ("Rule", "LinearRule")
"""Classes that others are made of."""

WRONG = (TypeError, ValueError)
"""What makers of rules, matchers and composites may raise too: so does any class that gets what it is not for. Their errors must
come where the argument is given; once made, a rule explains or is refused by a `ReflrpError`."""


@cache
def net() -> reflrp.Model:
    """A small network."""
    return reflrp.load(model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", w=(4, 6), v=(6, 3)))


@cache
def compiled() -> reflrp.Explainer:
    """An explainer that runs the small network compiled."""
    return reflrp.Explainer(data(), backend="onnxruntime", dtype="float32", threads=1)


def data() -> bytes:
    """Return the small network as a file has it."""
    return model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", w=(4, 6), v=(6, 3)).SerializeToString()


@cache
def words() -> reflrp.Model:
    """A network of token ids."""
    return reflrp.load(
        model(
            "e = Gather(t, ids) c = ReduceMean <axes = [1]>(e) y = MatMul(c, w)", "int64[N,5] ids", t=(9, 4), w=(4, 3)
        )
    )


@cache
def explained() -> reflrp.Explanation:
    """An explanation of the small network."""
    return reflrp.explain(net(), draw(2, 4), layers=True)


@cache
def read() -> reflrp.Explanation:
    """An explanation of the token ids."""
    return reflrp.explain(words(), np.arange(10).reshape(2, 5) % 9, layers=True)


def by(rule: Any) -> Any:
    """Explain by a rule or composite that could be made."""
    if isinstance(rule, composites.Matcher):
        rule = reflrp.Composite(
            ((rule, rules.Epsilon()), *composites.defaults(), (composites.anything(), rules.Epsilon()))
        )
    return reflrp.explain(net(), draw(2, 4), rules=rule) if isinstance(rule, rules.Rule | reflrp.Composite) else rule


def drained(found: Any) -> Any:
    """Take the first of a generator of explanations: odd data may have a million rows that lie nowhere."""
    return list(islice(found, 3)) if isinstance(found, Iterator) else found


@cache
def calls() -> dict[str, Call]:
    """Return the calls by name."""
    m, e, t, x = net(), explained(), read(), draw(2, 4)
    found = {
        "load": Call(reflrp.load, {"model": m}),
        "explain": Call(reflrp.explain, {"model": m, "x": x}),
        "Explainer": Call(reflrp.Explainer, {"model": m}, lambda made: made(x)),
        "Explainer()": Call(reflrp.Explainer(m), {"x": x}),
        "Explainer() of words": Call(reflrp.Explainer(words()), {"x": np.ones((2, 5), np.int64)}),
        "Explainer() compiled": Call(compiled(), {"x": x}),
        "Explainer.each compiled": Call(compiled().each, {"x": x, "targets": [0, 1]}),
        "Explainer of a runtime": Call(
            reflrp.Explainer, {"model": data(), "backend": "onnxruntime", "dtype": "float32"}, lambda made: made(x)
        ),
        "compile": Call(reflrp.compile, {"model": m}),
        "compare": Call(reflrp.compare, {"model": m, "x": x, "a": "epsilon", "b": "epsilon_plus"}, str),
        "Explainer.each": Call(reflrp.Explainer(m).each, {"x": x, "targets": [0, 1]}),
        "Explainer.map": Call(reflrp.Explainer(m).map, {"data": x, "batch_size": 1}, drained),
        "Explainer.map into a store": Call(
            reflrp.Explainer(m).map, {"data": x, "out": "m.zarr", "batch_size": 1}, drained
        ),
        "Images": Call(reflrp.Images, {"where": "."}),
        "Contrast": Call(reflrp.Contrast, {"target": 0, "against": 1}, lambda made: reflrp.explain(m, x, target=made)),
        "Explainer.program": Call(reflrp.Explainer(m).program, {"x": x}),
        "Model.run": Call(m.run, {"x": x}),
        "Model.feeds": Call(m.feeds, {"x": x}),
        "Model.graph": Call(m.graph, {"shapes": {"x": (2, 4)}}),
        "Model.example_shapes": Call(m.example_shapes, {}),
        "Model.summary": Call(m.summary, {}),
        "Explanation.layer": Call(e.layer, {"name": "h"}),
        "Explanation.summed": Call(e.summed, {"name": "h"}),
        "Explanation.per_head": Call(e.per_head, {"name": "h", "heads": 2}),
        "Explanation.save": Call(e.save, {"path": "e.npz"}),
        "Explanation.load": Call(reflrp.Explanation.load, {"path": "e.npz"}),
        "Explanation.concatenate": Call(reflrp.Explanation.concatenate, {"parts": [e, e]}),
        "Explanation.plot": Call(e.plot, {"path": "e.png"}),
        "images.plot": Call(images.plot, {"explanation": e}),
        "Explanation.tokens": Call(t.tokens, {}, lambda picture: picture.html()),
        "tokens": Call(tokens.tokens, {"explanation": t}, lambda picture: picture.html()),
        "Composite": Call(reflrp.Composite, {"pairs": composites.defaults()}, by, WRONG),
        "resolve": Call(composites.resolve, {"rules": "epsilon"}, by),
        "preset": Call(composites.preset, {"title": "epsilon"}, by),
        "uniform": Call(composites.uniform, {"rule": rules.Epsilon()}, by, WRONG),
        "defaults": Call(composites.defaults, {}, may=WRONG),
    }
    for name in ("kind", "op_type", "name", "first", "earliest", "last", "depth"):
        given = {
            "pattern": "*",
            "low": 0,
            "high": 1,
            "matcher": composites.anything(),
            "kinds": "dense",
            "types": "MatMul",
        }
        function = getattr(composites, name)
        found[name] = Call(function, {k: given[k] for k in inspect.signature(function).parameters}, by, WRONG)
    for name in rules.__all__:
        thing = getattr(rules, name)
        if isinstance(thing, type) and name not in BASES:
            found[f"rules.{name}"] = Call(thing, _needed(thing), by, WRONG)
    for name, make in composites.REGISTRY.presets.items():
        found[f"preset {name}"] = Call(make, {}, by, WRONG)
    for library, dialect in composites.REGISTRY.dialects.items():
        for make in dialect().COMPOSITES.values():
            found[f"{library}.{make.__name__}"] = Call(make, _needed(make), by, WRONG)
    return found


def _needed(thing: Any) -> dict[str, Any]:
    """Return the arguments of a rule or composite that have no default."""
    parameters = inspect.signature(thing).parameters.values()
    return {
        p.name: -3.0 if p.name == "low" else 3.0
        for p in parameters
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    }


def warm() -> None:
    """Make what the calls take."""
    calls()
    explained().plot()


def make(chance: random.Random) -> bytes:
    """Return a call with one or two odd values."""
    names = [n for n in calls() if n not in RARE or chance.random() < 0.1]
    main = [n for n in names if n[0].isupper() or n in ("load", "explain", "resolve", "preset")]
    name = chance.choice(main if chance.random() < 0.6 else names)
    parameters = [p for p in inspect.signature(calls()[name].function).parameters if p not in ("self", "cls")]
    odd = {
        p: chance.choice(list(ODD))
        for p in chance.sample(parameters, min(len(parameters), chance.choice([1, 1, 1, 2])))
    }
    return json.dumps({"call": name, "odd": odd}).encode()


def tried(data: bytes, folder: Path) -> str:
    """Make the call."""
    case = json.loads(data)
    call = calls()[case["call"]]
    positional, named = [], dict(call.given)
    for name, odd in case["odd"].items():
        named[name] = ODD[odd]()
    for p in inspect.signature(call.function).parameters.values():
        if p.kind is p.VAR_POSITIONAL and p.name in named:
            positional = [named.pop(p.name)]
        elif p.kind is p.VAR_KEYWORD and p.name in named:
            named |= {"epsilon": named.pop(p.name)}
        elif p.kind is p.POSITIONAL_ONLY and p.name in named:
            positional = [named.pop(p.name)]
    with contextlib.chdir(folder / "scratch"):
        try:
            made = call.function(*positional, **named)
        except call.may:
            return "done"
        call.then(made)
    return "done"
