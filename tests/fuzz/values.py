"""Odd numbers, texts and paths, which every room takes from here."""

from __future__ import annotations

SIZES = (
    *(0, 1, -1, 2, 3, 5, 17, 255, 4097, 100_003, -7, 2**20, 2**31 - 1, 2**31, 2**33, 2**40, 2**62),
    *(-(2**31), -(2**63), 2**63 - 1),
)
FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"), 1e9, 3.7)
TEXTS = (
    *("", "x", "y", "NOTSET", "SAME_UPPER", "linear", "cubic", "wrap"),
    *("ij,jk->ik", "...i->...", "a" * 3000, "\udc80é\0"),
)
PLACES = (
    "../secret", "/etc/passwd", "", ".", "sub", "sub/../../secret", "weights.bin", "sub/weights.bin", "link", "fifo", "x\0y",
    "a" * 5000, "~/x", "./sub/./weights.bin", "//secret", "model.onnx", "file:///etc/passwd", "\\\\host\\x", "/dev/zero",
)  # fmt: skip
