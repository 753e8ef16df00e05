"""LRP Toolbox 1.3.1: "ww" divides by a sum of squares that may be 0, and "alphabeta" stabilises the negative part twice.

LRP_TOOLBOX=/path/to/lrp_toolbox python lrp_toolbox_zero_weights.py
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.environ["LRP_TOOLBOX"], "python"))
from modules import Linear


def run() -> dict[str, list[float]]:
    """Return the relevance by "ww" of a layer without weights, and by "alphabeta" of contributions as small as its stabiliser."""
    layer = Linear(2, 1)
    layer.W = np.zeros((2, 1))
    layer.forward(np.array([[1.0, 1.0]]))
    with np.errstate(all="ignore"):
        found = {"ww, w = 0": layer.lrp(np.ones((1, 1)), "ww", None).ravel().tolist()}
    layer.W = np.array([[4e-16], [4e-16]])
    layer.forward(np.array([[1.0, -1.0]]))
    found["alphabeta, alpha 2, x = (4e-16, -4e-16)"] = layer.lrp(np.ones((1, 1)), "alphabeta", 2.0).ravel().tolist()
    return found


if __name__ == "__main__":
    for title, relevance in run().items():
        print(title, relevance)
    print("the formulas: 0 and 0; with 1e-16 on either side 8/5 and -4/5")
