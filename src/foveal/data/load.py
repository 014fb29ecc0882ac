"""What a user writes after `foveal train` becomes a Dataset here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from foveal.data.catalog import CATALOG, WITH_FILES, is_named, load_named
from foveal.data.dataset import Dataset
from foveal.data.sources.archives import read_archive
from foveal.data.sources.arrays import read_arrays
from foveal.data.sources.cifar import find_cifar, read_cifar
from foveal.data.sources.dicom_folder import holds_dicom, read_dicom_folder, with_patients
from foveal.data.sources.folders import read_folders
from foveal.data.sources.idx import is_idx_folder, read_idx_folder
from foveal.data.sources.listing import SUFFIXES, is_archive
from foveal.data.sources.manifest import Columns, is_table, manifest_in, read_manifest, refuse_unlisted
from foveal.data.sources.npz import read_npz, refuse_npy
from foveal.data.sources.tree import FolderTree, Tree
from foveal.errors import DataError, UsageError, listed, nearest
from foveal.progress import Progress


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
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Return the dataset in `source`.

    Args:
        source: a Dataset, a folder of class folders (flat, or inside ``train/`` ``val/`` ``test/``) of images
            or of DICOM files, a folder of IDX or CIFAR files, an archive of either, a CSV or Parquet manifest (a
            folder or archive may hold it), an NPZ file, a name from the catalog (``"digits"``, ``"mnist"``, …), or
            uint8 images as an array (N, H, W) or (N, H, W, 1 or 3) with `labels`.
        labels: class names or integers (N,), for arrays only.
        name: what reports call arrays.
        classes: the class names that are allowed, in order (more than there are will do); for arrays of
            integer labels their names.
        groups: the patient (or other unit never torn apart) of each image, for arrays only.
        sources: where each image comes from, for arrays only.
        splits: ``train``, ``validation``, ``test`` or empty for each image, for arrays only.
        columns: which column of a manifest holds what.
        data_dir: a folder with the files of a published data set; without it they are downloaded once.
        progress: where a download, or the unpacking of an archive, is shown; on standard error by default.

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
    if isinstance(source, Dataset):
        _refuse_columns(columns or Columns(), source)
    if data_dir is not None and not is_named(source):
        raise UsageError(f"A data_dir goes with a name of the catalog ({', '.join(WITH_FILES)}), not with {source}.")
    if isinstance(source, Dataset):
        dataset = source
    else:
        dataset = _from_place(source, columns or Columns(), classes, data_dir, progress)
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
    same = dataclasses.replace(
        dataset, classes=tuple(classes), labels=np.where(dataset.labels < 0, -1, new[dataset.labels])
    )
    if "scan" in dataset.__dict__:
        same.__dict__["scan"] = dataset.scan
    return same


def _from_place(
    source: str | Path,
    columns: Columns,
    classes: Sequence[str] | None,
    data_dir: str | Path | None,
    progress: Progress | None,
) -> Dataset:
    if not str(source).strip():
        raise UsageError("The source is empty: give a folder, an archive, a manifest, or a name.")
    if not _is_utf8(str(source)):
        raise DataError(f"The name of {str(source)!a} is not UTF-8; rename it.")
    path = Path(source)
    try:
        if is_named(source) and (data_dir is not None or not path.exists()):
            _refuse_columns(columns, source)
            return load_named(str(source), data_dir=data_dir, progress=progress)
        if path.is_dir() and is_idx_folder(path):
            _refuse_columns(columns, source)
            return read_idx_folder(path)
        if path.is_dir():
            return _from_tree(FolderTree(path), columns, classes, progress)
        if path.is_file():
            return _from_file(path, columns, classes, progress)
    except OSError as error:
        raise DataError(f"{error.filename or source} cannot be read: {error.strerror or error}.") from error
    raise DataError(
        f"There is no folder or file {source}, and no data set of that name ({', '.join(CATALOG)})."
        f"{nearest(str(source), CATALOG)}"
    )


def _from_tree(tree: Tree, columns: Columns, classes: Sequence[str] | None, progress: Progress | None) -> Dataset:
    """Return what a folder or an archive holds: CIFAR's files, the images of its manifest, or class folders."""
    if found := find_cifar(tree):
        _refuse_columns(columns, tree.origin)
        return read_cifar(tree, *found)
    file = manifest_in(tree, columns)
    if file is None:
        _refuse_columns(columns, tree.origin)
        return read_dicom_folder(tree, progress) if holds_dicom(tree) else read_folders(tree)
    origin = tree.place(file) if isinstance(tree, FolderTree) else tree.origin
    dataset = read_manifest(tree, file, columns, classes, name=tree.name, origin=origin)
    refuse_unlisted(dataset, tree, file)
    return with_patients(dataset, progress)


def _from_file(path: Path, columns: Columns, classes: Sequence[str] | None, progress: Progress | None) -> Dataset:
    if is_table(path.name):
        name = path.resolve().parent.name if path.stem == "manifest" else path.stem
        dataset = read_manifest(FolderTree(path.parent), path.name, columns, classes, name=name, origin=str(path))
        return with_patients(dataset, progress)
    if path.name.lower().endswith(SUFFIXES):
        with nullcontext(progress) if progress is not None else Progress() as display:
            return _from_tree(read_archive(path, display), columns, classes, display)
    _refuse_columns(columns, path)
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    if path.suffix.lower() == ".npy":
        refuse_npy(path)
    hint = " IDX files are given by their folder." if "idx" in path.name else ""
    if is_archive(path.name):
        hint = f" Unpack it and give the folder; archives that are read end in {', '.join(SUFFIXES)}."
    raise DataError(
        f"{path} is no source: give a folder, an archive, a manifest, an NPZ file, or one of "
        f"{', '.join(CATALOG)}.{hint}"
    )


def _refuse_columns(columns: Columns, source: object) -> None:
    if columns != Columns():
        raise UsageError(f"Columns go with a manifest; {source} has none.")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
