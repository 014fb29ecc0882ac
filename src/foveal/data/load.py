"""What a user writes after `foveal train` becomes a Dataset here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foveal.data.dataset import Dataset
from foveal.data.sources.arrays import read_arrays
from foveal.data.sources.digits import read_digits
from foveal.data.sources.folders import read_folders
from foveal.data.sources.idx import is_idx_folder, read_idx_folder
from foveal.data.sources.manifest import Columns, read_manifest
from foveal.errors import DataError, UsageError, nearest

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
        source: a folder of class folders (flat, or inside ``train/`` ``val/`` ``test/``), a folder of
            IDX files, a CSV manifest, a name from the catalog (``"digits"``), or uint8 images as an
            array (N, H, W) or (N, H, W, 1 or 3) with `labels`.
        labels: class names or integers (N,), for arrays only.
        name: what reports call arrays.
        classes: the class names that are allowed, in order; for arrays of integer labels their names.
        groups: the patient (or other unit never torn apart) of each image, for arrays only.
        sources: where each image comes from, for arrays only.
        splits: ``train``, ``validation``, ``test`` or empty for each image, for arrays only.
        columns: which column of a manifest holds what.

    Raises:
        DataError: when there is nothing there, or what is there is not whole.
        UsageError: when the arguments do not fit the source.
    """
    if isinstance(source, Dataset):
        return source
    if not isinstance(source, str | Path):
        if labels is None:
            raise UsageError("Arrays of images need labels: foveal.load(images, labels).")
        return read_arrays(source, labels, name=name, classes=classes, groups=groups, sources=sources, splits=splits)
    if any(value is not None for value in (labels, groups, sources, splits)):
        raise UsageError(f"labels, groups, sources and splits go with arrays; {source} brings its own.")
    dataset = _from_place(source, columns or Columns(), classes)
    if classes is not None and list(dataset.classes) != list(classes):
        if set(dataset.classes) != set(classes):
            raise DataError(f"{source} has the classes {', '.join(dataset.classes)}, not {', '.join(classes)}.")
        return reordered(dataset, classes)
    return dataset


def reordered(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Return `dataset` with its classes in the order of `classes`, which names every one of them, or more."""
    import dataclasses

    import numpy as np

    position = {name: index for index, name in enumerate(classes)}
    new = np.array([position[name] for name in dataset.classes], np.int64)
    same = dataclasses.replace(dataset, classes=tuple(classes), labels=new[dataset.labels])
    if "scan" in dataset.__dict__:
        same.__dict__["scan"] = dataset.scan
    return same


def _from_place(source: str | Path, columns: Columns, classes: Sequence[str] | None) -> Dataset:
    path = Path(source)
    if str(source) in CATALOG and not path.exists():
        return CATALOG[str(source)]()
    if path.is_dir():
        return read_idx_folder(path) if is_idx_folder(path) else read_folders(path)
    if path.is_file():
        if path.suffix.lower() in (".csv", ".tsv"):
            return read_manifest(path, columns, classes)
        raise DataError(f"{path} is no source: give a folder, a CSV manifest, or one of {', '.join(CATALOG)}.")
    raise DataError(
        f"There is no folder or file {source}, and no data set of that name ({', '.join(CATALOG)})."
        f"{nearest(str(source), CATALOG)}"
    )
