"""Planted: images of which it is known where the subject is, and what else tells its class, to try explanations on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from foveal.errors import UsageError

SIDE, MARGIN = 64, 8  # pixels; no digit enters the margin
DARKEST, BRIGHTEST = 30, 150  # of textures
INK = 64  # grey from which on a pixel of a digit belongs to its mask
MARK, MARK_AT = 5, 2  # side of the mark, and its distance from the corner's edges
TEXTURES = ("grating", "noise", "checks")


@dataclass(frozen=True, eq=False)
class Planted:
    """Digits at random places on random textures. The texture and the place say nothing of the class."""

    images: np.ndarray  # (N, H, W) uint8
    labels: np.ndarray  # (N,) int64
    masks: np.ndarray  # (N, H, W) bool: the digit's ink
    boxes: np.ndarray  # (N, 4) int64: top, left, bottom, right of the ink, the latter two exclusive
    marked: np.ndarray  # (N,) bool: which images have the mark
    mark: np.ndarray  # (H, W) bool: where the mark is, in those that have it

    @property
    def box_masks(self) -> np.ndarray:
        """The boxes as masks (N, H, W) bool."""
        filled = np.zeros_like(self.masks)
        for own, (top, left, bottom, right) in zip(filled, self.boxes, strict=True):
            own[top:bottom, left:right] = True
        return filled


def plant_digits(
    digits: np.ndarray,
    labels: np.ndarray,
    *,
    side: int = SIDE,
    marked_class: int | None = None,
    marked_share: float = 1.0,
    seed: int = 0,
) -> Planted:
    """Return `digits` (N, h, w) uint8, bright on black, in grey images of `side`² pixels.

    Each lies at a random place on a random texture (a grating, noise of several scales, or checks). With
    `marked_class`, `marked_share` of the images of that class have a small bright mark in the upper left corner, and no
    other image has it: a shortcut that is known.

    Args:
        digits: the subjects, each with ink.
        labels: (N,) integers, the class of each.
        side: of the images.
        marked_class: the class that the mark goes with; None: no image has it.
        marked_share: of its images, 0 to 1.
        seed: of all that is drawn.

    Raises:
        UsageError: for arrays of other shapes or types, digits without ink, and digits that do not fit.
    """
    if digits.ndim != 3 or digits.dtype != np.uint8 or labels.shape != (len(digits),):
        raise UsageError(f"Digits are uint8 (N, h, w) with labels (N,), not {digits.dtype} {digits.shape}.")
    if (digits.max(axis=(1, 2), initial=0) < INK).any():
        raise UsageError(f"Digits are bright on black; one of them has no pixel of {INK} or more.")
    height, width = digits.shape[1:]
    if max(height, width) + 2 * MARGIN > side:
        raise UsageError(f"Digits of {height}×{width} need images of {max(height, width) + 2 * MARGIN} pixels or more.")
    if not 0 <= marked_share <= 1:
        raise UsageError(f"The share of marked images lies between 0 and 1, not at {marked_share}.")
    chance = np.random.default_rng(seed)
    mark = np.zeros((side, side), bool)
    mark[MARK_AT : MARK_AT + MARK, MARK_AT : MARK_AT + MARK] = True
    marked = np.zeros(len(digits), bool)
    if marked_class is not None:
        rows = chance.permutation(np.flatnonzero(labels == marked_class))
        marked[rows[: round(marked_share * len(rows))]] = True
    images = np.empty((len(digits), side, side), np.uint8)
    masks = np.zeros((len(digits), side, side), bool)
    boxes = np.empty((len(digits), 4), np.int64)
    for at, digit in enumerate(digits):
        top = int(chance.integers(MARGIN, side - MARGIN - height + 1))
        left = int(chance.integers(MARGIN, side - MARGIN - width + 1))
        grey = texture(side, chance)
        cover = digit / 255
        part = grey[top : top + height, left : left + width]
        part[...] = part * (1 - cover) + 255 * cover
        if marked[at]:
            grey[mark] = 255
        images[at] = np.rint(grey)
        masks[at, top : top + height, left : left + width] = digit >= INK
        rows, columns = np.flatnonzero(masks[at].any(axis=1)), np.flatnonzero(masks[at].any(axis=0))
        boxes[at] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return Planted(images, labels.astype(np.int64), masks, boxes, marked, mark)


def texture(side: int, chance: np.random.Generator) -> np.ndarray:
    """Return a random texture (side, side) float64, of dark and middle greys."""
    kind = TEXTURES[chance.integers(len(TEXTURES))]
    y, x = np.indices((side, side))
    if kind == "noise":
        scales = [gaussian_filter(chance.standard_normal((side, side)), 2.0**power) for power in range(4)]
        raw = sum(one / one.std() * weight for one, weight in zip(scales, chance.random(4), strict=True))
    else:
        angle, period, phase = chance.uniform(0, np.pi), chance.uniform(4, 16), chance.uniform(0, 2 * np.pi)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        raw = np.sin(2 * np.pi * along / period + phase)
        if kind == "checks":
            raw = np.sign(raw) * np.sign(np.sin(2 * np.pi * across / period))
    low, high = np.sort(chance.uniform(DARKEST, BRIGHTEST, 2))
    grey: np.ndarray = low + (raw - raw.min()) / np.ptp(raw) * (high - low)
    return grey
