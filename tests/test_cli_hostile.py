"""The command with what nobody should give it: odd options, broken images, names that a terminal would obey, pipes."""

import io
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import model
from PIL import Image
from test_cli import reflrp_command, run

import reflrp
from reflrp import InputError, ReflrpError, TooLarge, UnsupportedOperator, demo, limits
from reflrp.errors import SCREEN, Offender
from reflrp.mapping.images import picture

EVIL = "\x1b]0;owned\x07\x1b[31m\nerror: \u202e\x9b\udcff" + "n" * 70_000


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path, images, _ = demo.load()
    (tmp_path / "model.onnx").write_bytes(path.read_bytes())
    np.save(tmp_path / "x.npy", images[:4])
    Image.fromarray((images[0, 0] * 255).round().astype(np.uint8)).save(tmp_path / "digit.png")
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failed(*arguments: str, code: int) -> str:
    """What the command says when it fails: printable lines, a screen of them at most."""
    result = reflrp_command(*arguments)
    assert result.exit_code == code, result.output
    lines = result.stderr.removesuffix("\n").split("\n")
    assert lines[0].startswith("error: ")
    assert all(line.startswith("  ") for line in lines[1:])
    assert all(line.isprintable() for line in lines)
    assert len(result.stderr) < SCREEN + 500
    return result.stderr


USAGE = {
    "--target": ["((1", "(1", "1)", "()", "(,)", "1,,2", "", ",", "1_0", "١", "9" * 30, "1 2", "nan", "0x1"],
    "--size": ["0x0", "1x", "x", "²x3", "-1", "1x2x3", ""],
    "--mean": ["nan", "inf", "", ",", "1,", "1e999", "1_0", "1;2"],
    "--std": ["nan", "0", "0.0", "-0", ""],
    "--scale": ["1", "", "..", "0..nan", "0..1..2", "0,1,2"],
    "--channels": ["0", "-1", "2", "5", "9" * 30, "x"],
    "--batch-size": ["0", "-1", "x", "1.5"],
    "--rules": ["epsilon((", '__import__("os")', '__import__("os").system("touch ran")', "epsilon(epsilon=f())", "epsilon(**{})",
                "epsilon(1", "(", "lambda: (1)", "epsilon(epsilon={[]:(1)})", "epsilon(epsilon=[[1],[1,2]])",
                f"epsilon(epsilon={'(' * 3000}1{')' * 3000})", f"epsilon(epsilon={'-' * 50_000}1)",
                f"epsilon(epsilon={'9' * 6000})"],
}  # fmt: skip


@pytest.mark.parametrize("option", USAGE)
def test_options_that_mean_nothing(work: Path, option: str) -> None:
    for value in USAGE[option]:
        said = failed("explain", "model.onnx", "digit.png", f"{option}={value}", code=2)
        assert option in said, value
    assert not Path("ran").exists()


RULES = ["", ".", ")", "x()()", "zennit.", "zennit.nope", "nope.x", "epsilon(canonize=3)", 'epsilon(epsilon="a")',
         "epsilon(epsilon=None)", "epsilon(epsilon={1:2})",  "epsilon(epsilon=-1)", "epsilon(epsilon=1j)",
         "epsilon(epsilon=b'a')", "epsilon(epsilon=[])", "epsilon(epsilon=[1,2])", 'zennit.Epsilon(epsilon="a")',
         "zennit.EpsilonPlusFlat(a=1)", "epsilon_gamma_box(low=1,high=0)", 'epsilon_gamma_box(low="a",high=0)',
         f"{'a.' * 5000}a(b=1)", "epsilon\n(", "n" * 70_000, "epsilon_gamma_box(low=[[[[1]]]],high=[None])"]  # fmt: skip


@pytest.mark.parametrize("value", RULES, ids=lambda v: repr(v)[:40])
def test_rules_that_are_none(work: Path, value: str) -> None:
    result = reflrp_command("inspect", "model.onnx", f"--rules={value}")
    assert result.exit_code in (1, 2), result.output
    assert result.stderr.startswith("error: ")
    assert len(result.stderr) < SCREEN + 500


