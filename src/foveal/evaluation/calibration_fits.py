"""The parameters of each method of calibration, by maximum likelihood (isotonic: least squares)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from foveal.classifier.calibration import Method, against_rest, floored_log
from foveal.errors import DataError

LOWEST_FLOOR = 1e-7  # of isotonic answers: still above 0 when stored
COLDEST, HOTTEST = 0.01, 100.0  # temperatures beyond these say that the probabilities tell nothing
FARTHEST = 1e4  # of a parameter, on standardised features
STEEP = 1e-4  # slope of the mean log loss at which a search that gave up is not at the optimum
SHRINKAGE = 0.01  # of vector scaling: half of it times the squared distance from no change is added to the loss


def fit_parameters(method: Method, labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Return the parameters of `method`, as `Calibration` has them, for `probabilities` (N, C) and `labels` (N,).

    Raises DataError where the method has no finite optimum on these images, or the search for it does not converge.
    """
    return _FITS[method](labels, probabilities)


def _fit_none(_labels: np.ndarray, _p: np.ndarray) -> dict[str, Any]:
    return {}


def _fit_temperature(labels: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    """Find the root of the log loss's slope in 1 / T, in which it is convex."""
    from scipy.optimize import brentq

    log = floored_log(p)
    log -= log.max(axis=1, keepdims=True)  # (N, C)
    of_label = log[np.arange(len(labels)), labels]  # (N,)
    if not of_label.any():
        raise DataError("Every image is answered right, so that no finite temperature is the best.")
    mean_of_label = float(of_label.mean())

    def slope(sharpness: float) -> float:
        raised = np.exp(sharpness * log)
        return float(((raised * log).sum(axis=1) / raised.sum(axis=1)).mean()) - mean_of_label

    if slope(1 / HOTTEST) >= 0 or slope(1 / COLDEST) <= 0:
        raise DataError(f"The best temperature does not lie between {COLDEST} and {HOTTEST:.0f}.")
    return {"temperature": 1 / float(brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-10))}


