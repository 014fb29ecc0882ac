"""The gate fitted: references and spreads from training images, thresholds from held-out ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from foveal.classifier.gate import Detector, DetectorName, Gate, unit_length
from foveal.classifier.image_statistics import Aspect, aspects_of, measure
from foveal.errors import DataError, UsageError

AT_ONCE = 2  # detectors that judge an image: features, or energy without them; and statistics
REFERENCES = 500  # training images whose features are kept
REFERENCE_BYTES = 1_500_000  # of them, in float16: fewer are kept of features wider than 1,500
NEIGHBOURS = 1  # the nearest: so few references are thin enough, and a rare class has few of them
STATISTICS_IMAGES = 2_000  # training images that are measured: some fifty for each statistic
KNOTS = 65  # levels of the quantiles of a statistic
LIMIT_LEVEL = 0.99  # of the training images' distances by one aspect: what makes aspects comparable
SMALLEST_VARIANCE = 0.01  # what differs in no training image may differ a little in the next
HAIR = 1e-3  # by which a threshold lies above its quantile, in distances from the median
SMALLEST_GAP = 1e-6
SMALLEST_LIMIT = 1.0  # of an aspect: a deviation within one standard deviation is none


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of N preprocessed images of `size` (H, W, C): their statistics, and what the network made of them.

    `measured` (N, K) are the statistics, by `image_statistics.measure`; `features` (N, D) are None where the network
    gives none, `logits` are (N, C); `labels` (N,) are class numbers.
    """

    size: tuple[int, int, int]
    measured: np.ndarray
    features: np.ndarray | None
    logits: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray, features: np.ndarray | None, logits: np.ndarray, labels: np.ndarray) -> Seen:
        """Return what was seen of uint8 `pixels` (N, H, W, C), which are measured here."""
        height, width, channels = pixels.shape[1:]
        return cls((height, width, channels), measure(pixels), features, logits, labels)


def fit_gate(
    train: Seen,
    held: Seen,
    *,
    held_units: np.ndarray | None = None,
    false_alarm_rate: float = 0.02,
    split: str = "validation",
    seed: int = 0,
) -> Gate:
    """Return a gate that knows the images `train`, and takes `false_alarm_rate` of units like `held` for foreign.

    The rate is shared equally by the two detectors that judge an image (features or energy, and statistics).
    The threshold of each is the quantile of its scores of held-out units
    at ceil((n + 1)(1 - a)) / n, a its share of the rate, which a new unit of the same kind exceeds with a chance of
    at most a, whatever the distribution (split conformal prediction; Vovk, Gammerman, Shafer 2005; Bates, Candès, Lei,
    Romano, Sesia 2023 for outliers). That is on average over draws of the held-out units: a single gate may be a
    little above or below. With fewer units than 1/a - 1 it is the largest score, which promises 1 / (n + 1) only;
    `promised_rate` in the facts is the sum of what the detectors promise.

    Args:
        train: images that the network learnt from; none of them may be in `held`.
        held: images that it did not learn from.
        held_units: (N,) which of them belong together, as those of one patient: a unit counts once, with its highest
            score. None: each by itself.
        false_alarm_rate: of all detectors together, above 0 and below 0.5.
        split: what `held` is called in the facts.
        seed: of the draw of training images.

    Raises:
        UsageError: for such a rate. DataError: for fewer than two training images or none held out, or arrays that do
            not go together or are not finite.
    """
    if not 0 < false_alarm_rate < 0.5:
        raise UsageError(f"The false alarm rate of the gate is above 0 and below 0.5, not {false_alarm_rate}.")
    _refuse_unlike(train, held, held_units)
    rng = np.random.default_rng(seed)
    unit_numbers = (
        np.arange(len(held.measured)) if held_units is None else np.unique(held_units, return_inverse=True)[1]
    )
    draft = _without_thresholds(train, rng)
    names: list[DetectorName] = ["features"] if draft.references is not None else []
    names += ["energy", "statistics"]
    rate = false_alarm_rate / AT_ONCE
    ratios = draft.by_aspect(draft.deviations(held.measured))
    raw = draft.raw_scores(ratios, held.features, held.logits)
    units = int(unit_numbers.max()) + 1
    facts = {
        "n": len(held.measured),
        "units": units,
        "split": split,
        "false_alarm_rate": false_alarm_rate,
        "promised_rate": AT_ONCE * max(rate, 1 / (units + 1)),
        "seed": seed,
        "references": len(draft.references) if draft.references is not None else 0,
        "measured": min(len(train.measured), STATISTICS_IMAGES),
    }
    return replace(
        draft,
        detectors=tuple(_detector(name, raw[name], unit_numbers, rate) for name in names),
        facts=facts,
    )


def quantile_of_units(scores: np.ndarray, unit_numbers: np.ndarray, rate: float) -> float:
    """Return the score that a new unit exceeds with a chance of at most `rate`; the largest where none is known to.

    `scores` (N,) are of images, `unit_numbers` (N,) count their units from 0; a unit's score is its largest.
    """
    ordered = np.sort(_largest_of_units(scores, unit_numbers))
    return float(ordered[_rank(len(ordered), rate) - 1])


def _rank(count: int, rate: float) -> int:
    """Return ceil((count + 1)(1 - rate)), at most `count`."""
    return min(count, math.ceil((count + 1) * (1 - rate) - 1e-9))  # the product may lie a rounding error too high


def _largest_of_units(scores: np.ndarray, unit_numbers: np.ndarray) -> np.ndarray:
    largest = np.full(int(unit_numbers.max()) + 1, -math.inf)
    np.maximum.at(largest, unit_numbers, scores)
    return largest  # (units,)


