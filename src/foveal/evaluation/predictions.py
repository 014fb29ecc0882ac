"""predictions.csv: one row an image, from which every metric can be computed again; records.csv: which images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foveal.files import write_csv


def write_predictions(
    path: Path, record_ids: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> None:
    """Write record_id, label, predicted, probability (of the predicted class) and ``p:<class>`` for every class."""
    predicted = probabilities.argmax(axis=1)
    header = ["record_id", "label", "predicted", "probability", *(f"p:{name}" for name in classes)]
    numbers = [(("%.9f " * len(classes)) % tuple(row)).split() for row in probabilities.tolist()]
    columns = (record_ids, labels.tolist(), predicted.tolist(), numbers)
    rows = (
        [record_id, classes[label], classes[guess], row[guess], *row]
        for record_id, label, guess, row in zip(*columns, strict=True)
    )
    write_csv(path, header, rows)


RECORDS_FILE = "records.csv"
RECORDS_COLUMNS = ("record_id", "path", "group", "source", "sha256")


def write_records(path: Path, columns: Sequence[Sequence[str]]) -> None:
    """Write which images an evaluation of other data answered, in RECORDS_COLUMNS, as splits.csv does for a run."""
    write_csv(path, RECORDS_COLUMNS, zip(*columns, strict=True))
