"""A stand-in for CuPy where there is no GPU: arrays that behave as CuPy's do where that differs from NumPy's.

They are never turned into NumPy arrays but by `.get()`, and no function or operator takes both kinds; what they compute, NumPy
computes. Faults of CuPy or CUDA it cannot show.
"""

from __future__ import annotations

import operator
from types import ModuleType
from typing import Any

import numpy as np
import scipy.special


class DeviceArray:
    """An array "on the device"."""

    __array_priority__ = 1000
    __array_ufunc__ = None  # NumPy's operators leave it to these

    def __init__(self, held: Any) -> None:
        self.held = np.asarray(held)

    def get(self) -> np.ndarray:
        return self.held.copy()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_namespace__(self, api_version: Any = None) -> ModuleType:
        return CUPY

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.held, name)
        return called(found) if callable(found) else put(found)

    def __getitem__(self, key: Any) -> Any:
        return put(self.held[taken(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.held[taken(key)] = taken(value)

    def __len__(self) -> int:
        return len(self.held)

    def __bool__(self) -> bool:
        return bool(self.held)

    def __float__(self) -> float:
        return float(self.held)

    def __int__(self) -> int:
        return int(self.held)

    def __index__(self) -> int:
        return operator.index(self.held)


def put(found: Any) -> Any:
    """What NumPy gave, on the device: scalars too, which CuPy has as arrays without axes."""
    if isinstance(found, np.ndarray | np.generic):
        return DeviceArray(found)
    if isinstance(found, tuple | list) and any(isinstance(f, np.ndarray | np.generic) for f in found):
        return type(found)(map(put, found))
    return found


def taken(given: Any) -> Any:
    """What NumPy is to get of an argument. Raises TypeError for an array of NumPy's, as CuPy does."""
    if isinstance(given, DeviceArray):
        return given.held
    if isinstance(given, np.ndarray) and given.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(given, tuple | list):
        return type(given)(map(taken, given))
    return given


def called(function: Any) -> Any:
    def on_device(*args: Any, **more: Any) -> Any:
        return put(function(*map(taken, args), **{k: taken(v) for k, v in more.items()}))

    return on_device


def _operator(name: str) -> Any:
    def apply(self: DeviceArray, *others: Any) -> Any:
        return put(getattr(operator, name)(self.held, *map(taken, others)))

    return apply


def _reflected(name: str) -> Any:
    def apply(self: DeviceArray, other: Any) -> Any:
        return put(getattr(operator, name)(taken(other), self.held))

    return apply


BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor")
for _name in (*BINARY, "lt", "le", "gt", "ge", "eq", "ne", "neg", "abs", "invert", "pos"):
    setattr(DeviceArray, f"__{_name.rstrip('_')}__", _operator(_name))
for _name in BINARY:
    setattr(DeviceArray, f"__r{_name.rstrip('_')}__", _reflected(_name))
DeviceArray.__module__ = "cupy.standin"


class Functions(ModuleType):
    """A module whose functions are another's, for arrays on the device."""

    def __init__(self, name: str, source: Any) -> None:
        super().__init__(name)
        self.source = source

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.source, name)
        return found if isinstance(found, type | np.dtype) or not callable(found) else called(found)


def asarray(array: Any, dtype: Any = None, copy: Any = None) -> DeviceArray:
    """The only way onto the device."""
    held = array.held if isinstance(array, DeviceArray) else array
    return DeviceArray(
        np.array(held, dtype=dtype) if copy or not isinstance(array, DeviceArray) else np.asarray(held, dtype)
    )


def _scatter_add(out: DeviceArray, index: Any, values: Any) -> None:
    np.add.at(out.held, taken(index), taken(values))


CUPY = Functions("cupy", np)
CUPY.asarray = asarray
CUPY.asnumpy = lambda x: x.get()
CUPY.ndarray = type("ndarray", (), {})  # so that array-api-compat, which wraps the real one, leaves these alone
CUPY.linalg = Functions("cupy.linalg", np.linalg)
CUPY.cuda = ModuleType("cupy.cuda")
CUPY.cuda.runtime = ModuleType("cupy.cuda.runtime")
CUPY.cuda.runtime.getDeviceCount = lambda: 1
CUPYX = ModuleType("cupyx")
CUPYX.scatter_add = _scatter_add
CUPYX.scipy = ModuleType("cupyx.scipy")
CUPYX.scipy.special = Functions("cupyx.scipy.special", scipy.special)
MODULES = {"cupy": CUPY, "cupyx": CUPYX, "cupyx.scipy": CUPYX.scipy, "cupyx.scipy.special": CUPYX.scipy.special}
