"""Compiled graphs whose token ids are masked, chosen or moved by numbers that only the run knows, for any batch size and length.

The oracle: relevance of the rows is a table r (sample, place), and each case says by Python's own arithmetic on single numbers
which id has a part in a place. Masks, ids and lengths are others in each run of the one compiled file.
"""

import re

import numpy as np
import pytest
from compiled import run
from models import draw, ints, model

import reflrp

TABLE, LAST = draw(40, 4, seed=5), draw(4, 3, seed=6)

SELECT = """less = Less(ids, zero) no = Not(less) a = Cast<to = 7>(less) b = Cast<to = 7>(no) shifted = Add(ids, forty)
    c = Mul(a, shifted) d = Mul(ids, b) z = Add(c, d)"""
TF = """f = Cast<to = 1>(ids) less = Less(f, none) no = Not(less) a = Cast<to = 6>(less) b = Cast<to = 6>(no) i = Cast<to = 6>(ids)
    v = Cast<to = 6>(forty) shifted = Add(i, v) c = Mul(i, b) d = Mul(a, shifted) k = Add(d, c) z = Cast<to = 7>(k)"""
KEPT = "m = Cast<to = 9>(mask) a = Cast<to = 7>(m)"
NESTED = f"""{KEPT} no = Not(m) b = Cast<to = 7>(no) c = Mul(nine, a) d = Mul(b, pos) inner = Add(c, d)
    big = Greater(ids, two) f = Cast<to = 7>(big) g = Sub(one, f) h = Mul(ids, f) k = Mul(inner, g) z = Add(k, h)"""
LATE = """shape = Shape(ids) t = Gather(shape, one) r = Range(zero, t, one) m = Less(r, two) no = Not(m)
    a = Cast<to = 7>(m) b = Cast<to = 7>(no) c = Mul(ids, a) d = Mul(pos, b) z = Add(c, d)"""
TWICE = """m = Less(ids, two) more = Less(ids, dos) no = Not(more) a = Cast<to = 7>(m) b = Cast<to = 7>(no)
    c = Mul(ids, a) d = Mul(pos, b) z = Add(c, d)"""
OPT = "count = CumSum(mask, one) m = Mul(count, mask) start = Sub(m, one) z = Add(start, two)"


def pair(f, n, t):
    return {k: int(f[k][n, t]) for k in ("ids", "pos")}


def product(given):
    """The parts of two factors: one that a 0 replaces, or that is a neutral 1 itself, has none."""
    (k, a), (m, b) = given.items()
    has = {k: b != 0 and (a != 1 or b == 1), m: a != 0 and (b != 1 or a == 1)}
    return {i: part / max(sum(has.values()), 1) for i, part in has.items()}


def chosen(out, given):
    has = {k: i == out for k, i in given.items()}
    return {k: part / sum(has.values()) for k, part in has.items()}


def kept(f, n, t):
    return float(f["mask"][n, t] != 0)


