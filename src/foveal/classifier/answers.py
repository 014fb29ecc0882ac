"""All that a classifier says of some images at once, and of one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from foveal.classifier.calibration import DECIMALS
from foveal.classifier.decisions import Decisions

AT_ONCE = 256  # images that the gate looks at together


def mean_probabilities(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean (N, C) of the probabilities of several classifiers, rounded as those of one are."""
    mean: np.ndarray = np.round(np.stack(parts).mean(axis=0), DECIMALS)
    return mean


@dataclass(frozen=True, eq=False)
class Raw:
    """What the network alone says of N images."""

    probabilities: np.ndarray  # (N, C) float64, before calibration
    logits: np.ndarray  # (N, C) float32
    features: np.ndarray | None  # (N, D) float32 that enter the last layer; None where they were not asked for


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier says of N images."""

    raw: np.ndarray  # (N, C) probabilities before calibration
    probabilities: np.ndarray  # (N, C), calibrated
    labels: np.ndarray  # (N,) index of the class that is answered
    sets: np.ndarray | None  # (N, C) bool: which classes the prediction set holds; None where there are none
    abstained: np.ndarray  # (N,) str: why no answer should be relied on; empty where one can be
    gate_scores: np.ndarray | None  # (N,): from 1 on the image is out of domain; None without a gate

    @property
    def uncertainty(self) -> np.ndarray:
        """The entropy (N,) of the probabilities, in nats."""
        return entropy(self.probabilities)

    def rows(self) -> Iterator[Said]:
        """Yield what is said of each image."""
        uncertainty = self.uncertainty.tolist()
        for row in range(len(self.labels)):
            in_set = None if self.sets is None else self.sets[row]
            label, abstained = int(self.labels[row]), str(self.abstained[row])
            yield Said(self.probabilities[row], label, in_set, abstained, uncertainty[row])


@dataclass(frozen=True, eq=False)
class Said:
    """What a classifier says of one image."""

    probabilities: np.ndarray  # (C,)
    label: int
    in_set: np.ndarray | None  # (C,) bool
    abstained: str
    uncertainty: float  # nats


def entropy(p: np.ndarray) -> np.ndarray:
    """Return − Σ p ln p over the last axis of `p`, in nats, where 0 · ln 0 = 0."""
    summed: np.ndarray = np.maximum(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1), 0.0)
    return summed


def answers_of(decisions: Decisions, raw: Raw, pixels: Callable[[slice], np.ndarray]) -> Answers:
    """Return what `decisions` make of `raw`, said of N uint8 images, of which `pixels` gives a part where needed.

    It abstains where the gate takes an image for out of domain.
    """
    gate = decisions.gate
    return answers_of_measured(decisions, raw, lambda part: gate.measured(pixels(part)) if gate else np.empty((0, 0)))


def answers_of_measured(decisions: Decisions, raw: Raw, measured: Callable[[slice], np.ndarray]) -> Answers:
    """Return the same of images whose statistics, by `image_statistics.measure`, are `measured`, a part at a time."""
    probabilities = decisions.calibrated(raw.probabilities)
    sets = decisions.sets.sets(probabilities) if decisions.sets is not None else None
    abstained = np.full(len(probabilities), "", object)
    scores = None
    if decisions.gate is not None and len(probabilities):
        scores = np.empty(len(probabilities))
        for start in range(0, len(probabilities), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            features = raw.features[part] if raw.features is not None else None
            seen = decisions.gate.judge(measured(part), features, raw.logits[part])
            scores[part] = seen.scores.max(axis=1)
            for row, reason in seen.reasons.items():
                abstained[start + row] = reason
    return Answers(
        raw.probabilities, probabilities, decisions.labels(probabilities), sets, abstained.astype(str), scores
    )
