"""Hostile files: whatever is done to a model, it is explained or refused, soon, and no file outside its folder is touched.

`make fuzz` tries many more; the package tests/fuzz says how.
"""

import inspect
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import fuzz
import numpy as np
import onnx.parser
import pytest
from fuzz import FINE, KINDS, Judge, Verdict, arguments
from fuzz.odd import ODD
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from models import ints, model
from onnx import ModelProto, TensorProto, helper

import reflrp

ENDS: Counter[str] = Counter()
CHANCE = st.randoms(use_true_random=False)
MANY = settings(max_examples=500, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink])
NUMBERS = {
    **{"bytes": 300, "graphs": 300, "fields": 300, "bombs": 100, "arguments": 500, "saved": 300, "images": 200},
    **{"names": 30, "threads": 10},
}
"""How many cases of each kind are tried here; `make fuzz` tries any number."""

MOST = 5
"""Faults of a kind that are listed."""

PARTS = 16
"""How many tests the odd values are shared out among."""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with Judge(tmp_path_factory.mktemp("fuzz"), bound=15) as judge:
        yield judge


def check(judge: Judge, data: bytes, kind: str = "graphs") -> Verdict:
    verdict = judge(kind, data)
    assert verdict.fine, f"{verdict.outcome} {verdict.where}: {verdict.detail}"
    ENDS[verdict.outcome] += 1
    return verdict


def test_models_are_sound_before(judge: Judge) -> None:
    """What is mutated is fine, so that mutations reach what is behind the first checks."""
    ends = Counter(check(judge, data).outcome for data in fuzz.seeds())
    assert set(ends) <= FINE, ends
    assert ends["explained"] > 200


@pytest.mark.parametrize("part", range(PARTS))
def test_each_odd_value_for_each_argument(part: int, tmp_path: Path) -> None:
    """All of them, one after the other, where `make fuzz` draws some: a ReflrpError, or an answer."""
    (tmp_path / "scratch").mkdir()
    found = []
    for name, call in list(arguments.calls().items())[part::PARTS]:
        for argument in set(inspect.signature(call.function).parameters) - {"self", "cls"}:
            for odd in ODD:
                try:
                    arguments.tried(json.dumps({"call": name, "odd": {argument: odd}}).encode(), tmp_path)
                except reflrp.ReflrpError:
                    pass
                except Exception as error:
                    found.append(f"{name}({argument}={odd}): {type(error).__name__}: {error}"[:300])
    assert not found[:MOST]


@pytest.mark.parametrize("kind", KINDS)
def test_cases_of_each_kind(judge: Judge, kind: str) -> None:
    """The first of the cases that `make fuzz` tries; `python -m fuzz --again KIND:NUMBER` tries one alone."""
    bad = ((n, v) for n, v in judge.many(kind, 0, range(NUMBERS[kind])) if not v.fine)
    found = {f"{kind}:{n}": f"{v.outcome} {v.where} {v.detail[-300:]}" for n, v in islice(bad, MOST)}
    assert not found


