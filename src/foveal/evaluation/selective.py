"""Answering only where sure: what is gained in accuracy by leaving the doubtful images to somebody else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foveal.errors import DataError, UsageError
from foveal.evaluation.choosing import first_meeting
from foveal.evaluation.class_metrics import share_of_all
from foveal.evaluation.interval import Estimate, wilson
from foveal.evaluation.metrics import check_answers, unit_numbers

PERCENTS = (50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100)
CURVE_STEPS = 200
BY_DEFAULT = "probability of the answered class"


@dataclass(frozen=True)
class AtCoverage:
    """The surest images, as many as were wanted, and those as sure as the last of them."""

    wanted: float  # share of images to answer
    coverage: float  # share answered, which is more where confidences are tied
    n: int  # images answered
    confidence: float  # the lowest that is answered
    accuracy: Estimate  # of the answered


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """How the share of errors grows as more images are answered, the surest first.

    Where images are equally sure, no order among them is better than another: figures are the mean over all orders.
    """

    n: int
    units: int  # independent ones
    confidence: str  # by which images are ordered, in words
    aurc: float  # area under the risk-coverage curve: mean error of the i surest, over i from 1 to N
    optimal_aurc: float  # had the confidence put every right answer before every wrong one
    excess_aurc: float  # the difference: 0 is best
    random_aurc: float  # a confidence that knows nothing: the error rate
    at: tuple[AtCoverage, ...]  # 50, 55 … 100 %
    coverage: np.ndarray  # of the curve, rising to 1; at most 200 points
    risk: np.ndarray  # share of errors among the answered

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        plain = {name: one.tolist() if isinstance(one, np.ndarray) else one for name, one in vars(self).items()}
        return {**plain, "at": [asdict(one) for one in self.at]}


@dataclass(frozen=True)
class Acceptance:
    """The confidence from which images are answered, chosen for an accuracy on the images of `split`."""

    wanted_accuracy: float
    lower_bound: bool  # whether the lower end of the 95 % interval had to reach it
    threshold: float  # confidences equal to it are answered
    confidence: str  # in words
    split: str
    n: int
    units: int
    coverage: Estimate  # there
    accuracy: Estimate  # there: too hopeful for other images, since the threshold was chosen for it

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return asdict(self)


@dataclass(frozen=True)
class Answered:
    """What answering from a confidence gives on images that it was not chosen on."""

    threshold: float
    n: int
    units: int
    coverage: Estimate  # share of images answered
    accuracy: Estimate | None  # of the answered; None where there is none

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return asdict(self)


def risk_coverage(
    labels: np.ndarray,
    probabilities: np.ndarray,
    units: np.ndarray | None = None,
    *,
    confidence: np.ndarray | None = None,
    named: str | None = None,
) -> RiskCoverage:
    """Return the risk-coverage curve of answering the most probable class, the surest images first.

    `labels` (N,), `probabilities` (N, C); `confidence` (N,), the higher the surer, is the greatest probability where
    none is given, and `named` says what it is. The area is that of Geifman, El-Yaniv (2017), its excess is that of
    Geifman, Uziel, El-Yaniv (2019), with the best possible area counted exactly where they take the approximation
    (1 − r) ln (1 − r) + r. Intervals of accuracies allow for `units` (N,). DataError where labels, probabilities or
    confidences are none.
    """
    right, sure, numbers, name = _given(labels, probabilities, units, confidence, named)
    n, errors = len(right), int((~right).sum())
    risks = _risks(right, sure)
    correct_first = np.maximum(0, np.arange(1, n + 1) - (n - errors)) / np.arange(1, n + 1)
    aurc, optimal = float(risks.sum() / n), float(correct_first.sum() / n)
    places = np.unique(-(-np.arange(1, CURVE_STEPS + 1) * n // CURVE_STEPS))  # images answered, rounded up
    return RiskCoverage(
        n,
        len(np.unique(numbers)),
        name,
        aurc,
        optimal,
        max(0.0, aurc - optimal),
        errors / n,
        tuple(_at(percent, right, sure, numbers) for percent in PERCENTS),
        places / n,
        risks[places - 1],
    )


def accept_from(
    wanted_accuracy: float,
    labels: np.ndarray,
    probabilities: np.ndarray,
    units: np.ndarray | None = None,
    *,
    split: str = "validation",
    lower_bound: bool = False,
    confidence: np.ndarray | None = None,
    named: str | None = None,
) -> Acceptance:
    """Return the confidence from which answers are right in `wanted_accuracy` of these images, answering most of them.

    Images as sure as one another are answered together. With `lower_bound` the lower end of the accuracy's 95 %
    interval must reach it, in the manner of Geifman, El-Yaniv (2017), but without their correction for looking at many
    thresholds (for groups see `first_meeting`); other images are the proof (`answered`). Midway between two confidences
    is taken. DataError where no confidence gives that accuracy; UsageError where it is no share.
    """
    if not 0 < wanted_accuracy <= 1:
        raise UsageError(f"The accuracy is {wanted_accuracy}; ask for a share above 0 and up to 1, such as 0.95.")
    right, sure, numbers, name = _given(labels, probabilities, units, confidence, named)
    levels, hits, sizes = _levels(right, sure)  # highest confidence first
    hits, sizes = np.cumsum(hits), np.cumsum(sizes)
    met = np.flatnonzero(hits / sizes >= wanted_accuracy)[::-1].tolist()  # most images first
    alone, level = len(np.unique(numbers)) == len(right), met[0] if met else None

    def low(one: int) -> float:
        inside = sure >= levels[one]
        bound = wilson(int(hits[one]), int(sizes[one])) if alone else share_of_all(right[inside], numbers[inside])
        return bound.low

    if lower_bound:
        level = first_meeting(met, lambda one: low(one) >= wanted_accuracy, exact=alone)
    if level is None:
        by = " by its lower confidence bound" if lower_bound else ""
        raise DataError(
            f"On {len(right):,} {split} images the surest answers are never right in {wanted_accuracy:.4g}{by}; ask "
            f"for less, or give more images."
        )
    here = float(levels[level])
    below = float(levels[level + 1]) if level + 1 < len(levels) else here
    middle = (here + below) / 2
    found = answered(middle if below < middle else here, labels, probabilities, units, confidence=confidence)
    assert found.accuracy is not None  # some are answered
    return Acceptance(
        wanted_accuracy, lower_bound, found.threshold, name, split, found.n, found.units, found.coverage, found.accuracy
    )


def answered(
    threshold: float,
    labels: np.ndarray,
    probabilities: np.ndarray,
    units: np.ndarray | None = None,
    *,
    confidence: np.ndarray | None = None,
) -> Answered:
    """Return what answering from a confidence of `threshold` gives on these images, with intervals for `units` (N,)."""
    right, sure, numbers, _ = _given(labels, probabilities, units, confidence, None)
    inside = sure >= threshold
    accuracy = share_of_all(right[inside], numbers[inside]) if inside.any() else None
    return Answered(threshold, len(right), len(np.unique(numbers)), share_of_all(inside, numbers), accuracy)


def _given(
    labels: np.ndarray,
    probabilities: np.ndarray,
    units: np.ndarray | None,
    confidence: np.ndarray | None,
    named: str | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Return which answers are right (N,), how sure each is (N,), the number of its unit (N,), and what sure means."""
    check_answers(labels, probabilities, probabilities.shape[-1])
    sure = probabilities.max(axis=1) if confidence is None else np.asarray(confidence, np.float64)
    if sure.shape != labels.shape or not np.isfinite(sure).all():
        raise DataError(f"{len(labels):,} images need as many finite confidences, not an array of {sure.shape}.")
    right = probabilities.argmax(axis=1) == labels
    return right, sure, unit_numbers(labels, units), named or (BY_DEFAULT if confidence is None else "given confidence")


def _levels(right: np.ndarray, sure: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct confidences (K,), highest first, the right answers at each, and the images."""
    negated, place = np.unique(-sure, return_inverse=True)
    return -negated, np.bincount(place, weights=right), np.bincount(place)


def _risks(right: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Return the share of errors (N,) among the i surest images, i from 1, where ties stand in any order equally often.

    Of b tied images with e errors, j ones drawn at random have e · j / b errors on average.
    """
    _, hits, sizes = _levels(right, sure)
    errors = np.append(0.0, np.cumsum(sizes - hits))
    ends = np.append(0, np.cumsum(sizes))
    answered_images = np.arange(1, len(right) + 1)
    risks: np.ndarray = np.interp(answered_images, ends, errors) / answered_images
    return risks


def _at(percent: int, right: np.ndarray, sure: np.ndarray, numbers: np.ndarray) -> AtCoverage:
    n = len(right)
    lowest = np.sort(sure)[n - -(-percent * n // 100)]
    inside = sure >= lowest
    accuracy = share_of_all(right[inside], numbers[inside])
    return AtCoverage(percent / 100, float(inside.mean()), int(inside.sum()), float(lowest), accuracy)
