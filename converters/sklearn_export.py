"""scikit-learn estimators to ONNX, by skl2onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.converters.checks import check_forward, require

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


def from_sklearn(estimator: BaseEstimator, n_features: int) -> bytes:
    """Convert a fitted scikit-learn estimator to ONNX and check that its forward pass stays the same.

    The model has one input, ``input``, float32 of shape (batch, n_features), and one output: what
    ``predict_proba``, ``decision_function``, ``predict`` or ``transform`` gives, whichever the estimator has
    first. A classifier's label is left out, since a label has no relevance.

    Parameters
    ----------
    estimator
        A fitted estimator or pipeline that skl2onnx can convert.
    n_features
        Number of input features.

    Returns
    -------
    bytes
        The serialised model.

    Raises
    ------
    MissingExtra
        skl2onnx or scikit-learn is not installed.
    ForwardMismatch
        The ONNX model's scores differ from the estimator's.
    """
    proto = _convert(estimator, n_features)
    extractor = require("onnx.utils", "sklearn").Extractor(proto)
    model = bytes(extractor.extract_model(["input"], [proto.graph.output[-1].name]).SerializeToString())
    x = np.random.default_rng(0).standard_normal((8, n_features)).astype(np.float32)
    check_forward(model, {"input": x}, [_scores(estimator, x)])
    return model


def _convert(estimator: BaseEstimator, n_features: int) -> Any:
    convert = require("skl2onnx", "sklearn").convert_sklearn
    types = require("skl2onnx.common.data_types", "sklearn")
    inputs = [("input", types.FloatTensorType([None, n_features]))]
    try:
        return convert(estimator, initial_types=inputs, options={"zipmap": False})
    except NameError:  # skl2onnx's way of saying that this estimator has no such option, hence no zipmap
        return convert(estimator, initial_types=inputs)


def _scores(estimator: Any, x: np.ndarray) -> np.ndarray:
    """Compute what the ONNX model's last output holds; a single column has an axis of its own there."""
    names = ("predict_proba", "decision_function", "predict", "transform")
    method = next(getattr(estimator, name) for name in names if hasattr(estimator, name))
    scores = np.asarray(method(x))
    return scores[:, None] if scores.ndim == 1 else scores
