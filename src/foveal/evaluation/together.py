"""What several classifiers say together of the same images: the mean of their probabilities (a deep ensemble)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foveal.classifier.answers import mean_probabilities
from foveal.classifier.decisions import Decisions
from foveal.errors import DataError
from foveal.evaluation.full import CalibratedBy, measure_all
from foveal.evaluation.operating_words import choose
from foveal.evaluation.predictions import Predictions

BY_MEMBERS = CalibratedBy(
    "each member's own", "The mean is taken of probabilities that each member calibrated for itself."
)


def mean_of(parts: Sequence[Predictions]) -> Predictions:
    """Return the mean of the probabilities of `parts`, which must speak of the same images; DataError otherwise."""
    first = parts[0]
    for other in parts[1:]:
        if other.record_ids != first.record_ids or not np.array_equal(other.labels, first.labels):
            raise DataError("These predictions are not of the same images, so they have no mean.")
    mean = mean_probabilities([one.probabilities for one in parts])
    return Predictions(first.classes, first.record_ids, first.labels, mean, units=first.units)


def decisions_of(validation: Predictions, operating_point: str | None) -> Decisions:
    """Return what is decided for the ensemble on the mean answers to the `validation` images."""
    if operating_point is None:
        return Decisions()
    one = validation
    try:
        return Decisions(operating=choose(operating_point, one.labels, one.probabilities, one.classes, one.units))
    except DataError as error:
        return Decisions(missed=str(error))


def measure_together(test: Predictions, decisions: Decisions) -> dict[str, Any]:
    """Return the JSON object of metrics.json for the mean answers to the `test` images."""
    return measure_all(test, decisions, calibrated=BY_MEMBERS)
