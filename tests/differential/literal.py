"""Each rule as a literal formula on dense matrices, whole batches at once. Shares no code with reflrp.

A map is its matrix W (inputs, outputs) and bias b, observed by running it on unit vectors. What a rule does to parameters it
does to W, but where S is given: there W = S * 1, a pool's shares, of which the parameter is 1.
`tests/test_differential.py` holds each formula against the sums over indices of `tests/oracle.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


class Edge(Exception):
    """A denominator so near to 0 that its sign is a matter of rounding."""


@dataclass(frozen=True)
class Map:
    """z = a W + b; `shares`: the entries of W are shares of a pool, and no parameters."""

    W: np.ndarray
    b: np.ndarray
    shares: bool = False

    def weights(self, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the matrix with its parameters changed."""
        return self.W * change(np.ones(())) if self.shares else change(self.W)


def pos(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def neg(x: np.ndarray) -> np.ndarray:
    return np.minimum(x, 0)


def stable(z: np.ndarray, epsilon: float) -> np.ndarray:
    """Return z + epsilon sgn z. Raises Edge where z is nearly 0, and not 0."""
    near = (np.abs(z) < 1e-12) & (z != 0)
    if near.any():
        raise Edge
    return z + epsilon * np.where(z >= 0, 1.0, -1.0)


def shared(U: np.ndarray, c: Any, R: np.ndarray, epsilon: float) -> np.ndarray:
    """Return sum_k U_jk R_k / st(sum_j U_jk + c_k); a denominator 0 passes nothing.

    Raises Edge where contributions cancel, so that the sign of their sum is one of rounding.
    """
    total, size = U.sum(axis=0) + c, np.abs(U).sum(axis=0) + np.abs(c)
    if ((np.abs(total) < 3e-7 * size) & (R != 0)).any():
        raise Edge
    d = stable(total, epsilon)
    return U @ np.divide(R, d, out=np.zeros_like(R), where=d != 0)


def biased(b: np.ndarray, choice: str, keep: str, part: Callable[[np.ndarray], np.ndarray] = lambda b: b) -> Any:
    return 0.0 if choice == "ignore" else b if choice == keep else part(b)


def epsilon(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    return shared(a[:, None] * M.W, biased(M.b, rule.bias, "absorb"), R, rule.epsilon)


def norm(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    return shared(a[:, None] * M.W, M.b, R, rule.stabilizer)


def gamma(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    def up(x: np.ndarray) -> np.ndarray:
        return x + rule.gamma * pos(x)

    def down(x: np.ndarray) -> np.ndarray:
        return x + rule.gamma * neg(x)

    col = a[:, None]
    if not rule.generalized:
        return shared(col * M.weights(up), biased(M.b, rule.bias, "keep", up), R, rule.stabilizer)
    z = a @ M.W + M.b
    if ((np.abs(z) < 1e-12) & (R != 0)).any():
        raise Edge
    found = np.zeros_like(a)
    for raise_, lower, on in ((up, down, z > 0), (down, up, z < 0)):
        U = pos(col) * M.weights(raise_) + neg(col) * M.weights(lower)
        found = found + shared(U, biased(M.b, rule.bias, "keep", raise_), np.where(on, R, 0), rule.stabilizer)
    return found


def alpha_beta(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    U = a[:, None] * M.W
    found = rule.alpha * shared(pos(U), biased(M.b, rule.bias, "full", pos), R, rule.stabilizer)
    if rule.beta == 0:
        return found
    return found - rule.beta * shared(neg(U), biased(M.b, rule.bias, "full", neg), R, rule.stabilizer)


def z_plus(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    U = pos(a[:, None] * M.W) if rule.inputs == "split" else a[:, None] * M.weights(pos)
    return shared(U, biased(M.b, rule.bias, "full", pos), R, rule.stabilizer)


def z_box(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    U = a[:, None] * M.W - rule.low * M.weights(pos) - rule.high * M.weights(neg)
    return shared(U, 0.0, R, rule.stabilizer)


def w_square(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    return shared(M.weights(np.square), biased(M.b, rule.bias, "", np.square), R, rule.stabilizer)


def flat(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    return shared(M.W if M.shares else (M.W != 0).astype(float), 0.0, R, rule.stabilizer)


def sign(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    d = stable(a @ M.W + biased(M.b, rule.bias, "absorb"), rule.stabilizer)
    return np.where(a >= rule.mu, 1.0, -1.0) * (M.W @ np.divide(R, d, out=np.zeros_like(R), where=d != 0))


def alpha_beta_x(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    second = rule.alpha[1] if rule.second == "alpha" else rule.beta[1]
    found = np.zeros_like(a)
    for factor, of_a, of_w in (
        (rule.alpha[0], pos, pos), (second, neg, neg), (-rule.beta[0], pos, neg), (-rule.beta[1], neg, pos),
    ):  # fmt: skip
        U = of_a(a)[:, None] * M.weights(of_w)
        found = found + factor * shared(U, biased(M.b, rule.bias, "", of_w), R, rule.stabilizer)
    return found


def stdx_epsilon(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    return shared(a[:, None] * M.W, biased(M.b, rule.bias, "absorb"), R, rule.factor * a.std())


def along(M: Map, a: np.ndarray, R: np.ndarray, rule: Any) -> np.ndarray:
    return M.W @ R


RULES: dict[str, Callable[[Map, np.ndarray, np.ndarray, Any], np.ndarray]] = {
    "Epsilon": epsilon, "Norm": norm, "Gamma": gamma, "AlphaBeta": alpha_beta, "ZPlus": z_plus, "ZBox": z_box,
    "WSquare": w_square, "Flat": flat, "Sign": sign, "AlphaBetaX": alpha_beta_x, "StdxEpsilon": stdx_epsilon,
    "WinnerTakesAll": along, "Gradient": along,
}  # fmt: skip
"""Name of a linear rule -> its formula (StdxEpsilon: over="batch")."""


def product(name: str, J: list[np.ndarray], xs: list[np.ndarray], active: tuple[bool, bool], R: np.ndarray, rule: Any,
            even: bool) -> list[np.ndarray]:  # fmt: skip
    """Return what a rule gives to both operands of a product.

    J[i] is the matrix in operand i, the other held: at ones where the product is elementwise and the rule shares evenly.
    """
    if name == "SignalTakesAll":
        active, name = (rule.signal == 0, rule.signal == 1), "Half"
    to = (True, True) if getattr(rule, "over", "active") == "all" else active
    n, z = sum(to), xs[0] @ J[0]
    if name == "Gradient":
        return [j @ R if on else 0 * x for j, x, on in zip(J, xs, active, strict=True)]
    if name == "Uniform" or (name == "Half" and even):
        return [j @ (R / n) if on else 0 * x for j, x, on in zip(J, xs, to, strict=True)]
    if name == "Half":
        return [
            x * (j @ (R / stable(n * z, rule.stabilizer))) if on else 0 * x for j, x, on in zip(J, xs, to, strict=True)
        ]
    if name == "EpsilonUniform":
        return [
            x * (j @ (R / stable(z, rule.stabilizer) / n)) if on else 0 * x
            for j, x, on in zip(J, xs, active, strict=True)
        ]
    assert name == "ProductAlphaBeta", name
    found = []
    for j, x, on in zip(J, xs, active, strict=True):
        U = x[:, None] * j
        up, down = (shared(part(U), 0.0, R, rule.stabilizer) for part in (pos, neg))
        found.append((rule.alpha * up - rule.beta * down) / n if on else 0 * x)
    return found
