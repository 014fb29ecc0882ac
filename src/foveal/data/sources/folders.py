"""Class folders: ``SOURCE/<class>/<image>``, or the same inside ``train/``, ``val/`` and ``test/``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from foveal.data.dataset import Dataset, unknown
from foveal.data.images import ImageFiles
from foveal.errors import DataError, listed

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}


def read_folders(root: Path) -> Dataset:
    """Return the dataset in `root`; the record id is the path below it, with forward slashes.

    Folders inside a class folder belong to the class. Files that do not end like an image, hidden
    files and empty hidden folders are passed over. Raises DataError for no image, images outside a
    class folder, or one class.
    """
    top = _folders(root)
    if top and all(folder.name.lower() in SPLIT_FOLDERS for folder in top) and any(_folders(folder) for folder in top):
        splits = [(SPLIT_FOLDERS[folder.name.lower()], folder) for folder in top]
    else:
        splits = [("", root)]
    found = [
        (split, folder.name, path) for split, where in splits for folder in _folders(where) for path in _images(folder)
    ]
    _refuse_loose(root, [where for _, where in splits])
    if not found:
        raise DataError(f"{root} holds no images: expected {root.name}/<class>/<image>.jpg (or .png, …).")
    if any(not split for split, _, _ in found) and any(split for split, _, _ in found):
        raise AssertionError("a folder is split or is not")
    found.sort(key=lambda record: record[2].as_posix())
    splits_given, class_names, paths = zip(*found, strict=True)
    classes, labels = np.unique(np.array(class_names), return_inverse=True)
    return Dataset(
        name=root.resolve().name,
        origin=str(root),
        classes=tuple(classes.tolist()),
        images=ImageFiles(paths),
        record_ids=np.array([path.relative_to(root).as_posix() for path in paths]),
        labels=labels.astype(np.int64),
        groups=unknown(len(paths)),
        sources=unknown(len(paths)),
        given_splits=np.array(splits_given),
    )


def image_files(root: Path) -> list[Path]:
    """Return every image file below `root`, sorted: what `predict` and `evaluate` take from a folder."""
    return sorted(_images(root))


def _folders(where: Path) -> list[Path]:
    return sorted(entry for entry in where.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(where, name)


def _refuse_loose(root: Path, class_parents: list[Path]) -> None:
    loose = [
        entry.relative_to(root).as_posix()
        for parent in {root, *class_parents}
        for entry in parent.iterdir()
        if entry.is_file() and entry.suffix.lower() in IMAGE_SUFFIXES
    ]
    if loose:
        raise DataError(
            f"{root}: these images lie in no class folder, so they have no label; "
            f"move them to {root.name}/<class>/:\n{listed(sorted(loose), 5)}"
        )
