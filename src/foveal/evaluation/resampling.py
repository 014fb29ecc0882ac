"""The bootstrap by unit: how far a figure would move had other patients, or images, been in the sample."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from foveal.errors import UsageError
from foveal.evaluation.interval import LEVEL
from foveal.evaluation.tally import Sums, Tally

RESAMPLES = 2_000
FEWEST_RESAMPLES = 100  # below, 2.5 % is no number of resamples to speak of
MOST_UNDEFINED = 0.05  # share of resamples in which a figure may be undefined and still have an interval
DRAWN_TOGETHER = 8  # resamples of one random stream, so that what is drawn depends on nothing but seed and units
FEWEST_ABREAST, MOST_ABREAST = 8, 64  # resamples summed at once, both multiples of DRAWN_TOGETHER
WEIGHTS_AT_ONCE = 2**21  # units times resamples in one thread: 16 MiB
THREADS = 2


def resample(
    labels: np.ndarray,
    probabilities: np.ndarray,
    units: np.ndarray,
    count: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Sums, Sums]:
    """Return the sums of the images as they are (one column), and of `resamples` bootstrap samples of their units.

    `labels` (N,), `probabilities` (N, C), `units` (N,) numbers from 0 to `count` - 1. A sample draws `count` units
    with replacement, and a unit brings all its images each time (Davison, Hinkley 1997, §3.8). The same seed and
    units draw the same samples, whatever the number of threads. UsageError for fewer than 100 resamples.
    """
    if resamples < FEWEST_RESAMPLES:
        raise UsageError(f"{resamples} resamples are too few for an interval; take {FEWEST_RESAMPLES:,} or more.")
    abreast = _abreast(count)
    tally = Tally(labels, probabilities, units, count, width=abreast)
    streams = np.random.default_rng(seed).spawn(-(-resamples // DRAWN_TOGETHER))
    step = abreast // DRAWN_TOGETHER
    blocks = [streams[start : start + step] for start in range(0, len(streams), step)]

    def of_block(block: list[np.random.Generator]) -> Sums:
        return tally.sums(_weights(block, count))

    with ThreadPoolExecutor(THREADS) as pool:
        drawn = Sums.joined(list(pool.map(of_block, blocks)))
    return tally.sums(np.ones((count, 1))), drawn.first(resamples)


def draws(count: int, *, resamples: int, seed: int) -> np.ndarray:
    """Return how often each of `count` units is in each sample, (count, resamples): the weights that `resample` takes.

    For tests and for looking; `resample` never holds all of them.
    """
    streams = np.random.default_rng(seed).spawn(-(-resamples // DRAWN_TOGETHER))
    return _weights(streams, count)[:, :resamples]


def _abreast(count: int) -> int:
    """Return how many resamples of `count` units are summed at once: a power of 2."""
    fitting = 1 << (max(1, WEIGHTS_AT_ONCE // count).bit_length() - 1)
    return min(MOST_ABREAST, max(FEWEST_ABREAST, fitting))


def _weights(streams: list[np.random.Generator], count: int) -> np.ndarray:
    """Return the weights (count, resamples) float64 of the samples of `streams`, DRAWN_TOGETHER from each."""
    weights = np.empty((count, len(streams) * DRAWN_TOGETHER))
    for start, drawn in enumerate(_drawn(streams, count)):
        weights[:, start * DRAWN_TOGETHER : (start + 1) * DRAWN_TOGETHER] = drawn.T
    return weights


def _drawn(streams: list[np.random.Generator], count: int) -> Iterator[np.ndarray]:
    """Yield the counts (DRAWN_TOGETHER, count) of each stream: multinomial, every unit as likely as any other."""
    for stream in streams:
        yield np.stack([np.bincount(stream.integers(0, count, count), minlength=count) for _ in range(DRAWN_TOGETHER)])


def percentiles(values: np.ndarray, level: float = LEVEL, *, count: int | None = None) -> tuple[float, float] | None:
    """Return the ends of the percentile interval of a figure in resamples, `values` (B,), NaN where undefined.

    Undefined ones are left out. None where they are more than 5 %: too few units for an interval. `count` is that of
    `tails`.
    """
    defined = values[~np.isnan(values)]
    if len(defined) < (1 - MOST_UNDEFINED) * len(values):
        return None
    low, high = np.quantile(defined, tails(level, count))
    return float(low), float(high)


def tails(level: float = LEVEL, count: int | None = None) -> tuple[float, float]:
    """Return the shares of resamples that lie below the ends of the percentile interval.

    With `count`, the number of units that the figure rests on, 2 or more, they lie further out, by Student's quantile
    and √(count / (count - 1)), since a bootstrap of few is too narrow (Hesterberg 2015, the expanded percentile
    interval).
    """
    from scipy.special import ndtr, stdtrit

    tail = (1 - level) / 2
    if count is not None:
        tail = float(ndtr(stdtrit(count - 1, tail) * np.sqrt(count / (count - 1))))
    return tail, 1 - tail