def _detector(name: DetectorName, raw: np.ndarray, unit_numbers: np.ndarray, rate: float) -> Detector:
    quantile = quantile_of_units(raw, unit_numbers, rate)
    median = min(float(np.median(raw)), quantile)
    # A hair above: neither an equal score nor one that another engine rounds otherwise is an alarm.
    threshold = quantile + max(HAIR * (quantile - median), SMALLEST_GAP * max(1.0, abs(quantile)))
    return Detector(name, median, threshold, float((_largest_of_units(raw, unit_numbers) < threshold).mean()))


def _without_thresholds(train: Seen, rng: np.random.Generator) -> Gate:
    """Return a gate that has everything of the training images and nothing yet of held-out ones."""
    drawn = np.sort(rng.permutation(len(train.measured))[:STATISTICS_IMAGES])
    measured = train.measured[drawn]  # (n, K)
    levels = np.linspace(0, 1, KNOTS)
    end = 1 / (len(drawn) + 1)
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(level) for level in np.linspace(end, 1 - end, KNOTS).tolist()])
    knots = np.quantile(measured, levels, axis=0).T.copy()  # (K, L)
    aspects = aspects_of(*train.size)
    references = _references(train.features, train.labels, rng) if train.features is not None else None
    neighbours = min(NEIGHBOURS, len(references)) if references is not None else 1
    count = len(knots)
    nothing, ones = np.zeros((len(aspects), count, count)), np.ones(len(aspects))
    draft = Gate((), train.size, knots, scores, nothing, ones, references, neighbours, {})
    deviations = draft.deviations(measured)  # (n, K)
    draft = replace(draft, whitening=_whitening(deviations, aspects))
    limits = np.quantile(draft.by_aspect(deviations), LIMIT_LEVEL, axis=0)  # (A,)
    return replace(draft, limits=np.maximum(limits, SMALLEST_LIMIT))


def _whitening(deviations: np.ndarray, aspects: list[Aspect]) -> np.ndarray:
    """Return for each aspect a matrix that makes its columns of `deviations` (n, K) independent, with unit variance.

    The covariance is shrunk, so that a few images suffice. The result is (A, K, K).
    """
    covariance = shrunk_covariance(deviations)  # (K, K)
    found = np.zeros((len(aspects), *covariance.shape))
    for number, aspect in enumerate(aspects):
        own = aspect.columns
        variances, axes = np.linalg.eigh(covariance[own, own])
        found[number, : len(variances), own] = (axes / np.sqrt(np.maximum(variances, SMALLEST_VARIANCE))).T
    return found


def shrunk_covariance(x: np.ndarray) -> np.ndarray:
    """Return the covariance (K, K) of the rows of `x` (n, K), whose means are 0, shrunk towards a multiple of one.

    By as much as Ledoit and Wolf 2004 ("A well-conditioned estimator for large-dimensional covariance matrices",
    lemma 3.1 to 3.4) estimate to be best: the share is the mean distance of a row's own x xᵀ from the sample
    covariance, over n, beside the distance of that from the multiple. Written out since scikit-learn, which has it, is
    loaded in a third of a second.
    """
    n, k = x.shape
    sample = x.T @ x / n
    mean_variance = np.trace(sample) / k
    apart = (sample**2).sum() - k * mean_variance**2  # squared distance from mean_variance times the identity
    error = ((x**2).sum(axis=1) ** 2).sum() / n**2 - (sample**2).sum() / n
    share = min(max(error, 0.0), apart) / apart if apart > 0 else 0.0
    shrunk: np.ndarray = (1 - share) * sample + share * mean_variance * np.eye(k)
    return shrunk


def _references(features: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return features (M, D) float16, of length 1, of images drawn as evenly from the classes as these allow."""
    most = max(1, min(REFERENCES, REFERENCE_BYTES // (2 * features.shape[1]), len(features)))
    order = rng.permutation(len(features))
    turn = np.empty(len(features), np.int64)  # how many of its class were drawn before it
    for one in np.unique(labels):
        of_class = order[labels[order] == one]
        turn[of_class] = np.arange(len(of_class))
    chosen = np.sort(order[np.argsort(turn[order], kind="stable")][:most])
    return unit_length(features[chosen]).astype(np.float16)


def _refuse_unlike(train: Seen, held: Seen, held_units: np.ndarray | None) -> None:
    if len(train.measured) < 2:
        raise DataError("A gate takes at least two training images.")
    if not len(held.measured):
        raise DataError("A gate takes images that are held out from training, and there are none.")
    if train.size != held.size or train.measured.shape[1:] != held.measured.shape[1:]:
        raise DataError(f"Training and held-out images differ in shape: {train.size} and {held.size}.")
    if (train.features is None) != (held.features is None):
        raise DataError("Only one of training and held-out images has features.")
    for name, seen in (("training", train), ("held-out", held)):
        parts = [seen.logits, seen.labels, *([seen.features] if seen.features is not None else [])]
        if any(len(one) != len(seen.measured) for one in parts):
            raise DataError(f"There are not as many logits, labels and features as {name} images.")
        numbers = [seen.logits, *([seen.features] if seen.features is not None else [])]
        if not all(one.ndim == 2 and np.isfinite(one).all() for one in numbers):
            raise DataError(f"Logits or features of {name} images are not rows of finite numbers.")
    if held.features is not None and train.features is not None and held.features.shape[1] != train.features.shape[1]:
        raise DataError("Training and held-out images have features of different length.")
    if held_units is not None and len(held_units) != len(held.measured):
        raise DataError("There are not as many units as held-out images.")
