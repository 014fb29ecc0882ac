"""Robustness: what becomes of a classifier's answers when its test images are damaged, more and more.

Everything here is computed from probabilities; `foveal.data.corruptions` makes the images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foveal.data.corruptions import Corruption, written
from foveal.errors import ClassifierError
from foveal.evaluation.comparison import compare_answers
from foveal.evaluation.interval import Estimate, by_group, wilson

LOSS = 0.05  # of accuracy: what a network is said to endure ends here
SCHEMA_VERSION = 1
PAGE = "robustness.html"


@dataclass(frozen=True)
class Condition:
    """One corruption at one strength."""

    strength: float
    accuracy: Estimate
    drop: Estimate  # accuracy of the clean images minus accuracy of these, paired image by image
    confidence: float  # mean probability of the answer
    wrong_confidence: float | None  # the same over wrong answers; None where there is none
    changed: float  # share of images whose answer is another than the clean image's
    turned: int  # images that were answered rightly, and are no more
    abstained: float | None  # share of images on which it says that no answer should be relied on; None: it never does


@dataclass(frozen=True)
class Curve:
    """One corruption over its strengths, mild to severe."""

    name: str
    title: str
    quantity: str
    scale: float  # from a strength to the number that is written
    suffix: str
    clean: float  # the strength that changes nothing
    conditions: tuple[Condition, ...]
    mean_accuracy: float  # over the strengths
    mean_confidence: float
    turned: int  # images that were answered rightly, and at one of the strengths are not
    endures: float | None  # the strength at which LOSS of accuracy is lost; None where the strongest does less

    def written(self, strength: float) -> str:
        """Return a strength as people read it."""
        return written(strength, self.scale, self.suffix)


@dataclass(frozen=True)
class Case:
    """An image that turned from right to wrong, at the mildest strength that turned it."""

    corruption: str
    strength: float
    record_id: str
    label: str
    answer: str
    confidence: float  # in the wrong answer
    clean_confidence: float  # in the right one, before
    clean: str  # both pictures as data addresses
    corrupted: str


@dataclass(frozen=True)
class Shifted:
    """The same images moved by so many pixels up, down, left and right."""

    pixels: int
    consistency: Estimate  # share of moved images that are answered as the image itself
    accuracy: float
    logit_change: float | None  # see `logit_change`; None where the logits are not known


@dataclass(frozen=True)
class MapShifted:
    """A feature map of images moved by whole strides, against the map of the images, moved along."""

    layer: str
    stride: int  # pixels
    shape: str  # "16×5×5"
    cells: int  # by which the map moved
    error: float  # relative, over the cells that both maps hold
    unmoved: float  # the same when the map is not moved along: what a network without any equivariance would show


@dataclass(frozen=True)
class Robustness:
    """What became of a classifier's answers under graded corruptions of its own test images."""

    run: str  # the name of its folder
    model: str
    dataset: str
    classifier: str  # content hash
    engine: Mapping[str, Any]  # its name, and what tells it apart
    n: int
    test_images: int  # of the run; `n` of them were drawn where there are more
    units: int  # that are independent: groups, exact copies, images on their own
    seed: int
    clean: Estimate
    clean_confidence: float
    clean_abstained: float | None
    mean: Estimate  # accuracy over all corruptions and strengths
    mean_confidence: float
    curves: tuple[Curve, ...]
    cases: tuple[Case, ...]
    shift_images: int
    shifts: tuple[Shifted, ...]
    maps: tuple[MapShifted, ...]
    asked: int  # images that the network answered, in all
    images_per_s: float
    path: Path | None = None  # the folder with the page, once it is written

    @property
    def page_file(self) -> Path | None:
        """The page."""
        return None if self.path is None else self.path / PAGE

    @property
    def weakest(self) -> Curve:
        """The corruption with the lowest mean accuracy."""
        return min(self.curves, key=lambda one: one.mean_accuracy)

    @property
    def strongest(self) -> Curve:
        """The corruption with the highest mean accuracy."""
        return max(self.curves, key=lambda one: one.mean_accuracy)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of robustness.json."""
        fields = asdict(self)
        del fields["path"]
        return {"schema_version": SCHEMA_VERSION, **fields}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Robustness:
        """Return what `to_dict` stored; ClassifierError where a field is missing or of another kind."""
        try:
            fields = {key: value for key, value in stored.items() if key != "schema_version"}
            curves = tuple(
                Curve(**{**one, "conditions": tuple(map(_condition, one["conditions"]))}) for one in fields["curves"]
            )
            shifts = (Shifted(**{**one, "consistency": Estimate(**one["consistency"])}) for one in fields["shifts"])
            parts = {
                "clean": Estimate(**fields["clean"]),
                "mean": Estimate(**fields["mean"]),
                "curves": curves,
                "cases": tuple(Case(**one) for one in fields["cases"]),
                "shifts": tuple(shifts),
                "maps": tuple(MapShifted(**one) for one in fields["maps"]),
            }
            return cls(**{**fields, **parts})
        except (KeyError, TypeError, ValueError) as error:
            raise ClassifierError(f"The stored figures of robustness are incomplete or damaged: {error!r}.") from error


def _condition(stored: Mapping[str, Any]) -> Condition:
    return Condition(**{**stored, "accuracy": Estimate(**stored["accuracy"]), "drop": Estimate(**stored["drop"])})


def measure_condition(
    labels: np.ndarray,
    clean: np.ndarray,
    damaged: np.ndarray,
    units: np.ndarray,
    strength: float,
    abstained: np.ndarray | None = None,
) -> Condition:
    """Return what the probabilities `damaged` (N, C) say beside those of the `clean` images (N, C), N more than none.

    The answer is the most probable class, also where the classifier would abstain, `abstained` (N,) bool. `units`
    (N,) number what is independent: both intervals allow for it.
    """
    answers, before = damaged.argmax(axis=1), clean.argmax(axis=1)
    right, was_right = answers == labels, before == labels
    confidence = damaged.max(axis=1)
    return Condition(
        strength=float(strength),
        accuracy=share(right, units),
        drop=compare_answers(was_right, right, units).difference,
        confidence=float(confidence.mean()),
        wrong_confidence=float(confidence[~right].mean()) if not right.all() else None,
        changed=float((answers != before).mean()),
        turned=int((was_right & ~right).sum()),
        abstained=None if abstained is None else float(abstained.mean()),
    )


def make_curve(corruption: Corruption, conditions: Sequence[Condition], turned: int) -> Curve:
    """Return the curve of `corruption` over `conditions`, mild to severe, which `turned` so many images in all."""
    return Curve(
        name=corruption.name,
        title=corruption.title,
        quantity=corruption.quantity,
        scale=corruption.scale,
        suffix=corruption.suffix,
        clean=corruption.clean,
        conditions=tuple(conditions),
        mean_accuracy=float(np.mean([one.accuracy.value for one in conditions])),
        mean_confidence=float(np.mean([one.confidence for one in conditions])),
        turned=turned,
        endures=strength_of_loss(
            corruption.clean, [one.strength for one in conditions], [one.drop.value for one in conditions]
        ),
    )


def strength_of_loss(
    clean: float, strengths: Sequence[float], drops: Sequence[float], loss: float = LOSS
) -> float | None:
    """Return the strength at which accuracy has first lost `loss`: linear between those tried, from 0 at `clean` on.

    None where none of the strengths, which go from mild to severe, loses so much.
    """
    at, lost = clean, 0.0
    for strength, drop in zip(strengths, drops, strict=True):
        if drop >= loss:
            return float(at + (strength - at) * (loss - lost) / (drop - lost))
        at, lost = strength, drop
    return None


def share(values: np.ndarray, units: np.ndarray) -> Estimate:
    """Return the mean of `values` (N,), right or wrong or a share of each image, with an interval by `units` (N,).

    It is Wilson's where every image is a unit of its own and right or wrong. An image's share (of several answers)
    counts as one answer at most, which is cautious.
    """
    alone = len(np.unique(units)) == len(units)
    return wilson(int(values.sum()), len(values)) if alone and values.dtype == bool else by_group(values, units)


def turned_cases(labels: np.ndarray, clean: np.ndarray, damaged: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Return (row, number of the strength) of the images that turned from right to wrong.

    `damaged` holds the probabilities (N, C) a strength, mild to severe. An image counts at the mildest strength that
    turned it; those come first that were then surest of the wrong answer.
    """
    was_right = clean.argmax(axis=1) == labels
    wrong = np.stack([one.argmax(axis=1) != labels for one in damaged])  # (strengths, N)
    rows = np.flatnonzero(was_right & wrong.any(axis=0))
    first = wrong.argmax(axis=0)[rows]
    sure = np.stack([one.max(axis=1) for one in damaged])[first, rows]
    order = np.lexsort((rows, -sure))
    return list(zip(rows[order].tolist(), first[order].tolist(), strict=True))


