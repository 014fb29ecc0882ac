"""Measure: stored predictions in, Foveal's own or another tool's, every figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foveal.errors import DataError, OutputError, nearest
from foveal.evaluation.full import measure_all
from foveal.evaluation.predictions import PREDICTIONS_FILE
from foveal.evaluation.predictions_file import USUAL_NAMES, read_predictions
from foveal.files import write_json
from foveal.run import SCHEMA_VERSION


def measure(
    predictions: str | Path,
    *,
    classes: Sequence[str] | None = None,
    by: Sequence[str] = (),
    prevalence: Mapping[str, float] | None = None,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Return every figure that the stored predictions in a CSV file give, each with its interval.

    Args:
        predictions: a CSV file, or a folder of a run's ``evaluations`` that holds one. It has a column ``label``, one
            probability a class (``p:<class>``, or columns called like `classes`), and may have ``record_id``, ``unit``
            (or group, patient: such images are not taken as independent) and any other column.
        classes: the classes in their order; by default that of the columns.
        by: columns of which each value is measured apart.
        prevalence: class → the share that it has where the classifier will be used, for predictive values there.
        out: a file to write the figures to as JSON, too.

    Raises:
        DataError: for a file that cannot be used, listing every row at fault.
        UsageError: for a prevalence that cannot be.
        OutputError: when `out` exists.
    """
    file = Path(predictions)
    file = file / PREDICTIONS_FILE if file.is_dir() else file
    if out is not None and Path(out).exists():
        raise OutputError(f"{out} exists already; choose another --out.")
    read = read_predictions(file, classes)
    for column in by:
        if column not in read.columns and column in USUAL_NAMES["unit"] and read.units is not None:
            raise DataError(
                f'The column "{column}" says which images belong together; slices of single units say nothing.'
            )
        if column not in read.columns:
            raise DataError(
                f'{file} has no column "{column}" to make slices of ({", ".join(read.columns) or "it has none"}).'
                f"{nearest(column, read.columns)}"
            )
    columns = tuple(by) or tuple(name for name in ("source",) if name in read.columns)
    found = measure_all(read, prevalence=prevalence, by=columns)
    if out is not None:
        write_json(Path(out), {"schema_version": SCHEMA_VERSION, **found})
    return found
