"""Write what the JavaScript tests read: compiled models of the demo's digits, and what `explain` says of the same digits.

python tests/web/write.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx

import reflrp
from reflrp import demo

RULES = ("epsilon", "epsilon_plus_flat", "epsilon_alpha2_beta1", "auto")


def main(folder: Path) -> None:
    """Write a model and its answers for each of the rules."""
    path, images, _ = demo.load()
    x = np.asarray(images, dtype=np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for rules in RULES:
        onnx.save(reflrp.compile(path, rules), str(folder / f"{rules}.onnx"))
        e = reflrp.explain(path, x, rules)
        cases.append(
            {
                "rules": rules, "file": f"{rules}.onnx", "shape": list(x.shape), "input": x.ravel().tolist(),
                "relevance": e.relevance.ravel().tolist(),
            }
        )  # fmt: skip
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    print(f"wrote {len(cases)} models to {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
