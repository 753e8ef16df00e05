"""Level C2: pools, maxima, routing, functions, products, and graphs in which values meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import NONE, SIGNED, TINY, Draft
from reflrp.conformance.generate.linear import AB, GAMMA, ZP
from reflrp.conformance.generate.net import Net
from reflrp.conformance.literal import Oracle

NORM = ("norm", {"stabilizer": SIGNED})
EPSILON = ("epsilon", {"bias": "absorb", "stabilizer": SIGNED})
PASS: tuple[str, dict[str, Any]] = ("pass", {})
WINNER: tuple[str, dict[str, Any]] = ("winner_takes_all", {})


def seeds(net: Net) -> dict[str, np.ndarray]:
    """Return a seed of the outputs' shapes without zeros."""
    values = Oracle()(net.model(), net.inputs, {}, []).values
    return {k: net.numbers.nonzero(values[k].shape) for k in net.outputs}


def case(id_: str, clauses: tuple[str, ...], comment: str, build: Callable[[Net], Any], flags: tuple[str, ...] = (), level: str = "C2", basis: str = "dyadic", exact: bool = True, seed: Callable[[Net], dict[str, np.ndarray]] = seeds, salt: str = "") -> Draft:
    """Return the case of what `build` enters into a net; it returns the output, or several.

    `salt` draws other numbers, where these make a network that is 0 all over.
    """
    net = Net(f"graphs/{id_}{salt}")
    made = build(net)
    for name in [made] if isinstance(made, str) else made:
        net.output(name)
    return Draft(id_, level, clauses, net, comment, seed(net), flags, basis, exact=exact)


def drafts() -> Iterator[Draft]:
    """Yield all of the level."""
    yield from _pools()
    yield from _maxima()
    yield from _routing()
    yield from _meetings()
    yield from _batchnorm()


def image(net: Net, shape: tuple[int, ...] = (1, 2, 4, 5)) -> str:
    """Enter an image of both signs."""
    return net.input(net.numbers.dyadic(shape))


def _pools() -> Iterator[Draft]:
    rules = {
        "norm": NORM,
        "norm_epsilon_0": ("norm", {"stabilizer": NONE}),
        "epsilon": EPSILON,
        "w_square": ("w_square", {"bias": "ignore", "stabilizer": SIGNED}),
        "flat": ("flat", {"stabilizer": SIGNED}),
        "z_plus": ("z_plus", ZP),
        "alpha2beta1": ("alpha_beta", AB),
    }
    clauses = {
        "norm": ("NORM-1", "LAYER-2", "STAB-3"),
        "norm_epsilon_0": ("NORM-1", "LAYER-2"),
        "epsilon": ("EPS-1", "LAYER-2", "STAB-3"),
        "w_square": ("WSQ-1", "LAYER-2"),
        "flat": ("FLAT-1", "FLAT-2", "LAYER-2"),
        "z_plus": ("ZP-1", "ZP-3", "LAYER-2"),
        "alpha2beta1": ("AB-1", "LAYER-2"),
    }
    geometries: dict[str, dict[str, Any]] = {
        "plain": {"kernel_shape": [2, 2], "strides": [2, 2]},
        "pads_excluded": {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "count_include_pad": 0},
        "pads_included": {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "count_include_pad": 1},
    }
    for place, attributes in geometries.items():
        for name, rule in rules.items():
            yield case(f"average_pool/{name}_{place}", clauses[name], f"AveragePool, {place.replace('_', ' ')}, by {name}.", lambda net, r=rule, at=attributes: net.node("AveragePool", [image(net), ], r, **at), ("BorderPadding",) if "pads" in place else ())
    yield case("average_pool/ceil_mode", ("NORM-1", "STAB-3"), "Windows that reach beyond the border.", lambda net: net.node("AveragePool", [image(net)], NORM, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), ("CeilMode",))
    yield case("average_pool/overlap", ("NORM-1", "STAB-3"), "Windows that overlap.", lambda net: net.node("AveragePool", [image(net)], NORM, kernel_shape=[3, 3], strides=[1, 2]), ("Overlap",))
    for op in ("GlobalAveragePool", "ReduceMean", "ReduceSum"):
        for name in ("norm", "epsilon", "flat"):
            more: dict[str, Any] = {} if op.startswith("Global") else {"keepdims": 0}

            def build(net: Net, op: str = op, name: str = name, more: Any = more) -> Any:
                inputs = [image(net)] + ([np.array([2, 3])] if op == "ReduceSum" else [])
                extra = {**more, "axes": [2, 3]} if op == "ReduceMean" else more
                return net.node(op, inputs, rules[name], **extra)

            yield case(f"reduction/{op.lower()}_{name}", ("NORM-1", "EPS-1", "STAB-3", "FLAT-1", "FLAT-2", "STAB-1", "LAYER-1") if name != "flat" else ("ROUTE-1", "WSQ-1", "FLAT-1", "FLAT-2", "SEED-1"), f"{op} by {name}.", build)


