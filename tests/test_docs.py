"""The documentation: every Python block runs, every command works, every link and name leads somewhere."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reflrp
from reflrp import demo, rules

CHECKOUT = Path(__file__).parents[1]
PAGES = [
    CHECKOUT / "README.md",
    *sorted((CHECKOUT / "docs").rglob("*.md")),
    *sorted(CHECKOUT.glob("conformance/**/*.md")),
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def with_block(language: str) -> list[pytest.param]:
    return [pytest.param(p, id=title(p)) for p in PAGES if blocks(p, language)]


def title(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix().removeprefix("docs/")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documentation names, as the working directory."""
    path, images, _ = demo.load()
    (tmp_path / "model.onnx").write_bytes(path.read_bytes())
    np.save(tmp_path / "x.npy", images[:4])
    Image.fromarray((images[0, 0] * 255).round().astype(np.uint8)).save(tmp_path / "digit.png")
    shutil.copytree(CHECKOUT / "examples" / "networks", tmp_path / "examples" / "networks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets that a page registers are gone after it, and limits that it sets are as they were."""
    for name in ("MEMORY", "NODES", "TIME", "WEIGHTS"):
        monkeypatch.setattr(reflrp.limits, name, getattr(reflrp.limits, name))
    presets = reflrp.composites.REGISTRY.presets
    monkeypatch.setattr(reflrp.composites.REGISTRY, "presets", dict(presets))


@pytest.mark.parametrize("page", with_block("python"))
@pytest.mark.usefixtures("work", "registry")
def test_python_blocks_run(page: Path) -> None:
    """In order, in one namespace."""
    pytest.importorskip("matplotlib")
    namespace: dict[str, object] = {"__name__": page.stem}
    for i, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name}, Python block {i + 1}", "exec"), namespace)


@pytest.mark.parametrize("page", with_block("console"))
def test_commands_work(page: Path, work: Path) -> None:
    pytest.importorskip("matplotlib")
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    commands = [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ reflrp ")]
    assert commands
    for _, *arguments in commands:
        command = [sys.executable, "-m", "reflrp", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work)
        assert done.returncode == 0, f"reflrp {shlex.join(arguments)}: {done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_every_rule_is_described() -> None:
    text = (CHECKOUT / "docs" / "rules.md").read_text("utf-8")
    public = [getattr(rules, name) for name in rules.__all__]
    names = [r.__name__ for r in public if isinstance(r, type) and issubclass(r, rules.Rule)]
    bases = ("Rule", "LinearRule")
    assert not [name for name in names if f"| `{name}` |" not in text and name not in bases]


def test_every_preset_is_described() -> None:
    text = (CHECKOUT / "docs" / "composites.md").read_text("utf-8")
    assert not [name for name in reflrp.composites.presets() if f"| `{name}` |" not in text]


def test_make_targets_are_listed_and_named() -> None:
    """`make help` lists all targets, the README names each, and no page names one that is not there."""
    makefile = (CHECKOUT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))
    assert set(re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE)[1].split()) == targets
    free = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(
        ["make", "help"], cwd=CHECKOUT, env=free, capture_output=True, text=True, encoding="utf-8", check=True
    )
    listed = [re.fullmatch(r"make ([a-z-]+) +(\S.*)", line) for line in done.stdout.splitlines()]
    assert {line[1] for line in listed} == targets
    readme = (CHECKOUT / "README.md").read_text("utf-8")
    named = set(re.findall(r"`(?:make )?([a-z-]+)`", readme)) | set(
        re.findall(r"^make ([a-z-]+)", readme, re.MULTILINE)
    )
    assert targets <= named
    for page in PAGES:
        said = set(re.findall(r"(?:`|^\$ )make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE))
        assert said <= targets, (page, said - targets)
