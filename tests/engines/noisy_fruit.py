"""Images of which no network is sure: what an engine answers otherwise than torch would show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"apple": (170, 70, 70), "lime": (90, 150, 80), "plum": (120, 80, 140)}


def draw_fruit(folder: Path, count: int, seed: int = 7) -> Path:
    """Write `count` images of each class: discs, so noisy that a network is not sure of any."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:20, :24]
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            inside = (y - rng.uniform(7, 13)) ** 2 + (x - rng.uniform(8, 16)) ** 2 < rng.uniform(5, 8) ** 2
            pixels = np.where(inside[..., None], colour, (90, 90, 90)) + rng.normal(0, 60, (20, 24, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:03d}.png")
    return folder
