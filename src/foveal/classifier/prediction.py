"""What a classifier says of one image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex, overload


@dataclass(frozen=True)
class Prediction:
    """The class that is answered, every probability, how sure that is, and what was looked at by which classifier.

    `label` is the most probable class, or, where the classifier decides at a threshold, what that says. It is given
    also where `abstain` says why it should not be relied on.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]  # class → probability, calibrated, in the classifier's order
    input: str  # the file's path, or the position in what was given
    input_hash: str  # SHA-256 of the file's bytes, or of the array's pixels
    classifier_hash: str
    engine: str = "torch"  # what computed it
    abstain: str = ""  # why no answer should be relied on, in words; empty where one can be
    uncertainty: float | None = None  # entropy of the probabilities, in nats
    prediction_set: tuple[str, ...] | None = None  # the classes that it may be, at the stored coverage
    threshold: str | None = None  # at which the label was decided, where that is not the most probable class

    def top(self, count: int) -> list[tuple[str, float]]:
        """Return the `count` most probable classes with their probabilities, highest first."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:count]

    def _repr_html_(self) -> str:
        from foveal.classifier.cards import predictions_card

        return predictions_card([self])


class Predictions(list[Prediction]):
    """A list of predictions that remembers the images predicted, so that a notebook can show both.

    Slices remember theirs; copies, sums and pickles are without.
    """

    def __init__(self, predictions: Iterable[Prediction] = (), images: Sequence[Any] = ()) -> None:
        super().__init__(predictions)
        self._images = images

    @overload
    def __getitem__(self, at: SupportsIndex) -> Prediction: ...
    @overload
    def __getitem__(self, at: slice) -> Predictions: ...
    def __getitem__(self, at: SupportsIndex | slice) -> Prediction | Predictions:
        """Return one prediction, or those of a slice with their images."""
        if isinstance(at, slice):
            return Predictions(super().__getitem__(at), self._images[at])
        return super().__getitem__(at)

    def __reduce__(self) -> tuple[type[Predictions], tuple[list[Prediction]]]:
        return Predictions, (list(self),)

    def _repr_html_(self) -> str:
        from foveal.classifier.cards import predictions_card

        return predictions_card(self, self._images if len(self._images) == len(self) else ())
