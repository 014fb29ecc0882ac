"""Two classifiers on the same images: McNemar's test, the difference with its interval, many pairs at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from foveal.evaluation.interval import LEVEL, Estimate

NEXT_TO = 1e-12  # how near the estimate the search for an end of its interval begins


@dataclass(frozen=True)
class PairedComparison:
    """What the right and wrong answers of two classifiers to the same images say of their difference."""

    both_right: int
    only_first: int  # right answers of the first where the second is wrong
    only_second: int
    both_wrong: int
    groups: int | None  # independent units of images; None where every image is one of its own
    difference: Estimate  # accuracy of the first minus accuracy of the second
    p_value: float  # two-sided, exact
    mid_p: float  # the same with half the weight on what was observed
    test: str  # which test it is
    p_adjusted: float  # the p-value, by Holm among all pairs that were compared at once

    @property
    def n(self) -> int:
        """Number of images."""
        return self.both_right + self.only_first + self.only_second + self.both_wrong

    @property
    def first_accuracy(self) -> float:
        """Accuracy of the first on these images."""
        return (self.both_right + self.only_first) / self.n

    @property
    def second_accuracy(self) -> float:
        """Accuracy of the second on these images."""
        return (self.both_right + self.only_second) / self.n


def compare_answers(
    first: np.ndarray, second: np.ndarray, units: np.ndarray | None = None, level: float = LEVEL
) -> PairedComparison:
    """Compare two classifiers by where they are right, `first` and `second` (N,) bool, N more than none.

    `units` (N,) names the group to which each image belongs, where images come in groups: test and interval
    then take groups, not images, as independent. The p-value is not yet adjusted for other pairs (`adjusted`).
    """
    first, second = first.astype(bool), second.astype(bool)
    gains = first.astype(np.int64) - second.astype(np.int64)  # (N,): 1 only the first is right, -1 only the second
    only_first, only_second, n = int((gains > 0).sum()), int((gains < 0).sum()), len(gains)
    if units is None or len(np.unique(units)) == n:
        groups, per_group, test = None, gains, "McNemar's test, exact"
        difference = tango(only_first, only_second, n, level)
    else:
        _, numbers = np.unique(units, return_inverse=True)
        sizes = np.bincount(numbers)
        per_group = np.rint(np.bincount(numbers, weights=gains)).astype(np.int64)
        groups, test = len(sizes), "McNemar's test over groups, exact (signs of whole groups exchanged)"
        difference = tango_for_groups(only_first, only_second, per_group, sizes, level)
    p_value, mid_p = sign_flips(per_group)
    return PairedComparison(
        both_right=int((first & second).sum()),
        only_first=only_first,
        only_second=only_second,
        both_wrong=int((~first & ~second).sum()),
        groups=groups,
        difference=difference,
        p_value=p_value,
        mid_p=mid_p,
        test=test,
        p_adjusted=p_value,
    )


def sign_flips(differences: np.ndarray) -> tuple[float, float]:
    """Return the two-sided exact p-value of Σ `differences` (K,) integers, and its mid-p.

    Were both classifiers equally good, each group's difference could as well have had the other sign; the
    p-value is the share of all 2^K choices of signs whose sum is at least as far from 0 as what was observed.
    With one image a group this is the exact conditional test of McNemar (1947): the binomial test of the
    discordant images at one half. The mid-p counts what was observed by half (Fagerland, Lydersen, Laake 2013:
    less conservative, and hardly ever above its level).
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    observed = abs(int(differences.sum()))
    reach = int((sizes * counts).sum())  # the largest sum there can be
    if not reach:
        return 1.0, 1.0
    chances = np.ones(1)  # of the sums -reach, -reach + 1, … reach, built up size by size
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        chances = np.convolve(chances, _signed_sums(size, count))
    sums = np.abs(np.arange(-reach, reach + 1))
    beyond, equal = float(chances[sums > observed].sum()), float(chances[sums == observed].sum())
    return min(1.0, beyond + equal), min(1.0, beyond + equal / 2)


def _signed_sums(size: int, count: int) -> np.ndarray:
    """Return the chances of the sums of `count` numbers ±`size`, from -size·count to size·count by ones."""
    from scipy.stats import binom

    chances = np.zeros(2 * size * count + 1)
    chances[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
    return chances


def tango(only_first: float, only_second: float, n: float, level: float = LEVEL) -> Estimate:
    """Return the difference of two paired proportions with Tango's score interval (T. Tango 1998).

    It holds the differences that a score test at `level` does not reject; at 0 that test is McNemar's without
    continuity correction. It is defined for any counts, also without discordant pairs, and need not be whole.
    """
    from scipy.optimize import brentq

    z = NormalDist().inv_cdf((1 + level) / 2)
    value = (only_first - only_second) / n

    def rejects(difference: float) -> float:
        """Above 0 where the score test rejects `difference`."""
        away = only_first - only_second - n * difference
        return away * away - z * z * _tango_variance(only_first, only_second, n, difference)

    low, high = -1.0, 1.0
    if value - NEXT_TO > -1:
        low = float(brentq(rejects, -1, value - NEXT_TO, xtol=1e-12))
    if value + NEXT_TO < 1:
        high = float(brentq(rejects, value + NEXT_TO, 1, xtol=1e-12))
    return Estimate(value, min(low, value), max(high, value), level, "Tango")


def _tango_variance(only_first: float, only_second: float, n: float, difference: float) -> float:
    """Return the variance of the score at `difference`, with the most likely share of discordant pairs given it."""
    b = -only_first - only_second + (2 * n - only_first + only_second) * difference
    c = -only_second * difference * (1 - difference)
    share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    return n * (2 * share + difference * (1 - difference))


def tango_for_groups(
    only_first: int, only_second: int, differences: np.ndarray, sizes: np.ndarray, level: float = LEVEL
) -> Estimate:
    """Return the difference with an interval for images that come in groups.

    `differences` (K,) holds the first's right answers minus the second's in each group, `sizes` (K,) its images.
    As `interval.by_group` does for one accuracy: Tango's interval for the number of independent images that
    would have the variance found between groups, lowered by Student's quantile for few groups. Where the groups
    show no variance, a group counts as one image.
    """
    from scipy.special import stdtrit

    count, n = len(sizes), int(sizes.sum())
    value = (only_first - only_second) / n
    residuals = differences - value * sizes
    if count < 2 or np.allclose(residuals, 0):
        effective, method = float(count), "Tango over groups"
    else:
        variance = count / (count - 1) * float((residuals**2).sum()) / n**2  # of a ratio of sums over groups
        few = NormalDist().inv_cdf((1 + level) / 2) / float(stdtrit(count - 1, (1 + level) / 2))
        independent = ((only_first + only_second) / n - value * value) / n
        effective, method = n * min(1.0, independent / variance) * few**2, "Tango for groups"
    scale = effective / n
    estimate = tango(only_first * scale, only_second * scale, effective, level)
    return Estimate(value, min(value, estimate.low), max(value, estimate.high), level, method)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return `p_values` adjusted so that the chance of any false alarm among them stays below the level (Holm 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def adjusted(comparisons: Sequence[PairedComparison]) -> list[PairedComparison]:
    """Return `comparisons` with `p_adjusted` for being looked at together."""
    together = holm([one.p_value for one in comparisons])
    return [replace(one, p_adjusted=p) for one, p in zip(comparisons, together, strict=True)]
