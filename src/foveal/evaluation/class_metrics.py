"""One class against the rest: shares with their intervals, its ranking, and what a positive means at a prevalence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.errors import UsageError, nearest
from foveal.evaluation.bootstrap import Bootstrap
from foveal.evaluation.interval import Estimate, by_group, wilson
from foveal.evaluation.ranking import auc_interval

FEWEST_UNITS = 5
"""Below this many independent units of a class a figure of it is called too small. Four right answers of four are what
a coin gives one time in 16, more often than the 5 % that an interval at 95 % allows for; five are one in 32."""


@dataclass(frozen=True)
class ClassMetrics:
    """One class against the rest. None where a figure has no denominator."""

    precision: Estimate | None  # positive predictive value, at the prevalence of these images
    recall: Estimate | None  # sensitivity
    f1: float | None
    support: int
    specificity: Estimate | None
    npv: Estimate | None  # negative predictive value, at the prevalence of these images
    f1_interval: Estimate | None
    auc: Estimate | None  # area under the ROC curve
    average_precision: Estimate | None
    prevalence: Estimate  # share of the images that are of the class
    ppv_at: Estimate | None  # positive predictive value at `stated_prevalence`
    npv_at: Estimate | None
    stated_prevalence: float | None
    too_small: bool  # fewer than FEWEST_UNITS units have images of the class, or have images of the others

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return {name: one.to_dict() if isinstance(one, Estimate) else one for name, one in vars(self).items()}


def measure_class(
    index: int,
    labels: np.ndarray,
    probabilities: np.ndarray,
    units: np.ndarray | None,
    bootstrap: Bootstrap,
    stated_prevalence: float | None,
) -> ClassMetrics:
    """Return the figures of class number `index` against the rest.

    `labels` (N,), `probabilities` (N, C), `units` (N,) or None where every image is one of its own; `bootstrap` is
    that of the same images.
    """
    is_class, said_class = labels == index, probabilities.argmax(axis=1) == index
    hits, is_or_said = int((is_class & said_class).sum()), int(is_class.sum() + said_class.sum())
    recall, specificity = share(said_class, is_class, units), share(~said_class, ~is_class, units)
    return ClassMetrics(
        precision=share(is_class, said_class, units),
        recall=recall,
        f1=2 * hits / is_or_said if is_or_said else None,
        support=int(is_class.sum()),
        specificity=specificity,
        npv=share(~is_class, ~said_class, units),
        f1_interval=bootstrap.f1(index),
        auc=auc_interval(is_class, probabilities[:, index], units),
        average_precision=bootstrap.average_precision(index),
        prevalence=share_of_all(is_class, units),
        ppv_at=positive_value(recall, specificity, stated_prevalence),
        npv_at=negative_value(recall, specificity, stated_prevalence),
        stated_prevalence=stated_prevalence,
        too_small=min(bootstrap.of_class[index], bootstrap.of_rest[index]) < FEWEST_UNITS,
    )


def share(hit: np.ndarray, among: np.ndarray, units: np.ndarray | None) -> Estimate | None:
    """Return the share of `hit` (N,) bool in the images `among` (N,) bool, with its interval; None for no image.

    Wilson's; where `units` (N,) have several images there, the one for groups, on the units that have any.
    """
    return share_of_all(hit[among], units[among] if units is not None else None) if among.any() else None


def share_of_all(hit: np.ndarray, units: np.ndarray | None) -> Estimate:
    """Return the share of `hit` (N,) bool, N more than none, as `share` does."""
    if units is None or len(np.unique(units)) == len(units):
        return wilson(int(hit.sum()), len(hit))
    return by_group(hit, units)


def positive_value(recall: Estimate | None, specificity: Estimate | None, prevalence: float | None) -> Estimate | None:
    """Return the positive predictive value at `prevalence`, by Bayes' rule; None where a part is, or 0 of 0.

    Its odds are the prior odds times recall / (1 - specificity). The interval is that of the ratio of two shares by
    the method of variance estimates recovery (Donner, Zou 2012) from the intervals of both, which are Wilson's or
    those for groups. The two are taken as independent, and `prevalence` as known.
    """
    if recall is None or specificity is None or prevalence is None:
        return None
    return _at_odds(recall, _complement(specificity), prevalence / (1 - prevalence))


def negative_value(recall: Estimate | None, specificity: Estimate | None, prevalence: float | None) -> Estimate | None:
    """Return the negative predictive value at `prevalence`, as `positive_value` does."""
    if recall is None or specificity is None or prevalence is None:
        return None
    return _at_odds(specificity, _complement(recall), (1 - prevalence) / prevalence)


def _complement(one: Estimate) -> Estimate:
    return Estimate(1 - one.value, 1 - one.high, 1 - one.low, one.level, one.method)


def _at_odds(over: Estimate, under: Estimate, prior: float) -> Estimate | None:
    """Return the chance whose odds are `prior` · `over` / `under`, with its interval."""
    if over.value == 0 and under.value < 1e-12:
        return None
    low, high = _ratio_ends(over, under)
    value = _chance(prior * over.value / under.value) if under.value > 1e-12 else 1.0
    low, high = min(value, _chance(prior * low)), max(value, _chance(prior * high))
    return Estimate(value, low, high, over.level, "Bayes' rule, variance recovered from the two shares")


def _ratio_ends(over: Estimate, under: Estimate) -> tuple[float, float]:
    """Return the ends of the interval of `over` / `under`; the upper one may be infinite.

    With a = over · under, b = low of over · (2 over - low of over), c = high of under · (2 under - high of under), the
    lower end is b / (a + √(a² - b c)), and the upper one the like with the other ends.
    """
    a = over.value * under.value
    b, c = over.low * (2 * over.value - over.low), under.high * (2 * under.value - under.high)
    root = a + math.sqrt(max(0.0, a * a - b * c))
    low = b / root if b > 0 and root > 0 else 0.0
    b, c = over.high * (2 * over.value - over.high), under.low * (2 * under.value - under.low)
    high = (a + math.sqrt(max(0.0, a * a - b * c))) / c if c > 1e-12 else math.inf
    return low, high


def _chance(odds: float) -> float:
    return odds / (1 + odds) if math.isfinite(odds) else 1.0


def check_prevalence(prevalence: Mapping[str, float], classes: tuple[str, ...]) -> None:
    """Raise UsageError where `prevalence` (class name → share) names no class, or its shares cannot be."""
    for name, stated in prevalence.items():
        if name not in classes:
            raise UsageError(f'A prevalence is stated for "{name}", which is no class.{nearest(name, classes)}')
        if not 0 < stated < 1:
            raise UsageError(f'The prevalence of "{name}" is {stated}; state a share between 0 and 1, such as 0.02.')
    total = sum(prevalence.values())
    if total > 1 + 1e-6 or (len(prevalence) == len(classes) and total < 1 - 1e-6):
        raise UsageError(f"The stated prevalences add up to {total:g}; together the classes are 1.")


def check_whole_prevalence(prevalence: Mapping[str, float], classes: tuple[str, ...]) -> None:
    """Raise UsageError as `check_prevalence`, and where a class is left out."""
    check_prevalence(prevalence, classes)
    missing = [name for name in classes if name not in prevalence]
    if missing:
        raise UsageError(f'No prevalence is stated for "{missing[0]}"; state one for each of {len(classes)} classes.')
