"""The error over the number of training images: an inverse power law, and what twice as many images would bring.

Cortes, Jackel, Solla, Vapnik, Denker, "Learning curves: asymptotic values and rate of convergence", 1993 (the law
error = a + b · n^-c); Hestness et al., "Deep learning scaling is predictable, empirically", 2017 (that it holds for
deep networks between the few images from which nothing is learnt and the error that cannot be undercut).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from foveal.errors import DataError
from foveal.evaluation.interval import LEVEL, Estimate, wilson
from foveal.evaluation.resampling import draws

RESAMPLES = 1_000
SLOWEST, FASTEST, RATES = 0.05, 2.0, 80  # exponents c that are tried, evenly on a logarithmic scale
FEWEST_SIZES = 4  # for three parameters and a look at whether they fit
SMALLEST_SPAN = 4.0  # the largest size as a multiple of the smallest
MISFIT = 0.01  # p-value of the fit below which the law is not believed
LEAST_GAIN = 0.0005  # of the lower end, to call a gain more than nothing
BAND_POINTS = 41
AHEAD = 2.0  # how far beyond the largest size the law is drawn and asked

Verdict = Literal["gain", "at most", "flat", "too few sizes", "misfit"]


@dataclass(frozen=True)
class SizePoint:
    """What was measured with one number of training images."""

    images: float  # the mean over the repeats, which differ where units are large
    errors: tuple[float, ...]  # of each repeat
    error: Estimate  # their mean


@dataclass(frozen=True)
class PowerLaw:
    """error = a + b · n^-c, with a, b ≥ 0 and c from 0.05 to 2."""

    a: float
    b: float
    c: float
    p_fit: float | None  # how often noise alone would make the points stray so far; None with three sizes or fewer

    def error(self, images: float) -> float:
        """Return the error with so many training images."""
        return float(self.a + self.b * images**-self.c)


@dataclass(frozen=True)
class DataCurve:
    """Errors by the number of training images, the law through them, and what may be said of twice as many."""

    points: tuple[SizePoint, ...]  # by images, ascending
    repeats: int
    units: int  # independent ones of the images that were measured on
    law: PowerLaw | None  # None with fewer than three sizes
    band: tuple[tuple[float, float, float, float], ...]  # (images, error, low, high) up to twice the largest size
    gain: Estimate | None  # fall of the error when the images are doubled
    verdict: Verdict

    @property
    def largest(self) -> int:
        """The largest number of training images."""
        return round(self.points[-1].images)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        points = [{**asdict(one), "errors": list(one.errors)} for one in self.points]
        return {**asdict(self), "points": points, "band": [list(one) for one in self.band]}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> DataCurve:
        """Return the curve of such an object; KeyError or TypeError where it is none."""
        known = {
            "points": tuple(
                SizePoint(one["images"], tuple(one["errors"]), Estimate(**one["error"])) for one in value["points"]
            ),
            "law": PowerLaw(**value["law"]) if value["law"] else None,
            "band": tuple((one[0], one[1], one[2], one[3]) for one in value["band"]),
            "gain": Estimate(**value["gain"]) if value["gain"] else None,
        }
        return DataCurve(**{**value, **known})


def fit_data_curve(
    images: Sequence[float],
    wrong: Sequence[np.ndarray],
    units: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> DataCurve:
    """Return the curve through the errors that trainings with `images` (S,) images, ascending, made.

    `wrong` holds for each size (R, N) bool: on which of the same N images each of R repeats was wrong. `units` (N,)
    numbers, from 0 on, of what is independent among those images. The law is fitted by least squares, each size
    weighted by the noise of its mean error; intervals are percentiles over resamples of the units and of the repeats,
    whose spread is raised by √(R / (R - 1)) since R is small. DataError for sizes or shapes that do not fit together.
    """
    sizes, stacked = _checked(images, wrong, units)  # (S,), (S, R, N)
    means, errors = _resampled(stacked, units, resamples, seed)  # (S, B), (S, R)
    observed = errors.mean(axis=1)
    count = len(np.unique(units))
    points = tuple(
        SizePoint(size, tuple(errors[at].tolist()), _point(observed[at], means[at], count, level))
        for at, size in enumerate(sizes.tolist())
    )
    repeats = stacked.shape[1]
    if len(sizes) < 3:
        return DataCurve(points, repeats, count, None, (), None, "too few sizes")
    variance = _variance(errors, count)
    (a, b, c), strays = power_laws(sizes, observed[:, None], 1 / variance)
    law = PowerLaw(float(a[0]), float(b[0]), float(c[0]), _p_fit(float(strays[0]), len(sizes) - 3))
    (many_a, many_b, many_c), _ = power_laws(sizes, means, 1 / variance)
    at = np.geomspace(sizes[0], AHEAD * sizes[-1], BAND_POINTS)
    drawn = many_a + many_b * at[:, None] ** -many_c  # (points, B)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=1)
    middle = [law.error(one) for one in at.tolist()]
    band = tuple(
        zip(at.tolist(), middle, np.minimum(low, middle).tolist(), np.maximum(high, middle).tolist(), strict=True)
    )
    fall = many_b * sizes[-1] ** -many_c * (1 - AHEAD**-many_c)  # (B,)
    ends = np.quantile(fall, [(1 - level) / 2, (1 + level) / 2]).tolist()
    value = law.error(float(sizes[-1])) - law.error(AHEAD * float(sizes[-1]))
    gain = Estimate(value, min(value, ends[0]), max(value, ends[1]), level, "percentiles over units and repeats")
    return DataCurve(points, repeats, count, law, band, gain, _verdict(sizes, means, law, gain, level))


def _checked(images: Sequence[float], wrong: Sequence[np.ndarray], units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sizes = np.array(images, float)
    if len(sizes) < 2 or not (np.diff(sizes) > 0).all() or not sizes[0] >= 1:
        raise DataError("A learning curve needs two numbers of training images or more, ascending, each at least 1.")
    if len(wrong) != len(sizes) or len({one.shape for one in wrong}) != 1 or wrong[0].ndim != 2 or not wrong[0].size:
        raise DataError("A learning curve needs the same repeats, on the same images, for each number of images.")
    if wrong[0].shape[1] != len(units):
        raise DataError("A learning curve needs the unit of every image that was measured on.")
    return sizes, np.stack(wrong).astype(float)


def _resampled(stacked: np.ndarray, units: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean error of each size in each resample (S, B), and the errors as they are (S, R).

    Repeat r is one chain of nested subsets, so that a resample draws the same repeats for all sizes.
    """
    S, R, N = stacked.shape
    _, numbers = np.unique(units, return_inverse=True)
    count = int(numbers.max()) + 1
    by_unit = np.zeros((count, S * R))
    np.add.at(by_unit, numbers, stacked.reshape(S * R, N).T)
    held = np.bincount(numbers, minlength=count).astype(float)
    weights = draws(count, resamples=resamples, seed=seed).astype(float)  # (units, B)
    errors = ((by_unit.T @ weights) / (held @ weights)).reshape(S, R, resamples)
    picks = np.random.default_rng([seed, 1]).integers(0, R, (resamples, R))
    share = np.stack([(picks == repeat).mean(axis=1) for repeat in range(R)])  # (R, B)
    whole = errors.mean(axis=1)  # (S, B)
    if R > 1:
        whole = whole + math.sqrt(R / (R - 1)) * ((errors * share).sum(axis=1) - whole)
    return np.maximum(whole, 0.0), stacked.mean(axis=2)


