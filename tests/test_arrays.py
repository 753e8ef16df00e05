"""Rules and ops on every array library: what NumPy says, they say; and nobody writes into what is given."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import Library
from hypothesis import given, settings
from maps import MAPS, dyadic
from test_rules import RULES

from reflrp.arrays import ZERO, add, full_like, inner, magnitude, neg, pos, scatter_add, sign, total, unbroadcast
from reflrp.arrays import namespaces as arrays
from reflrp.arrays.blocks import CHUNK
from reflrp.errors import InputError
from reflrp.ops.pointwise import FUNCTIONS, Pointwise


@pytest.mark.parametrize("kind", MAPS)
def test_rules_agree_with_numpy(xp: Library, kind):
    @given(MAPS[kind])
    @settings(max_examples=5)
    def check(m):
        R = dyadic(np.random.default_rng(7), m.z.shape)
        there = m.converted(xp.array)
        for rule in RULES:
            want, found = rule(m.seen, m.a, m.z, R), rule(there.seen, there.a, there.z, xp.array(R))
            assert (found is ZERO) == (want is ZERO), rule
            if want is not ZERO:
                assert isinstance(found, type(there.a)), rule
                assert np.allclose(xp.host(found), want, rtol=1e-13, atol=1e-13), rule

    check()


@pytest.mark.parametrize("kind", MAPS)
def test_ledger_agrees_with_numpy(xp: Library, kind):
    """What bias and stabiliser keep, as Python numbers."""

    @given(MAPS[kind])
    @settings(max_examples=3)
    def check(m):
        R = dyadic(np.random.default_rng(7), m.z.shape)
        there = m.converted(xp.array)
        for rule in RULES[:3]:
            notes = []
            for case, r in ((m, R), (there, xp.array(R))):
                notes.append([])
                rule(replace(case.seen, absorbed=notes[-1]), case.a, case.z, r)
            assert all(type(number) in (int, float) for kept in notes[1] for number in kept)
            assert np.allclose(notes[0], notes[1], rtol=1e-13, atol=1e-13)

    check()


POINTS = {"acosh": 2.0, "log": 0.5, "sqrt": 0.5, "reciprocal": 0.5, "root": 0.5, "power": 0.5}
ARGS = {
    "leaky_relu": (0.25,),
    "prelu": (0.25,),
    "thresholded_relu": (1.0,),
    "hard_sigmoid": (0.25, 0.5),
    "clip": (0.0, 6.0),
    "shrink": (0.5, 0.25),
    "power": (3.0,),
    "abs_power": (2.0,),
    "root": (2.0,),
    "exponential": (2.0,),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_pointwise_functions_agree_with_numpy(xp: Library, name):
    x = np.linspace(-0.9, 0.9, 7) + (0.05 if name not in POINTS else POINTS[name] + 0.9)
    op = Pointwise(name, ARGS.get(name, ()))
    for method in (op.forward, op.derivative):
        assert np.allclose(xp.host(method(xp.array(x))), method(x), rtol=1e-14, atol=1e-15)


def test_zero_is_neutral(xp: Library):
    x = xp.array(np.asarray([1.0, -2.0]))
    for found in (add(x, ZERO), add(ZERO, x), ZERO + x):
        assert xp.host(found).tolist() == [1, -2]
    assert xp.host(ZERO - x).tolist() == [-1, 2]
    for found in (ZERO * x, ZERO / x, ZERO**2, -ZERO, pos(ZERO), neg(ZERO), ZERO + ZERO, add(ZERO, ZERO)):
        assert found is ZERO
    assert total(ZERO) == inner(x, ZERO) == inner(ZERO, x) == 0
    assert repr(ZERO) == "ZERO"


def test_helpers(xp: Library):
    x = xp.array(np.asarray([[1.5, -2.0, 0.0]]))
    assert xp.host(pos(x)).tolist() == [[1.5, 0, 0]]
    assert xp.host(neg(x)).tolist() == [[0, -2, 0]]
    assert xp.host(sign(x)).tolist() == [[1, -1, 1]]
    assert xp.host(unbroadcast(x, (1, 1))).tolist() == [[-0.5]]
    assert xp.host(unbroadcast(x, ())).tolist() == -0.5
    assert total(x) == -0.5
    assert inner(x, x) == 6.25
    assert inner(xp.array(np.asarray(2.0)), x) == -1


@pytest.mark.parametrize("value", [2, 2.0, np.float64(2), np.asarray(2.0), np.asarray([2.0, 2.0, 2.0])])
def test_values_broadcast(xp: Library, value):
    x = xp.array(np.zeros((2, 3)))
    found = full_like(x, value)
    assert isinstance(found, type(x))
    assert found.dtype == x.dtype
    assert xp.host(found).tolist() == [[2, 2, 2]] * 2


def test_repeated_indices_add_up(xp: Library):
    found = scatter_add(3, xp.array(np.asarray([0, 2, 0])), xp.array(np.asarray([1.0, 2.0, 4.0])))
    assert xp.host(found).tolist() == [5, 0, 2]


@pytest.mark.parametrize("shape", [(3,), (2, CHUNK - 1), (5, CHUNK, 1)])
def test_magnitude_in_pieces(shape):
    """The same sum, in one piece or several, the last of them smaller."""
    x = dyadic(np.random.default_rng(0), shape)
    assert magnitude(x) == np.abs(x).sum()
    assert magnitude(np.flip(x, axis=0)) == np.abs(x).sum()


def test_backends():
    assert arrays.backend_namespace("numpy") is np
    with pytest.raises(InputError, match="backend='torch' is unknown"):
        arrays.backend_namespace("torch")