def test_shapes_that_are_none(work: Path) -> None:
    for value in ("", "0", "-1,1,8,8", "image=", "1;2", "²,1,8,8", "9" * 30 + ",1,8,8"):
        failed("inspect", "model.onnx", f"--shape={value}", code=2)
    for value in ("=1,1,8,8", "image=1,1,8", "x=y=1", "9" * 17 + ",1,8,8", "1,1,99999999,99999999"):
        failed("inspect", "model.onnx", f"--shape={value}", code=1)


def test_sizes_that_no_image_has(work: Path) -> None:
    for value in ("99999999x1", "1x67108864", "8193x8193"):
        assert "beyond the limit" in failed("explain", "model.onnx", "digit.png", f"--size={value}", code=1)


def test_files_that_never_end(work: Path) -> None:
    """Pipes and devices are refused and not waited for."""
    for path, kind in (("fifo", "a pipe"), ("/dev/zero", "a device"), (".", "a folder")):
        assert f"is {kind} and no regular file" in failed("explain", "model.onnx", path, code=1)
        assert f"{path} is " in failed("explain", path, "x.npy", code=1)
    failed("explain", "model.onnx", "x.npy", "--plot", "a.png", "--tokens", "fifo", code=1)
    for out in ("fifo", "/dev/full", "."):
        assert "is no regular file" in failed("explain", "model.onnx", "x.npy", "-o", out, code=1)
    assert "no file" in failed("explain", "model.onnx", "y" * 300, code=1)
    assert "too long" in failed("explain", "model.onnx", "x.npy", "-o", "y" * 300, code=1)


# Names that come out of files


def test_names_are_printed_and_not_obeyed(work: Path) -> None:
    proto = model("a = MatMul(x, w) y = Relu(a)", w=(4, 4))
    evil = EVIL.replace("\udcff", "")  # a model holds no lone surrogates
    for node in proto.graph.node:
        node.name = node.name + evil
        for i, name in enumerate(node.input):
            node.input[i] = name + evil if name in "ax" else name
        for i, name in enumerate(node.output):
            node.output[i] = name + evil
    proto.graph.input[0].name += evil
    proto.graph.output[0].name += evil
    Path("evil.onnx").write_bytes(proto.SerializeToString())
    np.save("four.npy", np.ones((2, 4)))
    for arguments in (
        ["inspect", "evil.onnx"],
        ["explain", "evil.onnx", "four.npy", "--ledger", "--layers=*", "-o", "e.npz"],
    ):
        result = reflrp_command(*arguments)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.replace("\n", "").isprintable()
        assert max(map(len, result.stdout.split("\n"))) < 5000
        assert "\\x1b]0;owned\\x07" in result.stdout
    loaded = reflrp.load("evil.onnx")
    e = reflrp.explain(loaded, np.ones((2, 4)))
    for text in (loaded.summary(), str(e.conservation)):
        assert text.replace("\n", "").isprintable()
    failed("explain", "evil.onnx", "x.npy", code=1)
    failed("explain", "evil.onnx", "four.npy", "--output", evil[:50], code=1)
    assert list(reflrp.Explanation.load("e.npz").relevances) == ["x" + evil]
    np.savez("names.npz", **{f"{EVIL[:20]}{i}": np.ones(3) for i in range(1000)})
    assert "and 980 more" in failed("explain", "model.onnx", "names.npz", code=1)


def test_messages_end_after_a_screen() -> None:
    nodes = [Offender(EVIL + str(i), EVIL, "acme", 1) for i in range(10_000)]
    error = UnsupportedOperator(nodes)
    assert error.nodes == tuple(nodes)
    assert len(str(error)) < SCREEN + 100
    few = UnsupportedOperator([Offender(f"n{i}", "Swirl", "acme", 1) for i in range(25)])
    assert str(few).startswith("25 nodes are not supported:\n  'n0': acme::Swirl (opset 1)")
    assert "and 5 more" in str(few)
    assert len(str(ReflrpError("a" * 10**6))) < SCREEN + 100


