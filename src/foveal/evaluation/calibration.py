"""How well probabilities keep their word: reliability bins, calibration errors, Brier score, and what chance shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foveal.errors import DataError, UsageError
from foveal.evaluation.interval import LEVEL, Estimate, by_group, wilson
from foveal.evaluation.metrics import check_answers

BINS = 15  # as Guo et al. 2017
CLASS_BINS = 10  # of a class's own reliability diagram
DRAWS = 1_000  # of the bootstrap and of the simulation
AT_ONCE = 4_000_000  # random numbers that are held at once


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose probability lies from `low` to `high`: what was said of them, and how often it was so."""

    low: float  # excluded, but for the lowest bin, where bins are equally wide
    high: float
    n: int
    mean_probability: float
    share: Estimate  # of right answers; for one class against the rest, of images of that class

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return asdict(self)


@dataclass(frozen=True)
class BrierScore:
    """The Brier score (1950) over all classes, from 0 to 2, and its parts (Murphy 1973) over bins of each class.

    score = reliability − resolution + uncertainty + within_bins. Murphy's three parts are those of forecasts that take
    few values; here each class's probabilities are put into bins, and `within_bins` is what that leaves over: variance
    of the probabilities within bins, less twice their covariance with the outcome (Stephenson, Coelho, Jolliffe 2008).
    """

    score: float
    reliability: float  # 0 is best
    resolution: float  # the higher, the better
    uncertainty: float  # of the labels alone
    within_bins: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return asdict(self)


@dataclass(frozen=True)
class ByChance:
    """The calibration error of a perfectly calibrated classifier with the same confidences and as many images.

    The labels are drawn from the confidences, each image independent of the others (the consistency resampling of
    Bröcker, Smith 2007). Where images come in groups, chance may show more than this.
    """

    mean: float
    high: float  # the 95th percentile
    draws: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class CalibrationMeasures:
    """What one set of labelled images says of a classifier's probabilities."""

    n: int
    groups: int | None  # independent units of images; None where every image is one of its own
    mean_confidence: float  # of the probability of the answered class
    accuracy: Estimate
    bins: int
    equal_width: tuple[ReliabilityBin, ...]  # of the confidence; bins without an image are left out
    equal_mass: tuple[ReliabilityBin, ...]  # of about as many images each; equal confidences stay together
    ece: Estimate  # expected calibration error, over bins of equal width
    ece_by_chance: ByChance
    ece_equal_mass: Estimate
    ece_equal_mass_by_chance: ByChance
    mce: float  # maximum calibration error, over bins of equal width
    classwise_ece: dict[str, float]  # one class against the rest, over `bins` bins of equal width
    mean_classwise_ece: float
    brier: BrierScore
    per_class: dict[str, tuple[ReliabilityBin, ...]]  # one class against the rest, 10 bins of equal width

    @property
    def sentence(self) -> str:
        """The error beside what chance alone would show."""
        chance = self.ece_by_chance
        independent = "" if self.groups is None else ", were they independent"
        beyond = "more than" if self.ece.value > chance.high else "no more than"
        return (
            f"The expected calibration error is {self.ece.value:.3f} ({self.ece.low:.3f} to {self.ece.high:.3f}), "
            f"{beyond} chance explains: a perfectly calibrated classifier with these confidences would show "
            f"{chance.mean:.3f} on average, and up to {chance.high:.3f} in 95 of 100 cases, on {self.n:,} "
            f"images{independent}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return {
            "n": self.n,
            "groups": self.groups,
            "mean_confidence": self.mean_confidence,
            "accuracy": self.accuracy.to_dict(),
            "bins": self.bins,
            "equal_width": [one.to_dict() for one in self.equal_width],
            "equal_mass": [one.to_dict() for one in self.equal_mass],
            "ece": self.ece.to_dict(),
            "ece_by_chance": self.ece_by_chance.to_dict(),
            "ece_equal_mass": self.ece_equal_mass.to_dict(),
            "ece_equal_mass_by_chance": self.ece_equal_mass_by_chance.to_dict(),
            "mce": self.mce,
            "classwise_ece": dict(self.classwise_ece),
            "mean_classwise_ece": self.mean_classwise_ece,
            "brier": self.brier.to_dict(),
            "per_class": {name: [one.to_dict() for one in rows] for name, rows in self.per_class.items()},
            "sentence": self.sentence,
        }


