"""Pictures for tests that look like something: detail at every scale, and light from above."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter


def scenes(count: int, side: int = 64, seed: int = 0) -> np.ndarray:
    """Return grey images (N, side, side, 1) with detail at every scale, and light from above."""
    rng = np.random.default_rng(seed)
    noise = [gaussian_filter(rng.normal(size=(count, side, side)), (0, s, s)) * s for s in (0.5, 2, 8)]
    shown = 110 + 30 * sum(noise) + np.linspace(40, -40, side)[None, :, None]
    return np.clip(shown, 0, 255).astype(np.uint8)[..., None]
