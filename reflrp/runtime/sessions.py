"""Sessions of onnxruntime: made of a compiled graph and the weights beside it; what goes wrong there in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.compiler.observe import give, library
from reflrp.compiler.sessions.kernels import lacking
from reflrp.errors import InputError, ModelError, ReflrpError
from reflrp.ground.checks import listed

LARGE = 256 * 2**20
"""Bytes of weights beyond which they are not kept in a second layout too: that saves as many bytes, and little time is lost."""

CPU = "CPUExecutionProvider"

QUIET = 4
"""The log level at which onnxruntime prints fatal errors alone; we raise its others."""


def session(
    graph: bytes,
    weights: Mapping[str, np.ndarray],
    providers: Sequence[Any] | None,
    threads: int | None,
    dtype: str = "float32",
    folder: str = "",
) -> Any:
    """Return a session; `weights` are those that are not in the graph, `dtype` is that of the graph's numbers.

    Of weights for which the graph names a file, `folder` has the file.

    Raises InputError for providers that the installed onnxruntime lacks, and for operators that it has no kernel for.
    """
    runtime = library()
    wanted = list(providers or [CPU])
    there = runtime.get_available_providers()
    missing = [p for p in wanted if (p if isinstance(p, str) else p[0]) not in there]
    if missing:
        raise InputError(f"providers={missing} are not in the installed onnxruntime, which has {listed(there)}")
    options = runtime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # it would round elsewhere than the file says
    if dtype == "float64":  # its further fusions keep factors in float32
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.enable_mem_pattern = (
        False  # it would lay all of a run in one piece, from the second run on, beside what the first took
    )
    if sum(a.nbytes for a in weights.values()) > LARGE:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    give(runtime, options, weights)
    try:
        return runtime.InferenceSession(graph, options, providers=wanted)
    except Exception as error:
        raise refused(error, graph, wanted, dtype) from error


def refused(error: Exception, graph: bytes, providers: list[Any], dtype: str) -> ReflrpError:
    """Return the error that onnxruntime does not take a graph; of operators without a kernel it names all."""
    text = " ".join(str(error).split())[:400]
    if "NOT_IMPLEMENTED" in text or "Could not find an implementation" in text:
        missing = {f"{k} ({n} nodes)" if n > 1 else k for k, n in lacking(graph, providers).items()}
        return InputError(
            f"onnxruntime has no kernel for {', '.join(sorted(missing)) or 'a node'} in the compiled graph: {text}; "
            + ("use backend='numpy'" if dtype == "float32" else "use dtype='float32', or backend='numpy'")
        )
    if "allocate memory" in text or "bad_alloc" in text:
        return limits.exhausted("the session of onnxruntime", MemoryError(text))
    return ModelError(f"onnxruntime does not take the compiled graph: {text}; use backend='numpy'")


def run(session: Any, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs of these names."""
    with in_our_words():
        return dict(zip(names, session.run(list(names), dict(feeds)), strict=True))


@contextmanager
def in_our_words() -> Iterator[None]:
    """Raise what goes wrong in a run as an error of ours."""
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())[:400]
        if "allocate memory" in text or "bad_alloc" in text:
            raise limits.exhausted("a run of onnxruntime", MemoryError(text)) from error
        if "can't be converted to MLDataType" in text:
            raise InputError(
                "onnxruntime's interface for Python has no inputs of one of the model's types, as of 4 bits; use backend='numpy'"
            ) from error
        raise ModelError(f"onnxruntime cannot run the compiled graph: {text}; use backend='numpy'") from error
