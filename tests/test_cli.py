"""The command: what it prints and writes, its error lines and its exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from typer.testing import CliRunner, Result

import reflrp
from reflrp import demo
from reflrp.cli.main import app

PNG = b"\x89PNG"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and inputs of several forms, as the working directory."""
    path, images, labels = demo.load()
    (tmp_path / "model.onnx").write_bytes(path.read_bytes())
    np.save(tmp_path / "x.npy", images[:4])
    np.savez(tmp_path / "x.npz", images=images[:4], labels=labels[:4])
    np.save(tmp_path / "wide.npy", images[:, :, :, :6])
    for n in (0, 2):
        pixels = (images[n, 0] * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"digit{n}.png")
        Image.fromarray(np.kron(pixels, np.ones((4, 8), np.uint8))).convert("RGB").save(tmp_path / f"large{n}.png")
    (tmp_path / "one.txt").write_text("a b c\n" * 97, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reflrp_command(*arguments: str) -> Result:
    """Run the command in this process; any traceback is raised."""
    result = CliRunner().invoke(app, arguments)
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return result


def save(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def net(nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int | str, ...]], output: str) -> onnx.ModelProto:
    ports = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()]
    graph = helper.make_graph(nodes, "net", ports, [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.fixture
def foreign(work: Path) -> str:
    """A model with two nodes that nobody knows."""
    nodes = [
        helper.make_node("Swirl", ["x"], ["a"], "swirl", domain="acme"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Twist", ["b"], ["y"], "twist", domain="acme"),
    ]
    save(net(nodes, {"x": ("N", 4)}, "y"), work / "foreign.onnx")
    return "foreign.onnx"


def test_explain_prints_targets_scores_notes_and_conservation(work: Path) -> None:
    result = reflrp_command("explain", "model.onnx", "x.npy", "--rules", "epsilon_plus")
    assert result.exit_code == 0, result.output
    assert "explained 'probabilities' of 4 samples by epsilon_plus, float64 on numpy" in result.stdout
    assert "the final Softmax 'softmax' is stripped" in result.stdout
    e = reflrp.explain("model.onnx", np.load("x.npy"), rules="epsilon_plus")
    row = next(line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["2"])
    assert row[1] == str(e.target[2][0])
    assert float(row[2]) == pytest.approx(e.output[2].max(), rel=1e-5)
    assert float(row[3]) == pytest.approx(e.relevance[2].sum(), rel=1e-5)
    place = np.unravel_index(np.abs(e.relevance[2, 0]).argmax(), (8, 8))
    assert f"({place[0]},{place[1]})=" in result.stdout
    assert result.stdout.split("\n\n")[1].split()[:3] == ["sample", "target", "logit"]
    assert f"{e.conservation.totals['bias']:.6g}" in result.stdout


def test_explain_writes_what_python_gives(work: Path) -> None:
    result = reflrp_command(
        "explain", "model.onnx", "x.npy", "--target", "3", "--init", "one", "--layers", "relu*", "-o", "e.npz",
        "--plot", "e.png", "--batch-size", "3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = reflrp.Explanation.load("e.npz")
    expected = reflrp.explain("model.onnx", np.load("x.npy"), target=3, init="one", layers="relu*")
    np.testing.assert_allclose(found.relevance, expected.relevance, atol=1e-14)
    assert set(found.layers) == set(expected.layers)
    assert (work / "e.png").read_bytes().startswith(PNG)
    assert f"wrote {work / 'e.npz'}" in result.stdout
    assert f"wrote {work / 'e.png'}" in result.stdout


def test_relevance_through_chosen_neurons(work: Path) -> None:
    result = reflrp_command("explain", "model.onnx", "x.npy", "--through", "relu1=9,3", "-o", "e.npz")
    assert result.exit_code == 0, result.output
    expected = reflrp.explain("model.onnx", np.load("x.npy"), conditions={"relu1": [9, 3]})
    assert reflrp.Explanation.load("e.npz") == expected


def test_ledger_lists_each_node(work: Path) -> None:
    assert "conv3" not in reflrp_command("explain", "model.onnx", "x.npy").stdout
    assert "conv3" in reflrp_command("explain", "model.onnx", "x.npy", "--ledger").stdout


def test_target_a_sample(work: Path) -> None:
    result = reflrp_command("explain", "model.onnx", "x.npy", "--target", "3,5,1,0", "-o", "e.npz")
    assert result.exit_code == 0, result.output
    assert reflrp.Explanation.load("e.npz").target == ((3,), (5,), (1,), (0,))


def test_only_some_samples_are_listed(work: Path) -> None:
    np.save("many.npy", demo.load()[1])
    assert "and 10 more samples" in reflrp_command("explain", "model.onnx", "many.npy").stdout


@pytest.mark.parametrize("given", ["x.npz", "x.npz:images"])
def test_array_of_an_npz_is_found(work: Path, given: str) -> None:
    result = reflrp_command("explain", "model.onnx", given)
    assert result.exit_code == 0, result.output
    assert "of 4 samples" in result.stdout


def test_input_without_batch_axis_is_one_sample(work: Path) -> None:
    np.save("one.npy", np.load("x.npy")[0])
    result = reflrp_command("explain", "model.onnx", "one.npy")
    assert "of 1 sample by" in result.stdout
    assert "no batch axis" in result.stdout


def test_inputs_by_name(work: Path) -> None:
    save(
        net([helper.make_node("Add", ["a", "b"], ["y"], "add")], {"a": ("N", 3), "b": ("N", 3)}, "y"), work / "two.onnx"
    )
    np.savez("two.npz", a=np.eye(3), b=np.ones((3, 3)))
    result = reflrp_command("explain", "two.onnx", "two.npz")
    assert result.exit_code == 0, result.output
    assert "reached a" in result.stdout
    assert "reached b" in result.stdout
    wrong = reflrp_command("explain", "two.onnx", "x.npy")
    assert wrong.exit_code == 1
    assert "give an .npz with these names" in wrong.stderr


def explained(*arguments: str) -> np.ndarray:
    """What the command took for its input."""
    result = reflrp_command("explain", "model.onnx", *arguments, "-o", "e.npz")
    assert result.exit_code == 0, result.output
    return reflrp.Explanation.load("e.npz").inputs["image"]


def test_images_are_one_batch_scaled_to_0_1(work: Path) -> None:
    found = explained("digit0.png", "digit2.png")
    images = demo.load()[1][[0, 2]]
    np.testing.assert_allclose(found, (images * 255).round().astype(float) / 255)


def test_images_are_normalised(work: Path) -> None:
    plain = explained("digit0.png")
    np.testing.assert_allclose(explained("digit0.png", "--mean", "0.5", "--std", "0.25"), (plain - 0.5) / 0.25)
    np.testing.assert_allclose(explained("digit0.png", "--scale=-1..1"), 2 * plain - 1, atol=1e-15)


def test_images_are_resized_and_greyed_to_the_model(work: Path) -> None:
    result = reflrp_command("explain", "model.onnx", "large0.png", "-o", "e.npz")
    assert "large0.png is resized from 32x64 to 8x8; its proportions change" in result.stdout
    found = reflrp.Explanation.load("e.npz").inputs["image"]
    assert found.shape == (1, 1, 8, 8)
    assert np.corrcoef(found.ravel(), demo.load()[1][0].ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    ("dims", "shape"), [(("N", 3, "H", "W"), (1, 3, 32, 64)), (("N", "H", "W", 3), (1, 32, 64, 3))]
)
def test_images_take_the_layout_of_the_model(work: Path, dims: tuple[int | str, ...], shape: tuple[int, ...]) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"], "r"), helper.make_node("Flatten", ["r"], ["y"], "f")]
    save(net(nodes, {"x": dims}, "y"), work / "any.onnx")
    result = reflrp_command("explain", "any.onnx", "large0.png", "-o", "e.npz", "--rules", "epsilon")
    assert result.exit_code == 0, result.output
    assert reflrp.Explanation.load("e.npz").relevance.shape == shape
    both = reflrp_command("explain", "any.onnx", "large0.png", "digit0.png")
    assert "give --size" in both.stderr
    assert reflrp_command("explain", "any.onnx", "large0.png", "digit0.png", "--size", "8x9").exit_code == 0


def test_open_channels_are_asked_for(work: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"], "r"), helper.make_node("Flatten", ["r"], ["y"], "f")]
    save(net(nodes, {"x": ("N", "C", "H", "W")}, "y"), work / "any.onnx")
    assert "--channels" in reflrp_command("explain", "any.onnx", "large0.png").stderr
    assert reflrp_command("explain", "any.onnx", "large0.png", "--channels", "3").exit_code == 0


def test_rules_take_parameters(work: Path) -> None:
    result = reflrp_command(
        "explain", "model.onnx", "x.npy", "--rules", "epsilon_gamma_box(low=[[[0.0]]], high=1.0)", "-o", "e.npz"
    )
    assert result.exit_code == 0, result.output
    rule = reflrp.composites.preset("epsilon_gamma_box", low=0.0, high=1.0)
    expected = reflrp.explain("model.onnx", np.load("x.npy"), rules=rule)
    np.testing.assert_allclose(reflrp.Explanation.load("e.npz").relevance, expected.relevance, atol=1e-14)


def test_inspect_lists_layers_and_rules(work: Path) -> None:
    result = reflrp_command("inspect", "model.onnx", "--rules", "epsilon_plus")
    assert result.exit_code == 0
    assert "image: float32 (batch, 1, 8, 8)" in result.stdout
    assert "ZPlus(stabilizer=1e-06)" in result.stdout
    assert "model.onnx can be explained." in result.stdout


def test_inspect_lists_all_that_stands_in_the_way(foreign: str) -> None:
    result = reflrp_command("inspect", foreign)
    assert result.exit_code == 1
    for words in (["swirl", "Swirl", "acme", "1"], ["twist", "Twist", "acme", "1"]):
        assert any(line.split()[:4] == words for line in result.stdout.splitlines())
    assert result.stderr == "error: foreign.onnx cannot be explained: 2 nodes stand in the way (Swirl, Twist)\n"


def test_inspect_takes_shapes(work: Path) -> None:
    result = reflrp_command("inspect", "model.onnx", "--shape", "image=3,1,8,8")
    assert "(3, 16, 8, 8)" in result.stdout
    assert "(3, 16, 8, 8)" in reflrp_command("inspect", "model.onnx", "--shape", "3,1,8,8").stdout
    assert reflrp_command("inspect", "model.onnx", "--shape", "x=3,1,8,8").exit_code == 1


def test_presets_are_all_listed() -> None:
    result = reflrp_command("presets")
    listed = {line.split()[0] for line in result.stdout.splitlines() if line.strip()}
    assert set(reflrp.composites.presets()) <= listed
    assert result.exit_code == 0


def test_demo_writes_a_picture(tmp_path: Path) -> None:
    result = reflrp_command("demo", "--out", str(tmp_path / "new"))
    path = Path(result.stdout.splitlines()[-1])
    assert path.is_absolute()
    assert path.read_bytes().startswith(PNG)


def test_version() -> None:
    assert reflrp_command("--version").stdout == f"reflrp {reflrp.__version__}\n"


def test_help_without_command_is_an_error() -> None:
    assert reflrp_command().exit_code == 2


ERRORS = {
    "no such file": ("explain model.onnx nope.npy", 1, "there is no file nope.npy"),
    "no such model": ("explain nope.onnx x.npy", 1, "nope.onnx does not exist"),
    "no model": ("explain x.npy x.npy", 1, "x.npy is no ONNX model"),
    "not an array": ("explain model.onnx model.onnx", 1, "model.onnx is no .npy, .npz or image"),
    "wrong shape": ("explain model.onnx wide.npy", 1, "the model expects float32 (batch, 1, 8, 8)"),
    "unknown array": ("explain model.onnx x.npz:foo", 1, "holds no 'foo', but images, labels"),
    "unknown preset": ("explain model.onnx x.npy --rules epsilon_plos", 2, "did you mean 'epsilon_plus'?"),
    "unknown parameter": ("explain model.onnx x.npy --rules epsilon(foo=1)", 2, "foo"),
    "rules cut short": ("explain model.onnx x.npy --rules epsilon(1", 2, "name(key=value, ...)"),
    "rules that call": ("explain model.onnx x.npy --rules epsilon(open('x'))", 2, "with plain values"),
    "a dict cut short": ("explain model.onnx x.npy --rules {'*':", 2, "{'pattern': 'rule', ...}"),
    "target out of range": ("explain model.onnx x.npy --target 10", 1, "target (10,) is out of range"),
    "target of other count": ("explain model.onnx x.npy --target 1,2", 1, "2 ints for 4 samples"),
    "target no number": ("explain model.onnx x.npy --target seven", 2, "--target"),
    "unknown init": ("explain model.onnx x.npy --init two", 2, "--init: 'two' is unknown; use 'output' or 'one'"),
    "unknown dtype": ("explain model.onnx x.npy --dtype float16", 2, "use 'float64', 'float32' or 'exact'"),
    "unknown backend": ("explain model.onnx x.npy --backend tpu", 2, "--backend: 'tpu' is unknown"),
    "unknown pass": ("explain model.onnx x.npy --canonize fold", 2, "there is fold_batchnorm"),
    "a target twice": ("explain model.onnx x.npy --target 3 --target 3", 2, "each target once"),
    "a target against itself": ("explain model.onnx x.npy --target 3 --against 3", 2, "sets an entry against itself"),
    "one of several against itself": ("explain model.onnx x.npy --target 1,2,3,4 --against 3", 2, "against itself"),
    "an arg-max against itself": ("explain model.onnx x.npy --against 0", 1, "sets no entry against another"),
    "too many threads": ("explain model.onnx x.npy --threads 1025", 2, "--threads"),
    "threads of NumPy": ("explain model.onnx x.npy --threads 2", 2, "--backend onnxruntime or auto"),
    "fractions of a runtime": ("explain model.onnx x.npy --dtype exact --backend cupy", 2, "--dtype"),
    "through no neuron": ("explain model.onnx x.npy --through relu1", 2, "PATTERN=NEURON"),
    "through what is not there": ("explain model.onnx x.npy --through foo=1", 1, "foo"),
    "against no number": ("explain model.onnx x.npy --against five", 2, "--against"),
    "tokens of no file": ("explain model.onnx x.npy --tokens no.txt --plot a.html", 1, "no.txt cannot be read"),
    "tokens of other count": (
        "explain model.onnx x.npy --tokens one.txt --plot a.html",
        1,
        "no input has so many samples",
    ),
    "a name that is no input's": ("explain model.onnx x.npy --name y --plot a.html", 2, "'y' is no input; use 'image'"),
    "tokens without a picture": ("explain model.onnx x.npy --tokens one.txt", 2, "give --plot"),
    "unknown output": ("explain model.onnx x.npy --output foo", 1, "the model has ['probabilities']"),
    "unknown layer": ("explain model.onnx x.npy --layers foo", 1, "layers=['foo']"),
    "unknown picture": ("explain model.onnx x.npy --plot a.foo", 2, "end the name with one of"),
    "no folder": ("explain model.onnx x.npy -o no/a.npz", 1, "the folder no does not exist"),
    "over the input": ("explain model.onnx x.npy -o x.npy", 2, "x.npy is read or written already"),
    "over the model": ("explain model.onnx x.npy --plot ./model.onnx.png -o ./model.onnx", 2, "model.onnx is read"),
    "over an array": ("explain model.onnx x.npz:images -o x.npz", 2, "x.npz is read"),
    "mean of arrays": ("explain model.onnx x.npy --mean 1", 1, "are for images"),
    "mean of three": ("explain model.onnx digit0.png --mean 1,2,3", 1, "--mean holds 3 numbers"),
    "std of zero": ("explain model.onnx digit0.png --std 0", 2, "--std"),
    "batch size of zero": ("explain model.onnx x.npy --batch-size 0", 2, "--batch-size"),
    "a box of another shape": (
        "explain model.onnx x.npy --rules epsilon_gamma_box(low=[0,0,0],high=1)",
        1,
        "an array of shape (3,) does not fit",
    ),
    "a depth that is none": ("explain model.onnx x.npy --rules until_index(index='a')", 2, "a depth must be an int"),
    "over a device": ("explain model.onnx x.npy -o /dev/null", 1, "/dev/null exists and is no regular file"),
    "size beyond all bounds": ("explain model.onnx digit0.png --size 99999x99999", 1, "is beyond the limit"),
    "compile: unknown init": ("compile model.onnx -o a.onnx --init two", 2, "use 'output', 'one' or 'input'"),
    "compile: unknown derived": ("compile model.onnx -o a.onnx --derived two", 2, "use 'graph' or 'stored'"),
    "compile: an old opset": ("compile model.onnx -o a.onnx --opset 16", 2, "--opset"),
    "compile: unknown pass": ("compile model.onnx -o a.onnx --canonize two", 2, "--canonize"),
    "compile: targets of samples": ("compile model.onnx -o a.onnx --target 3,4", 2, "one target for all samples"),
    "compile: such a contrast": ("compile model.onnx -o a.onnx --target 3 --against 4,5", 2, "one target for all"),
    "compile: no such entry": ("compile model.onnx -o a.onnx --target 10", 1, "out of range"),
    "compile: over the model": ("compile model.onnx -o model.onnx", 2, "is read already"),
    "compile: nowhere": ("compile model.onnx", 2, "--out"),
    "compare: unknown init": ("compare model.onnx x.npy --a epsilon --b epsilon --init two", 2, "--init"),
    "compare: unknown dtype": ("compare model.onnx x.npy --a epsilon --b epsilon --dtype exact", 2, "--dtype"),
    "compare: unknown preset": ("compare model.onnx x.npy --a epsilon --b epsilom", 2, "--b"),
    "compare: no such file": ("compare model.onnx x.npy --a epsilon --b no.npz", 1, "no.npz"),
    "compare: unknown picture": ("compare model.onnx x.npy --a epsilon --b epsilon -o a.foo", 2, "end the name"),
    "compare: over the input": ("compare model.onnx digit0.png --a epsilon --b epsilon -o digit0.png", 2, "is read"),
    "compare: over a side": ("compare model.onnx x.npy --a epsilon --b x.npz -o x.npz", 2, "--out"),
    "compare: one side": ("compare model.onnx x.npy --a epsilon", 2, "--b"),
    "map: unknown init": ("map model.onnx x.npy -o a.zarr --init two", 2, "--init"),
    "map: fractions": ("map model.onnx x.npy -o a.zarr --dtype exact", 2, "--dtype"),
    "map: a target against itself": ("map model.onnx x.npy -o a.zarr --target 3 --against 3", 2, "--against"),
    "map: over the data": ("map model.onnx x.npy -o x.npy", 2, "is read already"),
    "map: no such file": ("map model.onnx no.npy -o a.zarr", 1, "no.npy"),
    "inspect: no shape": ("inspect model.onnx --shape 0", 2, "--shape"),
    "inspect: unknown output": ("inspect model.onnx --output foo", 1, "output='foo'"),
    "demo: over a file": ("demo --out x.npy", 1, "x.npy is a file"),
    "no input": ("explain model.onnx", 2, "INPUT"),
    "unknown option": ("explain --foo", 2, "--foo"),
    "unknown command": ("foo", 2, "foo"),
}


BEFORE = (
    "unknown preset", "unknown init", "unknown dtype", "unknown pass", "through no neuron", "over the input", "no folder",
    "tokens of no file", "tokens of other count", "a name that is no input's", "a target twice", "unknown picture",
    "a target against itself", "threads of NumPy", "fractions of a runtime",
)  # fmt: skip


@pytest.mark.parametrize("case", BEFORE)
def test_what_can_be_seen_before_the_work_is(work: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflrp.explainer.Explainer.each", lambda *_, **__: pytest.fail("it has run"))
    command, code, text = ERRORS[case]
    result = reflrp_command(*command.split(" "))
    assert (result.exit_code, text in result.stderr) == (code, True)


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line_with_an_exit_code(work: Path, case: str) -> None:
    before = {p: p.read_bytes() for p in work.iterdir()}
    command, code, text = ERRORS[case]
    result = reflrp_command(*command.split(" "))
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert text in result.stderr
    assert not result.stdout
    assert {p: p.read_bytes() for p in work.iterdir()} == before


def test_explaining_a_foreign_model_names_its_nodes(foreign: str) -> None:
    np.save("four.npy", np.ones((1, 4)))
    result = reflrp_command("explain", foreign, "four.npy")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 2 nodes are not supported:\n")
    assert "'twist': acme::Twist" in result.stderr


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with its output in a pipe."""
    command = [sys.executable, "-m", "reflrp", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_in_a_pipe_text_is_plain_and_whole(work: Path) -> None:
    done = run("inspect", "model.onnx", "--rules", "epsilon_gamma_box", COLUMNS="40", TERM="xterm-256color")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert done.stdout.isascii()
    assert "Gamma(gamma=0.25, generalized=True, stabilizer=1e-06)" in done.stdout


def test_in_a_process_errors_have_no_traceback(work: Path) -> None:
    done = run("explain", "model.onnx", "x.npy", "--rules", "epsilon_plos")
    assert done.returncode == 2
    assert done.stderr == (
        "error: Invalid value for --rules: preset 'epsilon_plos' is unknown; did you mean 'epsilon_plus'?; "
        "see `reflrp explain --help`\n"
    )


HELP = """
import atexit, sys
heavy = {"onnx", "matplotlib", "PIL", "torch"}
atexit.register(lambda: print(sorted(heavy & set(sys.modules))))
from reflrp.cli.main import app
app(["explain", "--help"])
"""


def test_help_imports_little() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert "--rules" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
