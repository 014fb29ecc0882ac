"""Maps beside what is known to be there: does the map lie on the subject that a box or a mask shows?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation
from scipy.stats import binomtest

from foveal.errors import DataError

DRAWS = 2_000


@dataclass(frozen=True)
class Located:
    """How well a map lies on its subject."""

    pointed: bool  # the map's largest value lies on the subject: the pointing game of Zhang et al. 2016
    inside: float  # share of the positive attribution that lies on it: the energy game of Wang et al. 2020
    iou: float  # intersection over union of the subject and as many of the map's strongest pixels
    area: float  # share of the image that the subject takes: what chance would give for the first two


def located(map_: np.ndarray, subject: np.ndarray, *, tolerance: int = 0) -> Located:
    """Return how well `map_` (H, W) lies on the mask `subject` (H, W) bool.

    Args:
        map_: larger values speak more for the class; what is below zero counts as nothing.
        subject: where it is.
        tolerance: pixels beside the subject that the pointing game still takes for it; the paper allows 15.

    Raises:
        DataError: for a mask of another size, or an empty one.
    """
    if map_.shape != subject.shape:
        raise DataError(f"The mask is {subject.shape[0]}×{subject.shape[1]}, its map {map_.shape[0]}×{map_.shape[1]}.")
    if not subject.any():
        raise DataError("A mask is empty: it says of no place that the subject is there.")
    positive = np.maximum(map_, 0).astype(np.float64)
    total = positive.sum()
    near = binary_dilation(subject, np.ones((2 * tolerance + 1,) * 2)) if tolerance else subject
    pointed = bool(total > 0 and near[positive == positive.max()].all())
    strongest = np.zeros(map_.size, bool)
    strongest[np.argsort(-positive.ravel(), kind="stable")[: int(subject.sum())]] = total > 0
    top = strongest.reshape(map_.shape)
    iou = float((top & subject).sum() / (top | subject).sum())
    return Located(pointed, float(positive[subject].sum() / total) if total else 0.0, iou, float(subject.mean()))


@dataclass(frozen=True)
class Share:
    """A mean over images with its 95 % interval, and the number of images."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{100 * self.value:.0f} % ({100 * self.low:.0f} to {100 * self.high:.0f}, n {self.n:,})"


def mean_share(values: Sequence[float] | np.ndarray, *, seed: int = 0) -> Share:
    """Return the mean of `values`, one an image, with its interval: Wilson's where all are 0 or 1, else percentiles of
    the means of `DRAWS` sets of images drawn with replacement.
    """
    known = np.asarray(values, np.float64)
    if np.isin(known, (0, 1)).all():
        low, high = binomtest(int(known.sum()), len(known)).proportion_ci(method="wilson")
        return Share(float(known.mean()), float(low), float(high), len(known))
    chance = np.random.default_rng(seed)
    draws = np.array([known[chance.integers(len(known), size=len(known))].mean() for _ in range(DRAWS)])
    low, high = np.quantile(draws, (0.025, 0.975))
    return Share(float(known.mean()), float(low), float(high), len(known))


def summarised(found: Sequence[Located], *, seed: int = 0) -> dict[str, Share]:
    """Return the means of `pointed`, `inside`, `iou` and `area` over images."""
    return {
        name: mean_share([float(getattr(one, name)) for one in found], seed=seed)
        for name in ("pointed", "inside", "iou", "area")
    }