def test_many_nodes_in_the_way(work: Path) -> None:
    proto = model("y = Relu(x)")
    for i in range(3000):
        node = proto.graph.node.add(op_type=f"Swirl{i}", domain="acme", name=f"n{i}")
        node.input.append("x")
        node.output.append(f"v{i}")
    proto.graph.node[0].input[0] = "v0"
    for i in range(1, 3000):
        proto.graph.node[i].input[0] = f"v{i}"
    proto.graph.node.insert(0, proto.graph.node.pop())
    proto.opset_import.add(domain="acme", version=1)
    Path("many.onnx").write_bytes(proto.SerializeToString())
    np.save("four.npy", np.ones((2, 4)))
    failed("explain", "many.onnx", "four.npy", code=1)


# Images and arrays


def encoded(form: str, image: Image.Image, **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **more)
    return file.getvalue()


RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8))
GREY16 = Image.fromarray(np.arange(192, dtype=np.uint16).reshape(16, 12) * 300)
IMAGES = {
    "png": encoded("PNG", RGB), "jpeg": encoded("JPEG", RGB), "bmp": encoded("BMP", RGB), "gif": encoded("GIF", RGB),
    "tiff": encoded("TIFF", RGB), "webp": encoded("WEBP", RGB), "palette": encoded("PNG", RGB.quantize()),
    "16 bits": encoded("PNG", GREY16), "CMYK": encoded("JPEG", RGB.convert("CMYK")), "alpha": encoded("PNG", RGB.convert("RGBA")),
    "one bit": encoded("PNG", RGB.convert("1")),
}  # fmt: skip