def calibration_measures(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    units: np.ndarray | None = None,
    *,
    bins: int = BINS,
    seed: int = 0,
) -> CalibrationMeasures:
    """Return how well `probabilities` (N, C) are calibrated against `labels` (N,).

    The confidence is the probability of the most probable class. `units` (N,) name the independent unit of each
    image; the intervals then take units, not images, as independent. The errors are those of Naeini, Cooper,
    Hauskrecht (2015) with the bins (low, high] of Guo et al. (2017), and of Kull et al. (2019) class by class.
    Raises DataError when there is no image, or labels or probabilities are none.
    """
    if bins < 1:
        raise UsageError(f"Reliability needs at least one bin, not {bins}.")
    refuse_unlike(labels, probabilities, units, len(classes))
    p = np.asarray(probabilities, np.float64)
    units = units if units is not None and len(np.unique(units)) < len(units) else None
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == labels  # (N,), (N,)
    wide, even = equal_width(confidence, bins), equal_mass(confidence, bins)
    of_class = {name: (p[:, index], labels == index) for index, name in enumerate(classes)}
    classwise = {name: binned_error(said, so, equal_width(said, bins)) for name, (said, so) in of_class.items()}
    chance, chance_even = _by_chance(confidence, wide, seed), _by_chance(confidence, even, seed)
    return CalibrationMeasures(
        n=len(labels),
        groups=len(np.unique(units)) if units is not None else None,
        mean_confidence=float(confidence.mean()),
        accuracy=_share(correct, units),
        bins=bins,
        equal_width=_reliability(confidence, correct, units, wide, _edges(bins)),
        equal_mass=_reliability(confidence, correct, units, even, None),
        ece=_bootstrapped(confidence, correct, units, wide, seed, chance),
        ece_by_chance=chance,
        ece_equal_mass=_bootstrapped(confidence, correct, units, even, seed, chance_even),
        ece_equal_mass_by_chance=chance_even,
        mce=float(np.abs(_gaps(confidence, correct, wide) / np.maximum(np.bincount(wide), 1)).max()),
        classwise_ece=classwise,
        mean_classwise_ece=float(np.mean(list(classwise.values()))),
        brier=brier_score(labels, p, bins),
        per_class={
            name: _reliability(said, so, units, equal_width(said, CLASS_BINS), _edges(CLASS_BINS))
            for name, (said, so) in of_class.items()
        },
    )


def refuse_unlike(labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray | None, classes: int) -> None:
    """Raise DataError unless `labels` (N,), `probabilities` (N, `classes`) and `units` (N,) fit one another."""
    check_answers(labels, probabilities, classes)
    if units is not None and units.shape != labels.shape:
        raise DataError(f"{len(labels):,} labels do not fit {len(units):,} names of groups.")