CASES = {
    "Keras' negative ids": (SELECT, lambda f, n, t: {"ids": 1}),
    "as tf2onnx compares": (TF, lambda f, n, t: {"ids": 1}),
    "one of two, by a product": (
        f"{KEPT} no = Not(m) b = Cast<to = 7>(no) i = Identity(b) c = Mul(i, ids) d = Mul(pos, a) z = Add(c, d)",
        lambda f, n, t: {"ids": 1 - kept(f, n, t), "pos": kept(f, n, t)},
    ),
    "one of two, by 1 - m": (
        f"{KEPT} b = Sub(one, a) c = Mul(ids, a) d = Mul(b, pos) z = Add(c, d)",
        lambda f, n, t: {"ids": kept(f, n, t), "pos": 1 - kept(f, n, t)},
    ),
    "an id or a constant, by a product": (
        f"{KEPT} no = Not(m) b = Cast<to = 7>(no) c = Mul(ids, a) d = Mul(b, nine) z = Add(c, d)",
        lambda f, n, t: {"ids": kept(f, n, t)},
    ),
    "an id or a length, by a product": (
        f"{KEPT} b = Sub(one, a) l = Shape(ids) k = Gather(l, one) c = Mul(ids, a) d = Mul(b, k) z = Add(c, d)",
        lambda f, n, t: {"ids": kept(f, n, t)},
    ),
    "one of three, by products": (
        NESTED,
        lambda f, n, t: {"ids": float(f["ids"][n, t] > 2), "pos": (f["ids"][n, t] <= 2) * (1 - kept(f, n, t))},
    ),
    "by opposite comparisons": (
        "m = Less(ids, two) no = LessOrEqual(two, ids) " + TWICE[TWICE.index("a = ") :],
        lambda f, n, t: {"ids": float(f["ids"][n, t] < 2), "pos": float(f["ids"][n, t] >= 2)},
    ),
    "by one comparison written twice": (
        TWICE,
        lambda f, n, t: {"ids": float(f["ids"][n, t] < 2), "pos": float(f["ids"][n, t] >= 2)},
    ),
    "by the place": (LATE, lambda f, n, t: {"ids": float(t < 2), "pos": float(t >= 2)}),
    "no choice: one condition for both": (
        f"{KEPT} c = Mul(ids, a) d = Mul(a, pos) z = Add(c, d)",
        lambda f, n, t: {"ids": kept(f, n, t) / 2, "pos": kept(f, n, t) / 2},
    ),
    "no choice: two conditions": (
        "m = Less(ids, two) no = LessOrEqual(nine, ids) " + TWICE[TWICE.index("a = ") :],
        lambda f, n, t: {"ids": (f["ids"][n, t] < 2) / 2, "pos": (f["ids"][n, t] >= 9) / 2},
    ),
    "no choice: 2 - m": (
        f"{KEPT} b = Sub(two, a) c = Mul(ids, a) d = Mul(b, pos) z = Add(c, d)",
        lambda f, n, t: {"ids": kept(f, n, t) / 2, "pos": 0.5},
    ),
    "no choice: comparisons of floats, which may be NaN": (
        "f = Cast<to = 1>(ids) m = Less(f, none) no = GreaterOrEqual(f, none) " + TWICE[TWICE.index("a = ") :],
        lambda f, n, t: {"ids": (f["ids"][n, t] < 0) / 2, "pos": (f["ids"][n, t] >= 0) / 2},
    ),
    "OPT's positions": (OPT, lambda f, n, t: {"mask": float(f["mask"][n, : t + 1].any())}),
    "masked by a product": ("z = Mul(ids, mask)", lambda f, n, t: product({k: f[k][n, t] for k in ("ids", "mask")})),
    "a product of two": ("z = Mul(ids, pos)", lambda f, n, t: product(pair(f, n, t))),
    "kinds of tokens that are all one": ("z = Mul(ids, zero)", lambda f, n, t: {}),
    "a choice that is known": ("b = Less(two, one) m = Min(ids, nine) z = Where(b, m, nine)", lambda f, n, t: {}),
    "masked by a choice": ("b = Cast<to = 9>(mask) z = Where(b, ids, two)", lambda f, n, t: {"ids": kept(f, n, t)}),
    "one of two": (
        "b = Cast<to = 9>(mask) z = Where(b, ids, pos)",
        lambda f, n, t: {"ids": kept(f, n, t), "pos": 1 - kept(f, n, t)},
    ),
    "by the ids themselves": (
        "b = Greater(ids, nine) z = Where(b, two, ids)",
        lambda f, n, t: {"ids": float(f["ids"][n, t] <= 9)},
    ),
    "the larger one": ("z = Max(ids, pos)", lambda f, n, t: chosen(max(pair(f, n, t).values()), pair(f, n, t))),
    "the least one": ("z = Min(ids, pos)", lambda f, n, t: chosen(min(pair(f, n, t).values()), pair(f, n, t))),
    "within bounds": ("z = Clip(ids, two, nine)", lambda f, n, t: {"ids": float(2 <= f["ids"][n, t] <= 9)}),
    "bounded above": ("z = Clip(ids, , nine)", lambda f, n, t: {"ids": float(f["ids"][n, t] <= 9)}),
    "in 32 bits": (
        "i = Cast<to = 6>(ids) m = Cast<to = 6>(mask) p = Mul(i, m) z = Cast<to = 7>(p)",
        lambda f, n, t: product({k: f[k][n, t] for k in ("ids", "mask")}),
    ),
    "two added": ("z = Add(ids, pos)", lambda f, n, t: {"ids": 0.5, "pos": 0.5}),
    "a choice for all samples": (
        "b = Greater(row, zero) z = Where(b, ids, row)",
        lambda f, n, t: {"ids": float(f["row"][t] > 0), "row": float(f["row"][t] <= 0)},
    ),
}
"""Nodes that make z of the inputs, and which parts of the relevance of a place the inputs have, by the feeds and the place."""

SMALL = {
    "none": np.float32(0),
    "dos": np.int64(2),
    "zero": np.int64(0),
    "one": np.int64(1),
    "two": np.int64(2),
    "nine": np.int64(9),
    "forty": np.int64(40),
}

SIZES = {"N": 3, "T": 5, "K": 2}
"""What is fixed where nothing stays open."""

KINDS = {
    "ids": "N,T",
    "pos": "N,T",
    "mask": "N,T",
    "row": "T",
    "at": "N,K",
    "new": "N,K",
    "column": "K",
    "both": "N,K,two",
    "lengths": "N",
}
"""The shapes of the inputs."""


