"""Reading predictions.csv, Foveal's own or another tool's: everything is checked, nothing is repaired."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foveal.errors import DataError, listed, nearest
from foveal.evaluation.predictions import RAW, SHARE, Predictions

USUAL_NAMES = {
    "record_id": ("record_id", "path", "image", "image_id", "file", "filename", "id"),
    "label": ("label", "true", "target", "truth", "y_true", "class"),
    "unit": ("unit", "group", "patient", "patient_id"),
}
BESIDE = ("predicted", "probability", "abstained")
SUM_TOLERANCE = 1e-3  # of a row: other tools write three or four decimals


def read_predictions(path: Path, classes: Sequence[str] | None = None) -> Predictions:
    """Return the predictions in the CSV file `path`.

    It has a column ``label``, one probability a class in columns ``p:<class>`` (another tool's may also be called
    like the classes themselves), and, where they are known, ``record_id`` and ``unit`` (or group, patient): images of
    one patient are not independent. ``raw:<class>`` are probabilities before calibration. Every other column may be
    used for slices. `classes` gives the classes in their order; by default it is that of the columns.

    Raises DataError listing every row at fault: labels that are no class, and probabilities that are missing, no
    numbers, below 0, above 1, or do not sum to 1.
    """
    header, rows = _rows(path)
    named = _class_columns(path, header, classes)
    places = {role: _place(header, usual) for role, usual in USUAL_NAMES.items()}
    if places["label"] is None:
        raise DataError(f"{path} has no column for the true class; call it label ({', '.join(header)}).")
    order = tuple(classes) if classes is not None else tuple(named)
    index = {name: at for at, name in enumerate(order)}
    texts = [row[places["label"]] for row in rows]
    first = {text: number for number, text in reversed(list(enumerate(texts, 2)))}  # the line where each label begins
    strange = sorted(set(texts) - set(order), key=first.__getitem__)
    if strange:
        raise DataError(
            f"{path} has labels that are none of its classes ({', '.join(order[:12])}):\n"
            + listed([f'line {first[one]}: "{one}"{nearest(one, order)}' for one in strange])
        )
    ids = [row[places["record_id"]] for row in rows] if places["record_id"] is not None else _numbers(rows)
    if len(set(ids)) < len(ids):
        twice = sorted({one for one in ids if ids.count(one) > 1}) if len(ids) < 10_000 else []
        raise DataError(f"{path} names records more than once:\n{listed(twice or ['(many)'])}")
    raw_columns = {name[len(RAW) :]: at for at, name in enumerate(header) if name.startswith(RAW)}
    if raw_columns and set(raw_columns) != set(order):
        raise DataError(f"{path} has columns {RAW}… of other classes than {SHARE}….")
    used = {*named.values(), *raw_columns.values(), *(at for at in places.values() if at is not None)}
    rest = {name: at for at, name in enumerate(header) if at not in used and name not in BESIDE}
    abstained = header.index("abstained") if "abstained" in header else None
    return Predictions(
        order,
        tuple(ids),
        np.array([index[text] for text in texts], np.int64),
        _probabilities(path, rows, [named[name] for name in order]),
        _probabilities(path, rows, [raw_columns[name] for name in order]) if raw_columns else None,
        _column(rows, places["unit"]),
        _column(rows, abstained),
        {name: np.array([row[at] for row in rows]) for name, at in rest.items()},
    )


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"There are no predictions at {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text in UTF-8: {error}.") from error
    header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    header = [name.strip() if not name.startswith((SHARE, RAW)) else name for name in header]
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise DataError(f"{path} has columns of the same name: {', '.join(twice)}.")
    uneven = [f"line {number}: {len(row)} cells" for number, row in enumerate(rows, 2) if len(row) != len(header)]
    if uneven:
        raise DataError(f"{path} has {len(header)} columns, but:\n{listed(uneven)}")
    if not rows:
        raise DataError(f"{path} holds no predictions: it has no row below its header.")
    return header, rows


def _class_columns(path: Path, header: list[str], classes: Sequence[str] | None) -> dict[str, int]:
    """Return class → its column, in the order of the file; DataError where `classes` are not all there, or more."""
    if classes is not None and len(set(classes)) < len(classes):
        twice = sorted({name for name in classes if list(classes).count(name) > 1})
        raise DataError(f"A class is named twice: {', '.join(twice)}.")
    marked = {name[len(SHARE) :]: at for at, name in enumerate(header) if name.startswith(SHARE)}
    if not marked and classes is not None:
        marked = {name: header.index(name) for name in classes if name in header}
    if len(marked) < 2:
        raise DataError(
            f"{path} has no probabilities of two or more classes: call the columns {SHARE}<class> "
            f"(its columns: {', '.join(header[:20])})."
        )
    if classes is not None and set(marked) != set(classes):
        missing, extra = sorted(set(classes) - set(marked)), sorted(set(marked) - set(classes))
        parts = [f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("has also", extra)) if names]
        raise DataError(f"{path} does not have the probabilities of the classes asked for: it {' and '.join(parts)}.")
    return marked


def _place(header: list[str], usual: Sequence[str]) -> int | None:
    return next((header.index(name) for name in usual if name in header), None)


def _numbers(rows: Sequence[object]) -> list[str]:
    return [str(number) for number in range(len(rows))]


def _column(rows: list[list[str]], at: int | None) -> np.ndarray | None:
    return None if at is None else np.array([row[at] for row in rows])


def _probabilities(path: Path, rows: list[list[str]], columns: list[int]) -> np.ndarray:
    """Return the probabilities (N, C) in these columns; DataError lists the lines that hold none."""
    faults: dict[int, str] = {}  # row → what is wrong with it
    values = np.full((len(rows), len(columns)), np.nan)
    for at, row in enumerate(rows):
        try:
            values[at] = [float(row[column]) for column in columns]
        except ValueError:
            bad = next(row[column] for column in columns if not _is_number(row[column]))
            faults[at] = f"{bad!r} is no number" if bad.strip() else "a probability is missing"
    sums = values.sum(axis=1)
    wrong = ~np.isfinite(values).all(axis=1) | (values < 0).any(axis=1) | ~(np.abs(sums - 1) <= SUM_TOLERANCE)
    for at in np.flatnonzero(wrong).tolist():
        if not np.isfinite(values[at]).all():
            faults.setdefault(at, "a probability is no finite number")
        elif values[at].min() < 0:
            faults[at] = f"the probability {values[at].min():g} is below 0"
        else:
            faults[at] = f"its probabilities sum to {sums[at]:.6g}, not 1"
    if faults:
        count = "1 row" if len(faults) == 1 else f"{len(faults):,} rows"
        hint = " They look like percent: divide them by 100." if _percent(sums) else ""
        lines = [f"line {at + 2}: {fault}" for at, fault in sorted(faults.items())]
        raise DataError(f"{path} has {count} whose probabilities cannot be used:\n{listed(lines)}{hint}")
    return values


def _percent(sums: np.ndarray) -> bool:
    known = sums[np.isfinite(sums)]
    return bool(len(known) and (np.abs(known - 100) < 1).all())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