def equal_width(values: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin (N,) of `values` (N,) from 0 to 1, of `bins` intervals (low, high]; 0 is in the first."""
    return np.searchsorted(_edges(bins)[1:-1], values, side="left")


def equal_mass(values: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin (N,) of `values` (N,) by rank, in `bins` bins of about as many; equal values share one."""
    ordered = np.sort(values)
    twice = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right") - 1
    places: np.ndarray = np.unique(twice * bins // (2 * len(values)), return_inverse=True)[1]
    return places


def binned_error(said: np.ndarray, so: np.ndarray, places: np.ndarray) -> float:
    """Return Σ (images of a bin / N) · |mean of `said` − share of `so`| over the bins `places` (N,)."""
    return float(np.abs(_gaps(said, so, places)).sum() / len(said))


def brier_score(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> BrierScore:
    """Return the Brier score of `probabilities` (N, C) and its parts, from `bins` bins of equal width a class."""
    n, classes = probabilities.shape
    truth = np.eye(classes)[labels]  # (N, C)
    reliability = resolution = within = 0.0
    for p, y in zip(probabilities.T, truth.T, strict=True):  # (N,)
        places = equal_width(p, bins)
        sizes = np.bincount(places)
        said, so = (np.bincount(places, weights=one) / np.maximum(sizes, 1) for one in (p, y))  # means of the bins
        reliability += float((sizes * (said - so) ** 2).sum() / n)
        resolution += float((sizes * (so - y.mean()) ** 2).sum() / n)
        apart = p - said[places]
        within += float((apart**2 - 2 * apart * (y - so[places])).sum() / n)
    shares = truth.mean(axis=0)
    return BrierScore(
        score=float(((probabilities - truth) ** 2).sum() / n),
        reliability=reliability,
        resolution=resolution,
        uncertainty=float((shares * (1 - shares)).sum()),
        within_bins=within,
    )


def _edges(bins: int) -> np.ndarray:
    """Return the ends of `bins` equally wide bins: each k / `bins` as nearly as it can be, so that 0.6 is 3 / 5."""
    return np.arange(bins + 1) / bins


def _gaps(said: np.ndarray, so: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return Σ (`said` − `so`) of each bin."""
    return np.bincount(places, weights=said - so)


def _share(so: np.ndarray, units: np.ndarray | None) -> Estimate:
    """Return the share of `so` (N,) bool with its interval."""
    return wilson(int(so.sum()), len(so)) if units is None else by_group(so, units)


def _reliability(
    said: np.ndarray, so: np.ndarray, units: np.ndarray | None, places: np.ndarray, edges: np.ndarray | None
) -> tuple[ReliabilityBin, ...]:
    """Return the bins that hold an image; without `edges` a bin reaches from its lowest to its highest value."""
    rows = []
    for place in np.unique(places).tolist():
        inside = np.flatnonzero(places == place)
        values = said[inside]
        low, high = (edges[place], edges[place + 1]) if edges is not None else (values.min(), values.max())
        share = _share(so[inside], units[inside] if units is not None else None)
        rows.append(ReliabilityBin(float(low), float(high), len(inside), float(values.mean()), share))
    return tuple(rows)


def _by_chance(confidence: np.ndarray, places: np.ndarray, seed: int) -> ByChance:
    """Return the error over the bins `places` (N,) when labels are drawn from `confidence` (N,)."""
    order = np.argsort(confidence, kind="stable")  # so that bins follow one another
    said, starts = confidence[order], np.unique(places[order], return_index=True)[1]
    rng, n, errors = np.random.default_rng(seed), len(said), []
    for draws in _portions(n):
        apart = said - (rng.random((draws, n)) < said)  # (draws, N)
        errors.append(np.abs(np.add.reduceat(apart, starts, axis=1)).sum(axis=1) / n)
    drawn = np.concatenate(errors)  # (1000,)
    return ByChance(float(drawn.mean()), float(np.quantile(drawn, 0.95)), DRAWS)


def _bootstrapped(
    said: np.ndarray, so: np.ndarray, units: np.ndarray | None, places: np.ndarray, seed: int, chance: ByChance
) -> Estimate:
    """Return the error over the bins `places` (N,), which stay where they are, with an interval by bootstrap of units.

    The error of a sample is too high on average, since gaps by chance count as gaps, and that of a sample drawn from
    it higher still; percentiles as they are mostly miss the true error of a calibrated classifier. So the lower end is
    that of the basic bootstrap (Davison, Hinkley 1997), which takes the bias off, and at most the error less what
    chance explains, for the bootstrap sees too little bias where the true error is small. The upper end is the error
    plus the lower half of the bootstrap's spread. Where all answers are right (or wrong), or there is one group only,
    both ends reach at least as far as those of the accuracy. A test simulates the coverage: 92 % or more.
    """
    value = binned_error(said, so, places)
    numbers = np.arange(len(said)) if units is None else np.unique(units, return_inverse=True)[1]
    count, bins = int(numbers.max()) + 1, int(places.max()) + 1
    gaps = np.bincount(numbers * bins + places, weights=said - so, minlength=count * bins).reshape(count, bins)
    sizes = np.bincount(numbers).astype(float)  # (units,)
    rng, errors = np.random.default_rng(seed), []
    for draws in _portions(count):
        picked = rng.integers(count, size=(draws, count)) + count * np.arange(draws)[:, None]
        times = np.bincount(picked.ravel(), minlength=draws * count).reshape(draws, count).astype(float)
        errors.append(np.abs(times @ gaps).sum(axis=1) / (times @ sizes))
    tail = (1 - LEVEL) / 2
    low, middle, high = np.quantile(np.concatenate(errors), [tail, 0.5, 1 - tail]).tolist()
    below, above = max(high - value, chance.high), middle - low
    share = _share(so, units)
    if above < 1e-12 or share.value in {
        0,
        1,
    }:  # one group, or none answered wrong: the bootstrap sees no chance at work
        unseen = max(share.high - share.value, share.value - share.low)
        below, above = max(below, unseen), max(above, unseen)
    method = "bootstrap over groups, less bias" if units is not None else "bootstrap, less bias"
    return Estimate(value, max(0.0, value - max(0.0, below)), min(1.0, value + max(0.0, above)), LEVEL, method)


def _portions(width: int) -> list[int]:
    """Return how many of 1,000 draws of `width` numbers are made at once, again and again."""
    most = max(1, AT_ONCE // width)
    return [min(most, DRAWS - start) for start in range(0, DRAWS, most)]