def _fit_vector(labels: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    """Fit weights and biases with a very weak pull towards no change.

    Without it there would be no finite optimum as soon as one class is told from all others without a mistake.
    """
    n, classes = p.shape
    if len(np.unique(labels)) < classes:
        raise DataError("Vector scaling takes images of every class.")
    log, truth, unchanged = floored_log(p), np.eye(classes)[labels], np.repeat([1.0, 0.0], classes)
    middle = log.mean(axis=0)  # (C,): centred, weights and biases hardly depend on each other
    centred = log - middle
    pull = np.repeat(SHRINKAGE / n, 2 * classes)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        weights, shifts = x[:classes], x[classes:]  # a shift is bias + weight · middle
        logits = weights * centred + shifts  # (N, C)
        logits -= logits.max(axis=1, keepdims=True)
        raised = np.exp(logits)
        total = raised.sum(axis=1, keepdims=True)
        away = np.concatenate((weights, shifts - weights * middle)) - unchanged
        rest = (raised / total - truth) / n  # (N, C)
        of_biases = pull[classes:] * away[classes:]
        gradient = np.concatenate(
            (
                (rest * centred).sum(axis=0) + pull[:classes] * away[:classes] - of_biases * middle,
                rest.sum(axis=0) + of_biases,
            )
        )
        value = float(np.log(total).mean()) - float((logits * truth).sum()) / n + float((pull * away**2).sum()) / 2
        return value, gradient

    x = _minimum(loss, np.concatenate((np.ones(classes), middle)), "Vector scaling")
    weights, biases = x[:classes], x[classes:] - x[:classes] * middle
    if any((logits.argmax(axis=1) == labels).all() for logits in (log, weights * log + biases)):
        raise DataError("Every image is answered right, or can be, so that no finite vector scaling is the best.")
    return {"weights": weights.tolist(), "biases": biases.tolist()}


def _fit_platt(labels: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    q = against_rest(p)
    logits = floored_log(q) - floored_log(1 - q)  # (N, K)
    fits = [
        _logistic_fit(column[:, None], positive, -math.inf, "Platt scaling")
        for column, positive in zip(logits.T, _positives(labels, p.shape[1]), strict=True)
    ]
    return {"slopes": [float(one[0]) for one in fits], "intercepts": [float(one[1]) for one in fits]}


def _fit_beta(labels: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    q = against_rest(p)
    features = np.stack((floored_log(q), -floored_log(1 - q)), axis=2)  # (N, K, 2)
    fits = [
        _logistic_fit(features[:, index], positive, 0.0, "Beta calibration")
        for index, positive in enumerate(_positives(labels, p.shape[1]))
    ]
    return {name: [float(one[at]) for one in fits] for at, name in enumerate("abc")}


def _fit_isotonic(labels: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    """Fit a rising step function a class, kept as the ends of its steps; where equal probabilities meet, their mean.

    No answer falls below one image in all that were fitted (with two more, as Laplace's rule has it), shared by the
    other classes: a step at 0 says that the event was not among these images, not that it cannot be.
    """
    from scipy.optimize import isotonic_regression

    n, classes = p.shape
    knots, values = [], []
    for column, positive in zip(against_rest(p).T, _positives(labels, classes), strict=True):
        x, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        y = np.clip(isotonic_regression(np.bincount(place, positive) / counts, weights=counts).x, 0, 1)
        flat = y[1:] == y[:-1]
        ends = ~(np.append(False, flat) & np.append(flat, False))  # what lies within a step says nothing more
        knots.append(x[ends].tolist())
        values.append(y[ends].tolist())
    return {"knots": knots, "values": values, "floor": max(1 / ((n + 2) * (classes - 1)), LOWEST_FLOOR)}


_FITS: dict[Method, Callable[[np.ndarray, np.ndarray], dict[str, Any]]] = {
    "none": _fit_none,
    "temperature": _fit_temperature,
    "vector": _fit_vector,
    "platt": _fit_platt,
    "isotonic": _fit_isotonic,
    "beta": _fit_beta,
}


def _positives(labels: np.ndarray, classes: int) -> list[np.ndarray]:
    """Return for each class that is taken against the rest which images (N,) bool are of it."""
    return [labels == label for label in ([1] if classes == 2 else range(classes))]


def _logistic_fit(features: np.ndarray, positive: np.ndarray, least: float, title: str) -> np.ndarray:
    """Return the coefficients (D,), none below `least`, and the intercept of `positive` (N,) on `features` (N, D).

    Targets are Platt's (1999), (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2) in place of 1 and 0, so that there is an optimum
    also where the class is told from the others without a mistake. Kull et al. (2017) do without them.
    """
    n, hits = len(positive), int(positive.sum())
    targets = np.where(positive, (hits + 1) / (hits + 2), 1 / (n - hits + 2))  # (N,)
    middle, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    z = (features - middle) / scale  # (N, D)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        s = z @ x[:-1] + x[-1]  # (N,)
        small = np.exp(-np.abs(s))
        chances = np.where(s > 0, 1.0, small) / (1 + small)
        rest = (chances - targets) / n
        value = float((np.log1p(small) + np.maximum(s, 0) - targets * s).mean())
        return value, np.append(rest @ z, rest.sum())

    x = _minimum(loss, np.append(np.zeros(z.shape[1]), 0.0), title, [(least, None)] * z.shape[1] + [(None, None)])
    coefficients = x[:-1] / scale
    return np.append(coefficients, x[-1] - coefficients @ middle)


def _minimum(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    title: str,
    bounds: Sequence[tuple[float | None, float | None]] | None = None,
) -> np.ndarray:
    """Return where `loss`, which gives its gradient too, is least; DataError where the search does not get there."""
    from scipy.optimize import minimize

    options = {"maxiter": 1_000, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-7}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    x: np.ndarray = found.x
    if not np.isfinite(x).all() or np.abs(x).max() > FARTHEST:
        raise DataError(f"{title} has no finite optimum on these images.")
    if not found.success and _steepness(x, found.jac, bounds) > STEEP:
        raise DataError(f"{title} did not converge on these images.")
    return x


def _steepness(
    x: np.ndarray, gradient: np.ndarray, bounds: Sequence[tuple[float | None, float | None]] | None
) -> float:
    """Return the largest slope in a direction that `bounds` leave free."""
    lows = np.array([-math.inf if low is None else low for low, _ in bounds]) if bounds else np.full(len(x), -math.inf)
    return float(np.abs(np.where((x <= lows) & (gradient > 0), 0.0, gradient)).max())
