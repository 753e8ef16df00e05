"""The C++ lines of docs/compile.md: compiled, linked with the installed onnxruntime, run, and held against `explain`.

They need a compiler (CXX, else g++) and onnxruntime's headers, which its wheels do not have: ONNXRUNTIME_INCLUDE names their
folder. `make cpp` sets it, and then nothing is skipped.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import reflrp
from reflrp import demo

PAGE = Path(__file__).parents[1] / "docs" / "compile.md"
COMPILER = shutil.which(os.environ.get("CXX", "g++"))
GIVEN = os.environ.get("ONNXRUNTIME_INCLUDE")
PLACES = [Path(GIVEN)] if GIVEN else [Path(p, "include", "onnxruntime") for p in ("/usr", "/usr/local")]
HEADERS = next((p for p in PLACES if (p / "onnxruntime_cxx_api.h").exists()), None)
LIBRARY = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
LACKING = [
    *(["a C++ compiler"] if COMPILER is None else []),
    *([f"onnxruntime_cxx_api.h in {' or '.join(map(str, PLACES))}"] if HEADERS is None else []),
    *(["libonnxruntime.so in the wheel"] if LIBRARY is None else []),
]

PROGRAM = """
#include <fstream>
#include <vector>
{includes}
int main() {{
  std::vector<float> pixels(64);
  std::ifstream("pixels", std::ios::binary).read(reinterpret_cast<char*>(pixels.data()), 64 * sizeof(float));
{lines}
  std::ofstream("relevance", std::ios::binary).write(reinterpret_cast<const char*>(relevance), 64 * sizeof(float));
}}
"""


@pytest.mark.skipif(not GIVEN and LACKING, reason=f"lacking: {', '.join(LACKING)}")
def test_the_lines_of_the_documentation(tmp_path: Path) -> None:
    assert not LACKING
    (block,) = re.findall(r"^```cpp\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = block.splitlines()
    includes = [line for line in lines if line.startswith("#")]
    program = PROGRAM.format(includes="\n".join(includes), lines="\n".join(s for s in lines if s not in includes))
    (tmp_path / "main.cpp").write_text(program, "utf-8")
    path, images, _ = demo.load()
    onnx.save(reflrp.compile(path, rules="epsilon_plus_flat"), tmp_path / "model_lrp.onnx")
    x = np.asarray(images[:1], dtype=np.float32)
    (tmp_path / "pixels").write_bytes(x.tobytes())
    build(tmp_path)
    subprocess.run(["./main"], cwd=tmp_path, check=True, timeout=120)
    found = np.frombuffer((tmp_path / "relevance").read_bytes(), np.float32).reshape(x.shape)
    wanted = reflrp.explain(path, x, rules="epsilon_plus_flat").relevance
    assert abs(found - wanted).max() < 1e-5 * abs(wanted).max()


def build(folder: Path) -> None:
    """Compile main.cpp and link it with the library of the installed wheel, under the name that the library calls itself."""
    (folder / "libonnxruntime.so.1").symlink_to(LIBRARY)
    command = [COMPILER, "-std=c++17", "-Wall", f"-I{HEADERS}", "main.cpp", "libonnxruntime.so.1", "-Wl,-rpath,$ORIGIN"]
    told = subprocess.run(
        [*command, "-o", "main"], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert told.returncode == 0, told.stderr
