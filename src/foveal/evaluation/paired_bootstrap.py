"""Two classifiers' probabilities for the same images: differences in accuracy, AUC and log loss, paired."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from foveal.errors import DataError
from foveal.evaluation import figures
from foveal.evaluation.comparison import holm
from foveal.evaluation.interval import LEVEL, Estimate
from foveal.evaluation.ranking import Placements, placements
from foveal.evaluation.resampling import RESAMPLES, percentiles, resample

ACCURACY, AUC, LOG_LOSS, DELONG = "accuracy", "macro AUC", "log loss", "AUC, DeLong"
LOWER_IS_BETTER = (LOG_LOSS,)
NO_VARIANCE = 1e-18


@dataclass(frozen=True)
class MeasureDifference:
    """One figure of two classifiers on the same images, and what their difference is worth."""

    measure: str  # accuracy, macro AUC, log loss; or AUC, DeLong
    first: float
    second: float
    difference: Estimate | None  # first - second; None where too many resamples leave the figure undefined
    p_value: float | None  # two-sided
    p_adjusted: float | None  # by Holm among all pairs that were compared at once, this measure alone

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return asdict(self)

    @property
    def first_is_better(self) -> bool:
        """Whether the first has the better figure here, whether or not that says anything."""
        return self.first < self.second if self.measure in LOWER_IS_BETTER else self.first > self.second


@dataclass(frozen=True, eq=False)
class Resampled:
    """The figures of one classifier on some images, and on every bootstrap sample of their units.

    Two of them are paired when they were made with the same labels, units, resamples and seed: the samples are then
    the same. So many classifiers on the same images are resampled once each, not once a pair.
    """

    labels: np.ndarray  # (N,)
    probabilities: np.ndarray  # (N, C)
    units: int  # independent ones
    whole: dict[str, float]  # measure → its value; absent where the images do not define it
    drawn: dict[str, np.ndarray]  # measure → (B,), NaN where a sample does not define it


def resampled(
    labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled:
    """Return accuracy, macro AUC and log loss of `probabilities` (N, C) on the images, and in `resamples` of them.

    `labels` (N,) are indices of classes, `units` (N,) numbers from 0 on: images of one unit are drawn together. The
    macro AUC is the mean over the classes that are present, each against the rest. Raises DataError without an image,
    for probabilities that are not finite, and for units that are not numbered from 0 without a gap.
    """
    if not len(labels):
        raise DataError("There is no image to compare anything on.")
    if not np.isfinite(probabilities).all():
        raise DataError("Probabilities that are no numbers cannot be compared.")
    present = np.unique(units)
    count = len(present)
    if not np.array_equal(present, np.arange(count)):
        raise DataError("Units are numbered from 0 on, without a gap.")
    once, many = resample(labels, probabilities, units, count, resamples=resamples, seed=seed)
    two_sided = np.array([c for c in range(probabilities.shape[1]) if 0 < (labels == c).sum() < len(labels)], np.int64)
    whole: dict[str, np.ndarray] = {}
    drawn: dict[str, np.ndarray] = {}
    for sums, put in ((once, whole), (many, drawn)):
        put[ACCURACY] = sums.hits.sum(axis=0) / sums.n
        put[AUC] = figures.macro(sums.auc, two_sided)
        put[LOG_LOSS] = sums.loss / sums.n
    known = {name: float(value[0]) for name, value in whole.items() if not np.isnan(value[0])}
    return Resampled(labels, probabilities, count, known, drawn)


def compare_resampled(first: Resampled, second: Resampled, level: float = LEVEL) -> tuple[MeasureDifference, ...]:
    """Return the differences of two classifiers that were resampled alike, not yet adjusted for other pairs.

    Each has the percentiles of the paired differences for an interval, and as p-value twice the smaller share of
    resamples on either side of 0, (b + 1) / (B + 1), so never below 2 / (B + 1) (Davison, Hinkley 1997, §4.2). Two
    classes of single images have DeLong's paired test as well. DataError where the two were not resampled alike.
    """
    alike = first.probabilities.shape == second.probabilities.shape and np.array_equal(first.labels, second.labels)
    if not alike or first.units != second.units or len(first.drawn[ACCURACY]) != len(second.drawn[ACCURACY]):
        raise DataError("The two were not resampled on the same images, so they cannot be paired.")
    found = []
    for name, value in first.whole.items():
        differences = first.drawn[name] - second.drawn[name]  # (B,)
        ends = percentiles(differences, level)
        estimate, p = None, None
        if ends is not None:
            method = f"percentiles of {len(differences):,} paired resamples of {first.units:,} units"
            one = value - second.whole[name]
            estimate = Estimate(one, min(one, ends[0]), max(one, ends[1]), level, method)
            p = bootstrap_p(differences)
        found.append(MeasureDifference(name, value, second.whole[name], estimate, p, p))
    if first.probabilities.shape[1] == 2 and first.units == len(first.labels) and AUC in first.whole:
        found.append(delong(first.labels == 1, first.probabilities[:, 1], second.probabilities[:, 1], level))
    return tuple(found)


def bootstrap_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of `differences` (B,) in resamples, NaN where undefined: 1 where all are 0."""
    defined = differences[~np.isnan(differences)]
    sides = (defined <= 0).sum(), (defined >= 0).sum()
    return min(1.0, 2 * (int(min(sides)) + 1) / (len(defined) + 1))


def delong(is_class: np.ndarray, first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> MeasureDifference:
    """Return the difference of the areas under two ROC curves of the same independent images (DeLong et al. 1988).

    `is_class` (N,) bool, both sides present; `first` and `second` (N,) scores. Interval and p-value are normal; both
    are None where a side has one image, or nothing varies, unless the areas are equal (then p is 1).
    """
    one, other = placements(is_class, first), placements(is_class, second)
    value = one.auc - other.auc
    variance = _variance_of_difference(one, other)
    if variance is None or variance <= NO_VARIANCE:
        p = 1.0 if abs(value) < 1e-12 else None
        estimate = None
    else:
        deviation = math.sqrt(variance)
        half = NormalDist().inv_cdf((1 + level) / 2) * deviation
        estimate = Estimate(value, max(-1.0, value - half), min(1.0, value + half), level, "DeLong")
        p = math.erfc(abs(value) / deviation / math.sqrt(2))
    return MeasureDifference(DELONG, one.auc, other.auc, estimate, p, p)


def _variance_of_difference(one: Placements, other: Placements) -> float | None:
    """Return the variance of the difference of two areas: that of the differences of each image's placements."""
    sides = (one.of_class - other.of_class, one.of_rest - other.of_rest)
    if any(len(side) < 2 for side in sides):
        return None
    return sum(float(side.var(ddof=1)) / len(side) for side in sides)


def adjust_differences(
    pairs: Sequence[tuple[MeasureDifference, ...]],
) -> list[tuple[MeasureDifference, ...]]:
    """Return the differences of several pairs with `p_adjusted` by Holm, each measure for itself."""
    known = [
        (at, place, one) for at, pair in enumerate(pairs) for place, one in enumerate(pair) if one.p_value is not None
    ]
    adjusted = [list(pair) for pair in pairs]
    for measure in dict.fromkeys(one.measure for _, _, one in known):
        same = [(at, place, one) for at, place, one in known if one.measure == measure]
        together = holm([one.p_value for _, _, one in same if one.p_value is not None])
        for (at, place, one), p in zip(same, together, strict=True):
            adjusted[at][place] = replace(one, p_adjusted=p)
    return [tuple(pair) for pair in adjusted]
