"""What is tried with a model file: it is loaded, listed, run and explained, as a service would with an upload."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from models import draw

FINE = frozenset(["explained", "run", "loaded", "done"])
"""How a case may end that works."""

REFUSED = frozenset(
    ["ModelError", "UnsupportedOperator", "TooLarge", "InputError", "NonFiniteError", "RuleError"]
    + ["ForwardChanged", "UnassignedNodes", "ReflrpError"]
)
"""How a case may end that does not."""

LARGEST = 1e5
"""Entries that an input may have, for the model to be run."""

AXES = 64
"""Axes that NumPy's arrays have at most."""


def warm() -> None:
    """Import what models need."""
    import onnx.reference

    import reflrp
    from fuzz.seeds import seeds

    assert onnx.reference
    loaded = reflrp.load(seeds()[0])
    loaded.summary("epsilon_plus_flat")
    reflrp.explain(loaded, draw(2, 4))


def tried(data: bytes, folder: Path) -> str:
    """Load, list, run and explain a model; return how far it came."""
    path = folder / "case" / "model.onnx"
    path.write_bytes(data)
    return explained(path)


def explained(path: Path) -> str:
    """Load, list, run and explain the model of a file; return how far it came."""
    import reflrp

    loaded = reflrp.load(path)
    with suppress(reflrp.ReflrpError):  # sizes that the file leaves open, say; what follows gives them
        loaded.summary("epsilon_plus_flat")
    ports = loaded.source.inputs
    shapes = {k: tuple(d if isinstance(d, int) else 2 for d in p.dims or ()) for k, p in ports.items()}
    if any(np.prod(np.maximum(s, 1), dtype=float) > LARGEST or len(s) > AXES for s in shapes.values()):
        return "loaded"
    x = {k: draw(*s).astype(ports[k].dtype) for k, s in shapes.items()}
    check_outputs(loaded.run(x))
    names = [o for o in loaded.outputs if o in loaded.source.active]
    if not names:
        return "run"
    check(reflrp.Explainer(loaded, output=names[0])(x, layers=True), x)
    return "explained"


def check_outputs(outputs: dict[str, np.ndarray]) -> None:
    """Check that what a model returns is arrays of numbers."""
    for name, y in outputs.items():
        assert isinstance(y, np.ndarray), f"output {name!r} is no array, but {type(y).__name__}"


def check(e: object, x: dict[str, np.ndarray]) -> None:
    """Check what holds of any explanation: its relevance is finite, in floats, and shaped like the input; it closes."""
    assert e.relevances, "no input has relevance"
    for k, R in e.relevances.items():
        assert R.shape == x[k].shape, "relevance is not shaped like its input"
    assert e.output.dtype.kind == "f", f"output of dtype {e.output.dtype}"  # which may hold the -inf of a mask
    for R in (*e.relevances.values(), *e.layers.values()):
        assert R.dtype.kind == "f", f"relevance of dtype {R.dtype}"
        assert np.isfinite(R).all(), "relevance is not finite"
    for row in e.conservation.rows:
        assert np.isfinite([row.received, row.passed_on, row.error]).all(), "the ledger is not finite"
