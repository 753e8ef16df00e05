"""Hostile files: whatever is done to a model, it is explained or refused, soon, and no file outside its folder is touched.

`make fuzz` tries many more; tests/fuzz.py says how.
"""

from collections import Counter
from collections.abc import Iterator

import fuzz
import numpy as np
import pytest
from fuzz import FINE, Judge, Verdict
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from models import ints, model
from onnx import ModelProto, TensorProto, helper

ENDS: Counter[str] = Counter()
CHANCE = st.randoms(use_true_random=False)
MANY = settings(max_examples=750, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink])


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with Judge(tmp_path_factory.mktemp("fuzz")) as judge:
        yield judge


def check(judge: Judge, data: bytes) -> Verdict:
    verdict = judge(data)
    assert verdict.fine, f"{verdict.outcome}: {verdict.detail}"
    ENDS[verdict.outcome] += 1
    return verdict


def test_models_are_sound_before(judge: Judge) -> None:
    """What is mutated is fine, so that mutations reach what is behind the first checks."""
    ends = Counter(check(judge, data).outcome for data in fuzz.seeds())
    assert set(ends) <= FINE, ends
    assert ends["explained"] > 200


@pytest.mark.parametrize("part", range(2))
@given(chance=CHANCE)
@MANY
def test_broken_bytes(judge: Judge, part: int, chance: fuzz.random.Random) -> None:
    check(judge, fuzz.mutated_bytes(chance.choice(fuzz.seeds()[part::2]), chance))


@pytest.mark.parametrize("part", range(4))
@given(chance=CHANCE)
@MANY
def test_broken_graphs(judge: Judge, part: int, chance: fuzz.random.Random) -> None:
    check(judge, fuzz.mutated_graph(chance.choice(fuzz.seeds()[part::4]), chance))


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
    return fuzz.onnx.parser.parse_model(
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


def test_the_judge_hears_and_waits(judge: Judge) -> None:
    """What must not happen is seen where it happens."""
    ear = fuzz.Ear(judge.folder / "case")
    for event, args in [("open", (str(judge.folder / "secret"), "r", 0)), ("open", (str(judge.folder / "case" / "link"), "r", 0)),
                        ("subprocess.Popen", ()), ("os.remove", ())]:  # fmt: skip
        ear.heard.clear()
        ear(event, args)
        assert ear.heard, event
    ear.heard.clear()
    ear("open", (str(judge.folder / "case" / "weights.bin"), "rb", 0))
    ear("open", (np.__file__, "rb", 0))
    assert not ear.heard
