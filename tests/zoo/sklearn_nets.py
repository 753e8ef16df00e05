"""scikit-learn estimators, fitted to random data, and their export by skl2onnx."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from skl2onnx import to_onnx
from sklearn import (
    decomposition,
    discriminant_analysis,
    feature_selection,
    linear_model,
    naive_bayes,
    neural_network,
    pipeline,
    preprocessing,
    svm,
)
from sklearn.base import is_classifier

from zoo.architectures import Net, register

FEATURES = 6
MLP: dict[str, Any] = {"hidden_layer_sizes": (8, 6), "max_iter": 60, "random_state": 0}
SCALED_MLP = (preprocessing.StandardScaler, neural_network.MLPClassifier)

# name -> (estimators in the order of the pipeline, options of the last one)
ESTIMATORS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "sk_mlp_classifier": ((neural_network.MLPClassifier,), MLP),
    "sk_mlp_classifier_tanh": ((neural_network.MLPClassifier,), {**MLP, "activation": "tanh"}),
    "sk_mlp_classifier_logistic": ((neural_network.MLPClassifier,), {**MLP, "activation": "logistic"}),
    "sk_mlp_regressor": ((neural_network.MLPRegressor,), MLP),
    "sk_scaled_mlp": (SCALED_MLP, MLP),
    "sk_scaled_mlp_regressor": ((preprocessing.StandardScaler, neural_network.MLPRegressor), MLP),
    "sk_pca_logistic": ((preprocessing.MinMaxScaler, decomposition.PCA, linear_model.LogisticRegression), {}),
    "sk_logistic": ((linear_model.LogisticRegression,), {}),
    "sk_normalised_logistic": ((preprocessing.Normalizer, linear_model.LogisticRegression), {}),
    "sk_robust_ridge": ((preprocessing.RobustScaler, linear_model.Ridge), {}),
    "sk_linear_regression": ((linear_model.LinearRegression,), {}),
    "sk_lasso": ((linear_model.Lasso,), {"alpha": 0.01}),
    "sk_linear_svc": ((svm.LinearSVC,), {}),
    "sk_linear_svr": ((svm.LinearSVR,), {}),
    "sk_sgd_classifier": ((linear_model.SGDClassifier,), {"loss": "log_loss", "random_state": 0}),
    "sk_perceptron": ((linear_model.Perceptron,), {"random_state": 0}),
    "sk_lda": ((discriminant_analysis.LinearDiscriminantAnalysis,), {}),
    "sk_selected_ridge": ((feature_selection.VarianceThreshold, linear_model.Ridge), {}),
    "sk_polynomial_ridge": ((preprocessing.PolynomialFeatures, linear_model.Ridge), {}),
    "sk_gaussian_bayes": ((naive_bayes.GaussianNB,), {}),
}


def _fitted(steps: tuple[Any, ...], options: dict[str, Any]) -> Net:
    rng = np.random.default_rng(0)
    x = rng.normal(0.5, 1.5, (120, FEATURES)).astype(np.float32)
    score = x @ rng.normal(size=(FEATURES, 3)) + np.sin(x[:, :3])
    last = steps[-1](**options)
    estimator = pipeline.make_pipeline(*(step() for step in steps[:-1]), last) if steps[1:] else last
    estimator.fit(x, score.argmax(1) if is_classifier(last) else score[:, 0])
    return Net(estimator, {"x": x[:3]})


def _converted(estimator: Any, x: np.ndarray) -> Any:
    """Convert without ZipMap, which makes a list of dictionaries of a classifier's scores."""
    try:
        return to_onnx(estimator, x, options={"zipmap": False} if is_classifier(estimator) else None)
    except NameError:  # how skl2onnx says that this classifier has no such option, hence no ZipMap
        return to_onnx(estimator, x)


def export(net: Net) -> tuple[bytes, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the model, its inputs, and the scores that the estimator gives for them."""
    x = net.inputs["x"]
    model = _converted(net.module, x[:1])
    names = [o.name for o in model.graph.output]
    score = next(s for s in ("predict_proba", "decision_function", "predict") if hasattr(net.module, s))
    y = np.asarray(getattr(net.module, score)(x))
    return model.SerializeToString(), {model.graph.input[0].name: x}, {names[-1]: y}


for _name, (_steps, _options) in ESTIMATORS.items():
    register(
        _name,
        partial(_fitted, _steps, _options),
        "dense",
        family="scikit-learn",
        framework="sklearn",
        exporters=("skl2onnx",),
    )
