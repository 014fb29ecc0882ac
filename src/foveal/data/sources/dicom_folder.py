"""DICOM files in class folders: ``SOURCE/<class>/**``, or the same inside ``train/``, ``val/`` and ``test/``.

Of each file's header three things are used, and no other leaves it: the patient as a pseudonym
(`foveal.dicom.identity`), who is the group, so that no split tears a patient apart; the device, which
is the source, so that the audit sees classes that a device gives away; and for splits by time the date
of the study. Names of files and folders are kept as they are: where they hold a patient's name, so do
the record ids.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterator
from contextlib import nullcontext
from typing import BinaryIO

import numpy as np

from foveal.data.dataset import Dataset, unknown
from foveal.data.images import EncodedImages, ImageFiles, Images, in_threads
from foveal.data.sources.folders import class_parents, labelled_by_folder, refuse_not_utf8
from foveal.data.sources.tree import DICOM_SUFFIXES, Tree, ends_like_image, joined
from foveal.dicom.identity import About, about, own_salt
from foveal.dicom.read import MAGIC, PREAMBLE, UnreadableDicomError, is_dicom, require_pydicom
from foveal.errors import DataError, listed
from foveal.preprocess import UnreadableImageError
from foveal.progress import Progress

DIRECTORY = "DICOMDIR"  # the table of contents of a medium, DICOM itself but no image (PS3.10 section 8.6)
NOTHING = About("", "", "")


def holds_dicom(tree: Tree) -> bool:
    """Return whether a DICOM file lies anywhere in `tree`."""
    return next(_dicom_files(tree, ""), None) is not None


def read_dicom_folder(tree: Tree, progress: Progress | None = None) -> Dataset:
    """Return the dataset of the DICOM files in `tree`; the record id is the path below its root.

    A DICOM file is one that ends in .dcm or .dicom, or has no suffix (or a number, as in a UID) and begins
    as DICOM does. Other files are passed over, but not other images. Raises DataError for these, for
    files outside a class folder, a class folder without DICOM files, and names that are not UTF-8;
    MissingPartError without pydicom.
    """
    require_pydicom()
    parents = class_parents(
        tree, lambda folder: any(True for _ in _dicom_files(tree, folder)), kind="DICOM files", example=".dcm"
    )
    found = [
        (path, split, name)
        for split, parent in parents
        for name in tree.folders(parent)
        for path in _dicom_files(tree, joined(parent, name))
    ]
    _refuse_strays(tree, {path for path, _, _ in found})
    _refuse_empty(tree, [joined(parent, name) for _, parent in parents for name in tree.folders(parent)], found)
    refuse_not_utf8(path for path, _, _ in found)
    return with_patients(labelled_by_folder(tree, found), progress)


def with_patients(dataset: Dataset, progress: Progress | None = None) -> Dataset:
    """Return `dataset` with the patients of its DICOM files as groups and their devices as sources.

    What a source says of itself stays: a column is only filled when nothing in it is known. A dataset
    without DICOM files, or with both columns known, is returned as it is.
    """
    if not isinstance(dataset.images, EncodedImages) or (any(dataset.groups) and any(dataset.sources)):
        return dataset
    rows = _dicom_rows(dataset.images, dataset.record_ids.tolist())
    if not len(rows):
        return dataset
    found = _abouts(dataset.images, rows, progress)
    notes = [*dataset.notes]
    if not any(dataset.groups):  # a manifest's only note is that it names no patients, which is made up for
        notes = [_about_patients([found[row].group for row in rows.tolist()])]
        dataset = dataclasses.replace(dataset, groups=np.array([one.group for one in found]))
    if not any(dataset.sources):
        dataset = dataclasses.replace(dataset, sources=np.array([one.device for one in found]))
        notes.append("the source of an image is the maker and model of its device, as its DICOM file says them")
    return dataclasses.replace(dataset, notes=tuple(notes))


def study_dates(images: Images) -> np.ndarray:
    """Return (N,) the date of each image's study as YYYYMMDD, empty where unknown: in order of time as texts.

    For splits by time. The dates are read anew, and are no part of a dataset.
    """
    if not isinstance(images, EncodedImages):
        return unknown(len(images))
    rows = _dicom_rows(images, [images.location(row) for row in range(len(images))])
    found = _abouts(images, rows, None) if len(rows) else [NOTHING] * len(images)
    return np.array([one.study_date for one in found], dtype="<U8")


def _dicom_rows(images: EncodedImages, names: list[str]) -> np.ndarray:
    """Return which of the images, called `names`, are DICOM files: by the suffix, or without one by the first bytes."""

    def is_one(row: int) -> bool:
        if _suffix(names[row]) in DICOM_SUFFIXES:
            return True
        try:
            if not _may_be_dicom(names[row]):
                return False
            with _opened(images, row) as file:
                return is_dicom(file.read(PREAMBLE + len(MAGIC)))
        except (UnreadableImageError, OSError):
            return False

    return np.flatnonzero([is_one(row) for row in range(len(names))])


def _abouts(images: EncodedImages, rows: np.ndarray, progress: Progress | None) -> list[About]:
    """Return for every image where it comes from, as far as it lies in `rows` and its header can be read.

    A file that cannot be read is no fault here: the scan lists it with its reason.
    """
    salt = own_salt()
    found = [NOTHING] * len(images)

    def look(place: int) -> None:
        row = int(rows[place])
        with contextlib.suppress(UnreadableDicomError, UnreadableImageError, OSError), _opened(images, row) as file:
            found[row] = about(file, salt)

    with (
        nullcontext(progress) if progress is not None else Progress() as display,
        display.stage("reading DICOM headers", len(rows)) as stage,
    ):
        in_threads(look, range(len(rows)), stage.advance)
    return found


def _opened(images: EncodedImages, row: int) -> BinaryIO:
    """Return one image as an open file: of one on disk, however large, only what is asked for is read."""
    if isinstance(images, ImageFiles) and images.paths[row].is_file():  # a pipe is none, and would wait for ever
        return images.paths[row].open("rb")
    return io.BytesIO(images.read(row))


def _about_patients(groups: list[str]) -> str:
    known = [one for one in groups if one]
    without = f"; {len(groups) - len(known):,} say no patient" if len(known) < len(groups) else ""
    return (
        f"the group of an image is its patient: {len(set(known)):,} in {len(groups):,} DICOM files, kept as "
        f"pseudonyms under this user's salt{without}"
    )


def _dicom_files(tree: Tree, folder: str) -> Iterator[str]:
    return (path for path in tree.below(folder) if _is_dicom_file(tree, path))


def _is_dicom_file(tree: Tree, path: str) -> bool:
    name = path.rpartition("/")[2]
    if name.upper() == DIRECTORY or not _may_be_dicom(path):
        return False
    return _suffix(path) in DICOM_SUFFIXES or _begins_like_dicom(tree, path)


def _may_be_dicom(path: str) -> bool:
    """Return whether the name of a file allows it to be DICOM: .dcm, no suffix, or the last number of a UID."""
    suffix = _suffix(path)
    return suffix in DICOM_SUFFIXES or suffix[1:].isdigit() or suffix in ("", ".")


def _begins_like_dicom(tree: Tree, path: str) -> bool:
    try:
        with tree.open(path) as file:
            return is_dicom(file.read(PREAMBLE + len(MAGIC)))
    except (OSError, DataError):
        return False


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - a Path a file costs as much as reading it


def _refuse_strays(tree: Tree, found: set[str]) -> None:
    """Refuse DICOM files without a label, and images of other kinds: what a class is stored as would give it away."""
    pictures, loose = [], []
    for path in tree.below():
        if ends_like_image(path):
            pictures.append(path)
        elif path not in found and _is_dicom_file(tree, path):
            loose.append(path)
    if pictures:
        raise DataError(
            f"{tree.origin} holds DICOM files and images of other kinds; keep one kind there, or list all in a "
            f"manifest:\n{listed(sorted(pictures), 5)}"
        )
    if loose:
        raise DataError(
            f"{tree.origin}: these DICOM files lie in no class folder, so they have no label; "
            f"move them to {tree.name}/<class>/:\n{listed(sorted(loose), 5)}"
        )


def _refuse_empty(tree: Tree, folders: list[str], found: list[tuple[str, str, str]]) -> None:
    empty = {folder.rpartition("/")[2] for folder in folders} - {name for _, _, name in found}
    if empty:
        raise DataError(
            f"{tree.origin}: these folders stand where classes stand, but hold no DICOM files; fill or remove "
            f"them:\n{listed(sorted(empty))}"
        )
