"""What the command line reads, broken: images of every format, .npy and .npz files; by `reflrp.cli.inputs.read`, and the command.

A case is a line of JSON, the file's name and the options, and then the file's bytes.
"""

from __future__ import annotations

import io
import json
import random
import struct
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from models import draw, model
from PIL import Image

import reflrp
from fuzz import terminal
from fuzz.archives import header, npy, other_array, zipped
from fuzz.bytes import mutated_bytes
from fuzz.values import SIZES
from reflrp.cli import inputs

FORMATS = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "gif": "GIF", "tif": "TIFF", "webp": "WEBP"}
FOREIGN = {
    "eps": "EPS",
    "ico": "ICO",
    "ppm": "PPM",
    "tga": "TGA",
    "pcx": "PCX",
    "jp2": "JPEG2000",
    "pdf": "PDF",
    "dds": "DDS",
    "im": "IM",
    "sgi": "SGI",
}
"""What an image must not be, whatever its name says."""

MODES = ("L", "RGB", "RGBA", "P", "1", "I;16", "LA", "CMYK", "I", "F")
NETS = (
    "float[N,1,6,6] x",
    "float[N,3,6,6] x",
    "float[N,6,6,3] x",
    "float[N,C,H,W] x",
    "float[1,4,8,9] x",
    "float[N,4] x",
    "int64[N,5] x",
    "float x",
)
OPTIONS: dict[str, tuple[str, ...]] = {
    "--mean": ("0", "0.5,0.5,0.5", "1e400", "nan", "", "a", "0,0", "-1e308"),
    "--std": ("1", "1,1,1", "0", "1e-320", "inf", "nan", "", "-1"),
    "--scale": ("0..1", "-1..1", "0..inf", "nan..1", "1", "..", "1..2..3", "0..1e308"),
    "--size": ("6x6", "6", "0x6", "x", "99999x99999", "1x67108864", "\u00b2x6", "-1x6", "6x6x6", "9" * 5000, "\u0666x\u0666"),
    "--channels": ("1", "3", "0", "-1", "2", "99999999999999999999"),
    "--target": ("0", "1,2", "(1", "((1", "(1,)", "()", "(", "-1", "9" * 5000, "\u00b2", "a", ",", "1,", "1.5", "(0,0)"),
    "--rules": (
        *("epsilon", "zennit.EpsilonPlus", "epsilon(", "epsilon(epsilon=", "epsilon(epsilon=1)", "epsilon(1)", "(" * 300),
        *("", "x.y.z", "epsilon(epsilon='a')", "epsilon_gamma_box(low=[0],high=[1])", "epsilon(**{})"),
        *("epsilon(epsilon=" + "-" * 3000 + "1)", "epsilon(epsilon=9**9**9)", "__class__"),
    ),
    "--init": ("one", "output", "x", ""), "--dtype": ("float32", "int8", "", "O"), "--batch-size": ("1", "0", "x", "9" * 30),
    "--layers": ("*", "[", "", "nothing", "*" * 300), "--output": ("y", "x", ""),
}  # fmt: skip


@cache
def nets() -> tuple[Path, ...]:
    """Return the files of the models that read the inputs."""
    folder, found = Path(tempfile.mkdtemp(dir="../scratch")), []
    for i, port in enumerate(NETS):
        flat = (
            "f = Cast <to = 1>(x) s = Flatten(f) y = ReduceSum <keepdims = 1>(s, a)"
            if port.rpartition(" ")[0] != "x"
            else ""
        )
        proto = model(flat, port, a=np.array([1]))
        path = folder / f"{i}.onnx"
        path.write_bytes(proto.SerializeToString())
        found.append(path.resolve())
    return tuple(found)


@cache
def loaded() -> tuple[reflrp.Model, ...]:
    """Return these models."""
    return tuple(reflrp.load(p) for p in nets())


