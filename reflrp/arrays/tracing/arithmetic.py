"""Terms of elementwise arithmetic. What is known of signs and constants leaves out what would do nothing.

Each simplification holds for all finite numbers: x + 0, x * 1, max(x, 0) of what is never negative, x >= 0 of the same,
a s + a t = a (s + t), and a choice of x + c or x - c by a condition as x plus the choice of c or -c. What a layer gives plus a
bias may be there already as a sum of others (`affine`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reflrp.arrays.tracing import affine, choices
from reflrp.arrays.tracing.dims import broadcast
from reflrp.arrays.tracing.moves import bared, expand
from reflrp.arrays.tracing.operators import BOOLEAN, FOLDED, KEEPS_SIGN, LAID, NONNEG
from reflrp.arrays.tracing.terms import Term, still


def unary(op: str, x: Term) -> Term:
    """Return an operator of one operand."""
    if x.value is not None and op in FOLDED:
        return x.trace.constant(FOLDED[op](x.value))
    if op == "Abs" and x.nonneg:
        return x
    if op == "Neg" and x.op == "Neg":
        return x.inputs[0]
    nonneg = op in NONNEG or (op in KEEPS_SIGN and x.nonneg)
    found = x.trace.make(op, (x,), x.shape, bool if op in BOOLEAN else x.dtype, nonneg)
    found.finite = x.finite and op in ("Abs", "Neg", "Relu")
    return found


def cast(x: Term, dtype: Any) -> Term:
    """Return x in a dtype."""
    dtype = np.dtype(dtype)
    if x.dtype == dtype:
        return x
    if x.value is not None:
        return x.trace.constant(x.value, dtype)
    found = x.trace.make("Cast", (x,), x.shape, dtype, x.nonneg or x.dtype.kind == "b")
    found.finite = x.finite or x.dtype.kind in "bui"
    return found


def binary(op: str, x: Term, y: Term) -> Term:
    """Return an operator of two operands, broadcast."""
    if x.value is not None and y.value is not None:
        with np.errstate(all="ignore"):
            return x.trace.constant(FOLDED[op](x.value, y.value))
    known = SIMPLER[op](x, y) if op in SIMPLER else None
    if known is not None:
        return known
    return plain(op, x, y)


def plain(op: str, x: Term, y: Term) -> Term:
    """Write an operator of two operands as it is."""
    shape = broadcast(x.shape, y.shape)
    x, y = bared((x, y), shape)
    if op in ("Add", "Mul", "Max", "Min", "And", "Or", "Equal") and x.value is not None:
        x, y = y, x
    dtype = np.dtype(bool) if op in BOOLEAN else x.dtype
    found = x.trace.make(op, (x, y), shape, dtype, _sign(op, x, y))
    found.finite = x.finite and (
        (op in ("Add", "Sub", "Mul", "Max", "Min") and y.finite) or (op == "Div" and _apart(y))
    )
    return found


def _apart(x: Term) -> bool:
    """Return whether no entry is nearer to 0 than some number > 0: constants, y + c for y >= 0, and y + c sgn y."""
    if x.op != "Add":
        return x.value is not None and bool((x.value != 0).all())
    y, step = x.inputs
    if step.op == "Where" and step.inputs[0].op == "GreaterOrEqual" and step.inputs[0].inputs[0] is y:
        test, step, below = step.inputs
        return test.inputs[1].uniform == 0 and _positive(step) and _positive(unary("Neg", below))
    least = y.op == "Min" and any(_positive(unary("Neg", t)) or t.uniform == 0 for t in y.inputs)  # no entry is > 0
    return (y.nonneg and _positive(step)) or (least and _positive(unary("Neg", step)))


def _positive(x: Term) -> bool:
    return x.uniform is not None and x.uniform > 0


def _sign(op: str, x: Term, y: Term) -> bool:
    if op in ("Add", "Mul", "Div", "Min", "Pow"):
        return x.nonneg and (y.nonneg or op == "Pow")
    return op in BOOLEAN or (op == "Max" and (x.nonneg or y.nonneg)) or (op == "Mul" and x is y)


def _full(x: Term, y: Term, number: Any) -> Term:
    """Return a constant that stands for all entries of an operator's result."""
    shape = broadcast(x.shape, y.shape)
    return x.trace.constant(np.full(still(shape), number, dtype=x.dtype))


