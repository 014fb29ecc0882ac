"""What folds say together: no image is decided by a threshold that it helped to choose."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.errors import DataError
from foveal.evaluation.choosing import for_sensitivity
from foveal.evaluation.out_of_fold import cross_fitted, measure_out_of_fold
from foveal.evaluation.predictions import Predictions

CLASSES = ("no", "yes")
WORDS = "yes: sensitivity 0.9"


def answers(seed: int = 0, n: int = 300) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    score = 1 / (1 + np.exp(-rng.normal(1.5 * labels - 0.75, 1)))
    probabilities = np.column_stack([1 - score, score])
    folds = np.array([str(1 + row // 2 % 3) for row in range(n)])
    units = np.array([str(row // 2) for row in range(n)])
    ids = tuple(map(str, range(n)))
    return Predictions(CLASSES, ids, labels, probabilities, units=units, columns={"fold": folds})


def test_each_fold_is_decided_by_the_threshold_of_the_others():
    one = answers()
    folds = one.columns["fold"]
    whole, decided = cross_fitted(WORDS, one.labels, one.probabilities, folds, CLASSES, one.units)
    known = one.labels, one.probabilities
    assert whole == for_sensitivity(0.9, "yes", *known, CLASSES, one.units, split="out of fold")
    thresholds = []
    for fold in "123":
        here = folds == fold
        own = for_sensitivity(0.9, "yes", *(part[~here] for part in known), CLASSES)
        thresholds.append(own.threshold)
        assert np.array_equal(decided[here] == 1, one.probabilities[here, 1] >= own.threshold)
    assert len(set(thresholds)) == 3


def test_the_sensitivity_is_that_of_the_decisions_and_on_average_what_was_asked_for():
    found = []
    for seed in range(40):
        one = answers(seed)
        metrics, decisions = measure_out_of_fold(one, coverage=0.9, operating_point=WORDS, calibrated=["none"] * 3)
        _, decided = cross_fitted(WORDS, one.labels, one.probabilities, one.columns["fold"], CLASSES, one.units)
        told = metrics["operating"]["binary"]["sensitivity"]["value"]
        assert told == pytest.approx((decided[one.labels == 1] == 1).mean())
        assert decisions.operating is not None
        assert decisions.operating.sensitivity >= 0.9
        found.append(told)
    assert 0.88 < np.mean(found) < 0.92  # on the images that chose it, it is at least 0.9 each time


def test_the_folds_calibrations_are_told():
    one = answers()
    metrics, _ = measure_out_of_fold(one, coverage=0.9, operating_point=None, calibrated=["none", "none", "platt"])
    told = metrics["calibration"]
    assert told["method"] == "each fold's own"
    assert "none in 2, platt in 1 of 3 folds" in told["reason"]
    metrics, _ = measure_out_of_fold(one, coverage=0.9, operating_point=None, calibrated=["platt"] * 3)
    assert metrics["calibration"]["method"] == "platt"


def test_an_operating_point_that_cannot_be_had_is_said_and_the_rest_is_measured():
    one = answers()
    flat = Predictions(
        CLASSES, one.record_ids, one.labels, np.full((300, 2), 0.5), units=one.units, columns=one.columns
    )
    metrics, decisions = measure_out_of_fold(flat, coverage=0.9, operating_point=WORDS, calibrated=["none"] * 3)
    assert decisions.operating is None
    assert "calls every image positive" in str(decisions.missed)
    assert metrics["operating_missed"] == decisions.missed
    with pytest.raises(DataError, match="calls every image positive"):
        cross_fitted(WORDS, flat.labels, flat.probabilities, flat.columns["fold"], CLASSES, flat.units)