def ports(body, open_):
    """The inputs that a body reads."""
    named = {k: shape for k, shape in KINDS.items() if re.search(rf"\b{k}\b", body)}
    sizes = {"two": 2, **{k: n for k, n in SIZES.items() if k not in open_}}
    return ", ".join(f"int64[{','.join(str(sizes.get(n, n)) for n in s.split(','))}] {k}" for k, s in named.items())


def network(body, open_):
    """Rows by ids z, summed over the places, and a dense layer."""
    text = f"{body} e = Gather(E, z) s = ReduceSum<keepdims = 0>(e, places) y = MatMul(s, W)"
    return model(text, ports(body, open_), E=TABLE, W=LAST, places=ints(1), **SMALL)


def drawn(proto, sizes, seed):
    """Ids that come again, and masks with the padding on either side, in between, or all padding."""
    n, t, k = sizes
    rng = np.random.default_rng([*sizes, seed])
    mask = np.arange(t) < rng.integers(0, t + 1, (n, 1))
    mask = [mask, mask[:, ::-1], rng.random((n, t)) < 0.5, np.zeros((n, t)), np.ones((n, t))][seed % 5]
    ids = rng.integers(-6 if "forty" in str(proto) else 0, 15, (n, t))
    at = np.stack([rng.permutation(t)[:k] for _ in range(n)])
    both = np.stack([rng.integers(0, n, (n, k)), rng.integers(-t, t, (n, k))], -1)
    found = {"ids": ids, "pos": rng.integers(0, 3, (n, t)), "mask": mask.astype(np.int64), "row": rng.integers(0, 2, t)}
    found |= {
        "at": at,
        "both": both,
        "new": rng.integers(0, 15, (n, k)),
        "column": rng.integers(-t, t, k),
        "lengths": rng.integers(1, t + 1, n),
    }
    return {i.name: found[i.name] for i in proto.graph.input}


def by_hand(feeds, ways, z):
    """The relevance of the inputs, for what `ways` says of each place: which entries of which inputs have how much of it."""
    found = {k: np.zeros(a.shape) for k, a in feeds.items()}
    r = np.einsum("ntd,d->nt", TABLE.astype(float)[z], LAST[:, 1].astype(float))
    for n, t in np.ndindex(z.shape):
        for key, entry, its in ways(feeds, n, t):
            found[key][entry] += its * r[n, t]
    return found


def assert_right(body, ways, open_, sizes):
    proto = network(body, open_)
    g = reflrp.compile(proto, "lrp_0", target=1)
    with_z = model(body, ports(body, "NTK"), "int64[] z", **SMALL)
    for seed, these in enumerate(sizes):
        feeds = drawn(proto, these, seed)
        found, wanted = run(g, feeds), by_hand(feeds, ways, run(with_z, feeds)["z"])
        exact = reflrp.explain(proto, feeds, "lrp_0", target=1).relevances
        assert {k.removeprefix("relevance/") for k in found if "/" in k} == set(exact)
        for key in exact:
            np.testing.assert_allclose(exact[key], wanted[key], atol=1e-9)
            scale = max(np.abs(wanted[key]).max(), 1e-3)
            np.testing.assert_allclose(found[f"relevance/{key}"], wanted[key], atol=1e-5 * scale)


FIXED = [(3, 5, 2)] * 5
OPEN = [*FIXED, (1, 1, 1), (2, 9, 4), (4, 1, 1), (1, 17, 3), (7, 3, 2)]


@pytest.mark.parametrize("open_", ["NTK", "N", ""])
@pytest.mark.parametrize("name", CASES)
def test_ids_that_are_masked_or_chosen(name, open_):
    body, share = CASES[name]

    def ways(f, n, t):
        return [(k, (t,) if k == "row" else (n, t), its) for k, its in share(f, n, t).items()]

    assert_right(body, ways, open_, {"": FIXED, "N": [*FIXED, (1, 5, 2), (4, 5, 2)], "NTK": OPEN}[open_])


def largest(f, n, t):
    """The place of the id that comes t-th by size, the first of equal ones first."""
    return sorted(range(f["ids"].shape[1]), key=lambda i: (-f["ids"][n, i], i))[t]


def written_to(f, n, t):
    k = list(f["at"][n]).index(t) if t in f["at"][n] else -1
    return [("ids", (n, t), 1)] if k < 0 else [("new", (n, k), 1)]


def turned(f, n, t):
    length = f["lengths"][n]
    return [("ids", (n, length - 1 - t if t < length else t), 1)]


