"""Metrics of a classifier, from true labels and stored probabilities alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.errors import DataError
from foveal.evaluation import figures
from foveal.evaluation.bootstrap import Bootstrap
from foveal.evaluation.class_metrics import (
    FEWEST_UNITS,
    ClassMetrics,
    check_prevalence,
    measure_class,
    share_of_all,
)
from foveal.evaluation.interval import Estimate
from foveal.evaluation.resampling import RESAMPLES

TOP = (2, 3, 5)
SUM_TOLERANCE = 1e-3  # of the probabilities of an image: single precision and nine stored decimals are far within


@dataclass(frozen=True, eq=False)
class Metrics:
    """What one set of labelled images says of a classifier. None where a figure is undefined."""

    n: int
    units: int  # independent ones: groups, exact copies, images on their own
    accuracy: Estimate
    chance: float  # accuracy of always saying the most frequent class
    loss: float  # mean negative log probability of the true class
    macro_f1: float | None  # over the classes that are present
    intervals: dict[str, Estimate | None]  # of loss and macro_f1
    balanced_accuracy: Estimate | None  # mean recall of the classes that are present
    top_k: dict[str, Estimate]  # share of images whose class is among the k most probable, by k
    mcc: Estimate | None  # Matthews correlation, of several classes
    kappa: Estimate | None  # Cohen's, unweighted
    auc_macro: Estimate | None  # mean over classes present with both sides, each against the rest
    auc_micro: Estimate | None  # of all N · C answers at once
    average_precision_macro: Estimate | None
    brier: Estimate  # mean over images of Σ over classes (probability - truth)², so from 0 to 2
    too_small: bool  # fewer than FEWEST_UNITS units in all, or of a class that is present
    per_class: dict[str, ClassMetrics]
    confusion: np.ndarray  # (classes, classes) int64: rows true, columns predicted
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return {name: _plain(one) for name, one in vars(self).items()} | {"classes": list(self.per_class)}


def _plain(value: Any) -> Any:
    """Return `value` as JSON has it."""
    if isinstance(value, Estimate | ClassMetrics):
        return value.to_dict()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def measure(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    groups: np.ndarray | None = None,
    *,
    prevalence: Mapping[str, float] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Metrics:
    """Return the metrics of `probabilities` (N, classes) against `labels` (N,), each with a 95 % interval.

    `groups` (N,) name patients, who may have more than one image (an empty name is a group of its own); no interval
    then takes images of one group as independent. Shares (accuracy, recall, precision …) have Wilson's interval or
    the one for groups, the area of a class DeLong's or Obuchowski's, everything else the percentiles of `resamples`
    bootstrap samples of the groups, or of the images. `prevalence` states, for classes by name, the share that they
    have where the classifier will be used: predictive values are then also given for there.

    Where a bootstrap can say nothing (no sample differs from another, or more than 5 % of them lack a class), the
    interval of a figure from 0 to 1 is Wilson's with the units of the smallest class as trials, and that of another
    figure all values that it can have; the method says so. Neither the order of the images nor the machine changes a
    bit of the result. DataError where there is no image, or labels and probabilities are none; UsageError for a
    prevalence that cannot be.
    """
    check_answers(labels, probabilities, len(classes))
    check_prevalence(prevalence or {}, classes)
    labels, probabilities, units = _in_order(labels, probabilities, groups)
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), len(classes))
    bootstrap = Bootstrap(labels, probabilities, units, resamples=resamples, seed=seed)
    per_class = {
        name: measure_class(index, labels, probabilities, units, bootstrap, (prevalence or {}).get(name))
        for index, name in enumerate(classes)
    }
    loss, macro_f1, places = bootstrap.loss(), bootstrap.macro_f1(), _places(labels, probabilities)
    return Metrics(
        n=len(labels),
        units=bootstrap.count,
        accuracy=share_of_all(places == 0, units),
        chance=float(confusion.sum(axis=1).max() / len(labels)),
        loss=loss.value,
        macro_f1=macro_f1.value if macro_f1 else None,
        intervals={"loss": loss, "macro_f1": macro_f1},
        balanced_accuracy=bootstrap.balanced_accuracy(),
        top_k={str(k): share_of_all(places < k, units) for k in TOP if k < len(classes)},
        mcc=bootstrap.agreement(figures.matthews),
        kappa=bootstrap.agreement(figures.kappa),
        auc_macro=bootstrap.auc_macro(),
        auc_micro=bootstrap.auc_micro(),
        average_precision_macro=bootstrap.average_precision_macro(),
        brier=bootstrap.brier(),
        too_small=min(bootstrap.count, bootstrap.smallest) < FEWEST_UNITS,
        per_class=per_class,
        confusion=confusion,
        note=_note(units, bootstrap.count),
    )


def check_answers(labels: np.ndarray, probabilities: np.ndarray, classes: int) -> None:
    """Raise DataError unless `labels` (N,) are numbers of `classes`, and `probabilities` (N, classes) are some."""
    if not len(labels):
        raise DataError("There is no image to measure anything on.")
    if probabilities.shape != (len(labels), classes):
        raise DataError(
            f"The probabilities have the shape {probabilities.shape}; {len(labels):,} labels and {classes} classes "
            f"need {(len(labels), classes)}."
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"Labels must be whole numbers from 0 to {classes - 1}, the places of the classes.")
    sums = probabilities.sum(axis=1)  # NaN where one of a row is
    wrong = np.flatnonzero(~(np.abs(sums - 1) < SUM_TOLERANCE) | ~(probabilities >= 0).all(axis=1))
    if len(wrong):
        raise DataError(
            f"Row {wrong[0]} of the probabilities ({len(wrong):,} rows in all) is negative, not a number or does not "
            f"add up to 1; give probabilities, not scores."
        )


def _in_order(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the images in an order that does not depend on the given one, and the number of each one's unit.

    Units are numbered as they come in that order, and are None where every image is one of its own.
    """
    units = unit_numbers(labels, groups)
    single = (np.bincount(units) == 1)[units]  # (N,)
    table = np.column_stack([labels, probabilities + 0.0, np.where(single, -1, units)])  # + 0.0 makes of -0.0 a 0.0
    rows = np.ascontiguousarray(table).view(np.dtype((np.void, table.dtype.itemsize * table.shape[1]))).ravel()
    order = np.argsort(rows, kind="stable")  # by their bytes: any order will do that depends on nothing else
    _, first, numbers = np.unique(units[order], return_index=True, return_inverse=True)
    by_appearance = np.argsort(np.argsort(first))[numbers]
    answers = labels[order].astype(np.int64), probabilities[order].astype(np.float64)
    return (*answers, None if single.all() else by_appearance)


def _places(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return how many classes come before the true one (N,), of equally probable ones the first in order first."""
    of_label = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    places: np.ndarray = ((probabilities > of_label) | ((probabilities == of_label) & earlier)).sum(axis=1)
    return places


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts (classes, classes): rows true, columns predicted."""
    return np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes).reshape(
        classes, classes
    )


def unit_numbers(labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return the number (N,) of each image's independent unit, from 0: its group, or itself where that has no name.

    `groups` (N,) are texts, of which the empty one is no name, or whole numbers. DataError for another length.
    """
    if groups is None:
        return np.arange(len(labels))
    if len(groups) != len(labels):
        raise DataError(f"{len(groups):,} groups are given for {len(labels):,} images; give one for each.")
    if groups.dtype.kind not in "iu":
        groups = np.array([name or f"\0{row}" for row, name in enumerate(groups.tolist())])
    numbers: np.ndarray = np.unique(groups, return_inverse=True)[1]
    return numbers


def _note(units: np.ndarray | None, count: int) -> str:
    if units is None:
        return ""
    return f"{count:,} independent units (groups, exact copies, images on their own); all intervals allow for them."
