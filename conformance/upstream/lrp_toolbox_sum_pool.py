"""LRP Toolbox 1.3.1: SumPool's "alphabeta" multiplies the negative part by the relevance twice.

LRP_TOOLBOX=/path/to/lrp_toolbox python lrp_toolbox_sum_pool.py
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.environ["LRP_TOOLBOX"], "python"))
from modules import SumPool


def run() -> dict[str, list[float]]:
    """Return the relevance of (2, -1) under alpha 2, beta -1, for the relevances 1 and 3 of the sum."""
    found = {}
    for R in (1.0, 3.0):
        pool = SumPool(pool=(1, 2), stride=(1, 2))
        pool.forward(np.array([2.0, -1.0]).reshape(1, 1, 2, 1))
        fast, slow = (
            pool.lrp(np.full((1, 1, 1, 1), R), "alphabeta", 2.0),
            pool.lrp(np.full((1, 1, 1, 1), R), "alphabeta_slow", 2.0),
        )
        found[f"alphabeta, R = {R}"] = fast.ravel().tolist()
        found[f"alphabeta_slow, R = {R}"] = slow.ravel().tolist()
    return found


if __name__ == "__main__":
    for title, relevance in run().items():
        print(title, relevance)
    print("the formula: 2 R and -R, which is linear in R")