MOVED = {
    "by a list": ("z = Gather<axis = 1>(ids, column)", lambda f, n, t: [("ids", (n, f["column"][t]), 1)]),
    "each by its own": ("z = GatherElements<axis = 1>(ids, at)", lambda f, n, t: [("ids", (n, f["at"][n, t]), 1)]),
    "in both directions": ("z = GatherND(ids, both)", lambda f, n, t: [("ids", tuple(f["both"][n, t]), 1)]),
    "replaced": ("z = ScatterElements<axis = 1>(ids, at, new)", written_to),
    "the largest ones": ("z, i = TopK<axis = 1>(ids, three)", lambda f, n, t: [("ids", (n, largest(f, n, t)), 1)]),
    "the largest one, negative axis": ("z, i = TopK(ids, ones)", lambda f, n, t: [("ids", (n, largest(f, n, t)), 1)]),
    "turned round": ("z = ReverseSequence<batch_axis = 0, time_axis = 1>(ids, lengths)", turned),
    "turned round in 32 bits": (
        "i = Cast<to = 6>(ids) j = ReverseSequence<batch_axis = 0, time_axis = 1>(i, lengths) z = Cast<to = 7>(j)",
        turned,
    ),
    "but the first": ("z = Slice(ids, ones, ends, ones)", lambda f, n, t: [("ids", (n, t + 1), 1)]),
    "side by side": (
        "z = Concat<axis = 1>(ids, pos)",
        lambda f, n, t: [("ids", (n, t), 1)] if t < f["ids"].shape[1] else [("pos", (n, t - f["ids"].shape[1]), 1)],
    ),
    "framed": ("z = Pad(ids, frame)", lambda f, n, t: [("ids", (n, t - 1), 1)] if 0 < t <= f["ids"].shape[1] else []),
    "by turns": (
        "i = Transpose<perm = [1, 0]>(ids) z = Transpose<perm = [1, 0]>(i)",
        lambda f, n, t: [("ids", (n, t), 1)],
    ),
    "by the order of others": (
        "v, i = TopK<axis = 1>(pos, three) z = GatherElements<axis = 1>(ids, i)",
        lambda f, n, t: [("ids", (n, largest({"ids": f["pos"]}, n, t)), 1)],
    ),
    "masked, then moved": (
        "m = Mul(ids, mask) z = GatherElements<axis = 1>(m, at)",
        lambda f, n, t: [
            (k, (n, f["at"][n, t]), its)
            for k, its in product({k: f[k][n, f["at"][n, t]] for k in ("ids", "mask")}).items()
        ],
    ),
}
"""Nodes that make z of the inputs, and the entries of inputs that a place comes from."""

SMALL |= {"ones": ints(1), "three": ints(3), "ends": ints(2**63 - 1), "frame": ints(0, 1, 0, 2)}


@pytest.mark.parametrize("open_", ["NTK", ""])
@pytest.mark.parametrize("name", MOVED)
def test_ids_that_are_moved(name, open_):
    body, ways = MOVED[name]
    assert_right(body, ways, open_, [s for s in OPEN if s[1] > 2] if open_ else FIXED)


TURNED = {
    "and back": """t = Transpose <perm = [1, 0]>(ids) e = Gather(E, t) u = Transpose <perm = [1, 0, 2]>(e) r = Relu(u)
        m = ReduceMax <axes = [1], keepdims = 0>(r) y = MatMul(m, w)""",
    "steps first": """t = Transpose <perm = [1, 0]>(ids) e = Gather(E, t) r = Relu(e) m = ReduceMax <axes = [0], keepdims = 0>(r)
        y = MatMul(m, w)""",
    "cut": """c = Reshape(ids, cut) t = Transpose <perm = [2, 0, 1]>(c) f = Reshape(t, flat) e = Gather(E, f) r = Relu(e)
        m = ReduceMax <axes = [0], keepdims = 0>(r) y = MatMul(m, w)""",
}


@pytest.mark.parametrize("body", TURNED)
@pytest.mark.parametrize("dims", ["N,6", "N,T"])
def test_ids_of_several_samples_are_turned(body, dims):
    """For one sample a transpose of ids leaves them as they lie; for several it does not."""
    weights = {"E": TABLE, "w": LAST} | ({"cut": ints(0, -1, 2), "flat": ints(2, -1)} if body == "cut" else {})
    proto = model(TURNED[body], f"int64[{dims}] ids", **weights)
    compiled = reflrp.compile(proto, "epsilon", target=1)
    for n in (1, 2, 3):
        x = np.random.default_rng(n).integers(0, 40, (n, 6))
        wanted = reflrp.explain(proto, x, "epsilon", target=1).relevance
        np.testing.assert_allclose(run(compiled, {"ids": x})["relevance/ids"], wanted, rtol=1e-4, atol=1e-6)
