"""A manifest: a table, CSV or Parquet, with one row an image, its path relative to the folder of the manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from foveal.data.dataset import Dataset
from foveal.data.images import EncodedImages
from foveal.data.sources.csv_table import CsvTable
from foveal.data.sources.folders import SPLIT_NAMES
from foveal.data.sources.parquet import ParquetTable
from foveal.data.sources.tree import Tree, ends_like_dicom, ends_like_image
from foveal.errors import DataError, listed, nearest

CSV_SUFFIXES, PARQUET_SUFFIXES = (".csv", ".tsv"), (".parquet", ".pq")
USUAL_NAMES = {
    "path": ("path", "filepath", "file_path", "file", "filename", "file_name", "image", "image_path", "img"),
    "label": ("label", "class", "target", "category", "diagnosis"),
    "group": ("group", "patient_id", "patient", "subject_id", "subject"),
    "source": ("source", "site", "hospital", "device"),
    "split": ("split", "subset", "partition"),
}
REQUIRED = ("path", "label")
LONGEST_CELL = 1_000  # characters; every row of a column takes as much memory as the longest
SLICE = "column "  # before the name of a column that slices are made of, as the role of its cells
MOST_LISTED = 1_000  # rows at fault; a table that is wrong throughout need not be printed throughout


@dataclass(frozen=True)
class Columns:
    """Which column holds what. None: look for one of the usual names (`USUAL_NAMES`); optional ones may be absent."""

    path: str | None = None
    label: str | None = None
    group: str | None = None
    source: str | None = None
    split: str | None = None
    slices: tuple[str, ...] = ()  # what else is known of an image, to measure each value of it apart


class Table(Protocol):
    """What a manifest needs of a table, of whatever format."""

    place: str  # where it lies, for messages
    header: list[str]
    unit: str  # what a row's number counts: "line" or "row"

    def rows(self, where: dict[str, int]) -> Iterator[tuple[int, dict[str, str] | str]]:
        """Yield (number, role → text, or what is wrong with the row) for `where`, role → position of its column.

        What is unknown is an empty text.
        """
        ...

    def class_names(self, position: int) -> tuple[str, ...]:
        """Return the classes in their order where the table itself says them of a column, else nothing."""
        ...

    def images(self, position: int, numbers: Sequence[int]) -> EncodedImages | None:
        """Return the images of the rows `numbers` where the column itself holds them, else None: it holds paths."""
        ...


@dataclass(frozen=True)
class _Row:
    number: int
    label: str
    group: str
    source: str
    split: str
    slices: tuple[str, ...]


def is_table(name: str) -> bool:
    """Return whether a file of this name is a table that may be a manifest."""
    return PurePosixPath(name).suffix.lower() in CSV_SUFFIXES + PARQUET_SUFFIXES


def read_manifest(
    tree: Tree, file: str, columns: Columns, classes: Sequence[str] | None = None, *, name: str, origin: str
) -> Dataset:
    """Return the dataset `name` that the table `file` at the root of `tree` lists.

    The record id is the path as written, tidied. Labels are text, outer spaces kept (the audit speaks
    of them). Raises DataError listing *all* rows at fault: paths outside the folder, empty or unknown
    labels (when `classes` is given), unknown splits, rows of another width, paths listed twice, and
    then also files that are not there (which alone are no fault of the table: training lists them).
    """
    table = open_table(tree, file)
    where = _where(table, columns)
    records, faults = _records(table, where, tree.place(""), classes)
    ids = sorted(records)
    rows = [records[one] for one in ids]
    images = table.images(where["path"], [row.number for row in rows])
    if faults:
        faults += [
            (records[one].number, f"{one} is not there") for one in ids if images is None and not tree.holds(one)
        ]
        lines = [f"{table.unit} {number}: {fault}" for number, fault in sorted(faults)]
        raise DataError(f"{table.place} has {len(lines)} rows at fault:\n{listed(lines, MOST_LISTED)}")
    if not rows:
        raise DataError(f"{table.place} lists no images: it has a header and no rows.")
    present = {row.label for row in rows}
    own = [one for one in table.class_names(where["label"]) if one in present]
    names = tuple(classes if classes is not None else own or sorted(present))
    position = {label: index for index, label in enumerate(names)}
    return Dataset(
        name=name,
        origin=origin,
        classes=names,
        images=tree.images(ids) if images is None else images,
        record_ids=np.array(ids),
        labels=np.array([position[row.label] for row in rows], np.int64),
        groups=np.array([row.group for row in rows]),
        sources=np.array([row.source for row in rows]),
        given_splits=np.array([row.split for row in rows]),
        notes=_about_groups(table, where),
        columns={name: np.array([row.slices[at] for row in rows]) for at, name in enumerate(columns.slices)},
    )


def _about_groups(table: Table, where: dict[str, int]) -> tuple[str, ...]:
    """Return a note where no column says the patients and one that is not used might."""
    unused = [name for at, name in enumerate(table.header) if at not in where.values()]
    if "group" in where or not unused:
        return ()
    return (
        f"no column of {PurePosixPath(table.place).name} was taken for the patients (groups), who are therefore "
        f"not kept apart; unused are {', '.join(unused[:5])}{', …' if len(unused) > 5 else ''} (--group-column NAME)",
    )


def manifest_in(tree: Tree, columns: Columns) -> str | None:
    """Return the name of the manifest that lies at the root of `tree`, None where no table does.

    Class folders know no patients, and a table beside them may: so none is passed over in silence.
    Raises DataError for several manifests, and for tables of which none can be read as one.
    """
    fitting, reasons = [], []
    for name in filter(is_table, tree.files()):
        try:
            _where(open_table(tree, name), columns)
            fitting.append(name)
        except DataError as error:
            reasons.append(f"{error} If it is no manifest of these images, keep it outside {tree.origin}.")
    if len(fitting) > 1:
        raise DataError(
            f"{tree.origin} holds several manifests, {', '.join(fitting)}: keep the one that counts there, and the "
            "others elsewhere."
        )
    if reasons and not fitting:
        raise DataError(reasons[0])
    return fitting[0] if fitting else None


def refuse_unlisted(dataset: Dataset, tree: Tree, file: str) -> None:
    """Raise DataError when images lie in `tree` that its manifest `file` does not list: none is left out silently."""
    ids = set(dataset.record_ids.tolist())
    unlisted = sorted(
        path for path in tree.below() if path not in ids and (ends_like_image(path) or ends_like_dicom(path))
    )
    if not unlisted:
        return
    absent = sum(not tree.holds(path) for path in ids)
    away = f", and {absent:,} that it lists are not there (paths are relative to its folder)" if absent else ""
    raise DataError(
        f"{tree.place(file)} does not list {len(unlisted):,} of the images beside it{away}; list them, or, where they "
        f"are left out on purpose, give the (unpacked) manifest itself as the source:\n{listed(unlisted, 5)}"
    )


def open_table(tree: Tree, file: str) -> Table:
    """Return the table `file` of `tree`, its header read; DataError when it is none."""
    kind = ParquetTable if PurePosixPath(file).suffix.lower() in PARQUET_SUFFIXES else CsvTable
    return kind(tree.open(file), tree.place(file))


def _records(
    table: Table, where: dict[str, int], folder: str, classes: Sequence[str] | None
) -> tuple[dict[str, _Row], list[tuple[int, str]]]:
    """Return record id → row, and (number, what is wrong) of every row at fault."""
    records: dict[str, _Row] = {}
    faults: list[tuple[int, str]] = []
    for number, content in table.rows(where):
        if isinstance(content, str):
            faults.append((number, content))
            continue
        cell = {role: text if role == "label" else text.strip() for role, text in content.items()}
        record_id = os.path.normpath(cell["path"] or ".").replace(os.sep, "/")
        fault = _fault(cell, record_id, folder, classes)
        if fault is None and record_id in records:
            fault = _listed_again(record_id, cell["label"], records[record_id], table.unit)
        if fault is not None:
            faults.append((number, fault))
            continue
        split = SPLIT_NAMES.get(cell.get("split", "").lower(), "")
        slices = tuple(cell[role] for role in where if role.startswith(SLICE))
        records[record_id] = _Row(number, cell["label"], cell.get("group", ""), cell.get("source", ""), split, slices)
    return records, faults


def _where(table: Table, columns: Columns) -> dict[str, int]:
    """Return role → position of its column; DataError when a named or required one is missing or ambiguous."""
    header = table.header
    where: dict[str, int] = {}
    for role, usual in USUAL_NAMES.items():
        asked: str | None = getattr(columns, role)
        fitting = [name for name in header if _plain(name) in {_plain(one) for one in usual}]
        if asked is None and len(set(fitting)) > 1:
            raise DataError(
                f"{table.place} has several columns that may be the {role}: {', '.join(fitting)}; "
                f"name one with --{role}-column."
            )
        name = asked if asked is not None else (fitting[0] if fitting else None)
        if name is None:
            if role in REQUIRED:
                raise DataError(
                    f"{table.place} has no column for the {role} (its columns: {', '.join(header)}); "
                    f"name it with --{role}-column."
                )
            continue
        where[role] = _position(table, name)
    return where | {SLICE + name: _position(table, name) for name in columns.slices}


def _position(table: Table, name: str) -> int:
    header = table.header
    if header.count(name) != 1:
        what, hint = ("no", nearest(name, header)) if name not in header else ("more than one", "")
        raise DataError(f'{table.place} has {what} column "{name}" ({", ".join(header)}).{hint}')
    return header.index(name)


def _plain(name: str) -> str:
    """Return a column's name without case, spaces, ``-`` and ``_``: PatientID, patient_id and Patient ID are one."""
    return "".join(letter for letter in name.casefold() if letter not in " -_")


