"""The embedded digits: 1,797 images of 8×8 that come with scikit-learn; nothing is downloaded."""

from __future__ import annotations

import numpy as np

from foveal.data.dataset import Dataset, unknown
from foveal.data.images import ImageArray


def read_digits() -> Dataset:
    """Return scikit-learn's digits (the test part of UCI's "Optical Recognition of Handwritten Digits").

    The values 0 to 16 are scaled to 0 to 255. The archive does not say which writer wrote which
    digit, so writers cannot be kept apart between the splits.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]  # (1797, 8, 8, 1)
    count = len(pixels)
    return Dataset(
        name="digits",
        origin="digits",
        classes=tuple(str(name) for name in digits.target_names),
        images=ImageArray(pixels),
        record_ids=np.array([f"{number:04d}" for number in range(count)]),
        labels=digits.target.astype(np.int64),
        groups=unknown(count),
        sources=unknown(count),
        given_splits=unknown(count),
    )
