"""A manifest laid over a source: which of its images are used, and under which label, group, source and split.

Images are named by their record id, so it works for whatever kind of source: folders, archives, arrays. Where the
manifest says a SHA-256, the image must have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from foveal.data.dataset import KNOWN_SPLITS, Dataset
from foveal.errors import DataError, listed
from foveal.files import write_csv

COLUMNS = ("record_id", "label", "group", "source", "split", "sha256")
REQUIRED = ("record_id", "label")


def laid_over(dataset: Dataset, file: Path) -> Dataset:
    """Return `dataset` as the manifest `file` has it: its rows alone, in its order, with its columns where it has them.

    Raises DataError where it names images that are not there, twice, or changed, or is no such manifest.
    """
    rows = _rows(file)
    place = {record_id: row for row, record_id in enumerate(dataset.record_ids.tolist())}
    faults = []
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        name = row["record_id"]
        if name not in place:
            faults.append(f'line {number}: there is no record "{name}"')
        elif name in seen:
            faults.append(f"line {number}: {name} is listed twice")
        if not row["label"]:
            faults.append(f"line {number}: {name} has no label")
        if row.get("split", "") not in ("", *KNOWN_SPLITS):
            faults.append(f'line {number}: the split "{row["split"]}" is none of {", ".join(KNOWN_SPLITS)}')
        seen.add(name)
    if faults:
        count = "1 row is" if len(faults) == 1 else f"{len(faults):,} rows are"
        raise DataError(f"{file} does not fit {dataset.name}; {count} at fault:\n{listed(faults)}")
    taken = dataset.take(np.array([place[row["record_id"]] for row in rows], np.int64))
    _refuse_changed(taken, rows, file)
    present = {row["label"] for row in rows}
    classes = tuple([one for one in dataset.classes if one in present] + sorted(present - set(dataset.classes)))
    number_of = {label: at for at, label in enumerate(classes)}

    def column(name: str, own: np.ndarray) -> np.ndarray:
        return np.array([row[name] for row in rows]) if name in rows[0] else own

    changed = replace(
        taken,
        classes=classes,
        labels=np.array([number_of[row["label"]] for row in rows], np.int64),
        groups=column("group", taken.groups),
        sources=column("source", taken.sources),
        given_splits=column("split", taken.given_splits),
        notes=(*taken.notes, f"{len(rows):,} of {len(dataset):,} images are used, as {file.name} says."),
    )
    return taken.described_anew(changed)


def write_overlay(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write a manifest that `laid_over` reads."""
    write_csv(file, COLUMNS, [[row[name] for name in COLUMNS] for row in rows])


def _rows(file: Path) -> list[dict[str, str]]:
    import csv
    import io

    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"There is no manifest {file}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{file} is no manifest of records: it has no column {' and none '.join(missing)}.")
    rows = []
    for number, row in enumerate(reader, 2):
        if None in row or None in row.values():
            raise DataError(f"{file}, line {number}: another number of columns than the header has.")
        rows.append({str(name): str(value) for name, value in row.items()})
    if not rows:
        raise DataError(f"{file} lists no images: it has a header and no rows.")
    return rows


def _refuse_changed(taken: Dataset, rows: Sequence[Mapping[str, str]], file: Path) -> None:
    digests = taken.scan.digests.tolist()
    changed = [
        row["record_id"] for row, own in zip(rows, digests, strict=True) if row.get("sha256") and row["sha256"] != own
    ]
    if changed:
        raise DataError(
            f"{len(changed):,} images have changed since {file} was written; check the data anew:\n{listed(changed, 5)}"
        )
