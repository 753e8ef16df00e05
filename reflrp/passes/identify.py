"""Which known function a region of the graph computes: proven, by its normal form (`algebra`).

The normal form of the region must be that of the function, spelled as in `functions.SPELLINGS` or in `standardised` below.
What a function leaves open (the rate of a swish, the axes and the epsilon of a normalisation, its weight and bias) is read
from the constants of the region, then proven with the rest. A spelling is therefore no pattern: whatever order, sharing
of values, place of a factor, division or reciprocal an exporter chose, the normal form is one and the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from math import sqrt

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.arrays.tracing.dims import Unsettled
from reflrp.ir import Op
from reflrp.ops.linear import Diagonal
from reflrp.ops.normaliser import LogSoftmax, Softmax
from reflrp.ops.norms import Standardise
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import Multiply
from reflrp.ops.sums import SumAxes, SumOf
from reflrp.passes import functions
from reflrp.passes.algebra import Algebra, Sum, Unproven
from reflrp.passes.region import Region
from reflrp.passes.rounded import SINGLE, single

ACTIVATIONS: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("gelu", ()),
    ("gelu_tanh", ()),
    ("swish", (1.5,)),
    ("hard_swish", ()),
    ("hard_sigmoid", (0.2, 0.5)),
    ("mish", ()),
    ("softplus", ()),
    ("sigmoid", ()),
    ("softsign", ()),
    ("log_sigmoid", ()),
    ("tanhshrink", ()),
    ("leaky_relu", (0.1,)),
    ("elu", (1.5,)),
    ("celu", (1.5,)),
    ("selu", (1.5, 1.25)),
)
"""The activations that exporters take apart; their parameters are examples, and read from a region."""


def identified(region: Region) -> Op | None:
    """Return the known function that a region provably computes, if there is one."""
    if all(isinstance(n.op, Diagonal | SumOf | Multiply) for n in region.nodes):
        return None  # a polynomial is none of them
    try:
        with np.errstate(all="ignore"):
            return _known(region)
    except (
        Unproven,
        Unsettled,
        ArithmeticError,
    ):  # a number may be beyond what float64 can square; a length may be left open
        return None


def _known(region: Region) -> Op | None:
    a, form = region.normal_form()
    if not any(isinstance(n.op, SumAxes) for n in region.nodes):
        return _activation(a, form)
    return _softmax(a, form) or _normalisation(region, a, form)


def _activation(a: Algebra, form: Sum) -> Op | None:
    if any(np.size(c) > 1 for c in form.values()):
        return None  # a number for each channel, as a BatchNormalization behind an activation has, is no parameter
    for name in _by_skeleton().get(skeleton(a, form), ()):
        for args in _parameters(a, form, name):
            if a.same(functions.SPELLINGS[name](a, a.x, *args), form):
                return Pointwise(name, args)
    return None


@cache
def _by_skeleton() -> dict[str, list[str]]:
    """Return the activations by the form of their normal form."""
    found: dict[str, list[str]] = {}
    for name, args in ACTIVATIONS:
        a = Algebra((1,), SINGLE)
        found.setdefault(skeleton(a, functions.SPELLINGS[name](a, a.x, *args)), []).append(name)
    return found


def skeleton(a: Algebra, s: Sum) -> str:
    """Return a sum without its numbers: two sums that are the same have the same."""
    return "+".join(sorted("*".join(sorted(_bones(a, k) for k, _ in m)) for m in s))


def _bones(a: Algebra, k: int) -> str:
    atom = a.atoms[k]
    return f"{atom.name}({skeleton(a, atom.arg)})" if atom.arg else atom.name


def _parameters(a: Algebra, form: Sum, name: str) -> Iterator[tuple[float, ...]]:
    """Yield what the parameters of an activation can be, given a form of its skeleton; they are single numbers."""
    if any(np.size(c) != 1 for c in form.values()):
        return
    if name == "swish":
        rates = {
            abs(e) for atom in a.atoms if atom.name == "sum" for m in atom.arg for k, e in m if a.atoms[k].name == "exp"
        }
        yield from ((rate,) for rate in sorted(rates))
    elif name == "hard_sigmoid":
        yield from ((_float(c), 0.5) for c in form.values() if c > 0)
    elif name == "leaky_relu":
        slope = _float(form.get(a.lead(a.x), 0.0))
        yield from [(slope,)] if 0 < slope < 1 else []
    elif name in ("elu", "celu", "selu"):
        yield from _exponential_parameters(a, form, name)
    else:
        yield ()


def _exponential_parameters(a: Algebra, form: Sum, name: str) -> Iterator[tuple[float, ...]]:
    """Yield the parameters of gamma max(x, 0) + c (exp(rate min(x, 0)) - 1), as one of its names has them."""
    c = -_float(form.get((), 0.0))
    gamma = next(_float(d) for m, d in form.items() if len(m) == 1)
    if (name == "elu" and a.close(gamma, 1.0)) or (name == "celu" and c > 0):
        yield (c,)
    elif name == "selu" and gamma:
        yield (c / gamma, gamma)


def _float(c: Array) -> float:
    """Return a coefficient of one entry as a number."""
    return float(np.asarray(c).item())


def _softmax(a: Algebra, form: Sum) -> Op | None:
    """Return a softmax over the axes of one of the sums."""
    for axes in _axes(a):
        total = a.mul(functions.mean(a, functions.exp(a, a.x), axes), functions.count(a, axes))
        if a.same(a.mul(functions.exp(a, a.x), a.power(total, -1.0)), form):
            return Softmax(tuple(sorted(axes)))
        if a.same(a.sub(a.x, functions.log(a, total)), form):
            return LogSoftmax(tuple(sorted(axes)))
    return None


def _axes(a: Algebra) -> list[frozenset[int]]:
    """Return the axes of the means in a region."""
    return list(dict.fromkeys(atom.axes for atom in a.atoms if atom.name == "mean"))


def _normalisation(region: Region, a: Algebra, form: Sum) -> Op | None:
    """Return a normalisation, with its weight and bias; one of weight 1 if there is one."""
    if is_affine(region.exit.op):
        return None  # a scale and a shift at the end, `recognise` takes in
    options = [op for axes in _axes(a) for op in _norms(tuple(sorted(axes)), _bounds(region))]
    found = [solved for op in options if (solved := _solved(a, op, form)) is not None]
    return min(found, key=lambda op: single(op.w) != 1, default=None)


def is_affine(op: Op) -> bool:
    """Return whether a scale or a shift is a weight or a bias, and no number."""
    return isinstance(op, Diagonal) and None in (single(op.w), single(op.b))


def _bounds(region: Region) -> list[float]:
    """Return the positive numbers that a region adds or bounds with: what its epsilon or floor can be."""
    terms = [single(n.op.b) for n in region.nodes if isinstance(n.op, Diagonal)]
    clips = [single(n.op.args[0]) for n in region.nodes if isinstance(n.op, Pointwise) and n.op.name == "clip"]
    return list(dict.fromkeys(c for c in (*terms, *clips) if c and 0 < c < np.inf))


def _norms(axes: tuple[int, ...], bounds: list[float]) -> Iterator[Standardise]:
    """Yield the normalisations over axes, with each bound as the epsilon, as the floor, or as the floor of the square."""
    pairs = [(0.0, 0.0), *((c, 0.0) for c in bounds), *((0.0, f) for c in bounds for f in (c, sqrt(c)))]
    for epsilon, floor in pairs:
        layer = Standardise(np.ones(()), ZERO, axes, epsilon, floor=floor)
        yield from (layer, replace(layer, center=False), replace(layer, ddof=1))
        yield replace(layer, center=False, mean=False)


def standardised(a: Algebra, op: Standardise) -> Sum:
    """Return what a normalisation without weight and bias computes."""
    axes = frozenset(op.axes)
    centered = a.sub(a.x, functions.mean(a, a.x, axes)) if op.center else a.x
    total = functions.mean(a, a.mul(centered, centered), axes)
    if not op.mean:
        total = a.mul(total, functions.count(a, axes))
    elif op.ddof:
        size = functions.count(a, axes)
        total = a.mul(a.mul(total, size), a.power(a.sub(size, a.number(float(op.ddof))), -1.0))
    root = functions.root(a, a.add(total, a.number(op.epsilon)), 2.0)
    root = functions.larger(a, root, a.number(op.floor)) if op.floor else root
    return a.mul(centered, a.power(root, -1.0))


def _solved(a: Algebra, op: Standardise, form: Sum) -> Standardise | None:
    """Return a normalisation with the weight and bias that make it the form, None where none do."""
    try:
        unit = standardised(a, op)
    except (Unproven, ArithmeticError):
        return None
    lead, b = a.lead(unit), form.get((), 0.0)
    if not lead or lead not in form:
        return None
    w = form[lead] / unit[lead]
    if not a.same(a.add(a.scale(unit, w), a.number(b)), form) or not _varies(b) <= _varies(w) | set(op.axes):
        return None
    return replace(op, w=_squeezed(w), b=_squeezed(b) if np.any(b) else ZERO)


def _varies(x: Array) -> set[int]:
    """Return the axes along which a coefficient varies; a bias does along those of its weight, or of the norm."""
    return {i for i, n in enumerate(np.shape(x)) if n > 1}


def _squeezed(x: Array) -> np.ndarray:
    """Return a coefficient as an array without its leading axes of length 1."""
    x = np.asarray(x, dtype=np.float64)
    lead = next((i for i, n in enumerate(x.shape) if n > 1), x.ndim)
    return np.reshape(x, x.shape[lead:])
