"""Odd values, by name: what no caller should pass, and some will."""

from __future__ import annotations

import decimal
import fractions
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import reflrp
from reflrp import composites, rules

FIELDS = [("a", "<f8"), ("b", "<i4")]


def _itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def _deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(2000):
        found = [found]
    return found


def _objects() -> np.ndarray:
    return np.array([[None, 1, "x", {}]] * 2, dtype=object)


ODD: dict[str, Callable[[], Any]] = {
    **{repr(v): (lambda v=v: v) for v in (None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**63, -(2**63), 2**100)},
    **{
        repr(v): (lambda v=v: v) for v in (0.0, 0.5, -0.5, 1e-300, 1e308, float("nan"), float("inf"), -float("inf"), 1j)
    },
    **{
        repr(v): (lambda v=v: v)
        for v in ("", "x", "y", "*", "[", "epsilon", "output", "one", "float32", "numpy", "cupy", "\0", "é\ud800")
    },
    **{
        repr(v): (lambda v=v: v)
        for v in ("zennit.EpsilonPlus", "zennit.", ".", "epsilon_gamma_box", "int8", "__import__", "png", "a.xyz")
    },
    **{
        repr(v): (lambda v=v: v)
        for v in ((), (1,), (0, 1), (-1,), (2**70,), (1.5,), ("x",), (None,), ((1, 2),), (True,))
    },
    **{
        repr(v): (lambda v=v: v)
        for v in (b"", b"bytes", b"\x08\x08", range(3), slice(1), Ellipsis, NotImplemented, frozenset())
    },
    "long": lambda: "a" * 70_000,
    "[]": list,
    "{}": dict,
    "set": set,
    "[0]": lambda: [0],
    "[0, 1]": lambda: [0, 1],
    "[[0], [1, 2]]": lambda: [[0], [1, 2]],
    "[None]": lambda: [None],
    "['x']": lambda: ["x"],
    "['*']": lambda: ["*"],
    "[1, 'x']": lambda: [1, "x"],
    "[1.5, 2]": lambda: [1.5, 2],
    "['x', None]": lambda: ["x", None],
    "[True, False]": lambda: [True, False],
    "[2**70]": lambda: [2**70],
    "itself": _itself,
    "deep": _deep,
    "{'x': None}": lambda: {"x": None},
    "{1: 2}": lambda: {1: 2},
    "{None: None}": lambda: {None: None},
    "{'*': [0]}": lambda: {"*": [0]},
    "{'*': 0}": lambda: {"*": 0},
    "{'*': [2**70]}": lambda: {"*": [2**70]},
    "{'*': 'x'}": lambda: {"*": "x"},
    "{'*': [[0], [1, 2]]}": lambda: {"*": [[0], [1, 2]]},
    "{'*': None}": lambda: {"*": None},
    "{'*': []}": lambda: {"*": []},
    "{1: rule}": lambda: {1: rules.Epsilon()},
    "{'*': rule}": lambda: {"*": rules.Epsilon()},
    "{'*': class}": lambda: {"*": rules.Epsilon},
    "{'x': shape}": lambda: {"x": (2, 4)},
    "{'x': text}": lambda: {"x": "24"},
    "{'x': floats}": lambda: {"x": (2.0, 4)},
    "{'x': negative}": lambda: {"x": (-2, 4)},
    "{'x': huge}": lambda: {"x": (2**40, 4)},
    "{'x': 4}": lambda: {"x": 4},
    "{0: 'a'}": lambda: {0: "a"},
    "{'x': array, 1: array}": lambda: {"x": np.zeros((2, 4)), 1: np.zeros((2, 4))},
    "{'x': array}": lambda: {"x": np.zeros((2, 4))},
    "rule": rules.Epsilon,
    "rule class": lambda: rules.Epsilon,
    "gamma": rules.Gamma,
    "composite": lambda: composites.preset("epsilon_plus"),
    "composite class": lambda: reflrp.Composite,
    "matcher": composites.anything,
    "pairs": lambda: ((composites.anything(), rules.Epsilon()),),
    "pairs of one": lambda: ((composites.anything(),),),
    "pairs of names": lambda: (("x", rules.Epsilon()),),
    "stabilizer": rules.Stabilizer,
    "object": object,
    "class": lambda: object,
    "function": lambda: lambda *a: None,
    "text maker": lambda: lambda *a: "x",
    "generator": lambda: (i for i in range(3)),
    "iterator": lambda: iter([0, 1]),
    "map": lambda: map(int, "01"),
    "fraction": lambda: fractions.Fraction(1, 3),
    "decimal": lambda: decimal.Decimal("0.1"),
    "file": io.BytesIO,
    "memoryview": lambda: memoryview(b"abc"),
    "path": lambda: Path("nowhere.onnx"),
    "folder": Path,
    "text path": lambda: "nowhere/model.onnx",
    "scratch": lambda: "a.npz",
    "scratch png": lambda: "a.png",
    "scratch html": lambda: "a.html",
    "dtype": lambda: np.dtype("float32"),
    "dtype class": lambda: np.float64,
    "int type": lambda: int,
    "np.int64": lambda: np.int64(1),
    "np.uint8": lambda: np.uint8(255),
    "np.bool": lambda: np.bool_(True),
    "np.float32": lambda: np.float32(0.5),
    "np.str": lambda: np.str_("x"),
    "np.nan": lambda: np.float64("nan"),
    "zeros": lambda: np.zeros((2, 4)),
    "floats": lambda: np.ones((2, 4), np.float32),
    "ints": lambda: np.ones((2, 4), np.int64),
    "row": lambda: np.ones(4),
    "(1, 4)": lambda: np.ones((1, 4)),
    "(3, 4)": lambda: np.ones((3, 4)),
    "(2, 3)": lambda: np.ones((2, 3)),
    "none of 4": lambda: np.zeros((0, 4)),
    "2 of none": lambda: np.zeros((2, 0)),
    "scalar": lambda: np.array(1.0),
    "one int": lambda: np.array(1),
    "one-element": lambda: np.array([1]),
    "complex": lambda: np.zeros((2, 4), complex),
    "objects": _objects,
    "texts": lambda: np.array([["a"] * 4] * 2),
    "bytes array": lambda: np.array([b"a", b"b"]),
    "records": lambda: np.zeros((2, 4), FIELDS),
    "nans": lambda: np.full((2, 4), np.nan),
    "infinite": lambda: np.full((2, 4), np.inf),
    "largest": lambda: np.full((2, 4), 1e308),
    "tiny": lambda: np.full((2, 4), 5e-324),
    "half": lambda: np.ones((2, 4), np.float16),
    "long double": lambda: np.ones((2, 4), np.longdouble),
    "huge long double": lambda: np.full((2, 4), np.longdouble("1e4000")),
    "bools": lambda: np.ones((2, 4), bool),
    "unsigned": lambda: np.full((2, 4), 2**64 - 1, np.uint64),
    "dates": lambda: np.zeros((2, 4), "M8[s]"),
    "times": lambda: np.zeros((2, 4), "m8[s]"),
    "void": lambda: np.zeros((2, 4), "V8"),
    "masked": lambda: np.ma.masked_all((2, 4)),
    "big-endian": lambda: np.ones((2, 4), ">f8"),
    "read-only": lambda: np.broadcast_to(1.0, (2, 4)),
    "strided": lambda: np.ones((8, 8))[::-4, ::-2],
    "broadcast": lambda: np.broadcast_to(np.float32(0), (2**40, 4)),
    "broadcast wide": lambda: np.broadcast_to(0.0, (2, 2**42)),
    "32 axes": lambda: np.ones((1,) * 32),
    "64 axes": lambda: np.ones((1,) * 64),
    "ragged": lambda: [[1.0, 2.0], [3.0]],
    "nested": lambda: [[0.1, 0.2, 0.3, 0.4]] * 2,
    "nested texts": lambda: [["a", "b"], ["c"]],
    "arrays": lambda: [np.ones(4), np.ones(3)],
    "sparse": lambda: __import__("scipy.sparse").sparse.eye(4),
    "matrix": lambda: np.ones((2, 4)).view(np.matrix),
    "error": lambda: ValueError("x"),
}
