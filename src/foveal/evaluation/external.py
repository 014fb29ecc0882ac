"""External validation: other images than those that a classifier was tested on, and how they differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.evaluation.calibrating import choose_calibration, spread_folds
from foveal.evaluation.calibration import calibration_measures
from foveal.evaluation.full import GATE_SCORE
from foveal.evaluation.interval import LEVEL, Estimate
from foveal.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Drift:
    """How often each class occurs, and how sure the answers are, here and in the internal test."""

    shares: dict[str, tuple[float, float]]  # class → share here, and there
    share_distance: float  # total variation: half the sum of the differences, 0 to 1
    confidence: tuple[float, float]  # mean probability of the answer, here and there
    confidence_distance: float  # Kolmogorov-Smirnov: the largest difference of the two distributions
    confidence_p: float  # that it is by chance, were all images independent
    alarms: tuple[float, float] | None  # share of images that the gate takes for foreign, here and there


@dataclass(frozen=True)
class External:
    """What other images say beside the internal test."""

    internal_n: int
    internal_accuracy: Estimate
    difference: Estimate  # accuracy here minus accuracy there
    drift: Drift
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        drift = {**vars(self.drift), "shares": {name: list(pair) for name, pair in self.drift.shares.items()}}
        return {
            "internal_n": self.internal_n,
            "internal_accuracy": self.internal_accuracy.to_dict(),
            "difference": self.difference.to_dict(),
            "drift": {name: list(one) if isinstance(one, tuple) else one for name, one in drift.items()},
            "sentence": self.sentence,
        }


def beside_internal(here: Predictions, accuracy: Estimate, there: Predictions, internal: Estimate) -> External:
    """Return what the predictions `here`, of accuracy `accuracy`, say beside those of the internal test, `there`."""
    difference = independent_difference(accuracy, internal)
    drift = _drift(here, there)
    changed = "lower" if difference.high < 0 else ("higher" if difference.low > 0 else "not clearly other")
    sentence = (
        f"Accuracy is {accuracy.value:.1%} on these {len(here):,} images and {internal.value:.1%} on the "
        f"{len(there):,} of the internal test: {changed} ({100 * difference.value:+.1f} points, "
        f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}). The shares of the classes differ by "
        f"{100 * drift.share_distance:.0f} points in all, and the answers "
        f"are given with {drift.confidence[0]:.1%} on average, {drift.confidence[1]:.1%} there."
    )
    return External(len(there), internal, difference, drift, sentence)


def independent_difference(first: Estimate, second: Estimate) -> Estimate:
    """Return `first` - `second`, of different images, with an interval from both of theirs (Newcombe 1998, method 10).

    It is the square-and-add interval: it keeps what the single ones know of small numbers and of groups.
    """
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, max(-1.0, low), min(1.0, high), LEVEL, "Newcombe, from both intervals")


def _drift(here: Predictions, there: Predictions) -> Drift:
    from scipy.stats import ks_2samp

    classes = here.classes
    shares = [np.bincount(one.labels, minlength=len(classes)) / len(one) for one in (here, there)]
    sure = [one.probabilities.max(axis=1) for one in (here, there)]
    test = ks_2samp(*sure, method="auto")
    gated = [one.columns.get(GATE_SCORE) for one in (here, there)]
    alarms = None
    if gated[0] is not None and gated[1] is not None:
        alarms = (_alarms(gated[0]), _alarms(gated[1]))
    return Drift(
        shares={name: (float(shares[0][at]), float(shares[1][at])) for at, name in enumerate(classes)},
        share_distance=float(np.abs(shares[0] - shares[1]).sum() / 2),
        confidence=(float(sure[0].mean()), float(sure[1].mean())),
        confidence_distance=float(test.statistic),
        confidence_p=float(test.pvalue),
        alarms=alarms,
    )


def _alarms(scores: np.ndarray) -> float:
    return float((scores.astype(float) >= 1).mean())


def recalibrated(predictions: Predictions, *, folds: int = 5, seed: int = 0) -> dict[str, Any]:
    """Return what a calibration fitted on these images would do, each image by a fit that has not seen it.

    The classifier is not changed: its probabilities stay those that it was released with.
    """
    raw = predictions.raw if predictions.raw is not None else predictions.probabilities
    labels, units = predictions.labels, predictions.units
    _, numbers = np.unique(units if units is not None else np.arange(len(labels)), return_inverse=True)
    chosen = choose_calibration(labels, raw, units, folds=folds, seed=seed, where="external")
    dealt = spread_folds(labels, numbers, folds, seed)
    fitted = np.empty_like(raw)
    for fold in range(int(dealt.max()) + 1):
        here = dealt == fold
        own = choose_calibration(
            labels[~here], raw[~here], numbers[~here], methods=[chosen.method], folds=folds, seed=seed
        )
        fitted[here] = own.apply(raw[here])
    after = calibration_measures(labels, fitted, predictions.classes, units)
    own_error = calibration_measures(labels, predictions.probabilities, predictions.classes, units).ece.value
    return {
        "method": chosen.method,
        "reason": chosen.facts["reason"],
        "measures": after.to_dict(),
        "sentence": (
            f"Of the calibrations fitted on these images, cross-fitted, none is better than the network's own "
            f"probabilities (log loss {chosen.facts['log_loss_before']:.4f})."
            if chosen.method == "none"
            else f"Recalibrated on these images, as asked, cross-fitted over {int(dealt.max()) + 1} folds "
            f"({chosen.method}): expected calibration error {after.ece.value:.3f}, and {own_error:.3f} as deployed. "
            f"The stored classifier is not changed by it."
        ),
    }
