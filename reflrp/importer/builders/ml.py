"""Builders of ai.onnx.ml, what scikit-learn's models become: scalers, linear models, normalisers, feature selection."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.arrays import ZERO
from reflrp.importer.builders.linear import diagonal, multiply
from reflrp.importer.plumbing import LargestOf
from reflrp.importer.site import Ref, Site, Unbuildable, builds
from reflrp.ops.linear import Dense
from reflrp.ops.normaliser import Softmax
from reflrp.ops.norms import Standardise
from reflrp.ops.picking import Take
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.selection import MaxAxes
from reflrp.ops.sums import SumAxes

ML = "ai.onnx.ml"
ONE = np.ones(())


@builds("Scaler", domain=ML)
def scaler(site: Site) -> Ref:
    """(x - offset) * scale, a feature each."""
    scale = np.asarray(site.attr("scale", (1.0,)), dtype=np.float64)
    offset = np.asarray(site.attr("offset", (0.0,)), dtype=np.float64)
    return diagonal(site, site.ref(), scale, -offset * scale)


@builds("Imputer", domain=ML)
def imputer(site: Site) -> Ref:
    """Another value, a feature each, where one is missing: where it is NaN, or a number that stands for it."""
    x, value = site.ref(), np.asarray(site.attr("imputed_value_floats") or (), dtype=np.float64)
    if value.size not in (1, x.shape[-1]):
        raise Unbuildable(f"it has {value.size} floats to fill in for the {x.shape[-1]} features of {x.shape}")
    value = value.reshape(()) if value.size == 1 else value
    return site.emit(Pointwise("impute", (float(site.attr("replaced_value_float", 0.0)), value)), x)


def _linear(site: Site, part: str = "") -> Ref:
    """Return x W + b with the coefficients of a linear model, one row an output."""
    x = site.ref()
    w = np.asarray(site.needed("coefficients"), dtype=np.float64).reshape(-1, x.shape[1]).T
    b = np.asarray(site.attr("intercepts") or np.zeros(w.shape[1]), dtype=np.float64)
    return site.emit(Dense(w, b if np.any(b) else ZERO, x.shape), x, part=part)


@builds("LinearRegressor", domain=ML)
def linear_regressor(site: Site) -> Ref:
    """A linear model."""
    if site.attr("post_transform", "NONE") != "NONE":
        raise Unbuildable(f"post_transform {site.attr('post_transform')} has no rule")
    return _linear(site)


@builds("LinearClassifier", domain=ML)
def linear_classifier(site: Site) -> tuple[Any, ...]:
    """A linear model with a softmax or sigmoid; one row for two classes scores -s and s. The label is plumbing."""
    x, transform = site.ref(), site.attr("post_transform", "NONE")
    classes = max(len(site.attr("classlabels_ints") or ()), len(site.attr("classlabels_strings") or ()))
    rows = np.asarray(site.needed("coefficients"), dtype=np.float64).reshape(-1, x.shape[1])
    if len(rows) == 1 and classes == 2:
        b = np.asarray(site.attr("intercepts") or (0.0,), dtype=np.float64)
        w, b = np.concatenate([-rows, rows]).T, np.concatenate([-b, b])
        scores = site.emit(Dense(w, b if np.any(b) else ZERO, x.shape), x, part="scores")
    else:
        scores = _linear(site, "scores")
    if transform == "SOFTMAX":
        scores = site.emit(Softmax((1,)), scores, part="softmax")
    elif transform == "LOGISTIC":
        scores = site.emit(Pointwise("sigmoid"), scores, part="sigmoid")
    elif transform != "NONE":
        raise Unbuildable(f"post_transform {transform} has no rule")
    texts = site.attr("classlabels_strings") or ()
    site.room((len(texts), max(map(len, texts), default=0)))  # each is as wide as the longest
    labels = np.asarray(site.attr("classlabels_ints") or site.attr("classlabels_strings"))
    label = LargestOf(labels)
    return site.work.plumbing(site.node, 0, (scores,), label, label(np.zeros(scores.shape))), scores


@builds("Normalizer", domain=ML)
def normalizer(site: Site) -> Ref:
    """Divide each row by its largest absolute value, its sum of absolute values, or its length."""
    x, norm = site.ref(), site.attr("norm", "MAX")
    if norm == "L2":
        return site.emit(Standardise(ONE, ZERO, (1,), 0.0, center=False, mean=False, floor=1e-30), x)
    size = site.emit(Pointwise("abs"), x, part="abs")
    if norm == "L1":
        total = site.emit(SumAxes(ONE, ZERO, x.shape, axes=(1,), mean=False), size, part="sum")
    else:
        total = site.emit(MaxAxes(ONE, ZERO, x.shape, axes=(1,)), size, part="max")
    floored = site.emit(Pointwise("clip", (1e-30, np.inf)), total, part="floor")
    return multiply(site, x, site.emit(Pointwise("reciprocal"), floored, part="reciprocal"))


@builds("ZipMap", domain=ML)
def zip_map(site: Site) -> Ref:
    """The scores as they come in: a list of a dictionary for each row holds the same, by the names of the classes."""
    return site.ref()


@builds("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(site: Site) -> Ref:
    """Columns by their numbers."""
    x = site.ref()
    return site.emit(Take(x.shape, x.ndim - 1, np.ravel(site.const(1)).astype(np.int64)), x)
