"""Figures of a whole confusion matrix, for many weighted samples at once: from sums of each class to (B,) numbers.

All take `Sums` and return one number a sample, NaN where the figure is undefined there. A sample that lacks a class
which the images have leaves every mean over classes undefined: it would be the mean over other classes.
"""

from __future__ import annotations

import numpy as np

from foveal.evaluation.tally import Sums


def f1(sums: Sums, index: int) -> np.ndarray:
    """Return F1 of class number `index`: 2 hits / (images of it + images said to be of it)."""
    return _ratio(2 * sums.hits[index], sums.truths[index] + sums.answers[index])


def macro_f1(sums: Sums, present: np.ndarray) -> np.ndarray:
    """Return the mean F1 of the classes `present` (K,)."""
    return _over_classes(_ratio(2 * sums.hits, sums.truths + sums.answers), sums, present)


def balanced_accuracy(sums: Sums, present: np.ndarray) -> np.ndarray:
    """Return the mean recall of the classes `present` (K,)."""
    return _over_classes(_ratio(sums.hits, sums.truths), sums, present)


def _over_classes(values: np.ndarray, sums: Sums, present: np.ndarray) -> np.ndarray:
    whole = (sums.truths[present] > 0).all(axis=0)
    means: np.ndarray = np.where(whole, values[present].mean(axis=0), np.nan)
    return means


def kappa(sums: Sums) -> np.ndarray:
    """Return Cohen's kappa (1960), unweighted: agreement beyond what the two margins give by chance."""
    by_chance = (sums.truths * sums.answers).sum(axis=0)
    return _ratio(sums.n * sums.hits.sum(axis=0) - by_chance, sums.n**2 - by_chance)


def matthews(sums: Sums) -> np.ndarray:
    """Return the Matthews correlation of several classes (Gorodkin 2004).

    0 where every answer is the same, as in scikit-learn; undefined where every image is of one class.
    """
    margins = (sums.truths * sums.answers).sum(axis=0)
    covariance = sums.n * sums.hits.sum(axis=0) - margins
    of_truths = sums.n**2 - (sums.truths**2).sum(axis=0)
    of_answers = sums.n**2 - (sums.answers**2).sum(axis=0)
    correlation = _ratio(covariance, np.sqrt(of_truths * of_answers))
    return np.where(of_truths > 0, np.where(of_answers > 0, correlation, 0.0), np.nan)


def macro(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the mean of `values` (C, B) over `classes` (K,), which is undefined where one of them is."""
    if not len(classes):
        return np.full(values.shape[1], np.nan)
    means: np.ndarray = values[classes].mean(axis=0)
    return means


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Return `over` / `under`, NaN where `under` is 0."""
    ratio: np.ndarray = np.divide(over, under, out=np.full(over.shape, np.nan), where=under != 0)
    return ratio
