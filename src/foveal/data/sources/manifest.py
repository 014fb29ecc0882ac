"""A CSV manifest: one row an image, its path relative to the folder of the manifest."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.data.dataset import Dataset
from foveal.data.images import ImageFiles
from foveal.data.sources.folders import SPLIT_NAMES
from foveal.errors import DataError, listed, nearest

USUAL_NAMES = {
    "path": ("path", "filepath", "file_path", "file", "filename", "file_name", "image", "image_path"),
    "label": ("label", "class", "target", "category", "diagnosis"),
    "group": ("group", "patient_id", "patient", "subject_id", "subject"),
    "source": ("source", "site", "hospital", "device"),
    "split": ("split", "subset", "partition"),
}
REQUIRED = ("path", "label")
MOST_LISTED = 1_000  # rows at fault; a table that is wrong throughout need not be printed throughout
HEADER_CHARACTERS = 100_000


@dataclass(frozen=True)
class Columns:
    """Which column holds what. None: look for one of the usual names (`USUAL_NAMES`); optional ones may be absent."""

    path: str | None = None
    label: str | None = None
    group: str | None = None
    source: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class _Row:
    line: int  # where it begins
    path: Path
    label: str
    group: str
    source: str
    split: str


def read_manifest(file: Path, columns: Columns, classes: Sequence[str] | None = None) -> Dataset:
    """Return the dataset that the CSV `file` lists; the record id is the path as written, tidied.

    The separator is a comma, semicolon or tab, whichever the header has most of; a byte-order mark
    and Windows line ends are fine. Labels are text, outer spaces kept (the audit speaks of them).
    Raises DataError listing *all* rows at fault: paths outside the folder, empty or unknown labels
    (when `classes` is given), unknown splits, rows of another width, paths listed twice, and then
    also files that are not there (which alone are no fault of the table: training lists them).
    """
    header, rows = _rows(file)
    where = _where(file, header, columns)
    faults: list[tuple[int, str]] = []
    records: dict[str, _Row] = {}
    for line, row in rows:
        if len(row) != len(header):
            faults.append((line, f"{len(row)} cells, the header has {len(header)}"))
            continue
        cell = {name: row[position].strip() for name, position in where.items()}
        cell["label"] = row[where["label"]]
        record_id = Path(os.path.normpath(cell["path"] or ".")).as_posix()
        fault = _fault(cell, record_id, file.parent, classes)
        if fault is None and record_id in records:
            fault = _listed_again(record_id, cell["label"], records[record_id])
        if fault is not None:
            faults.append((line, fault))
            continue
        split = SPLIT_NAMES.get(cell.get("split", "").lower(), "")
        records[record_id] = _Row(
            line, file.parent / record_id, cell["label"], cell.get("group", ""), cell.get("source", ""), split
        )
    if faults:
        faults += [(row.line, f"{name} is not there") for name, row in records.items() if not row.path.exists()]
        lines = [f"line {line}: {fault}" for line, fault in sorted(faults)]
        raise DataError(f"{file} has {len(lines)} rows at fault:\n{listed(lines, MOST_LISTED)}")
    if not records:
        raise DataError(f"{file} lists no images: it has a header and no rows.")
    ordered = sorted(records.items())
    names = tuple(classes) if classes is not None else tuple(sorted({row.label for _, row in ordered}))
    position = {name: index for index, name in enumerate(names)}
    return Dataset(
        name=file.resolve().parent.name if file.stem == "manifest" else file.stem,
        origin=str(file),
        classes=names,
        images=ImageFiles([row.path for _, row in ordered]),
        record_ids=np.array([record_id for record_id, _ in ordered]),
        labels=np.array([position[row.label] for _, row in ordered], np.int64),
        groups=np.array([row.group for _, row in ordered]),
        sources=np.array([row.source for _, row in ordered]),
        given_splits=np.array([row.split for _, row in ordered]),
    )


def _rows(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and (line where it begins, cells) of every row that is not blank."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text (byte {error.start}); save it as “CSV UTF-8”.") from error
    first = re.split(r"[\r\n]", re.sub(r'"[^"]*"', "", text[:HEADER_CHARACTERS]), maxsplit=1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    rows = []
    try:
        header = [name.strip() for name in next(reader, [])]
        line = reader.line_num + 1
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: {error}.") from error
    if not any(header):
        raise DataError(f"{file} is empty; expected a header with at least a path and a label column.")
    return header, rows


def _where(file: Path, header: list[str], columns: Columns) -> dict[str, int]:
    """Return role → position of its column; DataError when a named or required one is missing or ambiguous."""
    where: dict[str, int] = {}
    for role, usual in USUAL_NAMES.items():
        asked: str | None = getattr(columns, role)
        fitting = [name for name in header if _plain(name) in {_plain(one) for one in usual}]
        if asked is None and len(set(fitting)) > 1:
            raise DataError(
                f"{file} has several columns that may be the {role}: {', '.join(fitting)}; "
                f"name one with --{role}-column."
            )
        name = asked if asked is not None else (fitting[0] if fitting else None)
        if name is None:
            if role in REQUIRED:
                raise DataError(
                    f"{file} has no column for the {role} (its columns: {', '.join(header)}); "
                    f"name it with --{role}-column."
                )
            continue
        if header.count(name) != 1:
            what, hint = ("no", nearest(name, header)) if name not in header else ("more than one", "")
            raise DataError(f'{file} has {what} column "{name}" ({", ".join(header)}).{hint}')
        where[role] = header.index(name)
    return where


def _plain(name: str) -> str:
    """Return a column's name without case, spaces, ``-`` and ``_``: PatientID, patient_id and Patient ID are one."""
    return "".join(letter for letter in name.casefold() if letter not in " -_")


def _fault(cell: dict[str, str], record_id: str, folder: Path, classes: Sequence[str] | None) -> str | None:
    """Return what is wrong with one row, or None."""
    label, split = cell["label"], cell.get("split", "")
    control = [role for role, value in cell.items() if any(mark in value for mark in "\0\r\n")]
    if control:
        return f"the {control[0]} holds a line break or a NUL character"
    if not cell["path"]:
        return "no path"
    if record_id == "." or record_id.split("/", maxsplit=1)[0] == ".." or Path(record_id).is_absolute():
        return f"{cell['path']} lies outside {folder}; paths are relative to the manifest"
    if not label.strip():
        return f"{record_id} has no label"
    if classes is not None and label not in classes:
        return f'unknown label "{label}".{nearest(label, classes)}'
    if split and split.lower() not in SPLIT_NAMES:
        return f'unknown split "{split}"; it may be train, validation or test'
    return None


def _listed_again(record_id: str, label: str, first: _Row) -> str:
    how = "twice" if label == first.label else f'twice, as "{first.label}" and as "{label}"'
    return f"{record_id} is listed {how} (first in line {first.line})"