def _maxima() -> Iterator[Draft]:
    both = ("POOL-1", "POOL-2")

    def pool(values: Any, **attributes: Any) -> Callable[[Net], Any]:
        return lambda net: net.node("MaxPool", [net.input(np.array(values, np.float64))], WINNER, **attributes)

    ties = [[[[1.0, 1.0, 0.0, 2.0], [1.0, 0.5, 2.0, 2.0], [-1.0, -1.0, 0.0, 0.0], [-1.0, -2.0, 0.0, -0.0]]]]
    yield case("max_pool/ties", both, "Equal maxima: the first in row-major order wins.", pool(ties, kernel_shape=[2, 2], strides=[2, 2]), ("Tie", "ZeroWinner"))
    yield case("max_pool/ties_overlap", both, "Equal maxima in windows that overlap.", pool(ties, kernel_shape=[3, 3]), ("Tie", "Overlap"))
    yield case("max_pool/zero_of_both_signs", both, "0 and -0 are equal: the first wins.", pool([[[[-0.0, 0.0], [0.0, -0.0]]]], kernel_shape=[2, 2]), ("Tie", "ZeroWinner"))
    yield case("max_pool/negative_padded", ("POOL-2", "POOL-1", "SEED-1"), "Padding never wins, though all entries are negative.", pool(-np.abs(np.array(ties)) - 0.5, kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1]), ("BorderPadding", "Tie"))
    yield case("max_pool/relu_zeros", both, "Behind a ReLU whole windows are 0.", lambda net: net.node("MaxPool", [net.node("Relu", [net.input(np.array(ties) - 1.0)], PASS)], WINNER, kernel_shape=[2, 2], strides=[2, 2]), ("Tie", "ZeroWinner"))
    yield case("max_pool/dilated", both, "Dilated windows.", pool([[[[1.0, 2.0, 1.0, 2.0, 0.0], [0.0] * 5, [1.0, 2.0, 1.0, 2.0, 0.0]]]], kernel_shape=[2, 2], dilations=[2, 2]), ("Tie", "Dilation"))
    yield case("max_pool/one_axis", both, "One axis, channels apart.", pool([[[0.0, 0.0, 1.0, 1.0, 0.5, 1.0], [-1.0, -1.0, 0.0, 0.0, 0.0, -2.0]]], kernel_shape=[3], strides=[1]), ("Tie", "ZeroWinner"))
    yield case("max_pool/ceil_mode", both, "Windows that reach beyond the border.", pool([[[[1.0, 1.0, 3.0], [1.0, 0.0, 3.0], [0.0, 0.0, -1.0]]]], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), ("Tie", "CeilMode", "ZeroWinner"))
    yield case("max_pool/batch", (*both, "BATCH-1"), "Two samples with their ties.", pool([[[[1.0, 1.0], [0.0, 1.0]]], [[[0.0, 0.0], [0.0, -1.0]]]], kernel_shape=[2, 2]), ("Tie", "ZeroWinner"))
    yield case("max_pool/epsilon_rule", ("EPS-1", "STAB-3", "POOL-2"), "A maximum under LRP-epsilon: a R / st(z) to the winner.", lambda net: net.node("MaxPool", [net.input(np.array(ties))], EPSILON, kernel_shape=[2, 2], strides=[2, 2]), ("Tie",))
    three = [[[1.0, 0.0], [2.0, 2.0]], [[1.0, 2.0], [2.0, 0.0]]]
    yield case("max/global", both, "GlobalMaxPool.", lambda net: net.node("GlobalMaxPool", [net.input(np.array([three]) - 1.0)], WINNER), ("Tie",))
    yield case("max/reduce", both, "ReduceMax over two axes.", lambda net: net.node("ReduceMax", [net.input(np.array([three]) - 2.0)], WINNER, axes=[1, 3], keepdims=0), ("Tie", "ZeroWinner"))
    yield case("max/of_values", both, "Max of two inputs: the first operand wins a tie.", lambda net: net.node("Max", [net.input(np.array([[1.0, 2.0, 0.0, -1.0]])), net.input(np.array([[1.0, 3.0, 0.0, -2.0]]), "t")], WINNER), ("Tie", "MultiInput", "ZeroWinner"))
    yield case("max/of_three", both, "Max of three values.", lambda net: net.node("Max", [net.input(np.array([[1.0, 2.0, 0.0, -1.0]])), net.input(np.array([[1.0, 3.0, -1.0, -1.0]]), "t"), net.input(np.array([[0.0, 3.0, 0.0, -1.0]]), "u")], WINNER), ("Tie", "MultiInput"))


