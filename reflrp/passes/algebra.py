"""An algebraic normal form: what a part of the graph computes of its one input x, as sums of products of atoms.

A `Sum` maps products to coefficients, a `Product` is a set of atoms with exponents, and an atom is x or a function of a
sum: E = exp of one product, a logarithm, erf, a hinge max(., 0), a mean or maximum over axes, or a sum of several terms
that stands in a power. Two spellings of one function become the same sum, since each operation here works out what it can:

- sums and products are multiplied out, powers of whole numbers too; means and sums over axes are linear, and what does
  not vary along their axes goes before them;
- max, min, clips, |x| and leaky rectifiers are sums of hinges, and a hinge of hinges of one argument is made one of those;
- exp(a + b) = exp(a) exp(b); 1 / (1 + E) and with it sigmoid and tanh are powers of 1 + 1 / E, and of E such a power is
  divided out; log(1 + E) = log E + log(1 + 1 / E); erf is odd.

All of it holds for all real x. What would need more (that a value is not zero, or not negative) is not done, but raises
`Unproven`, and then nothing is recognised; so does what is not defined everywhere where it cancels (`check`). Numbers are
equal up to `tolerance`, relative to each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from reflrp.arrays import Array
from reflrp.ir import Shape

Product = tuple[tuple[int, float], ...]
"""Numbers of atoms, rising, each with its exponent. () is 1."""

Sum = dict[Product, Array]
"""Products with their coefficients: floats, or arrays of the rank of x."""

TERMS = 64
"""How many terms a sum may have."""

WORK = 2000
"""How many terms may be added up on the way: what exporters spell takes a few hundred."""

DEGREE = 8
"""Up to which whole power a sum is multiplied out."""

NOWHERE: frozenset[int] = frozenset()


class Unproven(Exception):
    """Nothing can be said of this region."""


def number(c: Array) -> float:
    """Return a coefficient that is a number."""
    if isinstance(c, float):
        return c
    raise Unproven("a constant that differs from entry to entry stands inside a function")


def nonzero(c: Array) -> bool:
    """Return whether a coefficient is not 0 everywhere."""
    return c != 0 if isinstance(c, float) else bool(np.any(c))


@dataclass(frozen=True)
class Atom:
    """A function of a sum. `varies` are the axes of x along which it may; `sign` is 2 if > 0, 1 if >= 0, 0 if unknown."""

    name: str
    arg: Sum
    axes: frozenset[int]
    varies: frozenset[int]
    sign: int


@dataclass
class Algebra:
    """The normal forms of functions of one x of some shape, and the atoms; of `open` axes each with the first that is as long."""

    shape: Shape
    tolerance: float
    open: Mapping[int, int] = field(default_factory=dict)
    atoms: list[Atom] = field(default_factory=list)
    exponents: list[float] = field(default_factory=lambda: [k / 2 for k in range(-8, 9) if k])
    partial: set[int] = field(default_factory=set)
    work: int = 0

    def __post_init__(self) -> None:
        self.atoms.append(Atom("x", {}, NOWHERE, frozenset(range(len(self.shape))), 0))

    @property
    def x(self) -> Sum:
        """The input."""
        return {((0, 1.0),): 1.0}

    def check(self, s: Sum) -> None:
        """Raise Unproven where something that is not defined everywhere, as log x, has gone out of a sum."""
        if not self.partial <= self._reached(s):
            raise Unproven("it drops what is not defined everywhere")

    def _reached(self, s: Sum) -> set[int]:
        here = {a for m in s for a, _ in m}
        return here.union(*(self._reached(self.atoms[a].arg) for a in here))

    # ------------------------------------------------------------ numbers

    def close(self, a: Array, b: Array) -> bool:
        """Return whether two coefficients are the same number, or the same numbers."""
        if isinstance(a, float) and isinstance(b, float):
            return abs(a - b) <= self.tolerance * max(abs(a), abs(b))
        return bool(np.all(np.abs(a - b) <= self.tolerance * np.maximum(np.abs(a), np.abs(b))))

    def same(self, a: Sum, b: Sum) -> bool:
        """Return whether two sums are the same."""
        return a.keys() == b.keys() and all(self.close(c, b[m]) for m, c in a.items())

    def _exponent(self, e: float) -> float:
        known = next((k for k in self.exponents if self.close(k, e)), None)
        if known is None:
            self.exponents.append(known := e)
        return known

    def atom(self, name: str, arg: Sum, axes: frozenset[int] = NOWHERE, sign: int = 0) -> Sum:
        """Return an atom as a sum; one that was met before is the same."""
        arg = {m: number(c) for m, c in arg.items()}
        for i, known in enumerate(self.atoms):
            if (known.name, known.axes) == (name, axes) and self.same(known.arg, arg):
                return {((i, 1.0),): 1.0}
        varies = NOWHERE.union(*(self.varies(m) for m in arg)) - axes
        self.atoms.append(Atom(name, arg, axes, varies, sign))
        return {((len(self.atoms) - 1, 1.0),): 1.0}

    def varies(self, m: Product) -> frozenset[int]:
        """Return the axes along which a product may vary."""
        return NOWHERE.union(*(self.atoms[a].varies for a, _ in m))

    def sign(self, s: Sum) -> int:
        """Return 2 for a sum that is provably > 0, 1 for one that is >= 0, else 0."""
        if any(c < 0 if isinstance(c, float) else bool(np.any(c < 0)) for c in s.values()):
            return 0
        signs = [min((2, *(self._power_sign(a, e) for a, e in m))) for m in s]
        return 0 if not signs or 0 in signs else max(signs)

    def _power_sign(self, a: int, e: float) -> int:
        return self.atoms[a].sign or (1 if e % 2 == 0 else 0)

    # ------------------------------------------------------------ sums and products

    def add(self, *sums: Sum) -> Sum:
        """Return a sum of sums; a term that cancels up to rounding is gone."""
        found: dict[Product, list[Array]] = {}
        self.work += sum(map(len, sums))
        for s in sums:
            for m, c in s.items():
                found.setdefault(m, []).append(c)
        if len(found) > TERMS or self.work > WORK:
            raise Unproven("too many terms")
        return {m: sum(cs[1:], cs[0]) for m, cs in found.items() if len(cs) == 1 or not self._cancel(cs)}

    def _cancel(self, cs: list[Array]) -> bool:
        """Return whether some coefficients of one product add up to nothing but rounding."""
        total, size = sum(cs[1:], cs[0]), sum(map(abs, cs))
        small = abs(total) <= self.tolerance * size
        return small if isinstance(small, bool) else bool(np.all(small))

    def scale(self, s: Sum, factor: Array) -> Sum:
        """Return factor * s."""
        if isinstance(factor, float) and factor == 1:
            return s
        return {m: c * factor for m, c in s.items()} if nonzero(factor) else {}

    def number(self, c: Array) -> Sum:
        """Return a constant."""
        return {(): c} if nonzero(c) else {}

    def constant(self, s: Sum) -> float:
        """Return the term of a sum that is a number."""
        return number(s.get((), 0.0))

    def sub(self, a: Sum, b: Sum) -> Sum:
        """Return a - b."""
        return self.add(a, self.scale(b, -1.0))

    def mul(self, a: Sum, b: Sum) -> Sum:
        """Return a * b, multiplied out."""
        if len(a) * len(b) > TERMS:
            raise Unproven("too many terms")
        return self.add(*(self.scale(self._times(m, n), c * d) for m, c in a.items() for n, d in b.items()))

    def _times(self, m: Product, n: Product) -> Sum:
        powers = dict(m)
        for a, e in n:
            powers[a] = self._joined(self.atoms[a].sign, powers.get(a, 0.0), e)
        return self._reduced({a: e for a, e in powers.items() if e})

    def _joined(self, sign: int, d: float, e: float) -> float:
        """Return the exponent d + e of an atom of that sign."""
        if not d or not e:
            return d + e
        whole = d % 1 == 0 and e % 1 == 0
        if sign < 2 and (d * e < 0 or not (sign or whole)):
            raise Unproven("it divides by what it multiplies with, or squares a root")
        total = d + e
        return 0.0 if abs(total) <= self.tolerance * (abs(d) + abs(e)) else self._exponent(total)

    def _reduced(self, powers: dict[int, float]) -> Sum:
        """Return a product, with whole powers of sums multiplied out, and q divided out of powers of A = 1 + t q."""
        for a, e in powers.items():
            if self.atoms[a].name != "sum" or e % 1:
                continue
            rest = {b: f for b, f in powers.items() if b != a}
            if e > 0:
                return self.mul(self._reduced(rest), self._repeated(self.atoms[a].arg, e))
            q, t = self._above_one(a)
            j = self._how_often(q, rest)
            if j:
                fewer = self._divided(rest, q, 1.0 if j > 0 else -1.0)
                once = self._reduced({**fewer, a: e})
                if j > 0:  # q A^e = (A^(e + 1) - A^e) / t
                    return self.scale(self.sub(self._raised(fewer, a, e), once), 1 / t)
                return self.sub(self._raised(rest, a, e), self.scale(once, t))  # A^e / q = A^(e + 1) / q - t A^e
        return {tuple(sorted(powers.items())): 1.0}

    def _raised(self, rest: dict[int, float], a: int, e: float) -> Sum:
        return self._reduced({**rest, a: e + 1} if e < -1 else rest)

    def _above_one(self, a: int) -> tuple[Product, float]:
        """Return q and t where an atom is 1 + t q, and q a product of exponentials; else () and 0."""
        arg = self.atoms[a].arg
        q = next((m for m in arg if m), ())
        fits = len(arg) == 2 and () in arg and all(self.atoms[b].name == "exp" for b, _ in q)
        return (q, number(arg[q])) if fits else ((), 0.0)

    def _how_often(self, q: Product, powers: dict[int, float]) -> int:
        """Return j where the exponentials among some powers are q^j; 0 where they are no power of q."""
        held = {b: f for b, f in powers.items() if self.atoms[b].name == "exp"}
        if not held or held.keys() != dict(q).keys():
            return 0
        j = round(held[q[0][0]] / q[0][1])
        return j if all(self.close(held[b], j * f) for b, f in q) else 0

    def _divided(self, powers: dict[int, float], q: Product, times: float) -> dict[int, float]:
        """Return powers without q^times."""
        inverse = tuple((b, -times * f) for b, f in q)
        joined = {b: self._joined(2, powers.get(b, 0.0), f) for b, f in inverse}
        return {b: f for b, f in {**powers, **joined}.items() if f}

    def _repeated(self, s: Sum, times: float) -> Sum:
        if times > DEGREE:
            raise Unproven("a high power")
        return reduce(self.mul, [s] * int(times))

    # ------------------------------------------------------------ powers

    def power(self, s: Sum, p: float) -> Sum:
        """Return s^p."""
        if not s or not p:
            raise Unproven("a power of zero, or the power zero")
        if p == 1 or (len(s) > 1 and p > 0 and p % 1 == 0):
            return self._repeated(s, p)
        m, c = self.factored(s)
        if p % 1 and not (self.sign({(): c}) and all(self._rooted(a, e) for a, e in m)):
            m, c = self._bracketed(s, self._leading(s))
        if any(e % 1 and not self.atoms[a].sign and e * p % 1 == 0 for a, e in m):
            raise Unproven("it squares a root")
        powers = {a: self._exponent(e * p) for a, e in m}
        self.partial.update(a for a, e in powers.items() if self.atoms[a].sign < 2 and (e < 0 or e % 1))
        return self.scale(self._reduced(powers), c**p)

    def _rooted(self, a: int, e: float) -> bool:
        """Return whether (a^e)^p is a^(e p) for broken p."""
        return self.atoms[a].sign > 0 or (self.atoms[a].name == "sum" and e == 1)

    def factored(self, s: Sum) -> tuple[Product, Array]:
        """Return a sum as one product and its factor; of several terms the product holds what is left of the sum."""
        if len(s) == 1:
            return next(iter(s.items()))
        if len(s) > 2 or self.sign(s) < 2 or any(self.atoms[a].name != "exp" for m in s for a, _ in m):
            return self._bracketed(s, self._leading(s))
        outer, inner = s
        q = self._quotient(inner, outer)
        if q[0][1] > 0:
            outer, inner, q = inner, outer, self._quotient(outer, inner)
        (left,), _ = self._bracketed({(): 1.0, q: s[inner] / s[outer]}, 1.0)
        return tuple(sorted((*outer, left))), s[outer]

    def _quotient(self, m: Product, n: Product) -> Product:
        return tuple(sorted(self._divided(dict(m), n, 1.0).items()))

    def _bracketed(self, s: Sum, c: Array) -> tuple[Product, Array]:
        """Return a sum as c times an atom."""
        monic = self.scale(s, 1 / number(c))
        (m,) = self.atom("sum", monic, sign=self.sign(monic))
        return m, c

    def _leading(self, s: Sum) -> Array:
        """Return the size of the first coefficient; the constant comes last."""
        return abs(s[self.lead(s)])

    def lead(self, s: Sum) -> Product:
        """Return the first product of a sum; () where there is no other."""
        return min((m for m in s if m), default=())
