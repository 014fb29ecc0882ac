"""Class folders: ``SOURCE/<class>/<image>``, or the same inside ``train/``, ``val/`` and ``test/``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from foveal.data.dataset import Dataset, unknown
from foveal.data.sources.tree import IMAGE_SUFFIXES, FolderTree, Tree, ends_like_dicom, ends_like_image, joined
from foveal.errors import DataError, listed

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "calibration": "calibration",
}


def read_folders(tree: Tree) -> Dataset:
    """Return the dataset in `tree`, a folder or an archive; the record id is the path below its root.

    Folders inside a class folder belong to the class (links to folders in there are not followed).
    Files that do not end like an image, hidden files and hidden folders are passed over. Raises
    DataError for no image, images outside a class folder, a class folder without images, a folder
    that could be a split or a class, and names that are not UTF-8.
    """
    found, empty = [], set()
    parents = class_parents(
        tree, lambda folder: any(True for _ in _images(tree, folder)), kind="images", example=".jpg (or .png, …)"
    )
    for split, parent in parents:
        for name in tree.folders(parent):
            inside = [(path, split, name) for path in _images(tree, joined(parent, name))]
            found += inside
            if not inside:
                empty.add(name)
    _refuse_loose(tree, [parent for _, parent in parents])
    if not found:
        raise DataError(f"{tree.origin} holds no images: expected {tree.name}/<class>/<image>.jpg (or .png, …).")
    refuse_not_utf8(tree.place(path) for path, _, _ in found)
    empty -= {name for _, _, name in found}
    if empty:
        raise DataError(
            f"{tree.origin}: these folders stand where classes stand, but hold no images that end in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}; fill or remove them:\n{listed(sorted(empty))}"
        )
    return labelled_by_folder(tree, found)


def labelled_by_folder(tree: Tree, found: Iterable[tuple[str, str, str]]) -> Dataset:
    """Return the dataset of the files in `tree` that were `found`: path, split (or nothing), class."""
    paths, splits, class_names = zip(*sorted(found), strict=True)
    classes, labels = np.unique(np.array(class_names), return_inverse=True)
    return Dataset(
        name=tree.name,
        origin=tree.origin,
        classes=tuple(classes.tolist()),
        images=tree.images(paths),
        record_ids=np.array(paths),
        labels=labels.astype(np.int64),
        groups=unknown(len(paths)),
        sources=unknown(len(paths)),
        given_splits=np.array(splits),
    )


def image_files(root: Path) -> list[Path]:
    """Return every image file below `root`, sorted: what `predict` takes from a folder."""
    tree = FolderTree(root)
    paths = sorted(root / path for path in tree.below() if ends_like_image(path) or ends_like_dicom(path))
    refuse_not_utf8(map(str, paths))
    return paths


def class_parents(tree: Tree, has_some: Callable[[str], bool], *, kind: str, example: str) -> list[tuple[str, str]]:
    """Return (split, folder that holds the class folders): the root itself, or one for each split.

    `has_some` says whether files of the `kind` lie in a folder. Raises DataError where folders named like splits hold
    such files and no class folders, or stand beside others.
    """
    top = tree.folders()
    splits = [name for name in top if name.lower() in SPLIT_NAMES]
    others = [name for name in top if name not in splits]
    divided = any(tree.folders(name) for name in splits)
    if divided and others:
        raise DataError(
            f"{tree.origin} holds {', '.join(splits)} beside {', '.join(others[:6])}: "
            "are these splits or classes? Keep one kind there, or say it in a manifest."
        )
    if divided:
        return [(SPLIT_NAMES[name.lower()], name) for name in splits]
    if splits and not others and any(has_some(name) for name in splits):
        raise DataError(
            f"{tree.origin}: {', '.join(splits)} hold {kind} but no class folders, so these have "
            f"no label: expected {tree.name}/{splits[0]}/<class>/<image>{example}."
        )
    return [("", "")]


def _images(tree: Tree, folder: str) -> Iterator[str]:
    return (path for path in tree.below(folder) if ends_like_image(path))


def _refuse_loose(tree: Tree, class_parents: list[str]) -> None:
    loose = [
        joined(parent, name) for parent in {"", *class_parents} for name in tree.files(parent) if ends_like_image(name)
    ]
    if loose:
        raise DataError(
            f"{tree.origin}: these images lie in no class folder, so they have no label; "
            f"move them to {tree.name}/<class>/:\n{listed(sorted(loose), 5)}"
        )


def refuse_not_utf8(places: Iterable[str]) -> None:
    """Refuse names that text files could not hold: tables, reports and recipes are UTF-8."""
    strange = []
    for place in places:
        try:
            place.encode()
        except UnicodeEncodeError:
            strange.append(os.fsencode(place).decode("utf-8", "backslashreplace"))
    if strange:
        raise DataError(f"{len(strange)} file names are not UTF-8; rename these files:\n{listed(sorted(strange))}")
