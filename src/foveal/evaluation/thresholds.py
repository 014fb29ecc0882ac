"""What a threshold gives on labelled images: at the operating point, at every step of a slider, along the ROC curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.classifier.operating import Costs, OperatingPoint, Threshold
from foveal.errors import DataError, UsageError
from foveal.evaluation.class_metrics import negative_value, positive_value, share, share_of_all
from foveal.evaluation.interval import LEVEL, Estimate
from foveal.evaluation.metrics import check_answers, unit_numbers
from foveal.evaluation.resampling import RESAMPLES, draws, percentiles

MOST_POINTS = 200  # of a drawn ROC curve
TOLERANCE = 1 / 500  # of its width: less than a pixel


@dataclass(frozen=True)
class BinaryFigures:
    """The positive class against the rest, as decided. None where a figure has no denominator."""

    tp: int
    fp: int
    fn: int
    tn: int
    sensitivity: Estimate | None
    specificity: Estimate | None
    ppv: Estimate | None  # positive predictive value, at the prevalence of these images
    npv: Estimate | None
    stated_prevalence: float | None
    ppv_at: Estimate | None  # at the stated prevalence
    npv_at: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return {name: one.to_dict() if isinstance(one, Estimate) else one for name, one in vars(self).items()}


@dataclass(frozen=True)
class AtOperatingPoint:
    """What deciding at an operating point gives on labelled images."""

    operating: OperatingPoint
    n: int
    units: int  # independent ones
    accuracy: Estimate  # of the decided classes
    recall: dict[str, Estimate | None]  # of each class, as decided
    binary: BinaryFigures | None  # None where the rule has no positive class
    mean_cost: Estimate | None  # of a rule of costs
    mean_cost_of_most_probable: Estimate | None  # had the most probable class been answered
    cost_saved: Estimate | None  # the latter less the former, of the same resamples

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return {
            "operating": self.operating.to_dict(),
            "n": self.n,
            "units": self.units,
            "accuracy": self.accuracy.to_dict(),
            "recall": {name: one.to_dict() if one else None for name, one in self.recall.items()},
            "binary": self.binary.to_dict() if self.binary else None,
            "mean_cost": self.mean_cost.to_dict() if self.mean_cost else None,
            "mean_cost_of_most_probable": (
                self.mean_cost_of_most_probable.to_dict() if self.mean_cost_of_most_probable else None
            ),
            "cost_saved": self.cost_saved.to_dict() if self.cost_saved else None,
        }


def at_operating_point(
    operating: OperatingPoint,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    units: np.ndarray | None = None,
    *,
    prevalence: float | None = None,
    decided: np.ndarray | None = None,
) -> AtOperatingPoint:
    """Return what deciding at `operating` gives on `labels` (N,) and calibrated `probabilities` (N, C).

    `decided` (N,) is what was decided by other points for the same requirement, where this one was chosen on these
    very images.

    Images other than those it was chosen on give honest figures. Intervals are Wilson's, or those for groups where
    `units` (N,) have several images. `prevalence` is a share of the positive class for which predictive values are
    wanted. DataError where labels and probabilities are none; UsageError for other classes or no possible prevalence.
    """
    check_answers(labels, probabilities, len(classes))
    if operating.classes != classes:
        raise UsageError("The operating point is of other classes than these.")
    numbers = unit_numbers(labels, units)
    decided = operating.decide(probabilities) if decided is None else decided
    every, binary = np.arange(len(labels)), None
    costs: tuple[Estimate | None, Estimate | None, Estimate | None] = (None, None, None)
    if isinstance(operating.rule, Threshold):
        said, is_class = decided == operating.rule.positive, labels == operating.rule.positive
        binary = binary_figures(is_class, said, numbers, prevalence=prevalence)
    elif prevalence is not None:
        raise UsageError("Predictive values at a prevalence need an operating point with a positive class.")
    if isinstance(operating.rule, Costs):
        of_image = np.array(operating.rule.matrix)[labels]  # (N, decided)
        answers = decided, probabilities.argmax(axis=1)
        costs = _mean_costs(of_image[every, answers[0]], of_image[every, answers[1]], numbers)
    right = decided == labels
    return AtOperatingPoint(
        operating,
        len(labels),
        len(np.unique(numbers)),
        share_of_all(right, numbers),
        {name: share(right, labels == index, numbers) for index, name in enumerate(classes)},
        binary,
        *costs,
    )


def _mean_costs(
    decided: np.ndarray, most_probable: np.ndarray, units: np.ndarray
) -> tuple[Estimate, Estimate, Estimate]:
    """Return the means of two costs (N,) of each image and of their difference, with intervals from resampled units."""
    count = int(units.max()) + 1
    sizes = np.bincount(units, minlength=count)
    weights = draws(count, resamples=RESAMPLES, seed=0)  # (units, B)
    found = []
    for costs in (decided, most_probable, most_probable - decided):
        value = math.fsum(costs) / len(costs)
        drawn = np.bincount(units, costs, minlength=count) @ weights / (sizes @ weights)  # (B,)
        ends = percentiles(drawn, count=count) if count > 1 else None
        low, high = ends if ends is not None else (float(costs.min()), float(costs.max()))
        method = f"bootstrap over {count:,} units, expanded percentiles" if ends is not None else "too few units"
        found.append(Estimate(value, min(low, value), max(high, value), LEVEL, method))
    return found[0], found[1], found[2]


def binary_figures(
    is_class: np.ndarray, said: np.ndarray, units: np.ndarray | None = None, *, prevalence: float | None = None
) -> BinaryFigures:
    """Return the figures of images that are (`is_class` (N,) bool) and are said to be (`said` (N,) bool) positive."""
    if prevalence is not None and not 0 < prevalence < 1:
        raise UsageError(f"The prevalence is {prevalence}; state a share between 0 and 1, such as 0.02.")
    sensitivity, specificity = share(said, is_class, units), share(~said, ~is_class, units)
    return BinaryFigures(
        tp=int((said & is_class).sum()),
        fp=int((said & ~is_class).sum()),
        fn=int((~said & is_class).sum()),
        tn=int((~said & ~is_class).sum()),
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=share(is_class, said, units),
        npv=share(~is_class, ~said, units),
        stated_prevalence=prevalence,
        ppv_at=positive_value(sensitivity, specificity, prevalence),
        npv_at=negative_value(sensitivity, specificity, prevalence),
    )


def threshold_table(
    labels: np.ndarray, probabilities: np.ndarray, index: int, steps: int = 201
) -> dict[str, list[Any]]:
    """Return lists ``threshold, tp, fp, fn, tn`` at `steps` thresholds from 0 to 1, for a slider.

    Class number `index` is positive where its probability is at least the threshold, which is k / (steps - 1) to the
    last bit. `labels` (N,), `probabilities` (N, C). DataError where they are none; UsageError for fewer than two steps.
    """
    check_answers(labels, probabilities, probabilities.shape[-1])
    if steps < 2 or not 0 <= index < probabilities.shape[1]:
        raise UsageError(
            f"A table of thresholds needs a class and two steps or more, not class {index}, {steps} steps."
        )
    thresholds, score, is_class = np.arange(steps) / (steps - 1), probabilities[:, index], labels == index
    reached = np.searchsorted(thresholds, score, side="right")  # (N,): how many thresholds are met
    tp, fp = (
        np.bincount(reached[side], minlength=steps + 1)[:0:-1].cumsum()[::-1] for side in (is_class, ~is_class)
    )  # (steps,)
    return {
        "threshold": thresholds.tolist(),
        "tp": tp.tolist(),
        "fp": fp.tolist(),
        "fn": (int(is_class.sum()) - tp).tolist(),
        "tn": (int((~is_class).sum()) - fp).tolist(),
    }


def roc_points(is_class: np.ndarray, score: np.ndarray) -> list[tuple[float, float]]:
    """Return the ROC curve of `score` (N,) as points (false positive rate, true positive rate) from (0, 0) to (1, 1).

    It is the exact staircase, slanted where scores are tied, with points on a straight line left out, and then those
    whose loss moves no part of the curve by more than 1 / 500 in either direction. Should more than 200 be left, which
    takes a jagged curve close to the diagonal, 200 points evenly along it are given, which move it by at most 1 / 398.
    DataError where a side has no image or a score is not finite.
    """
    if is_class.all() or not is_class.any() or not np.isfinite(score).all():
        raise DataError("A ROC curve needs images of the class and others, each with a finite score.")
    _, place = np.unique(-score, return_inverse=True)
    tp, fp = (
        np.append(0, np.bincount(place[side], minlength=place.max() + 1).cumsum()) for side in (is_class, ~is_class)
    )
    x, y = fp / fp[-1], tp / tp[-1]  # (K + 1,), (K + 1,)
    bends = np.diff(tp)[:-1] * np.diff(fp)[1:] != np.diff(tp)[1:] * np.diff(fp)[:-1]  # whole numbers: exact
    kept = np.concatenate([[0], np.flatnonzero(bends) + 1, [len(x) - 1]])
    x, y = x[kept], y[kept]
    if len(x) > MOST_POINTS:
        along, above = x + y, y - x
        thinned = _thinned(along.tolist(), above.tolist())
        if len(thinned) > MOST_POINTS:
            even = np.linspace(0, 2, MOST_POINTS)
            x, y = np.interp(even, along, x), np.interp(even, along, y)
        else:
            x, y = x[thinned], y[thinned]
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _thinned(along: list[float], above: list[float]) -> list[int]:
    """Return which vertices of the curve to keep so that none lies off the rest by more than the tolerance.

    The curve is turned by 45°, where it is a function of `along` (rising): a difference d in `above` is d / 2 in each
    of the rates. From a kept vertex the next is the farthest one whose chord passes all between closely enough: its
    slope must lie in the wedge that they leave open.
    """
    kept, start, last = [0], 0, len(along) - 1
    allowed = 2 * TOLERANCE
    while start < last:
        lowest, highest, farthest = -math.inf, math.inf, start + 1
        for at in range(start + 1, last + 1):
            run, rise = along[at] - along[start], above[at] - above[start]
            if lowest <= rise / run <= highest:
                farthest = at
            lowest, highest = max(lowest, (rise - allowed) / run), min(highest, (rise + allowed) / run)
            if lowest > highest:
                break
        kept.append(farthest)
        start = farthest
    return kept
