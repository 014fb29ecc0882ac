"""What the folds of a training say together: every figure of their out-of-fold answers, and what the ensemble is given.

Nothing is measured on images that chose it: a threshold and a quantile that judge the images of one fold come from
the others. What is stored with the ensemble comes from all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from foveal.classifier.decisions import Decisions
from foveal.classifier.operating import OperatingPoint
from foveal.errors import DataError
from foveal.evaluation.conformal_fitting import cross_conformal
from foveal.evaluation.full import FOLD, CalibratedBy, measure_all
from foveal.evaluation.operating_words import choose
from foveal.evaluation.predictions import Predictions

SPLIT = "out of fold"


def measure_out_of_fold(
    predictions: Predictions, *, coverage: float, operating_point: str | None, calibrated: Sequence[str]
) -> tuple[dict[str, Any], Decisions]:
    """Return the JSON object of metrics.json for the out-of-fold `predictions`, and the decisions of the ensemble.

    `coverage` is that of the prediction sets, `operating_point` the words that ask for one, `calibrated` the
    calibration of each fold. An operating point that these images cannot give is left out, and the decisions say why.
    """
    labels, p, classes, units = predictions.labels, predictions.probabilities, predictions.classes, predictions.units
    folds = predictions.columns[FOLD]
    operating, decided, missed = None, None, None
    if operating_point is not None:
        try:
            operating, decided = cross_fitted(operating_point, labels, p, folds, classes, units)
        except DataError as error:
            missed = str(error)
    decisions = Decisions(operating=operating, missed=missed)
    metrics = measure_all(predictions, decisions, calibrated=_calibrated(calibrated), decided=decided)
    alpha = round(1 - coverage, 9)
    sets, found = cross_conformal(labels, p, folds, units, classes=classes, alpha=alpha)
    metrics["sets"] = {**sets.to_dict(), "found": found.to_dict()}
    return metrics, Decisions(operating=operating, missed=missed, sets=sets)


def cross_fitted(
    words: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    folds: np.ndarray,
    classes: tuple[str, ...],
    units: np.ndarray | None,
) -> tuple[OperatingPoint, np.ndarray]:
    """Return the operating point that `words` ask for, chosen on all images, and what is decided (N,) without peeking.

    The images of each fold, as `folds` (N,) has it, are decided by the point that the other folds give. DataError where
    all, or all but one fold, give none.
    """
    decided = np.empty(len(labels), np.int64)
    for fold in np.unique(folds):
        here = folds == fold
        others = units[~here] if units is not None else None
        own = choose(words, labels[~here], probabilities[~here], classes, others, split=SPLIT)
        decided[here] = own.decide(probabilities[here])
    return choose(words, labels, probabilities, classes, units, split=SPLIT), decided


def _calibrated(methods: Sequence[str]) -> CalibratedBy:
    """Return how the folds are calibrated, each on its own validation images."""
    counts = Counter(methods)
    named = ", ".join(f"{method} in {count}" for method, count in counts.most_common())
    method = next(iter(counts)) if len(counts) == 1 else "each fold's own"
    return CalibratedBy(method, f"Every fold chose it on its own validation images: {named} of {len(methods)} folds.")