@cache
def pictures() -> dict[str, tuple[bytes, ...]]:
    """Return sound images by ending: of each format in each mode that it takes."""
    found: dict[str, list[bytes]] = {}
    pixels = (np.abs(draw(6, 6, 3)) * 99).astype(np.uint8)
    for ending, name in {**FORMATS, **FOREIGN}.items():
        for mode in MODES:
            file = io.BytesIO()
            try:
                image = Image.fromarray(pixels).convert(mode if mode != "I;16" else "I").convert(mode)
                image.save(file, name)
            except (OSError, ValueError, KeyError):
                continue
            found.setdefault(ending, []).append(file.getvalue())
    frames = [Image.fromarray(pixels + i) for i in range(3)]
    for ending in ("gif", "tif", "png", "webp"):
        file = io.BytesIO()
        frames[0].save(file, FORMATS[ending], save_all=True, append_images=frames[1:])
        found[ending].append(file.getvalue())
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    frames[0].save(file, "JPEG", exif=exif)
    found["jpg"].append(file.getvalue())
    return {k: tuple(v) for k, v in found.items()}


def warm() -> None:
    """Make the models and images, and run the command once."""
    warnings.simplefilter("ignore")
    loaded()
    pictures()
    terminal.run(["presets"])


def make(chance: random.Random) -> bytes:
    """Return a broken input, its name and the options."""
    how = chance.random()
    if how < 0.6:
        name, data = _picture(chance)
    else:
        name, data = _array(chance)
    options = {k: chance.choice(v) for k, v in OPTIONS.items() if chance.random() < 0.06}
    if chance.random() < 0.1:
        name = chance.choice(
            ["\x1b[2J" + name, "a\nb" + name, "x.npz", "x.npy", "x.png", "-" + name, "x:y." + name.rpartition(".")[2]]
        )
    case = {"name": name, "net": chance.randrange(len(NETS)), "options": options, "command": chance.random() < 0.15}
    return json.dumps(case).encode() + b"\n" + data


def _picture(chance: random.Random) -> tuple[str, bytes]:
    ending = chance.choice(list(pictures()))
    data = chance.choice(pictures()[ending])
    shown = chance.choice(list(FORMATS)) if ending in FOREIGN or chance.random() < 0.1 else ending
    how = chance.random()
    if how < 0.75:
        data = mutated_bytes(data, chance)
    elif how < 0.85 and ending == "png":
        sides = chance.choice(
            [(2**31 - 1, 2**31 - 1), (10_000, 10_000), (9000, 9000), (1, 2**31 - 1), (0, 0), (60_000, 1)]
        )
        data = data[:16] + struct.pack(">II", *sides) + data[24:]
    elif how < 0.9 and ending == "bmp":
        data = data[:18] + struct.pack("<ii", chance.choice(SIZES[:13]), 6) + data[26:]
    return f"x.{shown}", data


def _array(chance: random.Random) -> tuple[str, bytes]:
    members = {
        f"{chance.choice(['x', 'out', 'a', ''])}.npy": npy(
            draw(2, *chance.choice([(4,), (1, 6, 6), (3, 6, 6), (6, 6, 3), ()]))
        )
    }
    if chance.random() < 0.5:
        chance.choice([header, header, other_array])(members, chance)
    data = next(iter(members.values()))
    ending = chance.choice(["npy", "npy", "npz", "png", "txt"])
    if ending == "npz":
        data = zipped({**members, **({"b.npy": npy(draw(2, 4))} if chance.random() < 0.3 else {})}, chance)
    return f"x.{ending}", mutated_bytes(data, chance) if chance.random() < 0.5 else data


def tried(data: bytes, folder: Path) -> str:
    """Read the file for a model, as the command does; now and then, run the command itself."""
    line, _, content = data.partition(b"\n")
    case = json.loads(line)
    path = folder / "scratch" / case["name"].replace("/", "_")
    path.write_bytes(content)
    try:
        if case["command"]:
            options = [part for pair in case["options"].items() for part in pair]
            terminal.run(["explain", str(nets()[case["net"]]), str(path), *options])
            return "done"
        feeds, _ = inputs.read(loaded()[case["net"]], [str(path)], _pixels(case["options"]))
        used(loaded()[case["net"]], feeds)
        return "done"
    finally:
        path.unlink(missing_ok=True)


def used(net: reflrp.Model, feeds: dict[str, Any]) -> None:
    """Explain what was read."""
    e = reflrp.explain(net, feeds)
    assert all(np.isfinite(R).all() for R in e.relevances.values()), "relevance is not finite"


def _pixels(options: dict[str, str]) -> inputs.Pixels:
    if options.get("--size") == "6x6":
        return inputs.Pixels(size=(6, 6))
    return inputs.Pixels(channels=3 if "--channels" in options else None)
