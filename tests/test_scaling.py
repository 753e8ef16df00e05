"""Each pass is linear in the number of nodes. benchmarks/bench_import.py measures it up to 20,000; here is the guard."""

import time
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from models import ints, model
from onnx import ModelProto

import reflrp
from reflrp.passes import recognise
from reflrp.passes.algebra import WORK, Algebra, Unproven

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "bench_import.py"
TOLERATED = 3
"""Four times the nodes may take this many times four times the time: caches and a busy machine are no reason to fail."""


def bench() -> ModuleType:
    spec = spec_from_file_location("bench_import", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    found = module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def joined(lines: list[str], **weights: object) -> ModelProto:
    return model(" ".join(lines), **weights)


def shared(count: int) -> ModelProto:
    """One value that all read."""
    parts = [f"p{i} = Mul(h, c)" for i in range(count)]
    return joined(["h = Relu(x)", *parts, f"y = Sum({', '.join(f'p{i}' for i in range(count))})"], c=(4,))


def routed(count: int) -> ModelProto:
    """A long chain of reshapes, with a product that looks through it at each step."""
    steps = [f"r{i + 1} = Reshape(r{i}, s) p{i} = Mul(r{i + 1}, x)" for i in range(count // 2)]
    return joined(
        ["r0 = Identity(x)", *steps, f"y = Sum({', '.join(f'p{i}' for i in range(count // 2))})"], s=ints(-1, 4)
    )


def looked_up(count: int) -> ModelProto:
    """A long chain of integers, with a table looked up at each step."""
    steps = [
        f"f{i + 1} = Add(f{i}, k) m{i} = Mod(f{i + 1}, n) g{i} = Gather(w, m{i}) q{i} = ReduceSum(g{i})"
        for i in range(count // 4)
    ]
    total = f"z = Sum({', '.join(f'q{i}' for i in range(count // 4))}) y = Add(x, z)"
    return joined(["f0 = Cast <to = 7>(x)", *steps, total], k=np.int64(1), n=np.int64(7), w=(7,))


def of_one_name(count: int) -> ModelProto:
    """Nodes that are all called the same."""
    proto: ModelProto = bench().elementwise(count)
    for node in proto.graph.node:
        node.name = "node"
    return proto


NETS: dict[str, Callable[[int], ModelProto]] = {
    **{f"chain of {name}": lambda count, name=name: bench().CHAINS[name](count) for name in bench().CHAINS},  # type: ignore[misc]
    **{f.__name__: f for f in (shared, routed, looked_up, of_one_name)},
}


def seconds(proto: ModelProto) -> float:
    """Return the processor time of import, table and explanation, the better of two."""
    width = proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    found = []
    for _ in range(2):
        start = time.process_time()
        loaded = reflrp.load(proto)
        loaded.summary("epsilon")
        reflrp.Explainer(loaded, "epsilon")(np.full((1, width), 0.5), progress=False)
        found.append(time.process_time() - start)
    return min(found)


@pytest.mark.parametrize("name", NETS)
def test_time_is_linear(name: str) -> None:
    few, many = seconds(NETS[name](500)), seconds(NETS[name](2000))
    assert many < TOLERATED * 4 * few, f"500 nodes take {few:.2f} s, 2000 take {many:.2f} s"


@pytest.mark.parametrize("name", bench().CHAINS)
def test_import_of_1000_nodes(name: str) -> None:
    data = bench().CHAINS[name](1000).SerializeToString()
    start = time.process_time()
    loaded = reflrp.load(data)
    loaded.graph({"x": (1, bench().WIDTH)})
    assert time.process_time() - start < 2


CHAINED = {
    "sigmoid": "v{0} = Sigmoid({1}) w{0} = Mul(v{0}, {1})",
    "tanh": "v{0} = Tanh({1}) w{0} = Mul(v{0}, {1})",
    "exp": "v{0} = Exp({1}) w{0} = Neg(v{0})",
}


@pytest.mark.parametrize("name", CHAINED)
def test_regions_spelled_alike_are_looked_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of one function has no more regions to look at than its first few nodes; it took 20 ms a node."""
    looked: list[object] = []
    known = recognise.identified
    monkeypatch.setattr(recognise, "identified", lambda region: (looked.append(region), known(region))[1])
    found = []
    for count in (20, 300):
        lines = [CHAINED[name].format(i, f"w{i - 1}" if i else "x") for i in range(count)]
        looked.clear()
        reflrp.load(model(" ".join([*lines, f"y = Identity(w{count - 1})"]))).graph({"x": (1, 4)})
        found.append(len(looked))
    assert 0 < found[0] == found[1] < 60


def test_a_normal_form_takes_so_much_work_and_no_more() -> None:
    a = Algebra((4,), 1e-6, work=WORK - 2)
    assert a.add(a.x, a.number(1.0))
    with pytest.raises(Unproven):
        a.add(a.x, a.number(1.0))
