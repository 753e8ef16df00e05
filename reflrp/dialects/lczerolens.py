"""lczerolens' LRP rules and its composite: its names, its defaults, its numbers (those of v0.2 and v0.3).

>>> from reflrp.dialects import lczerolens
>>> reflrp.explain(net, boards, rules=lczerolens.LRP(), output="/output/wdl")  # doctest: +SKIP

It explains chess networks (Leela Chess Zero), read by onnx2torch, whose modules for Add, Mul and MatMul it replaces by
its own. The composite is zennit's otherwise: ZPlus on convolutions, Epsilon on dense layers, BatchNorm merged,
activations pass, gradients elsewhere. In v0.3.x only the rules were left, and none from v0.4.0 on.

`MatMulEpsilon` takes the second operand for a parameter and multiplies by `p.T`, which turns round all axes; here it is
the last two. `SoftmaxEpsilon` gives -inf or NaN under a mask of -inf; here 0. `BilinearMatMulEpsilon` was never chosen
by itself: `LRP(bilinear=True)`.

Where the answer starts is told by `init`: lczerolens runs `output.backward(output)`, all entries of the output at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from reflrp import rules as r
from reflrp.arrays import ZERO, Array
from reflrp.composites import Composite, Pairs
from reflrp.composites.matchers import Matcher, Survey, anything, kind, op_type
from reflrp.dialects import zennit
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import Node
from reflrp.ops.linear import LinearMap
from reflrp.ops.product import Multiply, Product
from reflrp.ops.stabilizer import check_epsilon, ratio

__all__ = [
    "COMPOSITES",
    "LRP",
    "AddEpsilon",
    "BilinearMatMulEpsilon",
    "MatMulEpsilon",
    "MulUniform",
    "SoftmaxEpsilon",
]


@dataclass(frozen=True)
class AddEpsilon(r.LinearRule):
    """R_a = a R / st(a + b), and R_b likewise; a constant keeps its share."""

    epsilon: float = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"sum", "diagonal"})

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.epsilon)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the summands."""
        return r.Norm(self.epsilon)(L, a, z, R)


@dataclass(frozen=True)
class MatMulEpsilon(r.Rule):
    """R_x = x * ((R / st(x p)) p^T), and nothing to p, whether it is a parameter or a value.

    Where the import has taken an added constant into the node, that is an AddEpsilon of its own, with the same epsilon.
    """

    epsilon: float = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"dense", "product"})
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.epsilon)

    def fits(self, node: Node) -> bool:
        """Return whether the node is a matrix product."""
        return node.kind == "dense" or (node.kind == "product" and not isinstance(node.op, Multiply))

    def __call__(self, op: Any, x: Any, y: Array, R: Array) -> Any:
        """Return the relevance of the input, or of both operands."""
        if isinstance(op, Product):
            return x[0] * op.left(ratio(R, y, self.epsilon), x[1]), ZERO
        product = op(x, op.w)
        if op.b is not ZERO:
            R = product * op.ratio(R, y, self.epsilon, op.b)
        return op.pull(x, op.ratio(R, product, self.epsilon), op.w)


@dataclass(frozen=True)
class BilinearMatMulEpsilon(r.Rule):
    """s = R / st(2 A B);  R_A = A * (s B^T), R_B = B * (A^T s)."""

    epsilon: float = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"product"})

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.epsilon)

    def fits(self, node: Node) -> bool:
        """Return whether the node is a matrix product."""
        return node.kind == "product" and not isinstance(node.op, Multiply)

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> tuple[Any, Any]:
        """Return the relevance of both operands."""
        return r.Half(self.epsilon, over="all")(op, x, y, R)


@dataclass(frozen=True)
class MulUniform(r.Rule):
    """R / 2 to both factors, always: a constant factor keeps half."""

    serves: ClassVar[frozenset[str]] = frozenset({"product", "diagonal"})
    conserves: ClassVar[bool] = False

    def fits(self, node: Node) -> bool:
        """Return whether the node is an elementwise product."""
        return isinstance(node.op, Multiply) or node.kind == "diagonal"

    def __call__(self, op: Any, x: Any, y: Array, R: Array) -> Any:
        """Return the relevance of the input, or of both operands."""
        return r.Uniform("all")(op, x, y, R) if isinstance(op, Product) else R / 2


@dataclass(frozen=True)
class SoftmaxEpsilon(r.Taylor):
    """R_x = x (R - p sum R), the sum over the last axis, whichever the softmax's is. There is no epsilon in it."""

    over: Literal["own", "last"] = "last"


@dataclass(frozen=True)
class _Matrices(Matcher):
    """Matrix products of two values."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        return node.kind == "product" and not isinstance(node.op, Multiply)


def LRP(  # noqa: N802
    epsilon: float = 1e-6, bilinear: bool = False, softmax: Literal["epsilon", "identity", "gradient"] = "gradient"
) -> Composite:
    """Return lczerolens' composite: ZPlus on convolutions, Epsilon on dense layers, its own rules on Add, Mul, MatMul.

    softmax="identity" is its option to leave the softmax out, "epsilon" its `SoftmaxEpsilon`.
    """
    soft: dict[str, r.Rule] = {"epsilon": SoftmaxEpsilon(), "identity": r.Pass(), "gradient": r.Gradient()}
    chosen = soft[checks.choice("softmax", softmax, tuple(soft), RuleError)]
    own: Pairs = (
        (op_type("Add", "Sum") & kind("sum", "diagonal"), AddEpsilon(epsilon)),
        (
            _Matrices(),
            BilinearMatMulEpsilon(epsilon) if checks.flag("bilinear", bilinear, RuleError) else MatMulEpsilon(epsilon),
        ),
        (kind("product") | (op_type("Mul") & kind("diagonal")), MulUniform()),
        (op_type("MatMul") & kind("dense"), MatMulEpsilon(epsilon)),
        (zennit.Activation | op_type("Mish") & kind("pointwise"), r.Pass()),
        (zennit.Convolution, r.ZPlus(stabilizer=epsilon)),
        (zennit.Linear, r.Epsilon(epsilon)),
        (zennit.types.GlobalAvgPool, r.Epsilon(epsilon)),
        (op_type("Softmax"), chosen),
        (anything(), r.Gradient()),
    )
    return Composite(own, "lczerolens.LRP", zennit.SequentialMergeBatchNorm().passes)


COMPOSITES = {"LRP": LRP}
"""The composite by its name."""
