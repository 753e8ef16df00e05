"""The scripts of conformance/upstream give the numbers that the pages in docs/bugs say: each runs against the library itself.

iNNvestigate and SignXAI want TensorFlow; their scripts run in `make peers-tf`.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

UPSTREAM = Path(__file__).parents[2] / "conformance" / "upstream"
Numbers = dict[str, list[float]]


def script(name: str) -> Callable[[], Numbers]:
    spec = importlib.util.spec_from_file_location(name, UPSTREAM / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run: Callable[[], Numbers] = module.run
    return run


SAID: dict[str, Numbers] = {
    "zennit_sum_in_forward": {"Registered": [0.6, 0.4], "Made": [1.5, 0.5]},
    "zennit_batchnorm_order": {"the network": [4, 0], "as they run": [4, 0], "norm last": [2.5, 8]},
    "zennit_no_weights": {
        "alpha 2, beta 1 of a mean, zennit": [1.5, -0.5],
        "gamma 1, epsilon 1 of a mean, zennit": [0.75, -0.25],
        "z+ of Upsample, zennit": [-0.105469, 0.878906, 0.261719, -0.035156],
        "z+ of Upsample, formula": [0, 0.770548, 0.229452, 0],
    },
    "zennit_guided_slope": {"ReLU": [0, 1], "LeakyReLU with the slope 1/2": [0.5, 1], "the gate": [0, 1]},
    "zennit_norm_layers": {
        "Epsilon on LayerNorm": [0, 0],
        "Epsilon on InstanceNorm1d": [0, 0],
        "Epsilon on GroupNorm": [0, 0],
        "Epsilon on RMSNorm": [-0.1, 0.1],
        "ZPlus on RMSNorm": [-0.1, 0.1],
    },
    "zennit_group_norm_pass": {"LayerNorm": [0], "InstanceNorm1d": [0], "GroupNorm": [1]},
    "zennit_batchnorm_merged": {"merged, zennit": [0.5, 0.5], "mean 1, zennit": [4]},
    "zennit_zero_sum": {"Epsilon(0)": [np.inf, -np.inf]},
    "captum_layers": {
        "max(0, -1) + 1, captum": [0, 0],
        "gamma 1, epsilon 1 of the mean of (3, -1), captum": [0.75, -0.25],
        "LayerNorm of (1, 3), captum": [0, 0],
        "z+ on RMSNorm of (1, 3), captum": [-0.134164, 0.134164],
        "(1, -1) times (1, 1), captum": [np.nan, np.nan],
    },
    "captum_plain_function": {"captum": [4, 24], "formula": [4, 12], "sums": [28, 16]},
    "captum_negative_inputs": {
        "both contributions positive, captum": [2, 0],
        "both contributions positive, formula": [1, 1],
        "one negative input, captum": [2, -1],
        "one negative input, formula": [1, 0],
    },
    "pnpxai_attention": {"pnpxai": [2], "conserved": [1]},
    "pnpxai_layer_norm": {
        "one axis, pnpxai": [-0.207107, 0.621320],
        "two axes, pnpxai": [-0.158029, 1.422260, -0.790145, -1.106202],
        "raises without a bias": [1],
        "the stabiliser of a copy of LayerNormRule(0.5)": [1e-6],
    },
    "lxt_first_operand": {"UniformEpsilonRule": [0, 1], "EpsilonRule": [0, 0]},
    "lxt_axes_and_norms": {
        "softmax over axis 0, LXT": [0, -0.462117, 0, 0],
        "GroupNorm of (1, 3), LXT": [0, 0],
        "(1, -1) times (1, 1), epsilon 0, LXT": [np.inf, -np.inf],
    },
    "lxt_stabiliser": {
        "inputs": [2, 0.25, -0.25, -2],
        "LXT": [0.8, 1 / 3, -1, 4 / 3],
        "formula": [0.8, 1 / 3, 1 / 3, 0.8],
    },
    "lxt_added_in_place": {
        "EpsilonRule": [0.75, 0.75, 0.75, 0.75],
        "add2": [0.25, 0.75, 0.75, 0.25],
        "formula": [0.25, 0.75, 0.75, 0.25],
    },
    "lczerolens_bilinear": {"raises, of 2, 3, 4 axes": [1, 1, 0], "NaN, of (0, -inf)": [0, 1]},
    "lczerolens_softmax_axis": {"lczerolens": [0, -0.462117, 0, 0], "formula": [0, 0.268941, 0, 0]},
}
"""What the pages say, of the versions that `make peers` installs."""

CHECKOUTS = {"lrp_toolbox_sum_pool", "lrp_toolbox_zero_weights"}
"""Scripts that want a checkout (test_checkouts_by_hand.py)."""

KERAS = {path.stem for path in UPSTREAM.glob("*.py") if path.stem.startswith(("innvestigate_", "signxai_"))}
"""TensorFlow's, which run in `make peers-tf` (test_keras.py)."""

CRP: dict[str, Numbers] = {
    "0.4.2": {"all": [2, 4], "channel 0": [2, 2]},
    "0.6.0": {"all": [2, 4], "channel 0": [1, 0]},
}
"""What the page says of zennit-crp, by version; `make peers` installs each into a folder beside the others."""


def check(got: Numbers, said: Numbers) -> None:
    for key, numbers in said.items():
        assert np.allclose(got[key], numbers, rtol=1e-5, atol=1e-5, equal_nan=True), key


@pytest.mark.parametrize("name", SAID)
def test_the_library_gives_what_the_page_says(name: str) -> None:
    check(script(name)(), SAID[name])


@pytest.mark.parametrize("name", [name for name in SAID if name.startswith(("captum_", "lxt_"))])
def test_a_script_runs_as_it_would_be_sent(name: str) -> None:
    """As a file of its own. (zennit imports torchvision, which beside a CPU torch wants what conftest.py defines.)"""
    done = subprocess.run([sys.executable, UPSTREAM / f"{name}.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("version", CRP)
def test_both_versions_of_crp_give_what_the_page_says(version: str) -> None:
    """In a process of its own, where the version is the one that is found; numbers are 1e-6 off, by zennit's stabiliser."""
    folder = Path(sys.prefix) / f"crp-{version}"
    assert folder.is_dir(), "`make peers` installs it"
    run = (
        "import json, conftest, crp, runpy; assert str(crp.__path__[0]).startswith(FOLDER); "
        "print(json.dumps(runpy.run_path(SCRIPT)['run']()))"
    )
    run = run.replace("FOLDER", repr(str(folder))).replace("SCRIPT", repr(str(UPSTREAM / "crp_parallel_branches.py")))
    found = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parent)])}
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False, env=found)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), CRP[version])


def test_every_script_has_a_page_and_is_run() -> None:
    scripts = {path.stem for path in UPSTREAM.glob("*.py")}
    assert scripts == SAID.keys() | KERAS | CHECKOUTS | {"crp_parallel_branches"}
    pages = "".join(path.read_text("utf-8") for path in (UPSTREAM.parents[1] / "docs" / "bugs").glob("*.md"))
    assert not [name for name in scripts if f"conformance/upstream/{name}.py" not in pages]