def _kept(x: Term, y: Term) -> Term:
    """Return x, in the shape that an operator of x and y would have."""
    return expand(x, broadcast(x.shape, y.shape))


def _add(x: Term, y: Term) -> Term | None:
    if x.uniform == 0:
        return _kept(y, x)
    if y.uniform == 0:
        return _kept(x, y)
    together = _factored(x, y)
    if together is not None:
        return together
    for a, b in ((x, y), (y, x)):
        chosen = choices.stabilised(a, b)
        if chosen is not None:
            return chosen
        if a.value is not None and a.shape and b.op in affine.LAYERS and broadcast(a.shape, b.shape) == b.shape:
            return _biased(b, a, a.value)
    return None


def _factored(x: Term, y: Term) -> Term | None:
    """Return a s + a t as a (s + t), and what is interleaved or laid apart alike as one."""
    if x.op == y.op == "Mul":
        shared = next((t for t in x.inputs if t.value is None and t in y.inputs), None)
        if shared is not None:
            return binary("Mul", shared, binary("Add", other(x, shared), other(y, shared)))
    (a, *rest), (b, *others) = x.inputs or (x,), y.inputs or (y,)
    if x.op == y.op and x.op in LAID and (x.attributes, rest, a.shape) == (y.attributes, others, b.shape):
        return x.trace.again((x, y), (binary("Add", a, b), *rest))
    return None


def _biased(layer: Term, bias: Term, value: np.ndarray) -> Term:
    """Return a layer plus a bias: from other values of the layer, where these serve as well."""
    found = affine.combined(layer, value)
    if found is not None:
        made = summed(found)
        affine.know(made, layer, value, serves=False)
        return made
    chosen = choices.guarded(layer, value)
    made = plain("Add", layer, bias) if chosen is None else chosen
    affine.know(made, layer, value, serves=chosen is None)
    return made


def saved(layer: Term) -> Term:
    """Return a layer without bias: from other values of the layer, where these serve as well."""
    if not affine.unbiased(layer):
        return layer
    found = affine.combined(layer, np.zeros((), layer.dtype))
    if found is not None:
        return summed(found)
    chosen = choices.guarded(layer, np.zeros((), layer.dtype))
    made = layer if chosen is None else chosen
    affine.know(made, layer, np.zeros((), layer.dtype), serves=chosen is None)
    return made


def summed(found: affine.Sum) -> Term:
    """Write a sum of terms with factors, and of a constant."""
    trace, dtype = found.terms[0].trace, found.terms[0].dtype
    parts = [
        binary("Mul", t, trace.constant(np.asarray(f), dtype)) for f, t in zip(found.factors, found.terms, strict=True)
    ]
    total = parts[0] if len(parts) == 1 else plain("Add", *parts)
    return plain("Add", total, trace.constant(found.rest, dtype)) if found.rest.any() else total


def other(product: Term, factor: Term) -> Term:
    """Return what a product multiplies a factor with."""
    one, two = product.inputs
    return two if one is factor else one


def _sub(x: Term, y: Term) -> Term | None:
    if y.uniform == 0:
        return _kept(x, y)
    if x.uniform == 0:
        return _kept(unary("Neg", y), x)
    if y.value is not None and y.is_float:
        return binary("Add", x, unary("Neg", y))
    return None


def _mul(x: Term, y: Term) -> Term | None:
    for a, b in ((x, y), (y, x)):
        if a.uniform == 0 and a.is_float:
            return _full(x, y, 0)
        if a.uniform == 1:
            return _kept(b, a)
        if a.uniform == -1:
            return _kept(unary("Neg", b), a)
        if a.value is not None and b.op == "Mul" and b.inputs[1].value is not None:
            return binary("Mul", b.inputs[0], binary("Mul", b.inputs[1], a))
    return None


