"""Operating points chosen: a threshold that meets a requirement on validation, or a rule by costs or prevalence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from foveal.classifier.operating import Costs, OperatingPoint, Prevalence, Requirement, Threshold, cost_fault
from foveal.errors import DataError, UsageError, nearest
from foveal.evaluation.class_metrics import check_whole_prevalence, share
from foveal.evaluation.interval import LEVEL, wilson
from foveal.evaluation.metrics import check_answers, unit_numbers

LOOKS = 200  # candidates whose interval for groups is computed at once


def for_sensitivity(
    at_least: float,
    positive: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    units: np.ndarray | None = None,
    *,
    split: str = "validation",
    lower_bound: bool = False,
) -> OperatingPoint:
    """Return the threshold with the highest specificity of those whose sensitivity is `at_least` that, on these images.

    `labels` (N,), calibrated `probabilities` (N, C), `units` (N,) the patients, who only matter for `lower_bound`: with
    it the lower end of the 95 % interval (Wilson's, or the one for groups, see `first_meeting`) must reach `at_least`.
    Among thresholds that decide these images alike, that midway between two probabilities is taken. Raises DataError
    where a side has no image, or only a threshold that calls every image positive would do; UsageError where `at_least`
    is no share.
    """
    _refuse_share(at_least, "sensitivity")
    sides = _Sides.of(positive, labels, probabilities, classes, units)
    met = np.flatnonzero(sides.tp / sides.positives >= at_least)[::-1].tolist()  # highest threshold first
    wanted = Requirement("sensitivity", at_least, lower_bound)
    cut = sides.first(met, wanted, of_class=True)
    if cut is None or sides.fp[cut] == sides.negatives:
        raise DataError(_unreachable(wanted, positive, sides.positives, sides.units_of_class, split))
    return sides.operating(cut, wanted, split)


def for_specificity(
    at_least: float,
    positive: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    units: np.ndarray | None = None,
    *,
    split: str = "validation",
    lower_bound: bool = False,
) -> OperatingPoint:
    """Return the threshold with the highest sensitivity of those whose specificity is `at_least` that, on these images.

    All else as `for_sensitivity`; DataError where only a threshold that finds no image of the class would do.
    """
    _refuse_share(at_least, "specificity")
    sides = _Sides.of(positive, labels, probabilities, classes, units)
    met = np.flatnonzero((sides.negatives - sides.fp) / sides.negatives >= at_least).tolist()  # lowest threshold first
    wanted = Requirement("specificity", at_least, lower_bound)
    cut = sides.first(met, wanted, of_class=False)
    if cut is None or not sides.tp[cut]:
        raise DataError(_unreachable(wanted, positive, sides.negatives, sides.units_of_rest, split))
    return sides.operating(cut, wanted, split)


def for_youden(
    positive: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    units: np.ndarray | None = None,
    *,
    split: str = "validation",
) -> OperatingPoint:
    """Return the threshold with the highest sensitivity + specificity (Youden 1950); of equals the most sensitive.

    DataError where a side has no image, or no threshold does better than chance.
    """
    sides = _Sides.of(positive, labels, probabilities, classes, units)
    gain = sides.tp * sides.negatives - sides.fp * sides.positives  # whole numbers, so that equals are equal
    cut = int(gain.argmax())
    if gain[cut] <= 0:
        raise DataError(f'No threshold on the probability of "{positive}" does better than chance on {split} images.')
    return sides.operating(cut, Requirement("youden"), split)


def at_stated_threshold(
    threshold: float,
    positive: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    units: np.ndarray | None = None,
    *,
    split: str = "validation",
) -> OperatingPoint:
    """Return the operating point at a `threshold` that was decided elsewhere, with what it gives on these images."""
    _refuse_share(threshold, "threshold")
    sides = _Sides.of(positive, labels, probabilities, classes, units)
    found = sides.sensitivity_and_specificity(int(np.searchsorted(sides.scores, threshold)))
    rule = Threshold(classes.index(positive), float(threshold))
    wanted = Requirement("threshold", float(threshold))
    return OperatingPoint(classes, rule, wanted, split, len(labels), sides.units, *found)


def for_cost(costs: Sequence[Sequence[float]] | np.ndarray, classes: tuple[str, ...]) -> OperatingPoint:
    """Return the rule that decides for the least expected cost, by `costs` (true class, decided class).

    No image is needed: with calibrated probabilities this is Bayes' decision. UsageError for costs that cannot be.
    """
    rows = np.asarray(costs).tolist() if isinstance(costs, np.ndarray) else [list(row) for row in costs]
    fault = cost_fault(rows, len(classes)) if all(isinstance(row, list) for row in rows) else "they are no table"
    if fault:
        raise UsageError(f"These costs cannot be used: {fault}.")
    matrix = tuple(tuple(float(cost) for cost in row) for row in rows)
    return OperatingPoint(classes, Costs(matrix), Requirement("cost"), None, 0, 0)


def for_prevalence(
    prevalence: Mapping[str, float],
    labels: np.ndarray,
    classes: tuple[str, ...],
    units: np.ndarray | None = None,
    *,
    split: str = "validation",
) -> OperatingPoint:
    """Return the rule for a place where the classes have the shares `prevalence`, one for every class, summing to 1.

    `labels` (N,) are those of the images that the probabilities were calibrated on, whose shares are replaced (Saerens
    et al. 2002). UsageError for shares that cannot be; DataError where a class has no image.
    """
    check_whole_prevalence(prevalence, classes)
    if not len(labels) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"Labels must be whole numbers from 0 to {len(classes) - 1}, of one image at least.")
    counts = np.bincount(labels, minlength=len(classes))
    if not counts.all():
        absent = classes[int(np.flatnonzero(counts == 0)[0])]
        raise DataError(f'There is no {split} image of "{absent}", so its share cannot be replaced by another.')
    total = sum(prevalence.values())
    stated = tuple(float(prevalence[name] / total) for name in classes)
    former = tuple((counts / len(labels)).tolist())
    count = len(np.unique(unit_numbers(labels, units)))
    return OperatingPoint(classes, Prevalence(stated, former), Requirement("prevalence"), split, len(labels), count)


def first_meeting(candidates: Sequence[int], meets: Callable[[int], bool], *, exact: bool) -> int | None:
    """Return the first of `candidates` that `meets`; None where none does.

    All are asked in turn where that is `exact`. Else, with more than 200, some 200 evenly spread ones are asked first,
    and the gap before the first of them that meets is halved until its neighbour does not: an interval for groups takes
    long, and all but rises from one candidate to the next. One that meets may then be passed over, never one taken that
    does not.
    """
    step = 1 if exact else max(1, -(-len(candidates) // LOOKS))
    places = [*range(0, len(candidates), step), len(candidates) - 1] if candidates else []
    good: int | None = next((place for place in places if meets(candidates[place])), None)
    if good is None:
        return None
    bad = max(good - step, -1)
    while good - bad > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if meets(candidates[middle]) else (good, middle)
    first: int = candidates[good]
    return first


@dataclass(frozen=True, eq=False)
class _Sides:
    """One class against the rest at every distinct score, as the lowest that is called positive."""

    positive: int
    classes: tuple[str, ...]
    scores: np.ndarray  # (K,) distinct, rising
    tp: np.ndarray  # (K,) int: images of the class with at least that score
    fp: np.ndarray  # (K,) int: others with at least that score
    score: np.ndarray  # (N,)
    is_class: np.ndarray  # (N,) bool
    numbers: np.ndarray  # (N,) of each image's unit
    units: int

    @staticmethod
    def of(
        positive: str,
        labels: np.ndarray,
        probabilities: np.ndarray,
        classes: tuple[str, ...],
        units: np.ndarray | None,
    ) -> _Sides:
        if positive not in classes:
            raise UsageError(f'"{positive}" is no class to choose a threshold for.{nearest(positive, classes)}')
        check_answers(labels, probabilities, len(classes))
        index = classes.index(positive)
        is_class, score = labels == index, probabilities[:, index].astype(np.float64)
        if is_class.all() or not is_class.any():
            side = "of another class" if is_class.all() else f'of "{positive}"'
            raise DataError(f"A threshold cannot be chosen: there is no image {side}.")
        distinct, place = np.unique(score, return_inverse=True)
        tp, fp = (
            np.bincount(place[side], minlength=len(distinct))[::-1].cumsum()[::-1] for side in (is_class, ~is_class)
        )
        numbers = unit_numbers(labels, units)
        return _Sides(index, classes, distinct, tp, fp, score, is_class, numbers, len(np.unique(numbers)))

    @property
    def positives(self) -> int:
        return int(self.tp[0])

    @property
    def negatives(self) -> int:
        return int(self.fp[0])

    @property
    def alone(self) -> bool:
        """Whether every image is a unit of its own."""
        return self.units == len(self.numbers)

    @property
    def units_of_class(self) -> int:
        return len(np.unique(self.numbers[self.is_class]))

    @property
    def units_of_rest(self) -> int:
        return len(np.unique(self.numbers[~self.is_class]))

    def low(self, cut: int, *, of_class: bool) -> float:
        """Return the lower end of the sensitivity's interval, or of the specificity's."""
        if self.alone and of_class:
            return wilson(int(self.tp[cut]), self.positives).low
        if self.alone:
            return wilson(self.negatives - int(self.fp[cut]), self.negatives).low
        said = self.score >= self.scores[cut]
        one = share(said, self.is_class, self.numbers) if of_class else share(~said, ~self.is_class, self.numbers)
        assert one is not None  # both sides have images
        return one.low

    def first(self, met: Sequence[int], wanted: Requirement, *, of_class: bool) -> int | None:
        """Return the first of the cuts that have `met` a requirement on one side; with a lower bound, by that too."""
        least = wanted.value
        if not wanted.lower_bound or least is None:
            return met[0] if met else None
        return first_meeting(met, lambda cut: self.low(cut, of_class=of_class) >= least, exact=self.alone)

    def sensitivity_and_specificity(self, cut: int) -> tuple[float, float]:
        if cut == len(self.scores):
            return 0.0, 1.0
        return float(self.tp[cut] / self.positives), float((self.negatives - self.fp[cut]) / self.negatives)

    def operating(self, cut: int, requirement: Requirement, split: str) -> OperatingPoint:
        """Return the threshold midway between the score at `cut` and the one below."""
        high = float(self.scores[cut])
        low = float(self.scores[cut - 1]) if cut else 0.0
        middle = round((low + high) / 2, 9)
        rule = Threshold(self.positive, middle if low < middle <= high else high)
        found = self.sensitivity_and_specificity(cut)
        return OperatingPoint(self.classes, rule, requirement, split, len(self.score), self.units, *found)


def _refuse_share(value: float, what: str) -> None:
    if not 0 < value <= 1:
        raise UsageError(f"The {what} is {value}; ask for a share above 0 and up to 1, such as 0.9.")


def _unreachable(wanted: Requirement, positive: str, images: int, units: int, split: str) -> str:
    every = wanted.kind == "sensitivity"
    useless = "calls every image positive" if every else "finds none of its images"
    told = f'On {images:,} {split} images, no threshold on "{positive}" gives a {wanted} but one that {useless}'
    if not wanted.lower_bound or wanted.value is None:
        return f"{told}; ask for less."
    if wanted.value == 1:
        return f"{told}; no number of images shows that no mistake will be made, so ask for less."
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    needed = math.ceil(z * z * wanted.value / (1 - wanted.value))  # Wilson's lower end without a mistake: n / (n + z²)
    return f"{told}; without a single mistake it takes {needed:,} independent images, and here are {units:,} units."
