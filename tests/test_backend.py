"""The official node tests of ONNX, through our forward pass: every operator that we claim, in every opset they cover.

A node test is a small model with inputs and the outputs that the standard demands. What is data for LRP (the input of
a Conv) is fed; what is parameter (its weights) is bound as an initializer first. Where several inputs may be data (the
operands of Add), the test runs with all of them active, and with each alone.
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

import reflrp
from reflrp.importer import BUILDERS

ALL = range(100)
DATA: dict[str, Any] = {
    **dict.fromkeys(["Add", "Sub", "Mul", "Div", "MatMul", "Pow"], (0, 1)),
    **dict.fromkeys(["Concat", "Einsum", "Max", "Mean", "Min", "Sum"], ALL),
    "Attention": (0, 1, 2),
    "Gemm": (0, 1, 2),
    "LinearAttention": (0, 1, 2),
    "Where": (1, 2),
}
"""Operator -> the places of its inputs that can be data. Of the others, only the first can."""

EXCEPTIONS = {
    # Not explained by LRP, and refused with a reason
    "test_*training_mode*": "the statistics of training depend on the batch",
    "test_training_dropout*": "a dropout that drops is random",
    "test_pow*(x,y)": "a power of which both base and exponent depend on the data",
    "test_pow(y)": "a power of a negative base, as a function of the exponent",
    "test_reduce_prod_empty_set*": "the product of nothing",
    "test_reduce_prod_default_axes*": "a product of three values has no rule",
    "test_reduce_m??_empty_set(data)": "the maximum or minimum of nothing",
    "test_reduce_prod_empty_set(data)": "the product of nothing",
    "test_resize_tf_crop_and_resize*": "a crop by a region of interest has no rule",
    "test_cast*_to_FLOAT[84]*": "rounding to 8 or 4 bits",
    # No sample to explain
    "test_reshape_allowzero_reordered(data)": "the batch is empty",
    "test_split_zero_size_splits_opset1?(input)": "the batch is empty",
    "test_pow_types_int64_float32(y)": "an integer power of a base that is a constant, truncated",
    "test_pow_types_int32_float32(y)": "an integer power of a base that is a constant, truncated",
    "test_div_*int*(*y)": "integers divided by integers that are no constants",
    "test_quantizelinear_e*(x)": "rounding to floats of 8 bits",
    "test_quantizelinear_float4*(x)": "rounding to floats of 4 bits",
}
"""Pattern of runs that are refused -> why. Each must be needed, and each run be refused: a wrong value is no exception."""

UNTESTED = {
    *("GlobalLpPool", "SimplifiedLayerNormalization"),  # none
    "Trilu",  # of integers
    *("If", "Loop", "ConcatFromSequence", "SplitToSequence"),  # of sequences and integers
    *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength"),
}
"""Operators without a node test that applies."""

LIMITS = {"float64": 1e-9, "float32": 1e-5, "float16": 4e-3, "bfloat16": 1e-2}
"""dtype of the expected output -> relative limit."""

LOOSE = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3, "test_gridsample_bicubic": 1e-3}
"""Tests whose expected numbers have four digits only."""


@dataclass(frozen=True)
class Run:
    """One node test with some of its inputs fed, the others bound."""

    case: Any
    op: str
    fed: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.case.name}({','.join(self.fed)})"

    @property
    def reason(self) -> str | None:
        return next((why for p, why in EXCEPTIONS.items() if fnmatchcase(self.name, p)), None)

    def check(self) -> None:
        data, outputs = data_of(self.case), self.case.data_sets[0][1]
        model = reflrp.load(bound(self.case.model, data, self.fed))
        feeds = {name: data[name] for name in self.fed}
        wants = [array(want) for want in outputs]
        if self.op in ("Cast", "CastLike"):
            feeds, wants = finite(feeds, wants)
        found = model.run(feeds)
        for port, want in zip(self.case.model.graph.output, wants, strict=True):
            compare(found[port.name], want, LOOSE.get(self.case.name))


def array(value: Any) -> Any:
    """Return test data as an array; sequences and the like stay what they are."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) else value


def data_of(case: Any) -> dict[str, Any]:
    return {i.name: array(v) for i, v in zip(case.model.graph.input, case.data_sets[0][0], strict=True)}


