"""Metrics of a classifier, from true labels and stored probabilities alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.errors import DataError
from foveal.evaluation.interval import Estimate, by_group, wilson

SMALLEST_PROBABILITY = 1e-9  # probabilities are stored to nine decimals


@dataclass(frozen=True)
class ClassMetrics:
    """One class against the rest. None where a figure has no denominator."""

    precision: Estimate | None
    recall: Estimate | None
    f1: float | None
    support: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return {
            "precision": self.precision.to_dict() if self.precision else None,
            "recall": self.recall.to_dict() if self.recall else None,
            "f1": self.f1,
            "support": self.support,
        }


@dataclass(frozen=True, eq=False)
class Metrics:
    """What one set of labelled images says of a classifier."""

    n: int
    accuracy: Estimate
    loss: float  # mean negative log probability of the true class
    macro_f1: float | None  # over the classes that are present
    per_class: dict[str, ClassMetrics]
    confusion: np.ndarray  # (classes, classes) int64: rows true, columns predicted
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return {
            "n": self.n,
            "accuracy": self.accuracy.to_dict(),
            "loss": self.loss,
            "macro_f1": self.macro_f1,
            "per_class": {name: one.to_dict() for name, one in self.per_class.items()},
            "confusion": self.confusion.tolist(),
            "classes": list(self.per_class),
            "note": self.note,
        }


def measure(
    labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...], groups: np.ndarray | None = None
) -> Metrics:
    """Return the metrics of `probabilities` (N, classes) against `labels` (N,).

    The interval of accuracy is Wilson's; where `groups` (N,) name patients with more than one image,
    it is one for groups (an empty name is a group of its own). Precision and recall have
    Wilson intervals, which take images as independent. DataError when there is no image.
    """
    if not len(labels):
        raise DataError("There is no image to measure anything on.")
    predicted = probabilities.argmax(axis=1)
    correct = predicted == labels
    confusion = confusion_matrix(labels, predicted, len(classes))
    per_class = {name: _one_class(confusion, index) for index, name in enumerate(classes)}
    present = [one.f1 or 0.0 for one in per_class.values() if one.support]
    of_label = probabilities[np.arange(len(labels)), labels]
    units = _units(groups) if groups is not None else None
    if units is None:
        accuracy, note = wilson(int(correct.sum()), len(labels)), ""
    else:
        accuracy, count = by_group(correct, units), len(np.unique(units))
        note = (
            f"{count:,} independent units (groups, exact copies, images on their own); the interval of accuracy allows "
            "for them, those of the classes do not."
        )
    return Metrics(
        n=len(labels),
        accuracy=accuracy,
        loss=float(-np.log(np.maximum(of_label, SMALLEST_PROBABILITY)).mean()),
        macro_f1=float(np.mean(present)) if present else None,
        per_class=per_class,
        confusion=confusion,
        note=note,
    )


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts (classes, classes): rows true, columns predicted."""
    return np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes).reshape(
        classes, classes
    )


def _one_class(confusion: np.ndarray, index: int) -> ClassMetrics:
    hit, is_class, said_class = confusion[index, index], confusion[index].sum(), confusion[:, index].sum()
    return ClassMetrics(
        precision=wilson(int(hit), int(said_class)) if said_class else None,
        recall=wilson(int(hit), int(is_class)) if is_class else None,
        f1=float(2 * hit / (is_class + said_class)) if is_class + said_class else None,
        support=int(is_class),
    )


def _units(groups: np.ndarray) -> np.ndarray | None:
    """Return a name for each image's group, unknown ones apart; None when no group has two images."""
    units = np.array([name or f"\0{row}" for row, name in enumerate(groups.tolist())])
    return units if len(np.unique(units)) < len(units) else None
