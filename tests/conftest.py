"""What the tests share: hypothesis without chance, and the array libraries that rules run on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@dataclass(frozen=True)
class Library:
    """An array library: `array` brings a NumPy array there, `host` brings one back."""

    name: str
    array: Callable[[np.ndarray], Any]
    host: Callable[[Any], np.ndarray] = np.asarray


def frozen(x: np.ndarray) -> np.ndarray:
    """A copy that nobody can write to."""
    x = np.array(x)
    x.flags.writeable = False
    return x


def _strict() -> Library:
    strict = pytest.importorskip("array_api_strict")
    return Library("array_api_strict", strict.asarray)


def _cupy() -> Library:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"there is no GPU: {error}")
    return Library("cupy", cupy.asarray, cupy.asnumpy)


LIBRARIES = {
    "numpy": lambda: Library("numpy", np.array),
    "numpy:readonly": lambda: Library("numpy:readonly", frozen),
    "array_api_strict": _strict,
    "cupy": _cupy,
}


@pytest.fixture(params=LIBRARIES)
def xp(request: pytest.FixtureRequest) -> Library:
    """Each array library in turn; CuPy only where a GPU is."""
    return LIBRARIES[request.param]()
