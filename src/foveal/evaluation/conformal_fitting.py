"""Prediction sets found, split or across folds, for images that come in groups too; and how often they hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.classifier.conformal import KINDS, ConformalSets, Kind, scores
from foveal.errors import DataError, UsageError, listed
from foveal.evaluation.class_metrics import share, share_of_all
from foveal.evaluation.interval import Estimate
from foveal.evaluation.metrics import check_answers, unit_numbers

ROUNDING = 1e-9  # of a sum of weights, by which it may miss a whole number


@dataclass(frozen=True)
class Coverage:
    """How often sets hold the label, and how large they are."""

    n: int
    units: int  # independent ones
    coverage: Estimate  # share of images whose set holds their class
    of_units: float  # the same with every unit as heavy as any other: what is guaranteed for grouped images
    mean_size: float
    sizes: tuple[int, ...]  # images with a set of 0, 1, … C classes
    singletons: Estimate  # share of sets of one class
    right_singletons: Estimate | None  # share of those that hold the label; None without any
    empty: Estimate  # share of sets in which no class fits well enough
    per_class: dict[str, Estimate | None]  # coverage of the images of each class; None without one

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        plain = {name: one.to_dict() if isinstance(one, Estimate) else one for name, one in vars(self).items()}
        of_class = {name: one.to_dict() if one else None for name, one in self.per_class.items()}
        return {**plain, "sizes": list(self.sizes), "per_class": of_class}


def split_conformal(
    labels: np.ndarray,
    probabilities: np.ndarray,
    units: np.ndarray | None = None,
    *,
    alpha: float = 0.1,
    class_conditional: bool = False,
    kind: Kind = "lac",
    split: str = "calibration",
    classes: tuple[str, ...] | None = None,
) -> ConformalSets:
    """Return sets that hold the label of at least 1 − `alpha` of new images, from images that served nothing else.

    `labels` (N,), calibrated `probabilities` (N, C). The quantile is the ⌈(n + 1)(1 − alpha)⌉th lowest of the labels'
    scores (Vovk, Gammerman, Shafer 2005; Papadopoulos et al. 2002). The guarantee needs no assumption but that
    calibration images and new ones are exchangeable, and holds on average over calibration samples.

    Images of one unit (`units` (N,), such as patients) are not exchangeable with those of another; units are. Then
    each image weighs 1 / images of its unit, and a unit that is to come weighs 1: the quantile is the lowest score q
    with Σ over units (share of the unit's scores up to q) ≥ (1 − alpha)(units + 1). That is hierarchical conformal
    prediction (Lee, Barber, Willett 2023), the pooled distribution functions of Dunn, Wasserman, Ramdas (2023) with
    one place more, and what repeated subsampling of one image a unit tends to. For an image drawn from a new unit it
    holds with at least 1 − `alpha`, so on average over units, not over images where some units have many. With one
    image a unit it is plain split conformal prediction.

    With `class_conditional`, every class has a quantile from its own images, and the share holds in each (Vovk 2012).
    Fewer than 1 / alpha − 1 units cannot give a quantile: then the sets hold all classes (those classes, if class by
    class), and `note` says so. `classes` names them there; `split` names the images. Raises DataError where labels or
    probabilities are none, UsageError for an `alpha` that is not between 0 and 1 or an unknown kind.
    """
    numbers, p = _checked(labels, probabilities, units, alpha, kind)
    of_labels = scores(kind, p)[np.arange(len(labels)), labels]  # (N,)
    count = len(np.unique(numbers))
    grouped = f" over {count:,} units, of which a new one is exchangeable with them" if count < len(labels) else ""
    promise = f"of the new images{' of every class' if class_conditional else ''}"
    return ConformalSets(
        kind,
        class_conditional,
        alpha,
        _quantiles(labels, of_labels, numbers, alpha, p.shape[1] if class_conditional else None),
        split,
        len(labels),
        count,
        f"{'Hierarchical split' if grouped else 'Split'} conformal prediction{grouped}: at least {1 - alpha:.4g} "
        f"{promise} have a set that holds their class, on average{' over new units' if grouped else ''}.",
        _too_few(labels, numbers, alpha, p.shape[1] if class_conditional else None, classes),
    )


def cross_conformal(
    labels: np.ndarray,
    probabilities: np.ndarray,
    folds: np.ndarray,
    units: np.ndarray | None = None,
    *,
    alpha: float = 0.1,
    class_conditional: bool = False,
    kind: Kind = "lac",
    classes: tuple[str, ...] | None = None,
) -> tuple[ConformalSets, Coverage]:
    """Return sets for an ensemble of the fold models from their out-of-fold answers, and how often such sets hold.

    `probabilities` (N, C) of each image are those of the model that did not see it, and `folds` (N,) say of which
    fold it is; no unit may lie in two. All out-of-fold scores are pooled, and one quantile of them is stored, as in
    `split_conformal` (cross-conformal prediction, Vovk 2015; CV+, Barber, Candès, Ramdas, Tibshirani 2021). What can
    be proved for these is 1 − 2 · `alpha` in the worst case, for many folds and stable models about 1 − `alpha`;
    that is what is seen in practice. They compare a new image's score under each model with that model's own fold; one
    pooled quantile for the mean of the models is a simplification, without a proof of its own. Since a mean of models
    tends to score labels a bit lower than one of them does, its sets tend to hold more often than stated.

    The coverage returned is of single models, each fold with the quantile of the other folds' scores: no image judges
    itself. It is not that of the ensemble. Raises as `split_conformal`, and DataError for one fold or a torn unit.
    """
    numbers, p = _checked(labels, probabilities, units, alpha, kind)
    if len(folds) != len(labels):
        raise DataError(f"{len(folds):,} folds are given for {len(labels):,} images; give one for each.")
    names, fold = np.unique(folds, return_inverse=True)
    if len(names) < 2:
        raise DataError("Cross-conformal prediction needs images of two folds or more, and there is one.")
    pairs = np.unique(np.column_stack([numbers, fold]), axis=0)
    if len(pairs) > numbers.max() + 1:
        raise DataError("Some unit has images in two folds; a model that saw a patient does not score it blindly.")
    of_all, every = scores(kind, p), p.shape[1] if class_conditional else None
    of_labels = of_all[np.arange(len(labels)), labels]
    count = len(np.unique(numbers))
    sets = ConformalSets(
        kind,
        class_conditional,
        alpha,
        _quantiles(labels, of_labels, numbers, alpha, every),
        "out of fold",
        len(labels),
        count,
        f"Cross-conformal prediction from {len(names)} folds{f' and {count:,} units' if count < len(labels) else ''}: "
        f"about {1 - alpha:.4g} of new images have a set that holds their class; what can be proved is "
        f"{max(0.0, 1 - 2 * alpha):.4g} for the models of the folds, and nothing for their mean.",
        _too_few(labels, numbers, alpha, every, classes),
    )
    inside = np.empty(of_all.shape, bool)
    for one in range(len(names)):
        here = fold == one
        found = _quantiles(labels[~here], of_labels[~here], numbers[~here], alpha, every)
        inside[here] = of_all[here] <= np.array([math.inf if q is None else q for q in found])
    return sets, coverage(labels, inside, classes or tuple(map(str, range(p.shape[1]))), units)


def coverage(
    labels: np.ndarray, sets: np.ndarray, classes: tuple[str, ...], units: np.ndarray | None = None
) -> Coverage:
    """Return how often `sets` (N, C) bool hold the `labels` (N,), with intervals that allow for `units` (N,)."""
    if not len(labels):
        raise DataError("There is no image to measure the coverage on.")
    if sets.shape != (len(labels), len(classes)) or sets.dtype != bool:
        raise DataError(f"{len(labels):,} labels of {len(classes)} classes do not fit sets of {sets.shape}.")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"Labels must be whole numbers from 0 to {len(classes) - 1}, the places of the classes.")
    numbers = unit_numbers(labels, units)
    held, sizes = sets[np.arange(len(labels)), labels], sets.sum(axis=1)  # (N,), (N,)
    of_units = np.bincount(numbers, weights=held) / np.bincount(numbers)
    return Coverage(
        n=len(labels),
        units=len(of_units),
        coverage=share_of_all(held, numbers),
        of_units=math.fsum(of_units) / len(of_units),
        mean_size=float(sizes.sum() / len(sizes)),
        sizes=tuple(np.bincount(sizes, minlength=len(classes) + 1).tolist()),
        singletons=share_of_all(sizes == 1, numbers),
        right_singletons=share(held, sizes == 1, numbers),
        empty=share_of_all(sizes == 0, numbers),
        per_class={name: share(held, labels == index, numbers) for index, name in enumerate(classes)},
    )


def fewest_units(alpha: float) -> int:
    """Return how many units it takes for a quantile at `alpha`: 1 / alpha − 1, rounded up."""
    return math.ceil(1 / alpha - 1 - ROUNDING)


def _checked(
    labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray | None, alpha: float, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each image's unit (N,) and the probabilities in float64."""
    if not 0 < alpha < 1:
        raise UsageError(f"Alpha is the share of sets that may miss, between 0 and 1 such as 0.1, not {alpha}.")
    if kind not in KINDS:
        raise UsageError(f'"{kind}" is no kind of prediction set; there are {" and ".join(KINDS)}.')
    if probabilities.ndim != 2:
        raise DataError(f"Probabilities must be a row for each image, not an array of {probabilities.shape}.")
    check_answers(labels, probabilities, probabilities.shape[1])
    return unit_numbers(labels, units), np.minimum(np.asarray(probabilities, np.float64), 1.0)


def _quantiles(
    labels: np.ndarray, of_labels: np.ndarray, units: np.ndarray, alpha: float, classes: int | None
) -> tuple[float | None, ...]:
    """Return the quantile of all scores `of_labels` (N,), or those of each of so many `classes`."""
    if classes is None:
        return (_quantile(of_labels, units, alpha),)
    return tuple(_quantile(of_labels[labels == one], units[labels == one], alpha) for one in range(classes))


def _quantile(values: np.ndarray, units: np.ndarray, alpha: float) -> float | None:
    """Return the lowest of `values` (n,) up to which units weigh (1 − alpha)(units + 1); None where none is."""
    _, number, sizes = np.unique(units, return_inverse=True, return_counts=True)
    order = np.lexsort((sizes[number], values))  # of equal values too, so that sums do not depend on the order given
    weights = np.cumsum(1 / sizes[number[order]])  # (n,): of the units up to each value
    wanted = (1 - alpha) * (len(sizes) + 1)
    if len(sizes) == len(values):  # whole numbers: exact but for (1 − alpha)
        wanted = math.ceil(wanted - ROUNDING)
    place = int(np.searchsorted(weights, wanted - ROUNDING * max(1.0, wanted)))
    return float(values[order[place]]) if place < len(values) else None


def _too_few(
    labels: np.ndarray, units: np.ndarray, alpha: float, classes: int | None, names: tuple[str, ...] | None
) -> str:
    """Return what to say where units do not suffice; empty where they do."""
    needed = fewest_units(alpha)
    advice = f"a coverage of {1 - alpha:.4g} takes {needed:,} or more"
    if classes is None:
        count = len(np.unique(units))
        said = f"With {count:,} independent {'unit' if count == 1 else 'units'} every set holds all classes; {advice}."
        return said if count < needed else ""
    counts = [len(np.unique(units[labels == one])) for one in range(classes)]
    lacking = [one for one, count in enumerate(counts) if count < needed]
    if not lacking:
        return ""
    told = [f"{names[one] if names else f'class number {one}'}: {counts[one]:,}" for one in lacking]
    return f"Classes of which there are too few independent units are in every set, since {advice}:\n{listed(told)}"
