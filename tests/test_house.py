"""The rules of the house: what is installed, who imports whom, one version everywhere."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import reflrp

CHECKOUT = Path(__file__).parents[1]
INSTALLED = Path(reflrp.__file__).parent
SETUPTOOLS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
FOLDERS = {folder: package for package, folder in SETUPTOOLS["package-dir"].items()}

FRAMEWORKS = {"torch", "tensorflow", "keras", "sklearn", "jax"}
HEAVY = FRAMEWORKS | {"onnxruntime", "cupy", "matplotlib", "zarr", "dask", "distributed", "h5py"}


def package_of(path: Path) -> str:
    """Name under which a file or folder of the checkout is installed: converters/x -> reflrp.converters.x."""
    top, *rest = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join([FOLDERS[top], *rest]).removesuffix(".__init__")


def files(folder: str) -> Iterator[Path]:
    for path in sorted((CHECKOUT / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def imports(path: Path) -> Iterator[str]:
    """Every module that the file names in an import, and every name it takes from one, all absolute."""
    package = package_of(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def offenders(folder: str, banned: set[str], allowed: tuple[str, ...] = ()) -> list[str]:
    """`file: import` for each import of a banned module, or of a part of it, outside the allowed paths."""
    return [
        f"{path.relative_to(CHECKOUT)}: {name}"
        for path in files(folder)
        if path.suffix == ".py" and not path.relative_to(CHECKOUT).as_posix().startswith(allowed)
        for name in imports(path)
        if any(f"{name}.".startswith(f"{module}.") for module in banned)
    ]


def test_packages_are_listed() -> None:
    found = {package_of(path) for folder in FOLDERS for path in files(folder) if path.name == "__init__.py"}
    listed = set(SETUPTOOLS["packages"])
    assert not sorted(found - listed), "add these to packages in pyproject.toml, [tool.setuptools]"
    assert not sorted(listed - found), "listed in pyproject.toml, but there is no such folder"


@pytest.mark.parametrize("folder", FOLDERS)
def test_installed_package_is_the_checkout(folder: str) -> None:
    assert CHECKOUT / "reflrp" != INSTALLED, "run `make test`: tests import the installed package"
    target = INSTALLED.joinpath(*FOLDERS[folder].split(".")[1:])
    stale = [
        str(path.relative_to(CHECKOUT))
        for path in files(folder)
        if path.suffix != ".md" and "reports" not in path.parts  # reports are results, which nobody needs to install
        for copy in [target / path.relative_to(CHECKOUT / folder)]
        if not copy.is_file() or copy.read_bytes() != path.read_bytes()
    ]
    assert not stale, "installed otherwise: run `make test`, or add to package-data in pyproject.toml"


def test_engine_imports_neither_converters_nor_conformance() -> None:
    assert not offenders("reflrp", {"reflrp.converters", "reflrp.conformance"})


def test_converters_do_not_import_conformance() -> None:
    assert not offenders("converters", {"reflrp.conformance"})


def test_engine_names_no_framework() -> None:
    assert not offenders("reflrp", FRAMEWORKS)


def test_only_importer_and_compiler_name_onnx() -> None:
    assert not offenders("reflrp", {"onnx"}, ("reflrp/importer/", "reflrp/compiler/"))


def test_only_arrays_names_cupy() -> None:
    assert not offenders("reflrp", {"cupy", "cupyx"}, ("reflrp/arrays/namespaces.py",))


# ---------------------------------------------------------------- floors


@cache
def modules() -> dict[str, Path]:
    """Every module of the three packages by its installed name; a package's face under the package's."""
    return {package_of(p): p for folder in FOLDERS for p in files(folder) if p.suffix == ".py"}


@cache
def rooms() -> dict[str, set[str]]:
    """Which modules each module imports: at its top, in functions, and for type checkers alone."""
    return {name: set(_imported(name, path)) for name, path in modules().items()}


def _imported(name: str, path: Path) -> Iterator[str]:
    for taken in imports(path):
        parts = taken.split(".")
        found = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        module = next((m for m in found if m in modules()), None)
        if module not in (None, name):
            yield module


def test_no_import_runs_in_a_circle() -> None:
    try:
        tuple(TopologicalSorter(rooms()).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_names_are_not_imported_as_text() -> None:
    """Such an import is an arrow that the tests here do not see; who needs one enters itself from above instead."""
    faces = ("reflrp/show/__init__.py", "reflrp/dialects/__init__.py", "converters/checks.py")
    assert not offenders("reflrp", {"importlib.import_module"}, faces)
    assert not offenders("converters", {"importlib.import_module"}, faces)


FLOORS = (
    ("errors", "starting"),
    ("limits",),
    ("arrays",),
    ("ground",),
    ("ir",),
    ("ops", "seeds", "ledger"),
    ("rules", "neurons", "storage"),
    ("passes",),
    ("composites", "importer"),
    ("engine", "batches"),
    ("model", "explanation"),
    ("mapping",),
    ("explainer",),
    ("comparison", "compiler"),
    ("show", "demo", "dialects", "runtime"),
    ("cli", "converters"),
    ("conformance",),
)
"""What stands above what: a room imports from its own floor and those below."""

FRONT = ("reflrp", "reflrp.__main__")
"""The front doors, which stand above all."""


def test_nothing_imports_from_a_floor_above() -> None:
    floor = {f"reflrp.{room}": i for i, rooms_ in enumerate(FLOORS) for room in rooms_}

    def of(module: str) -> int:
        return len(FLOORS) if module in FRONT else floor[".".join(module.split(".")[:2])]

    assert {".".join(m.split(".")[:2]) for m in modules() if m not in FRONT} == set(floor), (
        "give each room a floor in FLOORS"
    )
    assert not [f"{m} imports {to}" for m, found in rooms().items() for to in found if of(to) > of(m)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_are_short(folder: str) -> None:
    """300 lines; 500 for the linear rules, which are read side by side."""
    longest = {"reflrp/rules/linear.py": 500}
    lines = {
        p.relative_to(CHECKOUT).as_posix(): len(p.read_text("utf-8").splitlines())
        for p in files(folder)
        if p.suffix == ".py"
    }
    assert not {name: n for name, n in lines.items() if n > longest.get(name, 300)}


SPY = """
import importlib.abc, sys
class Spy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {heavy}:
            print(name)
sys.meta_path.insert(0, Spy())
import {module}
"""


@pytest.mark.parametrize("module", ["reflrp", "reflrp.converters", "reflrp.conformance"])
def test_import_is_light(module: str) -> None:
    """Not even an attempt is made to import a heavy module, installed or not."""
    code = SPY.format(heavy=HEAVY, module=module)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_version_is_the_same_everywhere() -> None:
    changelog = (CHECKOUT / "CHANGELOG.md").read_text("utf-8")
    latest = re.search(r"^## \[(\d[^]]*)\]", changelog, re.MULTILINE)
    assert latest is not None
    assert latest[1] == importlib.metadata.version("reflrp") == reflrp.__version__
