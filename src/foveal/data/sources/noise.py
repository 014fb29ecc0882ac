"""Noise: random images under random labels, in which there is nothing to learn."""

from __future__ import annotations

import numpy as np

from foveal.data.dataset import Dataset, unknown
from foveal.data.images import ImageArray

COUNT, SIDE, CLASSES = 1_000, 28, 10


def read_noise(seed: int = 0, *, count: int = COUNT, side: int = SIDE, classes: int = CLASSES) -> Dataset:
    """Return `count` grey images of independent uniform bytes, labelled by lot; equal for an equal seed.

    They test that a pipeline runs. No classifier can do better than chance on noise that it has not
    seen; a figure that does is a leak. Another seed gives other images and labels.
    """
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, side, side, 1), dtype=np.uint8)
    name = "noise" if seed == 0 else f"noise:{seed}"
    return Dataset(
        name=name.replace(":", "-"),
        origin=name,
        classes=tuple(str(number) for number in range(classes)),
        images=ImageArray(pixels),
        record_ids=np.array([f"{seed}/{number:04d}" for number in range(count)]),
        labels=random.integers(0, classes, count),
        groups=unknown(count),
        sources=unknown(count),
        given_splits=unknown(count),
    )
