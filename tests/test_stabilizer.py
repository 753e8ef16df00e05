"""The stabiliser: signs, forms, zeros."""

import numpy as np
import oracle
import pytest

from reflrp.errors import RuleError
from reflrp.ops.stabilizer import ratio
from reflrp.rules import Stabilizer, safe_div, stabilize

Z = np.asarray([[-2.0, -0.25, 0.0, -0.0, 0.25, 3.0]])


def test_zero_counts_as_positive():
    assert stabilize(Z, 0.5).tolist() == [[-2.5, -0.75, 0.5, 0.5, 0.75, 3.5]]


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("signed", [-2.5, -0.75, 0.5, 0.5, 0.75, 3.5]),
        ("plain", [-1.5, 0.25, 0.5, 0.5, 0.75, 3.5]),
        ("clip", [-2.0, -0.5, 0.5, 0.5, 0.5, 3.0]),
        ("nonzero", [-2.0, -0.25, 0.5, 0.5, 0.25, 3.0]),
    ],
)
def test_forms(form, wanted):
    assert Stabilizer(0.5, form)(Z).tolist() == [wanted]
    assert oracle.FORMS[form](0.5)(Z[0].tolist()) == wanted


def test_scale_of_each_sample():
    """norm_scale: epsilon in units of the sample's root mean square, over `dim`."""
    z = np.asarray([[[3.0, 4.0], [0.0, 0.0]], [[6.0, 8.0], [0.0, 0.0]]])
    assert np.allclose(Stabilizer(1.0, norm_scale=True)(z) - z, [[[2.5] * 2] * 2, [[5.0] * 2] * 2])
    by_row = Stabilizer(1.0, norm_scale=True, dim=(2,))(z) - z
    assert np.allclose(by_row, np.sqrt([[[12.5], [0]], [[50], [0]]]))


def test_division_by_zero_passes_nothing():
    """Where no epsilon is asked for, x / 0 := 0, without a warning; also where a scaled epsilon is 0."""
    R = np.ones((1, 2))
    assert safe_div(R, np.asarray([[0.0, 4.0]])).tolist() == [[0, 0.25]]
    assert ratio(R, np.asarray([[0.0, 4.0]]), 0).tolist() == [[0, 0.25]]
    assert ratio(R, np.zeros((1, 2)), Stabilizer(norm_scale=True)).tolist() == [[0, 0]]
    assert ratio(R, np.asarray([[-1.0, 1.0]]), Stabilizer(1.0, "plain")).tolist() == [[0, 0.5]]


def test_any_function_will_do():
    assert ratio(np.ones(2), np.asarray([1.0, -3.0]), lambda z: 2 * z).tolist() == [0.5, -1 / 6]


def test_impossible():
    for make in (lambda: Stabilizer(-1), lambda: Stabilizer("small"), lambda: Stabilizer(form="soft")):
        with pytest.raises(RuleError):
            make()
