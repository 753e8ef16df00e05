"""The oracle: every linear map as a dense matrix, every linear rule as a literal sum over (j, k).

It shares no code with reflrp. Only Python loops over indices and Python numbers, so what it says for floats it says for
`fractions.Fraction` too. numpy holds the entries and numbers them.

A map is a `Matrix`: for one sample, all inputs and outputs numbered in row-major order,

    z_k = sum_j W[j][k] a_j + b_k,    W[j][k] = S[j][k] * P[j][k].

S is what the geometry fixes: which input an output has, and the share 1/n of a pool. P is the parameter that the rules
clip, square or replace by ones; a pool's is 1. So Flat uses S, also where a stored weight is 0.
"""

from itertools import product
from math import prod, sqrt
from typing import NamedTuple

import numpy as np


class Matrix(NamedTuple):
    """One map, written out. S and P are (inputs, outputs) lists of rows, b a list over the outputs."""

    S: list
    P: list
    b: list

    def weights(self, change):
        """S * change(P): the matrix of the same geometry with another parameter."""
        return [
            [s * change(p) if s else 0 for s, p in zip(*rows, strict=True)] for rows in zip(self.S, self.P, strict=True)
        ]

    @property
    def full(self):
        return self.weights(lambda p: p)


class Builder:
    """Collects the entries of a matrix; inputs and outputs are named by their indices."""

    def __init__(self, inputs, outputs):
        self.place_in = np.arange(prod(inputs)).reshape(inputs)
        self.place_out = np.arange(prod(outputs)).reshape(outputs)
        self.S = [[0] * prod(outputs) for _ in range(prod(inputs))]
        self.P = [[0] * prod(outputs) for _ in range(prod(inputs))]

    def put(self, i, o, parameter, share=1):
        j, k = int(self.place_in[i]), int(self.place_out[o])
        assert not self.S[j][k], "no pair of input and output meets twice"
        self.S[j][k], self.P[j][k] = share, parameter

    def matrix(self, b=None):
        """b broadcasts against the output's shape."""
        shape = self.place_out.shape
        zeros = [0] * prod(shape)
        return Matrix(self.S, self.P, zeros if b is None else np.broadcast_to(b, shape).ravel().tolist())


def number(x):
    """A Python number, whatever array it came out of."""
    return x.item() if isinstance(x, np.generic) else x


# ---------------------------------------------------------------- maps


def dense(lead, w, b=None):
    """a (*lead, in) w (in, out)."""
    n, m = w.shape
    made = Builder((*lead, n), (*lead, m))
    for t in product(*map(range, lead)):
        for j in range(n):
            for k in range(m):
                made.put((*t, j), (*t, k), number(w[j, k]))
    return made.matrix(b)


def stacked_dense(rows, w, b=None):
    """a (heads, rows, in) w (heads, in, out): each head has a matrix of its own."""
    heads, n, m = w.shape
    made = Builder((heads, rows, n), (heads, rows, m))
    for h, t, j, k in product(range(heads), range(rows), range(n), range(m)):
        made.put((h, t, j), (h, t, k), number(w[h, j, k]))
    return made.matrix(b)


def left_dense(columns, w, b=None):
    """w (out, in) a (in, columns)."""
    m, n = w.shape
    made = Builder((n, columns), (m, columns))
    for c, j, k in product(range(columns), range(n), range(m)):
        made.put((j, c), (k, c), number(w[k, j]))
    return made.matrix(b)


def taps(size, kernel, strides, begin, end, dilations):
    """Yield (window, tap, entry) for each kernel tap of each window that lies on an entry of the input."""
    for window in product(*(range(n) for n in count(size, kernel, strides, begin, end, dilations))):
        for tap in product(*map(range, kernel)):
            geometry = zip(window, tap, strides, begin, dilations, strict=True)
            entry = tuple(o * s + t * d - p for o, t, s, p, d in geometry)
            if all(0 <= i < n for i, n in zip(entry, size, strict=True)):
                yield window, tap, entry


