"""Repeated runs: their mean, their standard deviation, and how far the mean can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from foveal.evaluation.interval import LEVEL, Estimate


@dataclass(frozen=True)
class Spread:
    """The figures of two or more runs that differ in their seed only."""

    values: tuple[float, ...]
    mean: Estimate
    deviation: float  # of single runs, from n - 1


def spread(values: Sequence[float], *, overlap: float = 0.0, level: float = LEVEL) -> Spread:
    """Return mean, standard deviation and the mean's interval, by Student's t, of shares in `values`, two or more.

    Runs that each draw a split of their own are not independent, since their images overlap: then
    `overlap` is test images / training images, and the variance of the mean is s² (1/n + overlap) in place
    of s²/n (Nadeau, Bengio 2003). The interval is cut at 0 and 1.
    """
    from scipy.special import stdtrit

    n, mean, deviation = len(values), fmean(values), stdev(values)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * deviation * math.sqrt(1 / n + overlap)
    method = "Student's t, corrected for overlapping splits" if overlap else "Student's t"
    return Spread(tuple(values), Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), level, method), deviation)
