"""Everything that stored predictions say, in one pass: the figures, calibration, decisions, doubt, slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.classifier.decisions import Decisions
from foveal.evaluation.calibration import calibration_measures
from foveal.evaluation.class_metrics import share_of_all
from foveal.evaluation.conformal_fitting import coverage
from foveal.evaluation.decision_curve import decision_curve
from foveal.evaluation.metrics import measure
from foveal.evaluation.predictions import Predictions
from foveal.evaluation.selective import risk_coverage
from foveal.evaluation.slices import sliceable, slices
from foveal.evaluation.thresholds import at_operating_point

GATE_SCORE = "gate_score"
FOLD = "fold"  # which fold's run answered
OWN_COLUMNS = (GATE_SCORE, FOLD)
MOST_CURVES = 5  # decision curves of so many classes


@dataclass(frozen=True)
class CalibratedBy:
    """How the probabilities were calibrated, in place of a classifier's calibration."""

    method: str
    reason: str


def measure_all(
    predictions: Predictions,
    decisions: Decisions | None = None,
    *,
    calibrated: CalibratedBy | None = None,
    decided: np.ndarray | None = None,
    prevalence: Mapping[str, float] | None = None,
    by: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Return the JSON object of an evaluation's metrics.json, from `predictions` and what was decided beforehand.

    `by` names the columns that slices are made of; by default all but those of Foveal's own use. `calibrated`
    says how the probabilities were calibrated where `decisions` hold no calibration, `decided` (N,) what was decided
    where not by the operating point of `decisions` itself.
    """
    labels, p, units, classes = predictions.labels, predictions.probabilities, predictions.units, predictions.classes
    found = measure(labels, p, classes, units, prevalence=prevalence).to_dict()
    found["calibration"] = _calibration(predictions, calibrated or _calibrated_by(decisions))
    found["doubt"] = risk_coverage(labels, p, units).to_dict()
    found["decision_curves"] = [
        decision_curve(labels, p, classes, name, units).to_dict()
        for name in _acted_upon(classes, decisions)
        if 0 < (labels == classes.index(name)).sum() < len(labels)
    ]
    if decisions is not None and decisions.operating is not None:
        found["operating"] = at_operating_point(
            decisions.operating, labels, p, classes, units, decided=decided
        ).to_dict()
    if decisions is not None and decisions.missed is not None:
        found["operating_missed"] = decisions.missed
    if decisions is not None and decisions.sets is not None:
        in_set = decisions.sets.sets(p)
        found["sets"] = {**decisions.sets.to_dict(), "found": coverage(labels, in_set, classes, units).to_dict()}
    if GATE_SCORE in predictions.columns:
        fired = predictions.columns[GATE_SCORE].astype(float) >= 1
        found["gate"] = {"alarms": int(fired.sum()), "share": share_of_all(fired, units).to_dict()}
    columns = by if by is not None else [name for name in predictions.columns if name not in OWN_COLUMNS]
    found["slices"] = [
        slices(name, sliceable(name, predictions.columns[name]), labels, p, classes, units).to_dict()
        for name in columns
        if len(set(predictions.columns[name].tolist())) > 1
    ]
    return found


def _acted_upon(classes: tuple[str, ...], decisions: Decisions | None) -> tuple[str, ...]:
    """Return the classes whose finding may be acted upon: that of the operating point, else all of a few."""
    if decisions is not None and decisions.operating is not None and decisions.operating.positive is not None:
        return (decisions.operating.positive,)
    return classes if len(classes) <= MOST_CURVES else ()


def _calibrated_by(decisions: Decisions | None) -> CalibratedBy | None:
    if decisions is None or decisions.calibration is None:
        return None
    return CalibratedBy(decisions.calibration.method, str(decisions.calibration.facts.get("reason", "")))


def _calibration(predictions: Predictions, by: CalibratedBy | None) -> dict[str, Any]:
    """Return how well the probabilities are calibrated, and how well they were before they were."""
    labels, units, classes = predictions.labels, predictions.units, predictions.classes
    after = calibration_measures(labels, predictions.probabilities, classes, units)
    told: dict[str, Any] = {"sentence": after.sentence, "after": after.to_dict(), "before": None, "method": None}
    if by is not None:
        told |= {"method": by.method, "reason": by.reason}
    if predictions.raw is not None and told["method"] not in (None, "none"):
        told["before"] = calibration_measures(labels, predictions.raw, classes, units).to_dict()
    return told