def measure_shift(
    pixels: int,
    labels: np.ndarray,
    units: np.ndarray,
    still: np.ndarray,
    shifted: Sequence[np.ndarray],
    change: float | None,
) -> Shifted:
    """Return how often images moved by `pixels` are answered as they are unmoved (R. Zhang 2019, consistency).

    `still` and each of `shifted`, one a direction, are probabilities (N, C). Zhang compares two random shifts of one
    image; here one of the two is none.
    """
    answers = np.stack([one.argmax(axis=1) for one in shifted])  # (directions, N)
    same = (answers == still.argmax(axis=1)).mean(axis=0)  # (N,)
    return Shifted(pixels, share(same, units), float((answers == labels).mean()), change)


def logit_change(still: np.ndarray, shifted: Sequence[np.ndarray]) -> float | None:
    """Return how far logits (N, C) move, as a share of how far those of different images lie apart.

    √(mean ‖z' - z‖² / mean ‖z - z̄‖²), each z less its mean over the classes, which softmax does not see: 0 where
    nothing changes, about 1.4 where the moved image is answered like any other. None where all images are alike.
    """
    z = still.astype(np.float64) - still.mean(axis=1, keepdims=True)
    spread = float(((z - z.mean(axis=0)) ** 2).sum(axis=1).mean())
    if spread == 0:
        return None
    centred = [one.astype(np.float64) - one.mean(axis=1, keepdims=True) for one in shifted]
    return float(np.sqrt(np.mean([((one - z) ** 2).sum(axis=1).mean() for one in centred]) / spread))


def measure_map(still: np.ndarray, moved: Callable[[int, int], np.ndarray], cells: int) -> tuple[float, float] | None:
    """Return the relative error ‖moved map - map moved‖ / ‖map‖ over the cells that both hold, down and across.

    `still` (N, C, h, w) is the map of the images and ``moved(down, across)`` that of the images moved by so many
    strides. Then the same when the map is not moved along. None where the map is all zero, or no wider than `cells`.
    """
    if min(still.shape[2:]) <= cells:
        return None
    away = along = size = 0.0
    for down, across in ((cells, 0), (0, cells)):
        there = moved(down, across)[:, :, down:, across:].astype(np.float64)
        here = still[:, :, : still.shape[2] - down, : still.shape[3] - across].astype(np.float64)
        same_place = still[:, :, down:, across:].astype(np.float64)
        along += float(((there - here) ** 2).sum())
        away += float(((there - same_place) ** 2).sum())
        size += float((here**2).sum())
    return (float(np.sqrt(along / size)), float(np.sqrt(away / size))) if size else None