def _routing() -> Iterator[Draft]:
    simple: dict[str, tuple[Callable[[Net], Any], str]] = {
        "flatten": (lambda net: net.node("Flatten", [image(net, (2, 2, 3))], axis=1), ""),
        "transpose": (lambda net: net.node("Transpose", [image(net, (1, 2, 3, 4))], perm=[0, 3, 1, 2]), ""),
        "transpose_square": (lambda net: net.node("Transpose", [image(net, (2, 3, 3))], perm=[0, 2, 1]), ""),
        "reshape": (lambda net: net.node("Reshape", [net.node("Transpose", [image(net, (2, 2, 6))], perm=[0, 2, 1]), np.array([0, 3, 4])]), ""),
        "slice": (lambda net: net.node("Slice", [image(net, (1, 2, 5)), np.array([1]), np.array([4]), np.array([2]), np.array([2])]), "Dropped"),
        "slice_backwards": (lambda net: net.node("Slice", [image(net, (1, 2, 5)), np.array([4]), np.array([-7]), np.array([2]), np.array([-1])]), ""),
        "pad_constant": (lambda net: net.node("Pad", [image(net, (1, 2, 3)), np.array([0, 0, 1, 0, 1, 2]), np.array(0.5)], mode="constant"), "ConstantPad"),
        "pad_reflect": (lambda net: net.node("Pad", [image(net, (1, 2, 4)), np.array([0, 0, 2, 0, 0, 1])], mode="reflect"), "RepeatedIndex"),
        "pad_edge": (lambda net: net.node("Pad", [image(net, (1, 2, 4)), np.array([0, 0, 2, 0, 0, 1])], mode="edge"), "RepeatedIndex"),
        "gather_repeated": (lambda net: net.node("Gather", [image(net, (2, 4)), np.array([3, 0, 3, 1, 3])], axis=1), "RepeatedIndex"),
        "gather_negative": (lambda net: net.node("Gather", [image(net, (2, 4)), np.array([-1, 0, -1])], axis=1), "RepeatedIndex"),
        "gather_table": (lambda net: net.node("Gather", [image(net, (2, 3, 2)), np.array([[0, 2], [2, 2]])], axis=1), "RepeatedIndex"),
        "expand": (lambda net: net.node("Expand", [image(net, (2, 1, 3)), np.array([2, 4, 3])]), "RepeatedIndex"),
        "squeeze": (lambda net: net.node("Squeeze", [net.node("Transpose", [image(net, (2, 1, 3, 2))], perm=[0, 1, 3, 2]), np.array([1])]), ""),
        "unsqueeze": (lambda net: net.node("Unsqueeze", [net.node("Gather", [image(net, (2, 3)), np.array([2, 2, 0])], axis=1), np.array([1])]), "RepeatedIndex"),
        "concat": (lambda net: net.node("Concat", [image(net, (1, 2, 2)), net.input(net.numbers.dyadic((1, 2, 3)), "t")], axis=2), "MultiInput"),
        "concat_constant": (lambda net: net.node("Concat", [image(net, (1, 2)), net.numbers.dyadic((1, 3)), net.input(net.numbers.dyadic((1, 1)), "t")], axis=1), "MultiInput"),
        "concat_twice": (lambda net: _twice(net), "RepeatedIndex"),
        "identity": (lambda net: net.node("Identity", [image(net, (2, 3))]), ""),
        "dropout": (lambda net: net.node("Dropout", [image(net, (2, 3))]), ""),
    }
    for slug, (build, flag) in simple.items():
        yield case(f"routing/{slug}", ("ROUTE-1", "GRAPH-1", "SEED-1"), f"{slug.replace('_', ' ').capitalize()}: relevance goes back to where entries came from.", build, (flag,) if flag else ())
    yield case("routing/split", ("ROUTE-1", "GRAPH-1", "SEED-1"), "Split into two outputs.", lambda net: net.node("Split", [image(net, (1, 5)), np.array([2, 3])], outputs=2, axis=1), ("MultiOutput",))
    yield case("routing/split_one_used", ("ROUTE-1", "GRAPH-1", "SEED-1"), "Of two parts one is read: the other's entries get nothing.", lambda net: net.node("Gather", [net.node("Split", [image(net, (1, 5)), np.array([2, 3])], outputs=2, axis=1)[1], np.array([0, 2, 2])], axis=1), ("Dropped",))


