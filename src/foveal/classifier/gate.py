"""The out-of-domain gate: whether an image resembles those that a classifier learnt from, and if not, why."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from foveal.classifier.image_statistics import NormalScores, aspects_of, measure, statistics_of
from foveal.errors import DataError

DetectorName = Literal["features", "energy", "statistics"]
DETECTORS: tuple[DetectorName, ...] = get_args(DetectorName)

OPENING = "it does not resemble the images this classifier learnt from: "
REMARKABLE, FAR = 2.5, 5.0  # standard deviations: from which a statistic is named, and called far off
LARGEST_SCORE = 1e6  # a score is cut there, so that it is a number wherever it is written
SHORTEST = 1e-12  # no vector of features is taken for shorter
STATISTICS_ARRAYS = ("knots", "scores", "whitening", "limits")


@dataclass(frozen=True)
class Detector:
    """One way to see that an image is foreign, and how high its raw score was for held-out images.

    `median` is theirs, `threshold` lies a hair above the quantile that was chosen, and `share` of them lie below it.
    """

    name: DetectorName
    median: float
    threshold: float
    share: float

    def scaled(self, raw: np.ndarray) -> np.ndarray:
        """Return `raw` (N,) so that the held-out median, and all below, is 0 and the threshold is 1; NaN is highest."""
        scaled = (raw - self.median) / (self.threshold - self.median)
        cut: np.ndarray = np.clip(np.where(np.isnan(scaled), LARGEST_SCORE, scaled), 0, LARGEST_SCORE)
        return cut


@dataclass(frozen=True, eq=False)
class GateAnswers:
    """What the gate says of N images.

    `scores` (N, detectors) are scaled: 0 is an image as ordinary as the median held-out one, from 1 on the detector
    fires; a detector that could not be asked gives 0. `reasons` has, for each row where one fires, the reason.
    """

    scores: np.ndarray
    reasons: dict[int, str]


@dataclass(frozen=True, eq=False)
class Gate:
    """Detectors with their thresholds; an image is out of domain where any of them fires.

    - features: the distance to the `neighbours`-th nearest of `references`, features of training images, all of length
      1 (Sun, Ming, Zhu, Li 2022, on a subset of a few hundred spread evenly over the classes);
    - energy, where there are no features: -ln Σ exp(logit) (Liu, Wang, Owens, Li 2020, at temperature 1). Beside
      features it would stop next to nothing more, and cost a share of the false alarms;
    - statistics: how far the image lies from the training images by `image_statistics.measure`: of all aspects, such as
      detail or layout or everything, the largest Mahalanobis distance, in units of the aspect's limit. A single
      distance in everything would hide a plain fault, such as blur, among all that is as usual.

    `references` (M, D) are float16, or None where the gate has no detector of features. `size` is (height, width,
    channels) of the preprocessed images. Of the K statistics, `knots` (K, L) are quantiles over training images, which
    `NormalScores` takes to `scores` (L,); for each of A aspects `whitening` (A, K, K) makes independent numbers of
    unit variance of those scores, and `limits` (A,) is the distance that 99 % of training images do not exceed.
    `facts` are plain JSON: `n`, `units`, `split`, `false_alarm_rate`, `promised_rate`, `seed`, and how many training
    images were taken (`references`, `measured`).
    """

    detectors: tuple[Detector, ...]
    size: tuple[int, int, int]
    knots: np.ndarray
    scores: np.ndarray
    whitening: np.ndarray
    limits: np.ndarray
    references: np.ndarray | None
    neighbours: int
    facts: Mapping[str, Any]

    def assess(self, pixels: np.ndarray, features: np.ndarray | None, logits: np.ndarray) -> GateAnswers:
        """Return what the gate says of uint8 `pixels` (N, H, W, C), their `features` (N, D) and `logits` (N, C).

        Each image is judged by itself, by two detectors: features, or energy in their place where `features` are None,
        as with an engine that does not give them; and statistics. One that is not asked gives 0.

        Raises DataError for arrays of another shape than the gate was fitted to.
        """
        return self.judge(self.measured(pixels), features, logits)

    def measured(self, pixels: np.ndarray) -> np.ndarray:
        """Return the statistics (N, K) of uint8 `pixels` (N, H, W, C); DataError for another size than the gate's."""
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self.size:
            raise DataError(f"The gate takes uint8 images of {self.size}, not {pixels.dtype} of {pixels.shape[1:]}.")
        return measure(pixels)

    def judge(self, measured: np.ndarray, features: np.ndarray | None, logits: np.ndarray) -> GateAnswers:
        """Return what `assess` does of images whose statistics (N, K) are `measured` already."""
        self._refuse(measured, features, logits)
        deviations = self.deviations(measured)
        ratios = self.by_aspect(deviations)
        raw = self.raw_scores(ratios, features, logits)
        if "features" in raw:  # they judge in place of energy, but logits that are no numbers are always foreign
            quiet = next((one.median for one in self.detectors if one.name == "energy"), 0.0)
            raw["energy"] = np.where(np.isnan(raw["energy"]), np.nan, quiet)
        asked = [one.scaled(raw[one.name]) if one.name in raw else np.zeros(len(measured)) for one in self.detectors]
        scores = np.stack(asked, axis=1)  # (N, detectors)
        fired = np.flatnonzero((scores >= 1).any(axis=1))
        return GateAnswers(scores, {int(row): self._reason(scores[row], ratios[row], deviations[row]) for row in fired})

    def deviations(self, measured: np.ndarray) -> np.ndarray:
        """Return each of `measured` (N, K) in standard deviations of the training images."""
        return self._normal_scores(measured)

    @functools.cached_property
    def _normal_scores(self) -> NormalScores:
        resolutions = np.concatenate(
            [np.full(one.columns.stop - one.columns.start, one.resolution) for one in statistics_of(*self.size)]
        )
        return NormalScores(self.knots, self.scores, resolutions)

    def raw_scores(
        self, ratios: np.ndarray, features: np.ndarray | None, logits: np.ndarray
    ) -> dict[DetectorName, np.ndarray]:
        """Return the unscaled scores (N,) of the detectors that can be asked; `ratios` are those of `by_aspect`."""
        found: dict[DetectorName, np.ndarray] = {
            "energy": _energies(logits),
            "statistics": ratios.max(axis=1),
        }
        if features is not None and self.references is not None:
            found["features"] = distances(self.references, features, self.neighbours)
        return found

    def by_aspect(self, deviations: np.ndarray) -> np.ndarray:
        """Return the distance (N, A) of `deviations` (N, K) by each aspect, in units of its limit."""
        flat = self.whitening.reshape(-1, self.whitening.shape[2])  # (A × K, K)
        squared = [((flat @ one) ** 2).reshape(len(self.whitening), -1).sum(axis=1) for one in deviations]
        ratios: np.ndarray = np.sqrt(np.array(squared).reshape(len(deviations), len(self.limits))) / self.limits
        return ratios

    def _reason(self, scores: np.ndarray, ratios: np.ndarray, deviations: np.ndarray) -> str:
        """Return the reason in words, of the detectors that fire at one row."""
        said = {
            "statistics": self._looks(ratios, deviations),
            "features": "its features lie farther from the training images than those of {share} held-out ones",
            "energy": "the network's response to it is weaker than to {share} held-out images",
        }
        fired = {one.name: one for one, score in zip(self.detectors, scores, strict=True) if score >= 1}
        parts = [words.format(share=_share(fired[name].share)) for name, words in said.items() if name in fired]
        return OPENING + "; ".join(parts)

    def _looks(self, ratios: np.ndarray, deviations: np.ndarray) -> str:
        """Return in words what of one image, of `ratios` (A,) and `deviations` (K,), is farthest from training images.

        Where an aspect by itself is beyond the threshold, it says more than everything together; and one of its
        statistics with a direction, such as sharpness, says more than the aspect.
        """
        *aspects, everything = aspects_of(*self.size)
        most = int(ratios[:-1].argmax())
        if ratios[most] < self.detectors[-1].threshold:
            return everything.words
        own = aspects[most].columns
        directed = [one for one in statistics_of(*self.size) if one.more and own.start <= one.columns.start < own.stop]
        if not directed:
            return aspects[most].words
        named = max(directed, key=lambda one: abs(float(deviations[one.columns.start])))
        deviation = float(deviations[named.columns.start])
        if abs(deviation) < REMARKABLE:
            return aspects[most].words
        words = named.more if deviation > 0 else named.less
        return f"far {words}" if abs(deviation) >= FAR and not words.startswith("with") else words

    def _refuse(self, measured: np.ndarray, features: np.ndarray | None, logits: np.ndarray) -> None:
        if measured.ndim != 2 or measured.shape[1] != len(self.knots):
            raise DataError(f"The gate takes {len(self.knots)} statistics an image, not {measured.shape[1:]}.")
        if logits.ndim != 2 or len(logits) != len(measured):
            raise DataError(f"The gate takes a row of logits an image, not {logits.shape} for {len(measured)} images.")
        if features is None or self.references is None:
            return
        wanted = (len(measured), self.references.shape[1])
        if features.shape != wanted:
            raise DataError(f"The gate was fitted to other features: these are {features.shape}, not {wanted}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of classifier.json; `arrays` go beside it."""
        return {
            "detectors": [asdict(one) for one in self.detectors],
            "size": list(self.size),
            "neighbours": self.neighbours,
            "facts": dict(self.facts),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, less than 2 MB in all unless one vector of features is larger."""
        found = {name: getattr(self, name) for name in STATISTICS_ARRAYS}
        return found | ({"references": self.references} if self.references is not None else {})

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Gate:
        """Return the gate that `to_dict` and `arrays` wrote; ValueError says what is wrong with it."""
        if not isinstance(value, Mapping):
            raise ValueError("the gate is no object")
        for name in ("detectors", "size", "neighbours", "facts"):
            if name not in value:
                raise ValueError(f"the gate has no {name}")
        size = _read_size(value["size"])
        detectors = _read_detectors(value["detectors"])
        if not isinstance(value["facts"], Mapping):
            raise ValueError("the facts of the gate are no object")
        with_features = any(one.name == "features" for one in detectors)
        wanted = {*STATISTICS_ARRAYS, *(["references"] if with_features else [])}
        if set(arrays) != wanted:
            raise ValueError(f"the arrays of the gate must be: {', '.join(sorted(wanted))}")
        _check_arrays(size, arrays)
        neighbours = value["neighbours"]
        most = len(arrays["references"]) if with_features else math.inf
        if not _whole(neighbours) or not 1 <= neighbours <= most:
            raise ValueError("the neighbours of the gate are no whole number from 1 to that of its references")
        own = [np.asarray(arrays[name], np.float64) for name in STATISTICS_ARRAYS]
        references = np.asarray(arrays["references"]) if with_features else None
        knots, scores, whitening, limits = own
        parts = (knots, scores, whitening, limits, references, neighbours, dict(value["facts"]))
        return cls(detectors, size, *parts)


def distances(references: np.ndarray, features: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the distance (N,) of each of `features` (N, D) to the `neighbours`-th nearest of `references` (M, D).

    The references have length 1, and so are the features made. One image at a time, so that its answer does not
    depend, by the order of additions, on the others.
    """
    stored = references.astype(np.float32)
    found = np.empty(len(features))
    for row, one in enumerate(unit_length(features)):
        nearness = np.partition(stored @ np.array(one), len(stored) - neighbours)[len(stored) - neighbours]
        found[row] = math.sqrt(max(0.0, 2 - 2 * float(nearness))) if np.isfinite(nearness) else math.nan
    return found


def unit_length(features: np.ndarray) -> np.ndarray:
    """Return `features` (N, D) as float32 of length 1; zeros stay zeros."""
    lengths = np.array([np.linalg.norm(one) for one in features.astype(np.float64)]).reshape(-1, 1)
    units: np.ndarray = (features / np.maximum(lengths, SHORTEST)).astype(np.float32)
    return units


def _energies(logits: np.ndarray) -> np.ndarray:
    """Return -ln Σ exp of each row of `logits` (N, C) in float64; NaN where one is not finite."""
    values = np.array(logits, np.float64, order="C")
    values[~np.isfinite(values).all(axis=1)] = math.nan
    highest = values.max(axis=1, keepdims=True)
    energies: np.ndarray = -(highest[:, 0] + np.log(np.exp(values - highest).sum(axis=1)))
    return energies


def _share(share: float) -> str:
    """Return ``99.3 % of`` or ``all``: never more than there were."""
    return "all" if share >= 1 else f"{math.floor(share * 1000) / 10:g} % of"


def _read_size(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3 or not all(_whole(one) and one > 0 for one in value):
        raise ValueError("the size of the gate is not a list of height, width and channels")
    height, width, channels = value
    if channels not in (1, 3):
        raise ValueError("the gate is for neither 1 nor 3 channels")
    return height, width, channels


def _read_detectors(value: Any) -> tuple[Detector, ...]:
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise ValueError("the detectors of the gate are no list of objects")
    fields = ("name", "median", "threshold", "share")
    if any(set(one) != set(fields) for one in value):
        raise ValueError(f"a detector of the gate does not have exactly {', '.join(fields)}")
    names = [one["name"] for one in value]
    if names not in (list(DETECTORS), list(DETECTORS[1:])):
        raise ValueError(f"the detectors of the gate are not {', '.join(DETECTORS)}, the first of which may be absent")
    for one in value:
        if not all(_finite(one[name]) for name in fields[1:]):
            raise ValueError(f"the numbers of the detector {one['name']} are not finite")
        if one["threshold"] <= one["median"] or not 0 <= one["share"] <= 1:
            raise ValueError(f"the threshold of the detector {one['name']} is not above its median, or its share none")
    return tuple(Detector(one["name"], *(float(one[name]) for name in fields[1:])) for one in value)


def _check_arrays(size: tuple[int, int, int], arrays: Mapping[str, np.ndarray]) -> None:
    aspects = aspects_of(*size)
    count, length = aspects[-1].columns.stop, arrays["scores"].size
    shapes = {
        "knots": (count, length),
        "scores": (length,),
        "whitening": (len(aspects), count, count),
        "limits": (len(aspects),),
    }
    for name, array in arrays.items():
        fits = array.ndim == 2 and array.size > 0 if name == "references" else array.shape == shapes[name]
        if not fits:
            raise ValueError(f"the array {name} of the gate has the shape {array.shape}")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"the array {name} of the gate is not of finite numbers")
    if length < 2 or (np.diff(arrays["scores"]) <= 0).any() or (np.diff(arrays["knots"]) < 0).any():
        raise ValueError("the knots or the scores of the gate do not rise")
    if arrays["limits"].min() <= 0:
        raise ValueError("a limit of the gate is not above 0")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