def count(size, kernel, strides, begin, end, dilations):
    """How many windows there are along each axis."""
    axes = zip(size, kernel, strides, begin, end, dilations, strict=True)
    return tuple((n + p + q - (d * (k - 1) + 1)) // s + 1 for n, k, s, p, q, d in axes)


def conv(size, w, b=None, *, strides, begin, end, dilations, groups):
    """a (C, *size) with w (O, C/groups, *kernel), in any number of dimensions."""
    out, per_group, kernel = w.shape[0], w.shape[1], w.shape[2:]
    made = Builder((per_group * groups, *size), (out, *count(size, kernel, strides, begin, end, dilations)))
    for window, tap, entry in taps(size, kernel, strides, begin, end, dilations):
        for o in range(out):
            group = o // (out // groups)
            for c in range(per_group):
                made.put((group * per_group + c, *entry), (o, *window), number(w[(o, c, *tap)]))
    return made.matrix(b)


def conv_transpose(inputs, size, w, b=None, *, strides, begin, dilations, groups):
    """a (I, *inputs) with w (I, O/groups, *kernel): each input entry paints its kernel onto the output (O, *size)."""
    channels, per_group, kernel = w.shape[0], w.shape[1], w.shape[2:]
    made = Builder((channels, *inputs), (per_group * groups, *size))
    for i in range(channels):
        group = i // (channels // groups)
        for entry in product(*map(range, inputs)):
            for tap in product(*map(range, kernel)):
                geometry = zip(entry, tap, strides, begin, dilations, strict=True)
                at = tuple(e * s + t * d - p for e, t, s, p, d in geometry)
                if all(0 <= x < n for x, n in zip(at, size, strict=True)):
                    for o in range(per_group):
                        made.put((i, *entry), (group * per_group + o, *at), number(w[(i, o, *tap)]))
    return made.matrix(b)


def average_pool(channels, size, kernel, *, strides, begin, end, dilations, include_pad, one=1):
    """The mean over each window; without include_pad, over its entries inside the border."""
    geometry = (size, kernel, strides, begin, end, dilations)
    inside = {}
    for window, _, _ in taps(*geometry):
        inside[window] = inside.get(window, 0) + 1
    made = Builder((channels, *size), (channels, *count(*geometry)))
    for window, _, entry in taps(*geometry):
        for c in range(channels):
            made.put((c, *entry), (c, *window), one, one / (prod(kernel) if include_pad else inside[window]))
    return made.matrix()


def diagonal(shape, w, b=None):
    """w * a, elementwise."""
    w = np.broadcast_to(w, shape)
    made = Builder(shape, shape)
    for i in product(*map(range, shape)):
        made.put(i, i, number(w[i]))
    return made.matrix(b)


def sum_of(shape, signs):
    """sum_i signs_i a_i of values a (len(signs), *shape)."""
    made = Builder((len(signs), *shape), shape)
    for i in product(*map(range, shape)):
        for v, sign in enumerate(signs):
            made.put((v, *i), i, sign)
    return made.matrix()


def sum_axes(shape, axes, mean, one=1):
    """The sum or mean over axes (numbered in `shape`, without the batch)."""
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    made = Builder(shape, kept)
    share = one / prod(shape[i] for i in axes) if mean else one
    for i in product(*map(range, shape)):
        made.put(i, tuple(0 if axis in axes else n for axis, n in enumerate(i)), one, share)
    return made.matrix()


def axis_map(shape, matrices):
    """A matrix (out, in) for each axis that is named; an input and an output meet where the product is not 0."""
    sizes = [range(matrices[i].shape[0]) if i in matrices else (None,) for i in range(len(shape))]
    made = Builder(shape, tuple(len(s) if i in matrices else shape[i] for i, s in enumerate(sizes)))
    for j in product(*map(range, shape)):
        for rows in product(*sizes):
            k = tuple(j[i] if row is None else row for i, row in enumerate(rows))
            coefficient = prod(number(m[k[i], j[i]]) for i, m in matrices.items())
            if coefficient:
                made.put(j, k, coefficient)
    return made.matrix()


def max_pool(a, size, kernel, *, strides, begin, end, dilations):
    """One entry a window: the first one that is greatest. a (C, *size) is the observed input."""
    geometry = (size, kernel, strides, begin, end, dilations)
    made = Builder(a.shape, (a.shape[0], *count(*geometry)))
    for c in range(a.shape[0]):
        best = {}
        for window, _, entry in taps(*geometry):
            if window not in best or a[(c, *entry)] > a[(c, *best[window])]:
                best[window] = entry
        for window, entry in best.items():
            made.put((c, *entry), (c, *window), 1)
    return made.matrix()


def max_axes(a, axes):
    """The first greatest entry over the axes."""
    kept = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
    made, best = Builder(a.shape, kept), {}
    for i in product(*map(range, a.shape)):
        out = tuple(0 if axis in axes else n for axis, n in enumerate(i))
        if out not in best or a[i] > a[best[out]]:
            best[out] = i
    for out, i in best.items():
        made.put(i, out, 1)
    return made.matrix()


def max_of(a, least=False):
    """The first greatest (or least) of several values a (k, *shape)."""
    made = Builder(a.shape, a.shape[1:])
    for i in product(*map(range, a.shape[1:])):
        best = 0
        for v in range(1, a.shape[0]):
            better = a[(v, *i)] < a[(best, *i)] if least else a[(v, *i)] > a[(best, *i)]
            best = v if better else best
        made.put((best, *i), i, 1)
    return made.matrix()


# ---------------------------------------------------------------- denominators


def signed(epsilon):
    """st(z) = z + epsilon sgn z, sgn 0 = +1."""
    return lambda z: [x + epsilon if x >= 0 else x - epsilon for x in z]


def plain(epsilon):
    return lambda z: [x + epsilon for x in z]


def clip(epsilon):
    return lambda z: [max(x, epsilon) if x >= 0 else min(x, -epsilon) for x in z]


def nonzero(epsilon):
    return lambda z: [epsilon if x == 0 else x for x in z]


FORMS = {"signed": signed, "plain": plain, "clip": clip, "nonzero": nonzero}


def scaled(form, epsilon, dim_of):
    """The form with epsilon times the root mean square of z; `dim_of(k)` names the group of outputs that share one."""

    def st(z):
        groups = {}
        for k, x in enumerate(z):
            groups.setdefault(dim_of(k), []).append(x)
        rms = {g: sqrt(sum(x * x for x in xs) / len(xs)) for g, xs in groups.items()}
        return [FORMS[form](epsilon * rms[dim_of(k)])([x])[0] for k, x in enumerate(z)]

    return st


# ---------------------------------------------------------------- rules: R (outputs) -> R (inputs), one sample


def pos(x):
    return max(x, 0)


def neg(x):
    return min(x, 0)


def share(u, bias, R, st):
    """sum_k u[j][k] R_k / st(sum_j u[j][k] + bias_k): all rules are sums of such. A denominator 0 passes nothing."""
    inputs, outputs = range(len(u)), range(len(R))
    d = st([sum(u[j][k] for j in inputs) + bias[k] for k in outputs])
    return [sum(u[j][k] * R[k] / d[k] for k in outputs if d[k] != 0 and u[j][k] != 0) for j in inputs]


def times(a, W):
    """u[j][k] = a_j W[j][k]."""
    return [[x * w for w in row] for x, row in zip(a, W, strict=True)]


def added(*parts):
    return [sum(values) for values in zip(*parts, strict=True)]


def scale(factor, values):
    return [factor * v for v in values]


def biases(M, choice, keep, part=lambda b: b):
    """The bias that a rule sees: none for "ignore", all of it for the choice `keep`, else a part of it."""
    return [0] * len(M.b) if choice == "ignore" else M.b if choice == keep else [part(b) for b in M.b]


def epsilon(M, a, R, st, bias="absorb"):
    return share(times(a, M.full), biases(M, bias, "absorb"), R, st)


def norm(M, a, R, st):
    return epsilon(M, a, R, st)


def gamma(M, a, R, st, gamma, generalized=False, bias="scale"):
    def raised(x):
        return x + gamma * pos(x)

    def lowered(x):
        return x + gamma * neg(x)

    if not generalized:
        return share(times(a, M.weights(raised)), biases(M, bias, "keep", raised), R, st)
    z = [sum(column) + b for column, b in zip(zip(*times(a, M.full), strict=True), M.b, strict=True)]
    outcome = []
    for up, down, on in ((raised, lowered, [x > 0 for x in z]), (lowered, raised, [x < 0 for x in z])):
        u = [
            [x * p if x >= 0 else x * q for p, q in zip(*rows, strict=True)]
            for x, *rows in zip(a, M.weights(up), M.weights(down), strict=True)
        ]
        outcome.append(share(u, biases(M, bias, "keep", up), [r if k else 0 for r, k in zip(R, on, strict=True)], st))
    return added(*outcome)


def alpha_beta(M, a, R, st, alpha, beta, bias="split"):
    u = times(a, M.full)
    up, un = [[[part(x) for x in row] for row in u] for part in (pos, neg)]
    found = scale(alpha, share(up, biases(M, bias, "full", pos), R, st))
    if beta == 0:
        return found
    return added(found, scale(-beta, share(un, biases(M, bias, "full", neg), R, st)))


def z_plus(M, a, R, st, bias="split", inputs="split"):
    if inputs == "split":
        return alpha_beta(M, a, R, st, 1, 0, bias)
    return share(times(a, M.weights(pos)), biases(M, bias, "full", pos), R, st)


def z_box(M, a, R, st, low, high):
    """low and high: one number an input."""
    W, Wp, Wn = M.full, M.weights(pos), M.weights(neg)
    u = [
        [x * w - lo * wp - hi * wn for w, wp, wn in zip(*rows, strict=True)]
        for x, lo, hi, *rows in zip(a, low, high, W, Wp, Wn, strict=True)
    ]
    return share(u, [0] * len(R), R, st)


def w_square(M, a, R, st, bias="ignore"):
    return share(M.weights(lambda p: p * p), biases(M, bias, None, lambda b: b * b), R, st)


def flat(M, a, R, st):
    return share(M.S, [0] * len(R), R, st)


def sign(M, a, R, st, mu, bias="absorb"):
    """mu: one number an input."""
    W = M.full
    z = [sum(column) for column in zip(*times(a, W), strict=True)]
    d = st([x + b for x, b in zip(z, biases(M, bias, "absorb"), strict=True)])
    sums = [sum(w * r / k for w, r, k in zip(row, R, d, strict=True) if k != 0) for row in W]
    return [x if value >= m else -x for x, value, m in zip(sums, a, mu, strict=True)]


def alpha_beta_x(M, a, R, st, alpha, beta, bias="split", second="alpha"):
    parts = (
        (alpha[0], pos, pos),
        (alpha[1] if second == "alpha" else beta[1], neg, neg),
        (-beta[0], pos, neg),
        (-beta[1], neg, pos),
    )
    found = [0] * len(a)
    for factor, of_a, of_w in parts:
        u = times([of_a(x) for x in a], M.weights(of_w))
        found = added(found, scale(factor, share(u, biases(M, bias, None, of_w), R, st)))
    return found


def deviation(values):
    """The population standard deviation."""
    mean = sum(values) / len(values)
    return sqrt(sum((x - mean) ** 2 for x in values) / len(values))


def winner(M, a, R):
    """All relevance along the matrix: winner takes all, and the gradient of any map."""
    return [sum(w * r for w, r in zip(row, R, strict=True)) for row in M.full]
