"""Token ids on their way to a table: each gets the relevance of the rows that it chose, at the observed input.

The oracle: relevance of the rows is a table r (batch, place), and each case says by loops which entry of which input a place
comes from.
"""

import numpy as np
import pytest
from models import draw, ints, model, onnxruntime

import reflrp

IDS = np.array([[1, 2, 3], [4, 0, 6]])
POS = np.array([[0, 1, 2], [0, 1, 1]])
KEEP = np.array([[1, 1, 0], [1, 0, 1]])
HERE = [[(n, t) for t in range(3)] for n in range(2)]
TABLE, LAST = draw(13, 4, seed=5), draw(4, 3, seed=6)


def every(share=1.0, where=lambda n, t: True):
    """Each place from the id at the same place, with a share of its relevance."""
    return [(n, t, n, t, share) for n in range(2) for t in range(3) if where(n, t)]


# body, further inputs, constants, and for each input (batch and place of the output, entry of the input, share)
CASES = {
    "as they are": ("z = Identity(ids)", {}, {}, {"ids": every()}),
    "shifted": ("z = Add(ids, c)", {}, {"c": ints(0, 1, 2)}, {"ids": every()}),
    "from a constant": ("z = Sub(c, ids)", {}, {"c": np.int64(8)}, {"ids": every()}),
    "buckets": ("z = Mod(ids, c)", {}, {"c": np.int64(4)}, {"ids": every()}),
    "halved": ("z = Div(ids, c)", {}, {"c": np.int64(2)}, {"ids": every()}),
    "masked": (
        "b = Cast<to = 9>(m) z = Where(b, ids, pad)",
        {"m": KEEP},
        {"pad": np.int64(7)},
        {"ids": every(1, lambda n, t: KEEP[n, t]), "m": None},
    ),
    "masked where they are rare": (
        "b = Greater(ids, c) z = Where(b, pad, ids)",
        {},
        {"c": np.int64(3), "pad": np.int64(11)},
        {"ids": every(1, lambda n, t: IDS[n, t] <= 3)},
    ),
    "masked by a product": ("z = Mul(ids, c)", {}, {"c": KEEP}, {"ids": every(1, lambda n, t: KEEP[n, t])}),
    "clipped": (
        "z = Clip(ids, low, high)",
        {},
        {"low": np.int64(1), "high": np.int64(4)},
        {"ids": every(1, lambda n, t: 1 <= IDS[n, t] <= 4)},
    ),
    "at least": ("z = Max(ids, c)", {}, {"c": np.int64(3)}, {"ids": every(1, lambda n, t: IDS[n, t] >= 3)}),
    "one of two": (
        "b = Cast<to = 9>(m) z = Where(b, ids, pos)",
        {"m": KEEP, "pos": POS},
        {},
        {
            "ids": every(1, lambda n, t: KEEP[n, t]),
            "pos": every(1, lambda n, t: not KEEP[n, t]),
            "m": None,
        },
    ),
    "two added": ("z = Add(pos, ids)", {"pos": POS}, {}, {"ids": every(0.5), "pos": every(0.5)}),
    "one added to itself": ("z = Add(ids, ids)", {}, {}, {"ids": every()}),
    "a product with a neutral one": (
        "z = Mul(ids, two)",
        {"two": np.array([[5, 1, 1], [0, 2, 1]])},
        {},
        {
            "ids": [(0, 1, 0, 1, 1.0), (0, 2, 0, 2, 1.0), (1, 1, 1, 1, 1.0), (1, 2, 1, 2, 1.0)],
            "two": [(0, 0, 0, 0, 1.0), (1, 0, 1, 0, 1.0)],
        },
    ),
    "behind a first token": (
        "z = Concat<axis = 1>(c, ids)",
        {},
        {"c": np.array([[8], [8]])},
        {"ids": [(n, t + 1, n, t, 1.0) for n in range(2) for t in range(3)]},
    ),
    "joined": (
        "z = Concat<axis = 1>(pos, ids)",
        {"pos": POS},
        {},
        {"pos": every(), "ids": [(n, t + 3, n, t, 1.0) for n in range(2) for t in range(3)]},
    ),
    "padded": (
        "z = Pad(ids, c)",
        {},
        {"c": ints(0, 1, 0, 1)},
        {"ids": [(n, t + 1, n, t, 1.0) for n in range(2) for t in range(3)]},
    ),
    "split": (
        "u, z = Split<axis = 1>(ids, c)",
        {},
        {"c": ints(1, 2)},
        {"ids": [(n, t - 1, n, t, 1.0) for n in range(2) for t in (1, 2)]},
    ),
    "a column with its offsets": (
        "u = Slice(ids, zero, one, one) z = Add(u, c)",
        {},
        {"zero": ints(0), "one": ints(1), "c": ints(0, 1, 2)},
        {"ids": [(n, t, n, 0, 1.0) for n in range(2) for t in range(3)]},
    ),
}


