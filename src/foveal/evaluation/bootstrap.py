"""Figures with the interval that resamples of the units give them, and what stands in where those say nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from foveal.evaluation import figures
from foveal.evaluation.interval import LEVEL, Estimate, wilson
from foveal.evaluation.resampling import percentiles, resample
from foveal.evaluation.tally import SMALLEST_PROBABILITY, Sums

FEW = 10  # units: below, a resample often lacks a class
Figure = Callable[[Sums], np.ndarray]  # sums of B samples → (B,)


class Bootstrap:
    """Resamples of labelled images, `labels` (N,) and `probabilities` (N, C), by their `units` (N,) or one by one.

    An interval is that between percentiles, expanded for few units. It covers what it says for figures of right and
    wrong answers; for an area or average precision above 0.95 from fewer than some 100 units it is a little narrow (a
    simulation with 60 images of three classes found 91 % in place of 95 %). Where it would be a point, since no sample
    differs from another, or where more than 5 % of the samples leave the figure undefined, a figure from 0 to 1 has
    Wilson's interval with the units of the smallest class that it rests on as trials, and another one all the values
    that it can have.
    """

    def __init__(
        self,
        labels: np.ndarray,
        probabilities: np.ndarray,
        units: np.ndarray | None,
        *,
        resamples: int,
        seed: int,
        level: float = LEVEL,
    ) -> None:
        n, classes = probabilities.shape
        numbers = np.arange(n) if units is None else units
        self.level, self.count = level, int(numbers.max()) + 1
        self.whole, self.drawn = resample(labels, probabilities, numbers, self.count, resamples=resamples, seed=seed)
        self.method = f"bootstrap over {'images' if units is None else f'{self.count:,} units'}, expanded percentiles"
        self.of_class = [len(np.unique(numbers[labels == index])) for index in range(classes)]
        self.of_rest = [len(np.unique(numbers[labels != index])) for index in range(classes)]
        supports = self.whole.truths[:, 0]
        self.present = np.flatnonzero(supports)
        self.two_sided = np.flatnonzero((supports > 0) & (supports < n))
        self.smallest = min(self.of_class[index] for index in self.present)

    def share(self, figure: Figure, trials: int | None = None) -> Estimate | None:
        """Return a figure from 0 to 1; `trials` (units of the smallest class) stand in where there is no spread."""
        trials = self.smallest if trials is None else trials

        def stand_in(value: float) -> tuple[float, float, str]:
            bound = wilson(value * trials, trials, self.level)
            return bound.low, bound.high, f"Wilson over {trials:,} {'unit' if trials == 1 else 'units'}"

        return self._estimate(figure, trials, stand_in)

    def mean(self, figure: Figure, highest: float) -> Estimate:
        """Return a figure from 0 to `highest` that is no share and always defined: a mean loss."""
        estimate = self._estimate(figure, self.count, lambda _: (0.0, highest, "all possible values"))
        assert estimate is not None  # no sample is empty
        return estimate

    def agreement(self, figure: Figure) -> Estimate | None:
        """Return a figure from -1 to 1 that is 1 where all answers are right: kappa, Matthews correlation.

        Without a wrong answer its lower end is kappa at the lower end of Wilson's interval for the accuracy.
        """
        shares = self.whole.truths[:, 0] / self.whole.n[0]
        by_chance = float((shares**2).sum())

        def stand_in(value: float) -> tuple[float, float, str]:
            if value < 1 - 1e-12:
                return -1.0, 1.0, "all possible values"
            low = wilson(self.count, self.count, self.level).low
            return (low - by_chance) / (1 - by_chance), 1.0, f"Wilson over {self.count:,} units"

        return self._estimate(figure, self.count, stand_in)

    def _estimate(
        self, figure: Figure, count: int, stand_in: Callable[[float], tuple[float, float, str]]
    ) -> Estimate | None:
        """Return `figure`, which rests on `count` units, with its interval or what `stand_in` makes of its value."""
        value = float(figure(self.whole)[0])
        if np.isnan(value):
            return None
        ends = percentiles(figure(self.drawn), self.level, count=count) if count > 1 else None
        if ends is not None and ends[1] - ends[0] > 1e-12:
            low, high, method = *ends, self.method
        else:
            low, high, instead = stand_in(value)
            why = "too few units" if count <= FEW else "undefined in many resamples"
            method = f"{instead}: {why if ends is None else 'a bootstrap shows no spread'}"
        return Estimate(value, min(value, low), max(value, high), self.level, method)

    def loss(self) -> Estimate:
        """Return the mean negative log probability of the true class."""
        return self.mean(lambda sums: sums.loss / sums.n, float(-np.log(SMALLEST_PROBABILITY)))

    def brier(self) -> Estimate:
        """Return the mean over images of Σ over classes (probability - truth)² (Brier 1950)."""
        return self.mean(lambda sums: sums.brier / sums.n, 2.0)

    def macro_f1(self) -> Estimate | None:
        """Return the mean F1 of the classes that are present."""
        return self.share(lambda sums: figures.macro_f1(sums, self.present))

    def balanced_accuracy(self) -> Estimate | None:
        """Return the mean recall of the classes that are present."""
        return self.share(lambda sums: figures.balanced_accuracy(sums, self.present))

    def auc_macro(self) -> Estimate | None:
        """Return the mean area under the ROC curve, each class against the rest."""
        return self.share(lambda sums: figures.macro(sums.auc, self.two_sided))

    def auc_micro(self) -> Estimate | None:
        """Return the area under the ROC curve of all pairs of image and class at once."""
        return self.share(lambda sums: sums.auc_micro[0])

    def average_precision_macro(self) -> Estimate | None:
        """Return the mean average precision, each class against the rest."""
        return self.share(lambda sums: figures.macro(sums.average_precision, self.two_sided))

    def average_precision(self, index: int) -> Estimate | None:
        """Return the average precision of class number `index` against the rest."""
        trials = min(self.of_class[index], self.of_rest[index])
        return self.share(lambda sums: sums.average_precision[index], trials)

    def f1(self, index: int) -> Estimate | None:
        """Return F1 of class number `index`; None where no image is of the class."""
        if not self.of_class[index]:
            return None
        return self.share(lambda sums: figures.f1(sums, index), self.of_class[index])
