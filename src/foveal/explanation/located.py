"""Located: whether maps point at the subject, where its place is known from boxes or masks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.stats import binomtest

from foveal.errors import UsageError

LEVEL, RESAMPLES = 0.95, 1000


@dataclass(frozen=True)
class Mean:
    """A mean over n images with its interval at 95 %, and how the interval was made."""

    value: float
    low: float
    high: float
    n: int
    method: str

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Located:
    """How well maps point at what is known to be the subject; `area` is what `energy` is for a map without any idea."""

    pointing: Mean  # share of maps with their maximum on the subject
    energy: Mean | None  # share of what speaks for the class that lies on the subject; None where nothing does
    iou: Mean
    area: float  # mean share of the image that the subject is
    tolerance: int  # of the pointing game, in pixels
    share: float | None  # of the maximum, from which on a pixel counts for the IoU; None: as many as the subject has

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        return asdict(self)


def located(
    maps: np.ndarray, masks: np.ndarray, *, tolerance: int = 0, share: float | None = None, seed: int = 0
) -> Located:
    """Return pointing game, energy inside and IoU of `maps` (N, H, W) with subjects at `masks` (N, H, W) bool.

    Intervals: Wilson's for the pointing game, else percentiles of a seeded bootstrap over images. Raises UsageError for
    shapes that differ, an empty mask, and options out of range.
    """
    hits = pointing_game(maps, masks, tolerance=tolerance)
    inside = energy_inside(maps, masks)
    known = inside[~np.isnan(inside)]  # images with something that speaks for the class
    return Located(
        pointing=proportion(int(hits.sum()), len(hits)),
        energy=bootstrapped(known, seed=seed) if len(known) else None,
        iou=bootstrapped(intersection_over_union(maps, masks, share=share), seed=seed),
        area=float(masks.mean()),
        tolerance=tolerance,
        share=share,
    )


def pointing_game(maps: np.ndarray, masks: np.ndarray, *, tolerance: int = 0) -> np.ndarray:
    """Return (N,) bool: whether the maximum of each map (H, W) lies on its mask, or up to `tolerance` pixels beside it.

    Zhang et al.: "Top-down neural attention by excitation backprop", ECCV 2016, section 4.1 (15 pixels there, of some
    500). Of several maxima all have to lie there, so that a constant map points at nothing.
    """
    _check(maps, masks)
    if tolerance < 0:
        raise UsageError(f"The tolerance of the pointing game is 0 or more pixels, not {tolerance}.")
    hits = []
    for own, mask in zip(maps, masks, strict=True):
        near = distance_transform_edt(~mask) <= tolerance
        hits.append(bool(near[own == own.max()].all()))
    return np.array(hits)


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return (N,): the share of each map's positive values that lies on its mask; nan where there are none.

    Wang et al.: "Score-CAM: Score-weighted visual explanations for convolutional neural networks", CVPRW 2020, section
    4.3 (energy-based pointing game). Deviation: masks besides boxes.
    """
    _check(maps, masks)
    positive = np.maximum(maps, 0).astype(np.float64)
    total = positive.sum(axis=(1, 2))
    inside = (positive * masks).sum(axis=(1, 2))
    shares: np.ndarray = np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)
    return shares


def intersection_over_union(maps: np.ndarray, masks: np.ndarray, *, share: float | None = None) -> np.ndarray:
    """Return (N,): the IoU of each map's top area with its mask.

    The top area has as many pixels as the mask; or, with `share`, those from this share of the maximum on (none where
    no value is above zero). Of pixels that are equal at the edge of the first, so many are in as there is room, each
    with the same weight: what a random choice among them gives on average.
    """
    _check(maps, masks)
    if share is not None and not 0 < share <= 1:
        raise UsageError(f"The share of the maximum lies above 0 and up to 1, not at {share}.")
    found = []
    for own, mask in zip(maps, masks, strict=True):
        size = int(mask.sum())
        if share is None:
            edge = np.partition(own, own.size - size, axis=None)[own.size - size]
            above, tied = own > edge, own == edge
            top = above + tied * ((size - above.sum()) / tied.sum())  # (H, W), weights that sum to `size`
        else:
            top = ((own >= share * own.max()) & (own > 0)).astype(np.float64)
        both = float((top * mask).sum())
        found.append(both / (float(top.sum()) + size - both))
    return np.array(found)


def proportion(hits: int, n: int) -> Mean:
    """Return the share of `hits` among `n` images, one or more, with Wilson's interval."""
    low, high = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Mean(hits / n, float(low), float(high), n, "Wilson")


def bootstrapped(values: np.ndarray, weights: np.ndarray | None = None, *, seed: int = 0) -> Mean:
    """Return the mean of `values` (N,), or its ratio to the mean of `weights` (N,), with a percentile interval.

    The bootstrap is over images: too narrow for few of them, and a point for one.
    """
    n = len(values)
    chance = np.random.default_rng(seed)
    below = np.ones(n) if weights is None else weights
    drawn = []
    for _ in range(RESAMPLES):  # one by one: all at once would hold a thousand times the images' numbers
        rows = chance.integers(n, size=n)
        drawn.append(values[rows].sum() / below[rows].sum())
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Mean(float(values.sum() / below.sum()), float(low), float(high), n, "bootstrap over images, percentiles")


def _check(maps: np.ndarray, masks: np.ndarray) -> None:
    if maps.ndim != 3 or maps.shape != masks.shape or not len(maps):
        raise UsageError(f"Maps {maps.shape} and masks {masks.shape} are of one shape (N, H, W), N one or more.")
    if masks.dtype != np.bool_ or not masks.any(axis=(1, 2)).all():
        raise UsageError("A mask is boolean, and true where the subject is, which has one pixel or more.")
    if not np.isfinite(maps).all():
        raise UsageError("The maps have values that are not finite.")