def network(body, further, constants):
    """Rows by ids z, summed over the places, and a dense layer."""
    inputs = ", ".join(["int64[2,3] ids", *(f"int64[2,3] {k}" for k in further)])
    text = f"{body} e = Gather(E, z) s = ReduceSum<keepdims = 0>(e, places) y = MatMul(s, W)"
    return model(text, inputs, E=TABLE, W=LAST, places=ints(1), **constants)


def rows(ids):
    """The relevance of each place: its part of the sum that the dense layer reads."""
    e = TABLE.astype(float)[ids]
    return np.einsum("ntd,d->nt", e, LAST[:, 1].astype(float))


@pytest.mark.parametrize("name", CASES)
def test_relevance_of_ids(name):
    body, further, constants, wanted = CASES[name]
    proto, feeds = network(body, further, constants), {"ids": IDS, **further}
    e = reflrp.explain(proto, feeds, "lrp_0", target=1)
    assert np.allclose(e.output, onnxruntime(proto, feeds)["y"], atol=1e-5)
    r = rows(observed(body, further, constants))
    assert set(e.relevances) == {k for k, ways in wanted.items() if ways is not None}
    for key, ways in wanted.items():
        if ways is None:
            continue
        found = np.zeros((2, 3))
        for n, place, m, t, share in ways:
            found[m, t] += share * r[n, place]
        assert np.allclose(e.relevances[key], found, atol=1e-9)
    totals = e.conservation.totals
    assert np.isclose(totals["inputs"] + totals["bias"], totals["seed"], atol=1e-9)


@pytest.mark.parametrize("node", ["GatherElements <axis = 1>(ids, ids)", "ScatterElements <axis = 1>(ids, ids, ids)"])
def test_operands_that_are_one_value(node):
    """Ids that say themselves which of them is taken: each operand is bound by its place, not by its name."""
    ids = np.array([[1, 2, 0], [2, 0, 1]])
    proto = model(
        f"z = {node} e = Gather(E, z) s = ReduceSum<keepdims = 0>(e, places) y = MatMul(s, W)", "int64[2,3] ids",
        E=TABLE, W=LAST, places=ints(1),
    )  # fmt: skip
    moved = np.take_along_axis(ids, ids, 1) if "Gather" in node else np.argsort(ids, axis=1)
    r, wanted = rows(moved if "Gather" in node else np.take_along_axis(ids, moved, 1)), np.zeros((2, 3))
    for n, place in np.ndindex(2, 3):
        wanted[n, ids[n, place] if "Gather" in node else moved[n, place]] += r[n, place]
    e = reflrp.explain(proto, {"ids": ids}, "lrp_0", target=1)
    assert np.allclose(e.output, onnxruntime(proto, {"ids": ids})["y"], atol=1e-5)
    assert np.allclose(e.relevances["ids"], wanted, atol=1e-9)


def observed(body, further, constants):
    """The ids that choose the rows, by onnxruntime."""
    inputs = ", ".join(["int64[2,3] ids", *(f"int64[2,3] {k}" for k in further)])
    return onnxruntime(model(body, inputs, "int64[] z", **constants), {"ids": IDS, **further})["z"]


@pytest.mark.parametrize("rules", ["epsilon", "cp_lrp"])
def test_an_id_that_nothing_reaches_has_zeros(rules):
    """The second table only makes scores, at whose softmax cp_lrp stops: its ids are there, with zeros."""
    text = """a = Gather(E, ids) b = Gather(E, other) p = Softmax <axis = 2>(b) m = Mul(p, a)
        s = ReduceSum<keepdims = 0>(m, places) y = MatMul(s, W)"""
    proto = model(text, "int64[2,3] ids, int64[2,3] other", E=TABLE, W=LAST, places=ints(1))
    e = reflrp.explain(proto, {"ids": IDS, "other": POS}, rules, target=1)
    assert set(e.relevances) == {"ids", "other"}
    assert np.abs(e.relevances["ids"]).max() > 0
    assert np.array_equal(e.relevances["other"], np.zeros((2, 3)))
