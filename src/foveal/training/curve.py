"""One curve over the epochs: which way it goes at its end, how noisy it is, where it turned upwards, where it leapt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

LEVEL = 0.95
FEWEST_EPOCHS = 5  # of a trend: fewer in one order are not rare enough by chance
LAST = 1 / 3  # of the epochs: what a trend is measured on
FLAT_LOSS = 0.01  # a change of the loss over these epochs, as a share of it, that is not worth a word
FLAT_ACCURACY = 0.0025  # … and of the accuracy
TURN_NOISES, TURN_SHARE = 5.0, 0.02  # a rise counts above so many deviations of a smoothed value, and this share of it
JUMP_NOISES, JUMP_SHARE = 6.0, 0.25

Direction = Literal["falling", "flat", "rising", "unknown"]


@dataclass(frozen=True)
class Trend:
    """Which way a curve goes over its last epochs. None where these are too few."""

    direction: Direction
    slope: float | None  # a change per epoch
    low: float | None
    high: float | None
    epochs: int  # that it was measured on


@dataclass(frozen=True)
class Turn:
    """Where the validation loss turned upwards."""

    epoch: int  # of the lowest smoothed loss
    rise: float  # of the smoothed loss since
    noise: float  # from one epoch to the next, a standard deviation
    accuracy_agrees: bool  # whether the validation accuracy has fallen since, too, by more than its noise


def trend(values: Sequence[float], *, smallest: float) -> Trend:
    """Return the trend of the last third of `values`, five epochs or more, by Theil and Sen with its 95 % interval.

    The slope is the median of the slopes of all pairs; the interval is that of Sen (1968). It takes epochs as
    independent, which the epochs of a training are not quite, so it is somewhat too narrow. A change of less than
    `smallest` over all these epochs is called flat.
    """
    count = max(FEWEST_EPOCHS, math.ceil(len(values) * LAST))
    last = np.array(values[-count:])
    if len(last) < FEWEST_EPOCHS or not np.isfinite(last).all():
        return Trend("unknown", None, None, None, len(last))
    slope, low, high = theil_sen(last, LEVEL)
    direction: Direction = "rising" if slope > 0 else "falling"
    if low <= 0 <= high or abs(slope) * (count - 1) < smallest:
        direction = "flat"
    return Trend(direction, slope, low, high, count)


def theil_sen(values: np.ndarray, level: float) -> tuple[float, float, float]:
    """Return the slope of two or more `values` (E,), one a step, and the ends of its interval at `level`.

    The slopes of all pairs in order, the interval reaches from one of them to another: as far from the middle as
    Kendall's statistic strays by chance, its variance less for equal values (Sen 1968, equation 2.6). Written out
    since scipy.stats, which has it, is loaded in a third of a second.
    """
    count = len(values)
    early, late = np.triu_indices(count, 1)
    slopes = np.sort((values[late] - values[early]) / (late - early))
    ties = np.unique(values, return_counts=True)[1]
    variance = (count * (count - 1) * (2 * count + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18
    reach = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance)
    low = max(round((len(slopes) - reach) / 2) - 1, 0)
    high = min(round((len(slopes) + reach) / 2), len(slopes) - 1)
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def noise(values: np.ndarray) -> float:
    """Return the standard deviation of single `values` (E,) about a smooth course, from their second differences.

    By the median, so that a few jumps do not count: 1.4826 · median |second difference| / √6 (as Gasser, Sroka,
    Jennen-Steinmetz 1986, who take the mean square). 0 for fewer than three values.
    """
    if len(values) < 3:
        return 0.0
    return float(1.4826 * np.median(np.abs(np.diff(values, 2))) / math.sqrt(6))


def smoothed(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the moving mean (E,) of `values` and its width, a tenth of the epochs and three or more; ends use less."""
    width = max(3, len(values) // 10 | 1)
    half = width // 2
    means = [values[max(0, at - half) : at + half + 1].mean() for at in range(len(values))]
    return np.array(means), width


def find_turn(losses: Sequence[float], accuracies: Sequence[float], first_epoch: int) -> Turn | None:
    """Return where the validation loss turned upwards, or None where it did not, or not by more than its noise."""
    values = np.array(losses)
    if len(values) < FEWEST_EPOCHS or not np.isfinite(values).all():
        return None
    means, width = smoothed(values)
    at = int(means.argmin())
    rise, deviation = float(means[-1] - means[at]), noise(values)
    ends = math.sqrt(1 / (width // 2 + 1) + 1 / width) * deviation  # of the difference of the two smoothed values
    if len(values) - at <= width or rise <= max(TURN_NOISES * ends, TURN_SHARE * abs(float(means[at]))):
        return None
    shares = np.array(accuracies)
    course, _ = smoothed(shares)
    fallen = float(course[at:].max() - course[-1])
    scale = math.sqrt(1 / (width // 2 + 1) + 1 / width) * noise(shares)
    return Turn(first_epoch + at, rise, deviation, fallen > max(TURN_NOISES * scale, FLAT_ACCURACY))


def jumps(values: Sequence[float]) -> list[int]:
    """Return the positions where a curve lies above the median of the three before it by a quarter, and its noise."""
    array = np.array(values)
    if len(array) < FEWEST_EPOCHS or not np.isfinite(array).all():
        return []
    deviation = noise(array)
    before = [float(np.median(array[max(0, at - 3) : at])) for at in range(1, len(array))]
    return [
        at
        for at, usual in enumerate(before, 1)
        if array[at] - usual > max(JUMP_SHARE * abs(usual), JUMP_NOISES * deviation)
    ]