def _twice(net: Net) -> Any:
    x = image(net, (1, 3))
    return net.node("Concat", [x, net.node("Gather", [x, np.array([2, 1, 0])], axis=1), x], axis=1)


def gemm(net: Net, x: str, inputs: int, outputs: int, rule: Any = EPSILON, bias: bool = True) -> str:
    """Enter a dense layer."""
    w = net.numbers.dyadic((inputs, outputs))
    return str(net.node("Gemm", [x, w] + ([net.numbers.nonzero((outputs,))] if bias else []), rule))


def _meetings() -> Iterator[Draft]:
    met = ("GRAPH-1", "NORM-1", "EPS-1")

    def residual(net: Net) -> Any:
        x = image(net, (2, 3))
        return net.node("Add", [x, gemm(net, x, 3, 3)], NORM)

    def cancels(net: Net) -> Any:
        x = net.input(np.array([[1.0, -2.0, 0.5]]))
        return net.node("Sub", [x, net.node("Mul", [x, np.array([1.0, 1.0, 2.0])], EPSILON)], NORM)

    def shared(net: Net) -> Any:
        x, w = image(net, (2, 3)), net.constant(net.numbers.dyadic((3, 3)), "w")
        return net.node("Gemm", [net.node("Gemm", [x, w], EPSILON), w], EPSILON)

    def siamese(net: Net) -> Any:
        w = net.constant(net.numbers.dyadic((3, 2)), "w")
        one, other = (net.node("Gemm", [net.input(net.numbers.dyadic((1, 3)), k), w], EPSILON) for k in ("x", "t"))
        return net.node("Sub", [one, other], NORM)

    def thrice(net: Net) -> Any:
        x = gemm(net, image(net, (2, 3)), 3, 3)
        return net.node("Sum", [gemm(net, x, 3, 2), gemm(net, x, 3, 2), gemm(net, x, 3, 2)], NORM)

    def two_outputs(net: Net) -> Any:
        h = net.node("Relu", [gemm(net, image(net, (2, 3)), 3, 4)], PASS)
        return [gemm(net, h, 4, 2), gemm(net, h, 4, 1)]

    def constant(rule: Any, op: str, c: Any) -> Callable[[Net], Any]:
        return lambda net: net.node(op, [gemm(net, image(net, (2, 3)), 3, 4), np.array(c)], rule)

    def branches(net: Net) -> Any:
        x = image(net, (1, 2, 3, 3))
        one = net.node("Conv", [x, net.numbers.dyadic((2, 2, 1, 1))], EPSILON)
        two = net.node("Conv", [x, net.numbers.dyadic((1, 2, 3, 3)), net.numbers.dyadic((1,))], ("gamma", GAMMA), pads=[1, 1, 1, 1])
        return net.node("Concat", [one, two], axis=1)

    def dead(net: Net) -> Any:
        x, t = image(net, (1, 3)), net.input(net.numbers.dyadic((1, 3)), "t")
        gemm(net, t, 3, 2)
        return gemm(net, net.node("Add", [x, net.node("Mul", [t, np.zeros(3)], EPSILON)], NORM), 3, 2)

    def itself(net: Net) -> Any:
        x = image(net, (1, 3))
        return net.node("Add", [x, x], NORM)

    def broadcast(net: Net) -> Any:
        x, t = image(net, (1, 2, 3)), net.input(net.numbers.dyadic((1, 1, 3)), "t")
        return net.node("Add", [x, t], NORM)

    def deep(net: Net) -> Any:
        x = gemm(net, image(net, (1, 3)), 3, 3)
        for _ in range(3):
            x = net.node("Add", [x, net.node("Relu", [gemm(net, x, 3, 3)], PASS)], NORM)
        return x

    builds: dict[str, tuple[Callable[[Net], Any], str, tuple[str, ...], str]] = {
        "residual": (residual, "A residual sum: both branches by their contributions.", ("Residual",), "dyadic"),
        "residual_cancels": (cancels, "A residual sum that is 0, and one that changes its sign.", ("Residual", "Cancel", "ExactZero"), "dyadic"),
        "residual_deep": (deep, "Three residual blocks.", ("Residual",), "network"),
        "shared_weights": (shared, "One matrix in two layers, one behind the other.", ("SharedWeights",), "network"),
        "siamese": (siamese, "One matrix on two inputs.", ("SharedWeights", "MultiInput"), "dyadic"),
        "read_thrice": (thrice, "A value that three layers read.", ("Shared",), "network"),
        "two_outputs": (two_outputs, "Relevance starts at two outputs.", ("MultiOutput",), "network"),
        "branches": (branches, "Two convolutions side by side, with rules of their own.", ("Shared",), "dyadic"),
        "dead_branch": (dead, "An input whose contributions are all 0, and a layer that nobody reads.", ("MultiInput",), "dyadic"),
        "added_to_itself": (itself, "A value that is both operands of a sum.", ("Shared",), "dyadic"),
        "broadcast_sum": (broadcast, "An operand that is broadcast gets the sum over its copies.", ("MultiInput", "Broadcast"), "dyadic"),
    }
    for slug, (build, comment, flags, basis) in builds.items():
        yield case(f"graph/{slug}", met, comment, build, flags, basis=basis)
    kept = ("LAYER-3", "NORM-1", "EPS-1", "STAB-3")
    yield case("graph/constant_added", kept, "A constant that is added keeps its share.", constant(NORM, "Add", [1.0, -0.5, 0.25, 2.0]), ("Constant",), basis="network")
    yield case("graph/constant_subtracted", kept, "A constant that is subtracted.", constant(EPSILON, "Sub", [1.0, -0.5, 0.25, 2.0]), ("Constant",), basis="network")
    yield case("graph/constant_scalar", kept, "One number added to all.", constant(NORM, "Add", 0.75), ("Constant",), basis="network")
    yield case("graph/constant_factor", ("EPS-1", "STAB-3"), "A factor, one of them 0.", constant(EPSILON, "Mul", [2.0, 0.0, -0.5, 1.0]), ("Constant", "ExactZero"), basis="network")
    yield case("graph/constant_divisor", ("EPS-1", "STAB-3"), "A divisor.", constant(EPSILON, "Div", [2.0, -4.0, 0.5, 1.0]), ("Constant",), basis="network")
    yield case("graph/sum_alpha_beta", ("AB-1", "GRAPH-1", "AB-3"), "A residual sum by alpha-beta: operands of both signs.", lambda net: net.node("Add", [image(net, (2, 4)), net.input(net.numbers.dyadic((2, 4)), "t")], ("alpha_beta", AB)), ("MultiInput",))
    yield case("graph/sum_z_plus", ("ZP-1", "ZP-3"), "A sum by z+: positive operands share.", lambda net: net.node("Add", [image(net, (2, 4)), net.input(net.numbers.dyadic((2, 4)), "t")], ("z_plus", ZP)), ("MultiInput",))
    yield from _started()


