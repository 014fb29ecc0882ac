"""How well a score ranks the images of a class above the others: area under the ROC curve, average precision."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foveal.evaluation.interval import LEVEL, Estimate, wilson


@dataclass(frozen=True, eq=False)
class Placements:
    """Where each image lies among those of the other side: 1 is right of all of them, a tie counts half.

    DeLong's structural components. Their means are both the area under the ROC curve.
    """

    of_class: np.ndarray  # (positives,): share of the other images that score below
    of_rest: np.ndarray  # (negatives,): share of the class's images that score above

    @property
    def auc(self) -> float:
        """The area under the ROC curve: the share of pairs in which the class's image scores higher."""
        return float(self.of_class.mean())


def placements(is_class: np.ndarray, score: np.ndarray) -> Placements:
    """Return the placements of `score` (N,) between images where `is_class` (N,) bool and where not, both present.

    Three sorts in place of all pairs: a rank among all images less the rank among its own side is the number of the
    other side below, ties halved (Sun, Xu 2014).
    """
    of_class, of_rest = score[is_class], score[~is_class]
    ranks = _midranks(np.concatenate([of_class, of_rest]))
    split = len(of_class)
    below = ranks[:split] - _midranks(of_class)
    above = split - (ranks[split:] - _midranks(of_rest))
    return Placements(below / len(of_rest), above / split)


def _midranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks (n,) of `values`, from 1; equal ones share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def roc_auc(is_class: np.ndarray, score: np.ndarray) -> float | None:
    """Return the area under the ROC curve of `score` (N,), ties counted half; None where one side is missing."""
    return placements(is_class, score).auc if 0 < is_class.sum() < len(is_class) else None


def average_precision(is_class: np.ndarray, score: np.ndarray) -> float | None:
    """Return Σ (recallₖ - recallₖ₋₁) · precisionₖ over the distinct scores, highest first; None without a positive.

    A sum of steps and no trapezia, which would be too hopeful (Davis, Goadrich 2006); scikit-learn's definition.
    """
    if not is_class.any():
        return None
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # the last image of each distinct score
    found = np.cumsum(is_class[order])[ends]
    steps = np.diff(found, prepend=0)
    return float((steps * found / (ends + 1)).sum() / found[-1])


def delong_variance(placed: Placements) -> float:
    """Return the variance of the area for independent images (E. DeLong, D. DeLong, Clarke-Pearson 1988).

    NaN where a side has one image only.
    """
    sides = (placed.of_class, placed.of_rest)
    return sum(float(one.var(ddof=1)) / len(one) if len(one) > 1 else math.nan for one in sides)


def clustered_variance(placed: Placements, units_of_class: np.ndarray, units_of_rest: np.ndarray) -> float:
    """Return the variance of the area for images that come in units, any number of either side (Obuchowski 1997).

    `units_of_class` (positives,) and `units_of_rest` (negatives,) name each image's unit. Where every unit is one
    image, this is DeLong's variance. NaN where the images of a side are all of one unit.
    """
    _, numbers = np.unique(np.concatenate([units_of_class, units_of_rest]), return_inverse=True)
    split, count = len(units_of_class), int(numbers.max()) + 1
    sums, shares = [], []
    for one, unit in ((placed.of_class, numbers[:split]), (placed.of_rest, numbers[split:])):
        away = np.bincount(unit, weights=one - placed.auc, minlength=count)  # (count,)
        having = len(np.unique(unit))
        if having < 2:
            return math.nan
        sums.append(away / len(one))
        shares.append(having / (having - 1) * float((sums[-1] ** 2).sum()))
    return sum(shares) + 2 * count / (count - 1) * float((sums[0] * sums[1]).sum())


def auc_interval(
    is_class: np.ndarray, score: np.ndarray, units: np.ndarray | None = None, level: float = LEVEL
) -> Estimate | None:
    """Return the area under the ROC curve with its interval; None where one side is missing.

    DeLong's variance on the logit scale, which keeps the ends within 0 and 1 and covers better than the plain one
    near them (Qin, Hotilovac 2008), with Student's quantile, for few images on the smaller side, in place of the
    normal one. Where `units` (N,) name groups with more than one image, Obuchowski's variance, and groups are counted.
    Where no variance can be seen (each pair in order, all scores equal, one image or group on a side) it is Wilson's
    interval as if each image or group of the smaller side were one trial.
    """
    if not 0 < is_class.sum() < len(is_class):
        return None
    placed = placements(is_class, score)
    if units is not None and len(np.unique(units)) < len(units):
        sides = units[is_class], units[~is_class]
        smaller = min(len(np.unique(side)) for side in sides)
        variance, method = clustered_variance(placed, *sides), "DeLong for groups (Obuchowski), logit"
    else:
        smaller = min(len(placed.of_class), len(placed.of_rest))
        variance, method = delong_variance(placed), "DeLong, logit"
    auc = placed.auc
    if not variance > 1e-18 or not 0 < auc < 1:  # NaN too
        bound = wilson(auc * smaller, smaller, level)
        return Estimate(auc, min(auc, bound.low), max(auc, bound.high), level, "Wilson for the smaller side")
    half = _student(smaller - 1, level) * math.sqrt(variance) / (auc * (1 - auc))
    middle = math.log(auc / (1 - auc))
    low, high = _logistic(middle - half), _logistic(middle + half)
    return Estimate(auc, min(auc, low), max(auc, high), level, method)


def _student(freedom: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
