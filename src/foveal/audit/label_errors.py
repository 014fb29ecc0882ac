"""Label errors: images that look like another class than the one they are filed under.

A linear classifier on the embeddings of a pretrained network is trained and asked crosswise. By confident learning an
image is suspect when it is confidently of another class: its probability there is at least that of the images which
are filed there, on average, at least 0.7, and higher than in its own class. A classifier that is hardly better than
always naming the largest class doubts nothing.

Source: Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset labels", 2021, section 3 (the
confident joint), ordered by margin. Deviation: the probabilities are those of a logistic regression on embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal.audit.finding import MOST_RECORDS, Finding
from foveal.audit.shortcuts import FOLDS, reduced
from foveal.data.dataset import Dataset
from foveal.ops import softmax

LABEL_ERRORS = "label-errors"
SURE = 0.7  # a probability below this doubts no label
BETTER = 0.1  # than always naming the largest class: a classifier that is not by so much doubts none
COMPONENTS = 128  # principal components of the embeddings that are asked
STRENGTH = 0.1  # C of the logistic regression, on components of deviation one


@dataclass(frozen=True)
class Suspect:
    """An image that looks like another class."""

    row: int
    label: int
    looks_like: int
    probability: float  # of what it looks like
    own: float  # of its label


def suspects(embeddings: np.ndarray, labels: np.ndarray, folds: np.ndarray | None) -> list[Suspect]:
    """Return the suspect rows of `embeddings` (N, D) filed under `labels` (N,), the clearest first.

    `folds` (N,) are those of `crossed`, which tears no unit: a copy under the same wrong label would excuse it. Empty
    without, where a class has too few units.
    """
    if folds is None:
        return []
    chances = asked_crosswise(embeddings, labels, folds)
    count = len(labels)
    right = float((chances.argmax(axis=1) == labels).mean())
    if right < np.bincount(labels).max() / count + BETTER:
        return []
    own = chances[np.arange(count), labels]
    thresholds = np.array([own[labels == label].mean() for label in range(chances.shape[1])])
    confident = np.where(chances >= np.maximum(thresholds, SURE), chances, -1.0)
    looks_like = confident.argmax(axis=1)
    best = confident[np.arange(count), looks_like]
    wrong = np.flatnonzero((best > own) & (looks_like != labels))
    order = wrong[np.argsort(own[wrong] - best[wrong], kind="stable")]
    found = zip(order.tolist(), labels[order].tolist(), looks_like[order].tolist(), strict=True)
    return [Suspect(row, label, other, float(best[row]), float(own[row])) for row, label, other in found]


def asked_crosswise(embeddings: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, classes) of each row from a classifier that did not learn from it."""
    values = reduced(embeddings.reshape(len(embeddings), -1), COMPONENTS)
    chances = np.zeros((len(labels), int(labels.max()) + 1))
    for fold in range(FOLDS):
        learned, asked = folds != fold, folds == fold
        present, numbers = np.unique(labels[learned], return_inverse=True)
        weights = logistic_regression(values[learned], numbers, STRENGTH)
        chances[np.ix_(asked, present)] = softmax(_with_one(values[asked]) @ weights)
    return chances


def logistic_regression(x: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Return the weights (D + 1, classes) of a softmax regression on x (N, D), the intercepts last.

    They minimise half their squares, without the intercepts', and `strength` times the summed cross-entropy. Two
    classes share one vector of weights, so that theirs count half. It is what scikit-learn's LogisticRegression finds,
    which a test holds it against; importing that one takes longer than all that is asked of it here.
    """
    from scipy.optimize import minimize

    design, count = _with_one(x), int(labels.max()) + 1
    truth = (labels[:, None] == np.arange(count)).astype(np.float64)  # (N, classes)
    strength = strength if count > 2 else strength / 2
    penalised = np.ones((design.shape[1], 1))
    penalised[-1] = 0

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(-1, count)
        chances = softmax(design @ weights)
        held = penalised * weights
        fit = -float(np.log(np.maximum(chances[truth > 0], np.finfo(float).tiny)).sum())
        slope = strength * design.T @ (chances - truth) + held
        return strength * fit + 0.5 * float((held * held).sum()), slope.ravel()

    found = minimize(loss, np.zeros(design.shape[1] * count), jac=True, method="L-BFGS-B", options={"maxiter": 1_000})
    weights: np.ndarray = found.x.reshape(-1, count)
    return weights


def _with_one(x: np.ndarray) -> np.ndarray:
    return np.hstack([x, np.ones((len(x), 1))])


def label_finding(dataset: Dataset, found: list[Suspect]) -> list[Finding]:
    """Return the finding of suspect labels, if any."""
    if not found:
        return []
    lines = tuple(
        f"{dataset.record_ids[one.row]}: {dataset.classes[one.label]} ({one.own:.2f}), looks like "
        f"{dataset.classes[one.looks_like]} ({one.probability:.2f})"
        for one in found[:MOST_RECORDS]
    )
    sentence = (
        f"{len(found):,} of {len(dataset):,} images look clearly like another class than their label says, to a "
        f"classifier that has not learned from them; the first ones are worth a look: a wrong label, or a hard image."
    )
    return [Finding(LABEL_ERRORS, "warn", sentence, len(found), lines)]
