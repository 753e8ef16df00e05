"""Routing: each operator moves entries as ONNX says, and its transpose moves relevance back along the same ways."""

import numpy as np
import pytest
from conftest import Library
from maps import dyadic

from reflrp.ops.picking import Index, Take
from reflrp.ops.routing import Concat, Embedding, Expand, Pad, Reshape, Slice, Transpose, Where

C = dyadic(np.random.default_rng(0), (2, 1, 4))
MASK = np.asarray([[True, False, True, True], [False, False, True, False], [True, True, False, True]])
CASES = {
    "reshape": (Reshape((2, 3, 4), (2, 12)), [(2, 3, 4)], lambda x: x.reshape(2, 12)),
    "transpose": (Transpose((2, 0, 1)), [(2, 3, 4)], lambda x: x.transpose(2, 0, 1)),
    "slice": (Slice((2, 3, 4), (slice(None), slice(0, 3, 2), slice(1, 3))), [(2, 3, 4)], lambda x: x[:, 0:3:2, 1:3]),
    "slice back": (
        Slice((2, 3, 4), (slice(None), slice(2, None, -1), slice(3, 0, -2))),
        [(2, 3, 4)],
        lambda x: x[:, ::-1, 3:0:-2],
    ),
    "concat": (Concat(1, (None, None), (3, 2)), [(2, 3, 4), (2, 2, 4)], lambda x, y: np.concatenate([x, y], 1)),
    "concat constant": (Concat(1, (None, C), (3, 1)), [(2, 3, 4)], lambda x: np.concatenate([x, C], 1)),
    "pad": (
        Pad((2, 3), (1, 0), (0, 2), 0.5),
        [(2, 3)],
        lambda x: np.pad(x, ((1, 0), (0, 2)), constant_values=0.5),
    ),
    "crop": (Pad((4, 3), (-1, 1), (0, -2)), [(4, 3)], lambda x: np.pad(x[1:, :1], ((0, 0), (1, 0)))),
    "expand": (Expand((2, 1, 4), (3, 2, 5, 4)), [(2, 1, 4)], lambda x: np.broadcast_to(x, (3, 2, 5, 4))),
    "index": (
        Index((2, 3), np.asarray([[0, 5, 0], [3, 3, 3]])),
        [(2, 3)],
        lambda x: x.ravel()[[[0, 5, 0], [3, 3, 3]]],
    ),
    "take": (Take((2, 3, 4), 1, np.asarray([2, 0, 2, 2])), [(2, 3, 4)], lambda x: x[:, [2, 0, 2, 2]]),
    "where": (
        Where(MASK, None, None, ((3, 4), (4,)), (3, 4)),
        [(3, 4), (4,)],
        lambda x, y: np.where(MASK, x, y),
    ),
    "where constant": (Where(MASK, None, C[0], ((3, 4),), (3, 4)), [(3, 4)], lambda x: np.where(MASK, x, C[0])),
}


@pytest.mark.parametrize("name", CASES)
def test_routing(xp: Library, name):
    """The output is NumPy's; and <op(x) - op(0), R> = <x, transpose(R)>, op(0) being the constants."""
    op, shapes, wanted = CASES[name]
    there, rng = op.to(xp.array), np.random.default_rng(1)
    xs = [dyadic(rng, s) for s in shapes]
    y = xp.host(there.forward(*map(xp.array, xs)))
    assert np.array_equal(y, wanted(*xs))
    assert y.shape == op.shape(*shapes)
    R = dyadic(rng, y.shape)
    parts = [xp.host(part) for part in there.transpose(xp.array(R), *map(xp.array, xs))]
    assert [part.shape for part in parts] == shapes
    constants = wanted(*(0 * x for x in xs))
    assert ((y - constants) * R).sum() == sum((x * part).sum() for x, part in zip(xs, parts, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_what_constants_keep(name):
    """An operator that conserves all of R says so; one that holds constants says that they may keep some."""
    op, shapes, _ = CASES[name]
    rng = np.random.default_rng(2)
    R = dyadic(rng, op.shape(*shapes))
    kept = R.sum() - sum(part.sum() for part in op.transpose(R, *(dyadic(rng, s) for s in shapes)))
    loses = op.keeps or isinstance(op, Pad)
    assert kept == 0 or loses
    assert loses == (name in ("concat constant", "pad", "crop", "where constant"))


def test_observed_condition(xp: Library):
    """A condition that depends on the data carries no relevance itself."""
    op = Where(None, None, None, ((2, 2), (2, 2), (2, 2)), (2, 2))
    c = np.asarray([[True, False], [False, True]])
    x, y = np.ones((2, 2)), np.zeros((2, 2))
    none, of_x, of_y = op.transpose(xp.array(np.full((2, 2), 3.0)), *map(xp.array, (c, x, y)))
    assert none is None
    assert xp.host(of_x).tolist() == (3 * c).tolist()
    assert xp.host(of_y).tolist() == (3 * ~c).tolist()


@pytest.mark.parametrize(("axis", "shape"), [(0, (2, 3, 4)), (1, (5, 2, 3))])
def test_embedding(xp: Library, axis, shape):
    """A token's relevance is the sum over its row; ids may be counted from the end."""
    table, ids = dyadic(np.random.default_rng(0), (5, 4)), np.asarray([[0, 4, -1], [2, 2, 3]])
    op = Embedding(table if axis == 0 else table[:, :4], axis, rank=2)
    ids = ids if axis == 0 else ids % 4
    there = op.to(xp.array)
    out = xp.host(there.forward(xp.array(ids)))
    assert out.shape == shape == op.shape(ids.shape)
    assert np.array_equal(out, np.take(table, ids, axis=axis))
    (R,) = there.transpose(xp.array(np.ones(shape)), xp.array(ids))
    assert xp.host(R).tolist() == [[4.0 if axis == 0 else 5.0] * 3] * 2