def _fault(cell: dict[str, str], record_id: str, folder: str, classes: Sequence[str] | None) -> str | None:
    """Return what is wrong with one row, or None."""
    label, split = cell["label"], cell.get("split", "")
    control = [role for role, value in cell.items() if any(mark in value for mark in "\0\r\n")]
    if control:
        return f"the {control[0]} holds a line break or a NUL character"
    long = [role for role, value in cell.items() if len(value) > LONGEST_CELL]
    if long:
        return f"the {long[0]} has {len(cell[long[0]]):,} characters; the limit is {LONGEST_CELL:,}"
    if not cell["path"]:
        return "no path"
    if record_id == "." or record_id.split("/", maxsplit=1)[0] == ".." or Path(record_id).is_absolute():
        return f"{cell['path']} lies outside {folder}; paths are relative to the manifest"
    if not label.strip():
        return f"{record_id} has no label"
    if classes is not None and label not in classes:
        return f'unknown label "{label}".{nearest(label, classes)}'
    if split and split.lower() not in SPLIT_NAMES:
        return f'unknown split "{split}"; it may be train, validation, test or calibration'
    return None


def _listed_again(record_id: str, label: str, first: _Row, unit: str) -> str:
    how = "twice" if label == first.label else f'twice, as "{first.label}" and as "{label}"'
    return f"{record_id} is listed {how} (first in {unit} {first.number})"