def finite(feeds: dict[str, np.ndarray], wants: list[np.ndarray]) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Replace what an elementwise test does with NaN and infinity, which we refuse, by what it does with another entry.

    So the input keeps its shape, and every other entry is compared.
    """
    ((name, x),) = feeds.items()
    good = np.isfinite(x.astype(float))
    first = int(np.flatnonzero(good)[0])
    return {name: np.where(good, x, x.flat[first])}, [np.where(good, w, w.flat[first]) for w in wants]


def bound(model: ModelProto, data: dict[str, Any], fed: tuple[str, ...]) -> ModelProto:
    """Return the model with all inputs but the fed ones as initializers."""
    copy = ModelProto()
    copy.CopyFrom(model)
    kept = [i for i in model.graph.input if i.name in fed]
    rest = [numpy_helper.from_array(np.asarray(v), k) for k, v in data.items() if k not in fed]
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    copy.graph.initializer.extend(rest)
    return copy


def compare(found: np.ndarray, want: np.ndarray, rtol: float | None = None) -> None:
    """The official limit is 1e-3 for all; each dtype's own is tighter, but for half precision."""
    assert found.shape == want.shape
    if want.dtype.name not in LIMITS:
        np.testing.assert_array_equal(found.astype(float), want.astype(float))
        return
    rtol = rtol or LIMITS[want.dtype.name]
    want = want.astype(float)
    scale = np.abs(want[np.isfinite(want)]).max(initial=0)
    np.testing.assert_allclose(found.astype(float), want, rtol=rtol, atol=rtol * scale / 10)


@cache
def runs() -> dict[str, list[Run]]:
    """Return all runs by operator; those of operators that have no builder of their own under ''."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = {case.name: case for case in load_model_tests(kind="node")}
    found: dict[str, list[Run]] = {op: [] for op in ["", *(op for _, op in BUILDERS)]}
    for case in cases.values():
        base = cases.get(case.name.partition("_expanded")[0], case)
        op = base.model.graph.node[0].op_type
        single = base is case and len(case.model.graph.node) == 1
        for fed in choices(base, case):
            if (single and ("", op) in BUILDERS) or claimed(case, fed):
                found[op if op in found else ""].append(Run(case, op, fed))
    return found


def choices(base: Any, case: Any) -> Iterator[tuple[str, ...]]:
    """Yield which inputs to feed: all that are data, then each alone."""
    inputs = data_of(case)
    if not all(isinstance(a, np.ndarray) for a in [*inputs.values(), *map(array, case.data_sets[0][1])]):
        return
    node = base.model.graph.node[0]
    places = DATA.get(node.op_type, (0,)) if len(base.model.graph.node) == 1 else ALL
    names = dict.fromkeys(n for i, n in enumerate(node.input) if i in places)
    active = tuple(n for n in names if n in inputs and is_data(inputs[n].dtype))
    yield from dict.fromkeys([active, *((n,) for n in active)]) if active else ()


def is_data(dtype: np.dtype[Any]) -> bool:
    """Return whether inputs of a type are numbers, and no positions."""
    return "float" in dtype.name or dtype.name in ("int4", "uint4", "int8", "uint8", "int16", "uint16")


def claimed(case: Any, fed: tuple[str, ...]) -> bool:
    """Return whether loading accepts the model, and an output is active."""
    try:
        source = reflrp.load(bound(case.model, data_of(case), fed)).source
    except reflrp.ReflrpError:
        return False
    return any(o in source.active for o in source.outputs)


def failures(some: list[Run], kinds: tuple[type[Exception], ...] = (reflrp.ReflrpError, AssertionError)) -> list[str]:
    found = []
    for run in some:
        try:
            run.check()
        except kinds as error:
            found.append(f"{run.name}: {type(error).__name__}: {str(error).strip()[:300]}")
    return found


@pytest.mark.parametrize("op", sorted(op for domain, op in BUILDERS if domain == ""))
def test_operator(op: str) -> None:
    some = [run for run in runs()[op] if not run.reason]
    failed = failures(some)
    assert not failed, "\n".join(failed)
    assert bool(some) != (op in UNTESTED), f"{op}: {len(some)} node tests"


def test_functions_made_of_claimed_operators() -> None:
    """Operators without a builder of their own come apart into ones that have."""
    some = [run for run in runs()[""] if not run.reason]
    failed = failures(some)
    assert not failed, "\n".join(failed)


def test_exceptions_are_needed() -> None:
    excepted = [run for some in runs().values() for run in some if run.reason]
    refused = failures(excepted, (reflrp.ReflrpError,))  # and nothing else: a wrong value is an error
    passed = {run.name for run in excepted} - {line.partition(")")[0] + ")" for line in refused}
    assert not passed, "these pass now: take them out of EXCEPTIONS"
    unused = [p for p in EXCEPTIONS if not any(fnmatchcase(run.name, p) for run in excepted)]
    assert not unused, f"no node test of onnx {onnx.__version__} needs these"


def test_count(record_testsuite_property: Any) -> None:
    """So many runs there are at least; a fall means that operators or tests went missing."""
    count = Counter("excepted" if run.reason else "run" for some in runs().values() for run in some)
    for key, number in count.items():
        record_testsuite_property(f"node tests {key}", number)
    assert count["run"] >= 1850, count
