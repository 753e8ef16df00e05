"""Exact numbers that share denominators are the fractions that they stand for, in all that a fraction can do."""

import copy
import operator
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflrp.arrays.exact import Exact, number
from reflrp.arrays.levels import divided, exactly, levelled

FRACTIONS = st.fractions(max_denominator=60) | st.floats(-4, 4, width=16).map(Fraction)
SOME = st.lists(FRACTIONS, min_size=1, max_size=9)
ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv]
ORDER = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


def value(x):
    """The fraction, by its numerator and denominator."""
    return Fraction(x.numerator, x.denominator)


@given(SOME, SOME)
def test_arithmetic_is_that_of_fractions(xs, ys):
    """Between numbers of one array, of two arrays, and with plain fractions and whole numbers."""
    for many in (levelled(map(number, xs), (len(xs),)), [number(x) for x in xs]):
        for a, x in zip(many, xs, strict=True):
            for y in ys:
                for b in (number(y), y, *([int(y)] if y.denominator == 1 else [])):
                    for compare in ORDER:
                        assert compare(a, b) == compare(x, y)
                        assert compare(b, a) == compare(y, x)
                    for combine in ARITHMETIC:
                        if combine is not operator.truediv or y:
                            found = combine(a, b)
                            assert isinstance(found, Exact)
                            assert value(found) == combine(x, y)
                        if combine is not operator.truediv or x:
                            assert value(combine(b, a)) == combine(y, x)
            assert (float(a), hash(a), bool(a), value(-a), value(abs(a))) == (float(x), hash(x), bool(x), -x, abs(x))
            assert value(a**3) == x**3
            assert (repr(a), str(a)) == (repr(x), repr(x))


@given(SOME, SOME)
def test_division_of_arrays(xs, ys):
    """Where the divisor is 0 the quotient is 0; all quotients have one denominator."""
    found = divided(exactly(np.asarray(xs, dtype=object))[:, None], exactly(np.asarray(ys, dtype=object)))
    assert found.shape == (len(xs), len(ys))
    assert len({id(q.over) for q in found.ravel()}) == 1
    assert found.tolist() == [[x / y if y else 0 for y in ys] for x in xs]


def test_a_float_is_no_exact_number():
    """What a float is added to would be exact in nothing but its name; comparing changes no number."""
    x = number(Fraction(1, 3))
    for combine in ARITHMETIC:
        with pytest.raises(TypeError):
            combine(x, 0.5)
        with pytest.raises(TypeError):
            combine(0.5, x)
    assert x < 0.5
    assert x > -np.inf
    assert x != 1 / 3
    assert not x < float("nan")  # noqa: PLW0177
    assert number(0.5) == 0.5


def test_floats_are_the_dyadic_numbers_that_they_are():
    found = exactly(np.asarray([[0.1, -3.0], [0.0, 1e-300]]))
    assert found.tolist() == [[Fraction(0.1), -3], [0, Fraction(1e-300)]]
    assert len({id(x.over) for x in found.ravel()}) == 1


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies(again):
    x = number(Fraction(22, 7)) / number(Fraction(2, 9))
    assert again(x) == x == Fraction(99, 7)


def test_a_long_fraction_is_shown_by_its_nearest_float():
    x = number(Fraction(1, 3)) ** 5000
    assert repr(x) == "<fraction near 0.0, 7,925 bits below>"
    assert repr(x * 3**5000) == "<fraction near 1.0, 7,925 bits below>"
    assert x * 3**5000 == 1


def test_a_zero_has_no_inverse():
    with pytest.raises(ZeroDivisionError):
        1 / number(0)
    with pytest.raises(ZeroDivisionError):
        number(1) / number(0)
