"""Class folders: ``SOURCE/<class>/<image>``, or the same inside ``train/``, ``val/`` and ``test/``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from foveal.data.dataset import Dataset, unknown
from foveal.data.images import ImageFiles
from foveal.errors import DataError, listed

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}
NOT_OURS = ("__MACOSX",)  # what packers leave behind


def read_folders(root: Path) -> Dataset:
    """Return the dataset in `root`; the record id is the path below it, with forward slashes.

    Folders inside a class folder belong to the class (links to folders in there are not followed).
    Files that do not end like an image, hidden files and hidden folders are passed over. Raises
    DataError for no image, images outside a class folder, a class folder without images, a folder
    that could be a split or a class, and names that are not UTF-8.
    """
    found, empty = [], set()
    parents = _class_parents(root)
    for split, parent in parents:
        for folder in _folders(parent):
            inside = [(split, folder.name, path) for path in _images(folder)]
            found += inside
            if not inside:
                empty.add(folder.name)
    _refuse_loose(root, [parent for _, parent in parents])
    if not found:
        raise DataError(f"{root} holds no images: expected {root.name}/<class>/<image>.jpg (or .png, …).")
    _refuse_not_utf8(path for _, _, path in found)
    empty -= {name for _, name, _ in found}
    if empty:
        raise DataError(
            f"{root}: these folders stand where classes stand, but hold no images that end in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}; fill or remove them:\n{listed(sorted(empty))}"
        )
    found.sort(key=lambda record: record[2].as_posix())
    splits, class_names, paths = zip(*found, strict=True)
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
        given_splits=np.array(splits),
    )


def image_files(root: Path) -> list[Path]:
    """Return every image file below `root`, sorted: what `predict` takes from a folder."""
    paths = sorted(_images(root))
    _refuse_not_utf8(paths)
    return paths


def _class_parents(root: Path) -> list[tuple[str, Path]]:
    """Return (split, folder that holds the class folders): `root` itself, or one for each split."""
    top = _folders(root)
    splits = [folder for folder in top if folder.name.lower() in SPLIT_NAMES]
    others = [folder.name for folder in top if folder not in splits]
    divided = any(_folders(folder) for folder in splits)
    if divided and others:
        raise DataError(
            f"{root} holds {', '.join(folder.name for folder in splits)} beside {', '.join(others[:6])}: "
            "are these splits or classes? Keep one kind there, or say it in a CSV manifest."
        )
    if divided:
        return [(SPLIT_NAMES[folder.name.lower()], folder) for folder in splits]
    if splits and not others and any(True for folder in splits for _ in _images(folder)):
        raise DataError(
            f"{root}: {', '.join(folder.name for folder in splits)} hold images but no class folders, so these have "
            f"no label: expected {root.name}/{splits[0].name}/<class>/<image>.jpg (or .png, …)."
        )
    return [("", root)]


def _folders(where: Path) -> list[Path]:
    return sorted(
        entry
        for entry in where.iterdir()
        if not entry.name.startswith(".") and entry.name not in NOT_OURS and entry.is_dir()
    )


def _images(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder, onerror=_refuse_closed):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_OURS]
        for name in files:
            if not name.startswith(".") and _ends_like_image(name):
                yield Path(where, name)


def _ends_like_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a Path a file costs as much as reading it


def _refuse_closed(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _refuse_loose(root: Path, class_parents: list[Path]) -> None:
    loose = [
        entry.relative_to(root).as_posix()
        for parent in {root, *class_parents}
        for entry in parent.iterdir()
        if not entry.name.startswith(".") and _ends_like_image(entry.name) and not entry.is_dir()
    ]
    if loose:
        raise DataError(
            f"{root}: these images lie in no class folder, so they have no label; "
            f"move them to {root.name}/<class>/:\n{listed(sorted(loose), 5)}"
        )


def _refuse_not_utf8(paths: Iterable[Path]) -> None:
    """Refuse names that text files could not hold: tables, reports and recipes are UTF-8."""
    strange = []
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            strange.append(os.fsencode(path).decode("utf-8", "backslashreplace"))
    if strange:
        raise DataError(f"{len(strange)} file names are not UTF-8; rename these files:\n{listed(sorted(strange))}")
