"""What a classifier says of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """The class with the highest probability, every probability, and what was looked at by which classifier."""

    label: str
    probability: float
    probabilities: Mapping[str, float]  # class → probability, in the classifier's order
    input: str  # the file's path, or the position in what was given
    input_hash: str  # SHA-256 of the file's bytes, or of the array's pixels
    classifier_hash: str

    def top(self, count: int) -> list[tuple[str, float]]:
        """Return the `count` most probable classes with their probabilities, highest first."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:count]
