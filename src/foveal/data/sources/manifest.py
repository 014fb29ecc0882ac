"""A CSV manifest: one row an image, its path relative to the folder of the manifest."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.data.dataset import Dataset
from foveal.data.images import ImageFiles
from foveal.data.sources.folders import SPLIT_FOLDERS
from foveal.errors import DataError, listed, nearest

USUAL_NAMES = {
    "path": ("path", "filepath", "file_path", "file", "filename", "file_name", "image", "image_path"),
    "label": ("label", "class", "target", "category", "diagnosis"),
    "group": ("group", "patient_id", "patient", "subject_id", "subject"),
    "source": ("source", "site", "hospital", "device"),
    "split": ("split", "subset", "partition"),
}
REQUIRED = ("path", "label")


@dataclass(frozen=True)
class Columns:
    """Which column holds what. None: look for one of the usual names (`USUAL_NAMES`); optional ones may be absent."""

    path: str | None = None
    label: str | None = None
    group: str | None = None
    source: str | None = None
    split: str | None = None


def read_manifest(file: Path, columns: Columns, classes: Sequence[str] | None = None) -> Dataset:
    """Return the dataset that the CSV `file` lists; the record id is the path as written, tidied.

    The separator is a comma, semicolon or tab, whichever the header has most of; a byte-order mark
    and Windows line ends are fine. Labels are text, outer spaces kept (the audit speaks of them).
    Raises DataError listing *all* rows at fault: paths outside the folder, empty or unknown labels
    (when `classes` is given), unknown splits, rows of another width, paths listed twice.
    """
    header, rows = _rows(file)
    where = _where(file, header, columns)
    faults: list[str] = []
    records: dict[str, tuple[Path, str, str, str, str]] = {}
    seen: Counter[str] = Counter()
    for line, row in rows:
        if len(row) != len(header):
            faults.append(f"line {line}: {len(row)} cells, the header has {len(header)}")
            continue
        cell = {name: row[position] for name, position in where.items()}
        record_id = Path(os.path.normpath(cell["path"].strip() or ".")).as_posix()
        fault = _fault(cell, record_id, file.parent, classes)
        seen[record_id] += 1
        if fault:
            faults.append(f"line {line}: {fault}")
        elif seen[record_id] > 1:
            faults.append(f"line {line}: {record_id} is listed {_again(records.get(record_id), cell)}")
        else:
            records[record_id] = (
                file.parent / record_id,
                cell["label"],
                cell.get("group", "").strip(),
                cell.get("source", "").strip(),
                SPLIT_FOLDERS.get(cell.get("split", "").strip().lower(), ""),
            )
    if faults:
        raise DataError(f"{file} has {len(faults)} rows at fault:\n{listed(faults)}")
    if not records:
        raise DataError(f"{file} lists no images: it has a header and no rows.")
    ordered = sorted(records.items())
    paths, label_names, groups, sources, splits = zip(*(record for _, record in ordered), strict=True)
    names = tuple(classes) if classes is not None else tuple(sorted(set(label_names)))
    position = {name: index for index, name in enumerate(names)}
    return Dataset(
        name=file.resolve().parent.name if file.stem == "manifest" else file.stem,
        origin=str(file),
        classes=names,
        images=ImageFiles(paths),
        record_ids=np.array([record_id for record_id, _ in ordered]),
        labels=np.array([position[name] for name in label_names], np.int64),
        groups=np.array(groups),
        sources=np.array(sources),
        given_splits=np.array(splits),
    )


def _rows(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and (line number, cells) of every row that is not blank."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text (byte {error.start}); save it as “CSV UTF-8”.") from error
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        header = [name.strip() for name in next(reader, [])]
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: {error}.") from error
    if not header:
        raise DataError(f"{file} is empty; expected a header with at least a path and a label column.")
    return header, rows


def _where(file: Path, header: list[str], columns: Columns) -> dict[str, int]:
    """Return role → position of its column; DataError when a named or required one is missing or ambiguous."""
    where: dict[str, int] = {}
    for role, usual in USUAL_NAMES.items():
        asked: str | None = getattr(columns, role)
        lowered = [name.lower() for name in header]
        name = (
            asked if asked is not None else next((header[lowered.index(one)] for one in usual if one in lowered), None)
        )
        if name is None:
            if role in REQUIRED:
                raise DataError(
                    f"{file} has no column for the {role} (its columns: {', '.join(header)}); "
                    f"name it with --{role}-column."
                )
            continue
        if header.count(name) != 1:
            what = "no" if name not in header else "more than one"
            raise DataError(f'{file} has {what} column "{name}" ({", ".join(header)}).{nearest(name, header)}')
        where[role] = header.index(name)
    return where


def _fault(cell: dict[str, str], record_id: str, folder: Path, classes: Sequence[str] | None) -> str | None:
    """Return what is wrong with one row, or None."""
    label, split = cell["label"], cell.get("split", "").strip().lower()
    inside = not record_id.startswith("../") and record_id not in (".", "..")
    if not cell["path"].strip():
        return "no path"
    if "\0" in record_id or not inside or Path(record_id).is_absolute():
        return f"{cell['path']} lies outside {folder or '.'}; paths are relative to the manifest"
    if not label.strip():
        return f"{record_id} has no label"
    if classes is not None and label not in classes:
        return f'unknown label "{label}".{nearest(label, classes)}'
    if split and split not in SPLIT_FOLDERS:
        return f'unknown split "{split}"; it may be train, validation or test'
    return None


def _again(first: tuple[Path, str, str, str, str] | None, cell: dict[str, str]) -> str:
    if first is None or first[1] == cell["label"]:
        return "twice"
    return f'twice, as "{first[1]}" and as "{cell["label"]}"'
