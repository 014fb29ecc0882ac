"""Decision curves: whether acting on a classifier's answers does more good than acting on all images or on none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.errors import DataError, UsageError, nearest
from foveal.evaluation.interval import LEVEL
from foveal.evaluation.metrics import check_answers, unit_numbers
from foveal.evaluation.resampling import tails

RESAMPLES = 500
ABREAST = 50  # resamples summed at once
THRESHOLDS = np.arange(1, 100) / 100  # 0.01 … 0.99, to the last bit as written


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """Net benefits over threshold probabilities, (99,) each: true positives an image, less what the false ones cost.

    The threshold probability t is the one from which a person would act, so a false positive costs t / (1 − t) of what
    a true positive gains. Acting on none has a net benefit of 0.
    """

    positive: str
    n: int
    units: int  # independent ones
    prevalence: float
    thresholds: np.ndarray
    model: np.ndarray
    model_low: np.ndarray | None  # ends of the pointwise 95 % interval; None with one unit
    model_high: np.ndarray | None
    all: np.ndarray  # acting on every image
    advantage: np.ndarray  # of the model over the better of all and none
    advantage_low: np.ndarray | None
    advantage_high: np.ndarray | None
    method: str

    @property
    def useful(self) -> tuple[tuple[float, float], ...]:
        """The ranges of thresholds, ends included, at which the whole interval of the advantage is above 0."""
        if self.advantage_low is None:
            return ()
        inside = np.concatenate([[False], self.advantage_low > 0, [False]])
        turns = np.flatnonzero(inside[1:] != inside[:-1])
        ends = zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True)
        return tuple((float(self.thresholds[first]), float(self.thresholds[after - 1])) for first, after in ends)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        plain = {name: one.tolist() if isinstance(one, np.ndarray) else one for name, one in vars(self).items()}
        return {**plain, "useful": [list(one) for one in self.useful]}


def decision_curve(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    positive: str,
    units: np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DecisionCurve:
    """Return the decision curve (Vickers, Elkin 2006) of acting where `positive` has at least the threshold.

    `labels` (N,), calibrated `probabilities` (N, C); `units` (N,) are drawn with replacement, each with all its images,
    for the pointwise bands (a bootstrap, its percentiles expanded for few units). The prevalence is that of these
    images. DataError where a side has no image; UsageError for another class or fewer than 100 resamples.
    """
    if positive not in classes:
        raise UsageError(f'"{positive}" is no class to draw a decision curve for.{nearest(positive, classes)}')
    if resamples < 100:
        raise UsageError(f"{resamples} resamples are too few for a band; take 100 or more.")
    check_answers(labels, probabilities, len(classes))
    index = classes.index(positive)
    is_class, score = labels == index, probabilities[:, index].astype(np.float64)
    if is_class.all() or not is_class.any():
        raise DataError(f'A decision curve of "{positive}" needs images of that class and of others.')
    reached = np.searchsorted(THRESHOLDS, score, side="right")  # (N,): how many thresholds are met
    numbers = unit_numbers(labels, units)
    if len(np.unique(numbers)) == len(labels):  # a unit an image: in an order that does not depend on the given one
        numbers = np.argsort(np.lexsort((is_class, reached)))
    count = int(numbers.max()) + 1
    table = _table(reached, is_class, numbers, count)
    model, everyone = _benefits(table @ np.ones((count, 1)))
    low = high = ahead_low = ahead_high = None
    if count > 1:
        drawn, drawn_all = _drawn(table, count, resamples, seed)  # (99, B), (99, B)
        low, high = _band(drawn, count)
        ahead_low, ahead_high = _band(drawn - np.maximum(drawn_all, 0), count)
    return DecisionCurve(
        positive,
        len(labels),
        count,
        float(is_class.mean()),
        THRESHOLDS,
        model[:, 0],
        low,
        high,
        everyone[:, 0],
        (model - np.maximum(everyone, 0))[:, 0],
        ahead_low,
        ahead_high,
        f"pointwise {LEVEL:.0%} bootstrap over {count:,} {'units' if count < len(labels) else 'images'}, "
        f"{resamples:,} resamples, expanded percentiles",
    )


def _table(reached: np.ndarray, is_class: np.ndarray, units: np.ndarray, count: int) -> Any:
    """Return the sparse matrix (200, units) of images by how many thresholds they meet: of the rest, then the class."""
    from scipy.sparse import csr_array

    levels = len(THRESHOLDS) + 1
    rows = reached + levels * is_class
    return csr_array((np.ones(len(rows)), (rows, units)), shape=(2 * levels, count))


def _benefits(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the net benefit (99, B) of the model and of acting on all, from `counts` (200, B) as in `_table`."""
    sides = counts.reshape(2, len(THRESHOLDS) + 1, -1)
    fp, tp = sides[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]  # (99, B): images that meet each threshold
    negatives, positives = sides.sum(axis=1)  # (B,)
    n, odds = negatives + positives, (THRESHOLDS / (1 - THRESHOLDS))[:, None]
    return tp / n - fp / n * odds, positives / n - negatives / n * odds


def _drawn(table: Any, count: int, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the net benefits (99, resamples) of the model and of acting on all, in resamples of `count` units."""
    rng, parts = np.random.default_rng(seed), []
    for start in range(0, resamples, ABREAST):
        some = min(ABREAST, resamples - start)
        picked = rng.integers(count, size=(some, count)) + count * np.arange(some)[:, None]
        weights = np.bincount(picked.ravel(), minlength=some * count).reshape(some, count).T.astype(float)
        parts.append(_benefits(table @ weights))
    model, everyone = (np.concatenate(one, axis=1) for one in zip(*parts, strict=True))
    return model, everyone


def _band(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends (99,), (99,) of the percentile interval of each row of `values` (99, B)."""
    low, high = np.quantile(values, tails(count=count), axis=1)
    return low, high
