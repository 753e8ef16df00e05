"""Resizes of open sizes to sizes that the file fixes: at one size they leave all as it is, and no example must be that one."""

import models
import numpy as np
import pytest
from compiled import part, run

import reflrp

TARGETS = [(7, 7), (5, 7), (5, 5), (8, 11), (6, 9), (1, 14)]
SIZES = [(1, 1, 1), (2, 5, 7), (1, 7, 5), (3, 8, 11), (1, 14, 3), (1, 6, 9)]
HOW = [
    'mode = "linear"',
    'mode = "linear", coordinate_transformation_mode = "align_corners"',
    'mode = "nearest", nearest_mode = "floor", coordinate_transformation_mode = "asymmetric"',
    'mode = "nearest"',
]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("target", TARGETS)
def test_a_resize_to_a_fixed_size_is_compiled_for_all_sizes(target, how):
    proto = models.model(
        f"s = Shape(x) b = Slice(s, zero, two) t = Concat <axis = 0>(b, t0) u = Resize <{how}>(x, , , t) "
        "q = Flatten(u) y = MatMul(q, w)",
        "float[N,2,H,W] x", w=(2 * target[0] * target[1], 3), zero=models.ints(0), two=models.ints(2),
        t0=models.ints(*target),
    )  # fmt: skip
    for rule in ("epsilon", "epsilon_alpha2_beta1", "attnlrp"):
        compiled = reflrp.compile(proto, rule)
        for size in SIZES:
            x = models.draw(size[0], 2, *size[1:])
            e = reflrp.explain(proto, x, rule, progress=False)
            found = run(compiled, {"x": x})
            assert part(found["relevance/x"], e.relevance) < 1e-3, (rule, size)
            np.testing.assert_allclose(found["y"], e.output, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [5, 6, 9])
def test_a_resize_of_one_open_axis_to_a_length_that_an_example_might_have(steps):
    proto = models.model(
        'u = Resize <mode = "linear", axes = [2]>(x, , , t) q = Flatten(u) y = MatMul(q, w)',
        "float[N,2,T] x", opset=18, w=(2 * steps, 3), t=models.ints(steps),
    )  # fmt: skip
    compiled = reflrp.compile(proto, "epsilon")
    for n, length in ((1, 1), (2, steps), (3, 17)):
        x = models.draw(n, 2, length)
        wanted = reflrp.explain(proto, x, "epsilon", progress=False).relevance
        assert part(run(compiled, {"x": x})["relevance/x"], wanted) < 1e-3


@pytest.mark.parametrize("how", HOW)
def test_one_entry_is_spread_over_an_open_size(how):
    """As the global branch of a pyramid of pools is, before it meets the image again."""
    proto = models.model(
        f"g = GlobalAveragePool(x) c = Conv(g, k) s = Shape(x) l = Slice(s, two, four) b = Slice(s, zero, one) "
        f"t = Concat <axis = 0>(b, n, l) u = Resize <{how}>(c, , , t) j = Concat <axis = 1>(x, u) r = Conv(j, m) "
        "p = GlobalAveragePool(r) q = Flatten(p) y = MatMul(q, w)",
        "float[N,2,H,W] x", k=(3, 2, 1, 1), m=(4, 5, 1, 1), w=(4, 3),
        zero=models.ints(0), one=models.ints(1), two=models.ints(2), four=models.ints(4), n=models.ints(3),
    )  # fmt: skip
    for rule in ("epsilon", "epsilon_plus", "epsilon_alpha2_beta1"):
        compiled = reflrp.compile(proto, rule)
        for size in ((2, 2, 3), (1, 7, 5), (3, 8, 11), (1, 1, 4), (1, 1, 1)):
            x = models.draw(size[0], 2, *size[1:])
            e = reflrp.explain(proto, x, rule, progress=False)
            assert part(run(compiled, {"x": x})["relevance/x"], e.relevance) < 1e-3, (rule, size)