def _point(value: float, drawn: np.ndarray, units: int, level: float) -> Estimate:
    """Return the mean error of one size; where no resample differs from another, by Wilson's interval over units."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]).tolist()
    if high - low > 1e-12:
        return Estimate(float(value), min(value, low), max(value, high), level, "percentiles over units and repeats")
    stand_in = wilson(float(value) * units, units, level)
    return Estimate(float(value), stand_in.low, stand_in.high, level, "Wilson over units")


def _variance(errors: np.ndarray, units: int) -> np.ndarray:
    """Return the variance (S,) of each size's mean error: of the images, and of the repeats, pooled over the sizes.

    Two right and two wrong answers are added (Agresti, Coull 1998), so that a size without an error is not taken for
    certain.
    """
    share = (errors.mean(axis=1) * units + 2) / (units + 4)
    variance: np.ndarray = share * (1 - share) / units
    if errors.shape[1] > 1:
        variance = variance + errors.var(axis=1, ddof=1).mean() / errors.shape[1]
    return variance


def power_laws(
    sizes: np.ndarray, errors: np.ndarray, weights: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Return a, b, c (B,) of the laws a + b · n^-c nearest to `errors` (S, B), and the weighted squares left (B,).

    For each exponent on a fine grid a and b are the solution of a linear problem with a, b ≥ 0; the best exponent is
    taken. `sizes` (S,), `weights` (S,) of the squares.
    """
    best = np.full((4, errors.shape[1]), np.inf)  # squares, a, b, c
    w = weights / weights.sum()
    y = w @ errors  # (B,)
    for c in np.geomspace(SLOWEST, FASTEST, RATES):
        x = (sizes / sizes[0]) ** -c  # (S,): from 1 down, so that b is a share too
        mean = float(w @ x)
        spread = float(w @ (x - mean) ** 2)
        b = np.maximum((w * (x - mean)) @ errors / spread, 0.0)
        a = y - b * mean
        through_0 = np.maximum((w * x) @ errors / float(w @ x**2), 0.0)  # where a would be below 0
        b, a = np.where(a < 0, through_0, b), np.maximum(a, 0.0)
        left = weights @ (errors - a - np.outer(x, b)) ** 2
        better = left < best[0]
        best[:, better] = np.stack([left, a, b * float(sizes[0]) ** c, np.full_like(left, c)])[:, better]
    return (best[1], best[2], best[3]), best[0]


def _p_fit(squares: float, freedom: int) -> float | None:
    from scipy.special import chdtrc

    return float(chdtrc(freedom, squares)) if freedom > 0 else None


def _verdict(sizes: np.ndarray, means: np.ndarray, law: PowerLaw, gain: Estimate, level: float) -> Verdict:
    """Return what may be said of twice as many images."""
    if len(sizes) < FEWEST_SIZES or sizes[-1] / sizes[0] < SMALLEST_SPAN:
        return "too few sizes"
    if np.quantile(means[0] - means[-1], (1 - level) / 2) <= 0:
        return "flat"
    if law.p_fit is not None and law.p_fit < MISFIT:
        return "misfit"
    return "gain" if gain.low >= LEAST_GAIN else "at most"
