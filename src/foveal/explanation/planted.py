"""Images in which it is known where the subject is: digits on textures, and if asked a mark that betrays one class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

SIDE, DIGIT = 64, 28
MARK = 5  # side of the mark, in pixels


@dataclass(frozen=True, eq=False)
class Planted:
    """Grey images with the place of what each shows."""

    images: np.ndarray  # (N, SIDE, SIDE) uint8
    labels: np.ndarray  # (N,)
    masks: np.ndarray  # (N, SIDE, SIDE) bool: the digit's strokes with what lies between, that is its box
    marks: np.ndarray  # (N, SIDE, SIDE) bool: the mark; empty where there is none


def plant(
    digits: np.ndarray, labels: np.ndarray, *, seed: int = 0, marked: int | None = None, share: float = 0.0
) -> Planted:
    """Return `digits` (N, h, w) uint8, white on black, each at a place by chance on a texture by chance.

    With `marked`, that share of the class's images has a bright square in the upper left corner: a shortcut.
    """
    chance = np.random.default_rng(seed)
    n = len(digits)
    images = np.zeros((n, SIDE, SIDE), np.uint8)
    masks, marks = np.zeros((2, n, SIDE, SIDE), bool)
    for at, digit in enumerate(digits):
        large = np.asarray(Image.fromarray(digit).resize((DIGIT, DIGIT), Image.Resampling.BICUBIC), np.float32)
        top, left = chance.integers(MARK + 2, SIDE - DIGIT + 1, size=2)
        place = slice(top, top + DIGIT), slice(left, left + DIGIT)
        scene = _texture(chance)
        scene[place] = np.maximum(scene[place], large)
        masks[at][place] = _box(large > 64)
        if marked is not None and labels[at] == marked and chance.random() < share:
            marks[at, 1 : 1 + MARK, 1 : 1 + MARK] = True
            scene[marks[at]] = 255
        images[at] = np.clip(scene, 0, 255).astype(np.uint8)
    return Planted(images, np.asarray(labels), masks, marks)


def _box(strokes: np.ndarray) -> np.ndarray:
    """Return the mask (h, w) of the box around `strokes`."""
    rows, columns = (np.flatnonzero(strokes.any(axis=axis)) for axis in (1, 0))
    box = np.zeros_like(strokes)
    if len(rows):
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def _texture(chance: np.random.Generator) -> np.ndarray:
    """Return a background (SIDE, SIDE) float32 up to about 120: a grating, checks, or noise of some scale."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    kind = chance.integers(3)
    if kind == 0:
        angle, wave = chance.uniform(0, np.pi), chance.uniform(5, 16)
        pattern = np.sin(2 * np.pi * (np.cos(angle) * rows + np.sin(angle) * columns) / wave)
    elif kind == 1:
        size = int(chance.integers(4, 12))
        pattern = 2.0 * ((rows // size + columns // size) % 2) - 1
    else:
        noise = gaussian_filter(chance.normal(size=(SIDE, SIDE)), chance.uniform(0.7, 3))
        pattern = noise / (np.abs(noise).max() + 1e-9)
    level, depth = chance.uniform(30, 70), chance.uniform(15, 50)
    texture: np.ndarray = (level + depth * pattern).astype(np.float32)
    return texture
