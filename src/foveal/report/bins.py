"""Which images lie in which bin of probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foveal.report.results import Answer


def images_by_bin(bins: Sequence[Mapping[str, Any]], answers: Sequence[Answer]) -> list[list[Answer]]:
    """Return the images of every bin, the wrong ones first, and of these and the right ones the surest first.

    `bins` are those of equal width of `evaluation.calibration`: above `low`, up to `high`.
    """
    edges = np.array([one["high"] for one in bins])
    found: list[list[Answer]] = [[] for _ in bins]
    places = np.searchsorted(edges, [answer.probability for answer in answers], side="left")
    for answer, place in zip(answers, np.minimum(places, len(bins) - 1).tolist(), strict=True):
        found[place].append(answer)
    for images in found:
        images.sort(key=lambda answer: (answer.label == answer.predicted, -answer.probability, answer.record_id))
    return found
