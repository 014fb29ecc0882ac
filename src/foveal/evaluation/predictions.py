"""predictions.csv: one row an image, from which every figure can be computed again; records.csv: which images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foveal.errors import DataError
from foveal.files import write_csv

PREDICTIONS_FILE = "predictions.csv"
RECORDS_FILE = "records.csv"
RECORDS_COLUMNS = ("record_id", "path", "group", "source", "sha256")
SHARE, RAW = "p:", "raw:"  # before a class name: the probability as answered, and as the network alone gives it
DIGITS = "%.9f"


RESERVED = ("record_id", "label", "predicted", "probability", "unit", "abstained", "gate_score", "fold", "source")


def refuse_reserved(column: str) -> None:
    """Raise DataError where a column that slices are made of would stand in predictions.csv under a name of its own."""
    if column == "source":
        raise DataError("Each source is measured apart anyway; leave it out of the columns that slices are made of.")
    if column in RESERVED or column.startswith((SHARE, RAW)):
        raise DataError(
            f'A column called "{column}" cannot be one that slices are made of: predictions.csv uses that name; '
            f"call it otherwise."
        )


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier answered to images whose label is known. Row i of every column speaks of image i."""

    classes: tuple[str, ...]
    record_ids: tuple[str, ...]
    labels: np.ndarray  # (N,) int64, index into classes
    probabilities: np.ndarray  # (N, C) float64, as answered
    raw: np.ndarray | None = None  # (N, C) before calibration; None where there is none
    units: np.ndarray | None = None  # (N,) str: images of one patient, and copies, share it; None: not known
    abstained: np.ndarray | None = None  # (N,) str: why no answer is given, empty where one is
    columns: dict[str, np.ndarray] = field(default_factory=dict)  # anything else that is known of the images

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> np.ndarray:
        """The index (N,) of the most probable class."""
        most: np.ndarray = self.probabilities.argmax(axis=1)
        return most


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write record_id, label, predicted, probability (of the predicted class) and ``p:<class>`` for every class.

    Then, where they are known, ``raw:<class>``, unit and abstained, and the other columns.
    """
    classes, labels, predicted = predictions.classes, predictions.labels.tolist(), predictions.predicted.tolist()
    answered = _written(predictions.probabilities)
    header = ["record_id", "label", "predicted", "probability", *(SHARE + name for name in classes)]
    blocks: list[Sequence[Sequence[str]]] = [answered]
    if predictions.raw is not None:
        header += [RAW + name for name in classes]
        blocks.append(_written(predictions.raw))
    known = {"unit": predictions.units, "abstained": predictions.abstained, **predictions.columns}
    told = {name: values.tolist() for name, values in known.items() if values is not None}
    header += told
    blocks.append(list(zip(*told.values(), strict=True)) if told else [()] * len(labels))
    rows = (
        [record_id, classes[label], classes[guess], own[0][guess], *(cell for block in own for cell in block)]
        for record_id, label, guess, own in zip(
            predictions.record_ids, labels, predicted, zip(*blocks, strict=True), strict=True
        )
    )
    write_csv(path, header, rows)


def _written(numbers: np.ndarray) -> list[list[str]]:
    line = " ".join([DIGITS] * numbers.shape[1])
    return [(line % tuple(row)).split() for row in numbers.tolist()]


def write_records(path: Path, columns: Sequence[Sequence[str]]) -> None:
    """Write which images an evaluation of other data answered, in RECORDS_COLUMNS, as splits.csv does for a run."""
    write_csv(path, RECORDS_COLUMNS, zip(*columns, strict=True))
