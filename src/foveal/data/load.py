"""What a user writes after `foveal train` becomes a Dataset here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foveal.data.dataset import Dataset
from foveal.data.sources.arrays import read_arrays
from foveal.data.sources.digits import read_digits
from foveal.data.sources.folders import read_folders
from foveal.data.sources.idx import is_idx_folder, read_idx_folder
from foveal.data.sources.manifest import Columns, read_manifest
from foveal.errors import DataError, UsageError, listed, nearest

CATALOG = {"digits": read_digits}


def load(
    source: object,
    labels: object | None = None,
    *,
    name: str = "arrays",
    classes: Sequence[str] | None = None,
    groups: object | None = None,
    sources: object | None = None,
    splits: object | None = None,
    columns: Columns | None = None,
) -> Dataset:
    """Return the dataset in `source`.

    Args:
        source: a Dataset, a folder of class folders (flat, or inside ``train/`` ``val/`` ``test/``), a folder of
            IDX files, a CSV manifest, a name from the catalog (``"digits"``), or uint8 images as an
            array (N, H, W) or (N, H, W, 1 or 3) with `labels`.
        labels: class names or integers (N,), for arrays only.
        name: what reports call arrays.
        classes: the class names that are allowed, in order (more than there are will do); for arrays of
            integer labels their names.
        groups: the patient (or other unit never torn apart) of each image, for arrays only.
        sources: where each image comes from, for arrays only.
        splits: ``train``, ``validation``, ``test`` or empty for each image, for arrays only.
        columns: which column of a manifest holds what.

    Raises:
        DataError: when there is nothing there, or what is there is not whole.
        UsageError: when the arguments do not fit the source.
    """
    if not isinstance(source, str | Path | Dataset):
        if labels is None:
            raise UsageError("Arrays of images need labels: foveal.load(images, labels).")
        return read_arrays(source, labels, name=name, classes=classes, groups=groups, sources=sources, splits=splits)
    if any(value is not None for value in (labels, groups, sources, splits)):
        raise UsageError(f"labels, groups, sources and splits go with arrays; {source} brings its own.")
    if columns not in (None, Columns()) and not _is_manifest(source):
        raise UsageError(f"Columns go with a CSV manifest; {source} has none.")
    dataset = source if isinstance(source, Dataset) else _from_place(source, columns or Columns(), classes)
    if classes is None or tuple(classes) == dataset.classes:
        return dataset
    strange = [one + nearest(one, classes) for one in dataset.classes if one not in classes]
    if strange:
        raise DataError(f"{source} has classes that are not among {', '.join(classes)}:\n{listed(strange)}")
    return reordered(dataset, classes)


def reordered(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Return `dataset` with its classes in the order of `classes`, which names every one of them, or more."""
    position = {name: index for index, name in enumerate(classes)}
    new = np.array([position[name] for name in dataset.classes], np.int64)
    same = dataclasses.replace(dataset, classes=tuple(classes), labels=new[dataset.labels])
    if "scan" in dataset.__dict__:
        same.__dict__["scan"] = dataset.scan
    return same


def _from_place(source: str | Path, columns: Columns, classes: Sequence[str] | None) -> Dataset:
    if not str(source).strip():
        raise UsageError("The source is empty: give a folder, a CSV manifest, or a name.")
    if not _is_utf8(str(source)):
        raise DataError(f"The name of {str(source)!a} is not UTF-8; rename it.")
    path = Path(source)
    try:
        if str(source) in CATALOG and not path.exists():
            return CATALOG[str(source)]()
        if path.is_dir():
            return read_idx_folder(path) if is_idx_folder(path) else read_folders(path)
        if path.is_file():
            return _from_file(path, columns, classes)
    except OSError as error:
        raise DataError(f"{error.filename or source} cannot be read: {error.strerror or error}.") from error
    raise DataError(
        f"There is no folder or file {source}, and no data set of that name ({', '.join(CATALOG)})."
        f"{nearest(str(source), CATALOG)}"
    )


def _from_file(path: Path, columns: Columns, classes: Sequence[str] | None) -> Dataset:
    if _is_manifest(path):
        return read_manifest(path, columns, classes)
    hint = " IDX files are given by their folder." if "idx" in path.name else ""
    raise DataError(f"{path} is no source: give a folder, a CSV manifest, or one of {', '.join(CATALOG)}.{hint}")


def _is_manifest(source: object) -> bool:
    return isinstance(source, str | Path) and Path(source).suffix.lower() in (".csv", ".tsv")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