def _started() -> Iterator[Draft]:
    """Seeds: 1, the value, one a sample, a contrast, zeros among them."""

    def net_of(net: Net) -> Any:
        return gemm(net, net.node("Relu", [gemm(net, image(net, (3, 4)), 4, 4)], PASS), 4, 3)

    def start(how: str) -> Callable[[Net], dict[str, np.ndarray]]:
        def made(net: Net) -> dict[str, np.ndarray]:
            (name,) = net.outputs
            y = np.vectorize(float)(Oracle()(net.model(), net.inputs, {}, []).values[name])
            best = np.eye(3)[y.argmax(axis=1)]
            seeds_ = {
                "one": best,
                "value": best * y,
                "each": np.eye(3)[[2, 0, 1]] * y,
                "contrast": y * np.array([1.0, 0.0, -1.0]),
                "all": y,
                "some_zero": np.array([[0.0, 0.0, 0.0], [1.0, -0.0, 0.5], [0.0, 0.0, -2.0]]),
            }
            return {name: seeds_[how]}

        return made

    for how in ("one", "value", "each", "contrast", "all", "some_zero"):
        yield case(f"seed/{how}", ("SEED-1", "BATCH-1", "EPS-1"), f"Relevance starts with {how.replace('_', ' ')}.", net_of, ("ZeroSeed",) if how == "some_zero" else (), basis="network", seed=start(how))


