"""Intervals: how far a figure can be trusted."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

LEVEL = 0.95
RESAMPLES = 2_000


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval at `level`, and how the interval was made."""

    value: float
    low: float
    high: float
    level: float
    method: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def wilson(successes: int, trials: int, level: float = LEVEL) -> Estimate:
    """Return a proportion with Wilson's score interval (E. B. Wilson 1927), for independent trials, at least one."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    low, high = centre - half, centre + half
    return Estimate(p, min(p, max(0.0, low)), max(p, min(1.0, high)), level, "Wilson")


def by_group(correct: np.ndarray, groups: np.ndarray, level: float = LEVEL, seed: int = 0) -> Estimate:
    """Return the mean of `correct` (N,) with a percentile bootstrap interval that draws whole `groups` (N,).

    Images of one patient resemble each other, so an interval that takes them as independent is too
    narrow (Efron, Tibshirani 1993; cluster bootstrap, 2,000 draws). When every group is right or every
    group is wrong the bootstrap has no spread; then Wilson's interval over the groups stands in.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    hits = np.bincount(numbers, weights=correct.astype(float))
    sizes = np.bincount(numbers)
    value = float(hits.sum() / sizes.sum())
    if value in (0.0, 1.0):
        stand_in = wilson(round(value * len(names)), len(names), level)
        return Estimate(value, stand_in.low, stand_in.high, level, "Wilson over groups")
    rng = np.random.default_rng(seed)
    at_once = max(1, 2_000_000 // len(names))
    means = np.concatenate(
        [_resampled(rng, hits, sizes, min(at_once, RESAMPLES - done)) for done in range(0, RESAMPLES, at_once)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), level, "bootstrap by group")


def _resampled(rng: np.random.Generator, hits: np.ndarray, sizes: np.ndarray, draws: int) -> np.ndarray:
    """Return `draws` means, each over as many groups as there are, drawn with replacement."""
    drawn = rng.integers(0, len(sizes), size=(draws, len(sizes)))
    return np.asarray(hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