@pytest.mark.parametrize("kind", ["bytes", "graphs", "fields"])
@given(chance=CHANCE)
@MANY
def test_models(judge: Judge, kind: str, chance: fuzz.random.Random) -> None:
    """Models of chance, of which hypothesis finds the smallest that shows a fault."""
    check(judge, KINDS[kind].made(chance), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_is_a_case(kind: str) -> None:
    """The same seed and number make the same case."""
    assert KINDS[kind].make(3, 5) == KINDS[kind].make(3, 5)


SMALL = model("y = MatMul(x, w)", w=(4, 4))
BRANCH = "<then_branch = a () => (float[N,4] p) { p = Add(x, w) }, else_branch = b () => (float[N,4] q) { q = Neg(x) }>"
HOLDERS = {
    "an initializer": model("y = Add(x, w)", w=(4,)),
    "a Constant": model("w = Constant <value = float[4] {1, 2, 3, 4}>() y = Add(x, w)"),
    "an attribute": model("w = ConstantOfShape <value = float[1] {2}>(s) y = Add(x, w)", s=ints(4)),
    "a subgraph": model(f"y = If (c) {BRANCH}", c=np.array(True), w=(4,)),
}


def tensor_of(holder: str, proto: ModelProto) -> TensorProto:
    """Return the tensor whose data is put elsewhere."""
    node = proto.graph.node[0]
    if holder == "an initializer":
        return proto.graph.initializer[0]
    if holder == "a subgraph":
        moved = next(t for t in proto.graph.initializer if t.name == "w")
        node.attribute[0].g.initializer.append(moved)
        proto.graph.initializer.remove(moved)
        return node.attribute[0].g.initializer[0]
    return node.attribute[0].t


@pytest.mark.parametrize("place", fuzz.PLACES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_data_of_other_files(judge: Judge, holder: str, place: str) -> None:
    """Wherever a tensor stands, its data comes out of the model's folder or not at all."""
    proto = ModelProto()
    proto.CopyFrom(HOLDERS[holder])
    tensor = tensor_of(holder, proto)
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    size = 4 * int(np.prod(tensor.dims))
    for key, value in {"location": place, "offset": "0", "length": str(size)}.items():
        tensor.external_data.add(key=key, value=value)
    verdict = check(judge, proto.SerializeToString())
    inside = place.endswith("weights.bin") or place == "model.onnx"
    assert (
        verdict.outcome in ("explained", "ModelError", "NonFiniteError") if inside else verdict.outcome == "ModelError"
    ), verdict


@pytest.mark.parametrize("bomb", fuzz.BOMBS)
@pytest.mark.parametrize("number", [2**16, 2**31, 2**40, 2**62])
def test_bombs(judge: Judge, bomb: str, number: int) -> None:
    """Nodes that ask for arrays without end are refused, whatever they multiply."""
    numbers = ints(number, number)
    proto = model(
        f"{bomb} s1 = ReduceMax <keepdims = 0>(b) y = Mul(x, s1)", "float[N,4] x", opset=10 if "Upsample" in bomb else 17,
        n=numbers, f=numbers.astype(np.float32), k=ints(100), zero=np.int64(0), one=np.int64(1), ids=ints(0, 1),
        zeros=ints(0), ones=ints(1), values=np.array([0, 1], np.float32),
    )  # fmt: skip
    check(judge, proto.SerializeToString())


def call(functions: str) -> bytes:
    return onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17, "own" : 1]> net (float[N,4] x) => (float[N,4] y) {{ y = own.f0(x) }}
        {functions}"""
    ).SerializeToString()


def function(number: int, body: str) -> str:
    return f'<domain: "own", opset_import: ["" : 17, "own" : 1]> f{number} (a) => (b) {{ {body} }}'


def test_functions_without_end(judge: Judge) -> None:
    itself = call(function(0, "b = own.f0(a)"))
    assert check(judge, itself).outcome == "ModelError"
    each_other = call(function(0, "b = own.f1(a)") + function(1, "b = own.f0(a)"))
    assert check(judge, each_other).outcome == "ModelError"
    doubled = [function(i, f"t = own.f{i + 1}(a) b = own.f{i + 1}(t)") for i in range(40)]
    assert check(judge, call("".join(doubled) + function(40, "b = Relu(a)"))).outcome == "TooLarge"


def test_loops_without_end(judge: Judge) -> None:
    body = "<body = a (int64 i, bool c, float[N,4] h) => (bool d, float[N,4] g) { d = Identity(c) g = Tanh(h) }>"
    for count in (2**31, 2**62):
        verdict = check(judge, model(f"y = Loop (n, , x) {body}", n=np.int64(count)).SerializeToString())
        assert verdict.outcome in ("UnsupportedOperator", "TooLarge")


def test_sequences_without_end(judge: Judge) -> None:
    """A file may declare any length, and a recurrent layer is unrolled."""
    lstm = model(
        "h, l = LSTM <hidden_size = 3>(x, w, r) y = Squeeze(h)", "float[90000000,1,1] x", w=(1, 12, 1), r=(1, 12, 3)
    )
    assert check(judge, lstm.SerializeToString()).outcome in fuzz.REFUSED | {"loaded"}


def test_nesting_without_end(judge: Judge) -> None:
    inner = model("y = Relu(x)").graph
    for _ in range(25):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "g", [], list(SMALL.graph.output))
        if inner.ByteSize() > 10**6:
            break
    proto = model("y = Relu(x)", c=np.array(True))
    proto.graph.node[0].CopyFrom(inner.node[0])
    check(judge, proto.SerializeToString())


def test_the_judge_hears(judge: Judge) -> None:
    """What must not happen is seen where it happens."""
    case, scratch = judge.folder / "case", judge.folder / "scratch"
    ear = fuzz.Ear(case, scratch)
    for event, args in [
        ("open", (str(judge.folder / "secret"), "r", 0)),
        ("open", (str(case / "link"), "r", 0)),
        ("open", (str(case / "a"), "w", 0)),
        ("subprocess.Popen", ("gs",)),
        ("os.remove", ("a", -1)),
        ("os.remove", (str(case / "weights.bin"), -1)),
        ("socket.connect", ()),
    ]:
        ear.heard.clear()
        ear(event, args)
        assert ear.heard, event
    ear.heard.clear()
    for event, args in [
        ("open", (str(case / "weights.bin"), "rb", 0)),
        ("open", (np.__file__, "rb", 0)),
        ("open", (str(scratch / "a"), "w", 0)),
        ("os.remove", (str(scratch / "a"), -1)),
    ]:
        ear(event, args)
    assert not ear.heard


FAULTS = {
    "ESCAPES ZeroDivisionError": "1 / 0",
    "WRONG": "raise AssertionError('not finite')",
    "GREEDY": "b'x' * (500 << 20)",
    "SLOW": "t = time.process_time()\n    while time.process_time() < t + 0.4: pass",
    "TOUCHES": "open('/etc/passwd').close()",
    "DIES": "__import__('ctypes').string_at(0)",
    "HANGS": "time.sleep(60)",
}


@pytest.mark.parametrize("outcome", FAULTS)
def test_the_judge_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str) -> None:
    """Each fault is seen, in a process that has it, and where it is; the next case gets a process of its own."""
    room = f"""
import time
from fuzz import child
child.SLOW = 0.2

def fault():
    {FAULTS[outcome]}

def tried(data, folder):
    if data == b"1":
        fault()
    return "done"
"""
    (tmp_path / "faulty.py").write_text(room)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    enter = "kinds.KINDS['faulty'] = kinds.Kind('faulty', 1)"
    start = f"import faulty, sys; sys.modules['fuzz.faulty'] = faulty; from fuzz import kinds; {enter}"
    monkeypatch.setattr("fuzz.judge.START", f"{start}; {fuzz.judge.START}")
    with Judge(tmp_path / "judge", bound=2) as judge:
        assert judge("faulty", b"0").outcome == "done"  # the first of a kind gets the time to import
        verdict = judge("faulty", b"1")
        assert verdict.outcome == outcome
        assert not verdict.fine
        assert judge("faulty", b"0").outcome == "done"
