"""Uncertainty from several answers to one image: how unsure they are each, and how far they differ from one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.classifier.answers import entropy
from foveal.errors import DataError
from foveal.evaluation.interval import Estimate
from foveal.evaluation.metrics import SUM_TOLERANCE, check_answers, unit_numbers
from foveal.evaluation.ranking import auc_interval

AT_ONCE = 4_000_000  # probabilities whose logarithms are held at once


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What M members say together of N images, all in nats.

    predictive entropy = expected entropy + mutual information (Houlsby et al. 2011; Depeweg et al. 2018): the doubt
    about the class is what every member has on average, as an image that is unclear gives (aleatoric), and what they
    differ by, as an image unlike those learnt from gives (epistemic).
    """

    members: int
    mean: np.ndarray  # (N, C) probabilities
    predictive_entropy: np.ndarray  # (N,): of the mean
    expected_entropy: np.ndarray  # (N,): mean over the members
    mutual_information: np.ndarray  # (N,): the difference, "BALD"; never below 0

    @property
    def normalised_entropy(self) -> np.ndarray:
        """The predictive entropy (N,) as a share of the greatest possible, ln C: from 0 to 1."""
        share: np.ndarray = np.minimum(self.predictive_entropy / np.log(self.mean.shape[1]), 1.0)
        return share

    @property
    def measures(self) -> dict[str, np.ndarray]:
        """Every measure (N,) by name, the higher, the less sure."""
        return {
            "one_minus_probability": 1 - self.mean.max(axis=1),
            "predictive_entropy": self.predictive_entropy,
            "expected_entropy": self.expected_entropy,
            "mutual_information": self.mutual_information,
        }


@dataclass(frozen=True)
class WrongFromRight:
    """How well each measure puts wrong answers above right ones: the area under the ROC curve, 0.5 is chance."""

    n: int
    units: int  # independent ones
    wrong: int  # answers
    auc: dict[str, Estimate | None]  # by measure; None where all answers are right, or all wrong

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        of = {name: one.to_dict() if one else None for name, one in self.auc.items()}
        return {"n": self.n, "units": self.units, "wrong": self.wrong, "auc": of}


def uncertainty(members: np.ndarray) -> Uncertainty:
    """Return the uncertainty of the answers of `members` (M, N, C), probabilities.

    Members are passes with dropout left on, models of folds or seeds, or views of the image. One member has no mutual
    information. DataError where they are no probabilities of two classes or more.
    """
    if members.ndim != 3 or members.shape[0] < 1 or members.shape[2] < 2:
        raise DataError(f"Uncertainty takes probabilities (members, images, classes), not an array of {members.shape}.")
    count, n, classes = members.shape
    step = max(1, AT_ONCE // (count * classes))
    starts = range(0, max(n, 1), step)  # one empty part where there is no image
    parts = [_of(members[:, start : start + step].astype(np.float64)) for start in starts]
    mean, predictive, expected = (np.concatenate(one) for one in zip(*parts, strict=True))
    return Uncertainty(count, mean, predictive, expected, np.maximum(predictive - expected, 0.0))


def wrong_from_right(found: Uncertainty, labels: np.ndarray, units: np.ndarray | None = None) -> WrongFromRight:
    """Return how well each measure tells wrong answers from right ones, with an interval that allows for `units` (N,).

    The answer is the most probable class of the mean, `labels` (N,) the truth. DataError where the labels are none.
    """
    check_answers(labels, found.mean, found.mean.shape[1])
    wrong, numbers = found.mean.argmax(axis=1) != labels, unit_numbers(labels, units)
    areas = {name: auc_interval(wrong, values, numbers) for name, values in found.measures.items()}
    return WrongFromRight(len(labels), len(np.unique(numbers)), int(wrong.sum()), areas)


def _of(members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean (N, C), its entropy (N,) and the mean entropy (N,) of `members` (M, N, C)."""
    sums = members.sum(axis=2)  # (M, N): NaN where one of a row is
    if not ((members >= 0).all() and (np.abs(sums - 1) < SUM_TOLERANCE).all()):
        raise DataError("Some row of the members' probabilities is negative, not a number or does not add up to 1.")
    mean = members.mean(axis=0)
    return mean, entropy(mean), entropy(members).mean(axis=0)