def _div(x: Term, y: Term) -> Term | None:
    if x.uniform == 0:
        return _full(x, y, 0)
    if y.uniform == 1:
        return _kept(x, y)
    if y.value is not None and y.is_float and bool((y.value != 0).all()) and _invertible(y.value):
        return binary("Mul", x, x.trace.constant(1 / y.value))
    if x.op == "Neg":
        return unary("Neg", binary("Div", x.inputs[0], y))
    if x.op == "Mul" and x.inputs[1].doubling:
        return binary("Mul", binary("Div", x.inputs[0], y), x.inputs[1])
    return _gated(x, y)


def _gated(x: Term, y: Term) -> Term | None:
    """Return x / (z + c sgn z) as x / (max(z, 0) + c) or x / (min(z, 0) - c), where the sign of z is known wherever x is not 0.

    It is where x vanishes unless some t > 0, and z >= t; or where x vanishes unless t < 0, and z <= t.
    """
    whole = x.inputs[0] if x.op == "Mul" and x.inputs[1].uniform is not None else x  # a factor vanishes nowhere
    gates = x.trace.gates.get(id(whole), ())
    settled = choices.settled(y, gates)
    if settled is not None:
        return plain("Div", x, settled)
    choice = y.inputs[1] if y.op == "Add" else y
    if choice.op != "Where" or choice.inputs[0].op != "GreaterOrEqual" or choice.inputs[0].inputs[0] is not y.inputs[0]:
        return None
    z, (test, above, below) = y.inputs[0], choice.inputs
    if above.uniform is None or above.uniform <= 0 or below.uniform != -above.uniform or test.inputs[1].uniform != 0:
        return None
    for t, sign in gates:
        if affine.at_least(z, t) if sign > 0 else affine.at_least(t, z):
            part = binary("Max" if sign > 0 else "Min", z, x.trace.constant(0, z.dtype))
            return plain("Div", x, binary("Add", part, above if sign > 0 else below))
    return None


def _invertible(value: np.ndarray) -> bool:
    """Return whether multiplying by 1 / value is what dividing by it is: powers of two."""
    return bool((np.abs(np.frexp(value)[0]) == 0.5).all())


def _pow(x: Term, y: Term) -> Term | None:
    if y.uniform == 1:
        return _kept(x, y)
    if y.uniform == 2:
        return binary("Mul", x, x)
    if y.uniform == 0.5:
        return unary("Sqrt", x)
    return None


def _max(x: Term, y: Term) -> Term | None:
    for a, b in ((x, y), (y, x)):
        if a.uniform is not None and a.uniform <= 0 and b.nonneg:
            return _kept(b, a)
        if a.uniform == 0 and b.is_float and broadcast(a.shape, b.shape) == b.shape:
            return unary("Relu", b)
    return None


def _min(x: Term, y: Term) -> Term | None:
    for a, b in ((x, y), (y, x)):
        if a.uniform is not None and a.uniform <= 0 and b.nonneg:
            return _kept(a, b) if broadcast(a.shape, b.shape) == a.shape else _full(x, y, a.uniform)
    return None


def _at_least(x: Term, y: Term) -> Term | None:
    return _known(x, y, True) if x.nonneg and y.uniform is not None and y.uniform <= 0 else None


def _below(x: Term, y: Term) -> Term | None:
    if x.nonneg and y.uniform is not None and y.uniform <= 0:
        return _known(x, y, False)
    return _known(x, y, True) if x.finite and y.uniform == np.inf else None


def _known(x: Term, y: Term, answer: bool) -> Term:
    return x.trace.constant(np.full(still(broadcast(x.shape, y.shape)), answer))


SIMPLER: dict[str, Callable[[Term, Term], Term | None]] = {
    "Add": _add, "Sub": _sub, "Mul": _mul, "Div": _div, "Pow": _pow, "Max": _max, "Min": _min, "GreaterOrEqual": _at_least,
    "Less": _below,
}  # fmt: skip