@pytest.mark.parametrize("form", IMAGES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_forms_of_images(tmp_path: Path, form: str, channels: int) -> None:
    """By content: the name says nothing."""
    path = tmp_path / "image.npy"
    path.write_bytes(IMAGES[form])
    found, notes = picture(path, channels)
    assert found.shape == (16, 12, channels)
    assert 0 <= found.min() <= found.max() <= 255
    assert not notes
    if form == "16 bits" and channels == 4:
        np.testing.assert_array_equal(found[..., 3], 255)


def test_what_is_no_image(tmp_path: Path) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch ran) (w) file\n"
    for name, data in (
        ("a.png", eps),
        ("a.png", b""),
        ("a.bmp", b"BM"),
        ("a.webp", b"RIFF....WAVE"),
        ("a.ppm", b"P6 1 1 255 aaa"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{name} cannot be read as an image"):
            picture(tmp_path / name, 3)
    (tmp_path / "f.tiff").write_bytes(encoded("TIFF", Image.fromarray(np.ones((4, 4), np.float32))))
    with pytest.raises(InputError, match="floating point"):
        picture(tmp_path / "f.tiff", 3)


def test_only_the_first_of_several_images_is_taken_and_that_is_said(work: Path) -> None:
    frames = [Image.new("L", (8, 8), c) for c in (0, 255)]
    Path("a.gif").write_bytes(encoded("GIF", frames[0], save_all=True, append_images=frames[1:]))
    result = reflrp_command("explain", "model.onnx", "a.gif")
    assert "a.gif holds several images, and the first is taken" in result.stdout


def test_images_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred bytes may be an image of any size."""
    for width, height in ((40_000, 40_000), (70_000, 1), (9000, 9000)):
        (tmp_path / "a.png").write_bytes(encoded("PNG", Image.new("1", (8, 8))).replace(
            b"\0\0\0\x08\0\0\0\x08", width.to_bytes(4, "big") + height.to_bytes(4, "big")))  # fmt: skip
        with pytest.raises((TooLarge, InputError), match=r"a.png"):
            picture(tmp_path / "a.png", 3)
    (tmp_path / "a.png").write_bytes(encoded("PNG", Image.new("1", (9000, 9000))))
    with pytest.raises(TooLarge, match=r"a.png has 9000x9000 pixels; the limit is"):
        picture(tmp_path / "a.png", 3)
    monkeypatch.setattr(limits, "MEMORY", 2**20)
    (tmp_path / "a.png").write_bytes(encoded("PNG", Image.new("1", (1000, 1000))))
    with pytest.raises(TooLarge, match=r"a.png needs an array of the shape"):
        picture(tmp_path / "a.png", 3)


@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=500)
def test_broken_images_are_images_or_refused(tmp_path_factory: pytest.TempPathFactory, chance: random.Random) -> None:
    data = bytearray(IMAGES[chance.choice(list(IMAGES))])
    for _ in range(chance.choice([1, 1, 2, 4])):
        place = chance.randrange(len(data)) if chance.random() < 0.5 else chance.randrange(min(len(data), 60))
        data[place : place + chance.choice([0, 1, 1, 5])] = bytes(
            chance.choices(range(256), k=chance.choice([0, 1, 1, 5]))
        )
    path = tmp_path_factory.getbasetemp() / "broken.png"
    path.write_bytes(data)
    try:
        assert np.isfinite(picture(path, 3)[0]).all()
    except (InputError, TooLarge) as error:
        refusal = str(error)
        assert "broken.png" in refusal


def test_arrays_in_any_spelling(work: Path) -> None:
    x = np.load("x.npy")
    wanted = reflrp_command("explain", "model.onnx", "x.npy").stdout
    for version in ((1, 0), (2, 0), (3, 0)):
        for array in (x, np.asfortranarray(x), x.astype(">f8"), x.astype("<f8")):
            with Path("a.png").open("wb") as file:
                np.lib.format.write_array(file, array, version=version)
            result = reflrp_command("explain", "model.onnx", "a.png")
            assert result.stdout == wanted, result.stderr


def test_arrays_that_are_none(work: Path) -> None:
    x = np.load("x.npy")
    np.save("objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    assert "never read" in failed("explain", "model.onnx", "objects.npy", code=1)
    np.save("records.npy", np.zeros(3, "f8,i4"))
    assert "records" in failed("explain", "model.onnx", "records.npy", code=1)
    np.savez("odd.npz", image=x, objects=np.array([{}], dtype=object), text=np.array(["a"]))
    assert reflrp_command("explain", "model.onnx", "odd.npz").exit_code == 0, "what is not asked for is not read"
    assert "never read" in failed("explain", "model.onnx", "odd.npz:objects", code=1)
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**40},), }}".ljust(118)
    Path("huge.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + header.encode())
    assert "truncated" in failed("explain", "model.onnx", "huge.npy", code=1)
    Path("two.npy").write_bytes(Path("x.npy").read_bytes() * 2)
    assert "more bytes" in failed("explain", "model.onnx", "two.npy", code=1)


# Pipes and signals


def test_a_reader_that_leaves(work: Path) -> None:
    """The work is done, quietly."""
    command = [sys.executable, "-m", "reflrp", "explain", "model.onnx", "x.npy", "-o", "e.npz"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        assert child.stderr.read() == ""
        assert child.wait() == 141
    assert reflrp.Explanation.load("e.npz").relevance.shape == (4, 1, 8, 8)


@pytest.mark.parametrize("close", [">&-", "2>&- >/dev/null"])
def test_streams_that_are_closed(work: Path, close: str) -> None:
    command = f'"{sys.executable}" -m reflrp inspect model.onnx {close}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_output_that_is_full(work: Path) -> None:
    command = [sys.executable, "-m", "reflrp", "inspect", "model.onnx"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")


def test_what_a_terminal_cannot_show(work: Path) -> None:
    done = run("explain", "model.onnx", "größe.npy", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (1, "error: there is no file gr\\xf6\\xdfe.npy\n")


EARLY = """
import importlib.abc, os, signal, sys
module = sys.argv.pop(1)
class Impatient(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Impatient())
sys.orig_argv = [sys.executable, "reflrp"]
from reflrp.cli.main import main
sys.argv = ["reflrp", "inspect", "model.onnx"]
main()
"""


@pytest.mark.parametrize("module", ["numpy", "typer", "reflrp.rules", "onnx", "reflrp.importer.parse"])
def test_ctrl_c_while_importing(work: Path, module: str) -> None:
    done = subprocess.run([sys.executable, "-c", EARLY, module], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "error: stopped\n")
    assert not done.stdout


def test_ctrl_c_later(work: Path) -> None:
    late = EARLY.replace("inspect", "explain").replace('onnx"]', 'onnx", "x.npy", "-o", "e.npz"]')
    done = subprocess.run(
        [sys.executable, "-c", late, "reflrp.cli.report"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (130, "error: stopped\n", "")
    assert not Path("e.npz").exists()
