"""Intervals: how far a figure can be trusted."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval at `level`, and how the interval was made."""

    value: float
    low: float
    high: float
    level: float
    method: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return asdict(self)


def wilson(successes: float, trials: float, level: float = LEVEL) -> Estimate:
    """Return a proportion with Wilson's score interval (E. B. Wilson 1927), for independent trials, more than none."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    low, high = centre - half, centre + half
    return Estimate(p, min(p, max(0.0, low)), max(p, min(1.0, high)), level, "Wilson")


def by_group(correct: np.ndarray, groups: np.ndarray, level: float = LEVEL) -> Estimate:
    """Return the mean of `correct` (N,) with an interval for images that come in `groups` (N,).

    Images of one patient resemble each other, so an interval that takes them as independent is too
    narrow. This is Wilson's interval for the number of independent images that would have the
    variance found between groups, lowered by Student's quantile for few groups (Korn, Graubard 1998;
    compared by Franco, Little, Louis, Slud 2019). It covers better than a bootstrap over groups,
    which is too narrow below some fifty groups; a test simulates it. Where all groups have the same
    share of right answers there is no variance to see: then a group counts as one image.
    """
    from scipy.special import stdtrit

    _, numbers = np.unique(groups, return_inverse=True)
    hits, sizes = np.bincount(numbers, weights=correct.astype(float)), np.bincount(numbers)
    count, images = len(sizes), int(sizes.sum())
    value = float(hits.sum() / images)
    residuals = hits - value * sizes
    if count < 2 or np.allclose(residuals, 0):
        stand_in = wilson(value * count, count, level)
        return Estimate(value, stand_in.low, stand_in.high, level, "Wilson over groups")
    variance = count / (count - 1) * float((residuals**2).sum()) / images**2  # of a ratio of sums over groups
    few = NormalDist().inv_cdf((1 + level) / 2) / float(stdtrit(count - 1, (1 + level) / 2))
    effective = min(images, value * (1 - value) / variance) * few**2
    estimate = wilson(value * effective, effective, level)
    return Estimate(value, min(value, estimate.low), max(value, estimate.high), level, "Wilson for groups")