def _batchnorm() -> Iterator[Draft]:
    def norm(net: Net, x: str, channels: int, rule: Any) -> str:
        s = net.numbers
        var = np.array([3.75, 0.75, 8.75, 0.0][:channels])  # with the epsilon of 1/4 squares of 2, 1, 3, 1/2
        return str(net.node("BatchNormalization", [x, s.nonzero((channels,)), s.nonzero((channels,)), s.dyadic((channels,)), var], rule, epsilon=0.25))

    def conv(net: Net, x: str, inputs: int, outputs: int, **more: Any) -> str:
        return str(net.node("Conv", [x, net.numbers.dyadic((outputs, inputs, 2, 2)), net.numbers.nonzero((outputs,))], EPSILON, **more))

    fold: tuple[str, dict[str, Any]] = ("fold", {})
    shape = (2, 2, 3, 3)
    own = ("BN-1", "NORM-1", "EPS-1", "STAB-3")
    yield case("batchnorm/alone_norm", own, "A diagonal map with scale and shift.", lambda net: norm(net, image(net, shape), 2, NORM), basis="network")
    yield case("batchnorm/alone_epsilon", own, "The same under LRP-epsilon.", lambda net: norm(net, image(net, shape), 2, EPSILON), basis="network")
    yield case("batchnorm/alone_alpha_beta", ("AB-1", "AB-2", "BN-1"), "The same under alpha-beta: the shift is its bias.", lambda net: norm(net, image(net, shape), 2, ("alpha_beta", AB)), basis="network")
    yield case("batchnorm/alone_pass", ("PASS-1", "BN-1", "BN-2", "SEED-1"), "The same, passed.", lambda net: norm(net, image(net, shape), 2, PASS))
    for slug, rule in (("fold", fold), ("norm", NORM), ("pass", PASS)):
        yield case(f"batchnorm/after_conv_{slug}", ("BN-2", "BN-1", "EPS-1", "EPS-2"), f"Behind a convolution, by {slug}.", lambda net, r=rule: norm(net, conv(net, image(net, shape), 2, 3), 3, r), ("FoldAfter",), basis="network")
        yield case(f"batchnorm/before_conv_{slug}", ("BN-2", "BN-1", "EPS-1", "EPS-2"), f"Before a convolution with padding, by {slug}.", lambda net, r=rule: conv(net, norm(net, image(net, shape), 2, r), 2, 3, pads=[1, 0, 1, 0]), ("FoldBefore", "BorderPadding"), basis="network")
        yield case(f"batchnorm/after_dense_{slug}", ("BN-2", "BN-1", "EPS-1", "EPS-2"), f"Behind a dense layer and before a ReLU, by {slug}.", lambda net, r=rule: net.node("Relu", [norm(net, gemm(net, image(net, (3, 3)), 3, 4), 4, r)], PASS), ("FoldAfter",), basis="network")
    yield case("batchnorm/fold_gamma", ("BN-2", "GAMMA-1"), "Folded before the weights are raised.", lambda net: norm(net, net.node("Conv", [image(net, shape), net.numbers.dyadic((3, 2, 2, 2)), net.numbers.nonzero((3,))], ("gamma", GAMMA)), 3, fold), ("FoldAfter",), basis="network")
    yield case("batchnorm/fold_w_square", ("BN-2", "WSQ-1"), "Folded before the weights are squared.", lambda net: norm(net, net.node("Conv", [image(net, shape), net.numbers.dyadic((3, 2, 2, 2)), net.numbers.nonzero((3,))], ("w_square", {"bias": "ignore", "stabilizer": TINY})), 3, fold), ("FoldAfter",), basis="network")
