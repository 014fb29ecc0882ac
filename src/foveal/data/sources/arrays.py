"""Images and labels that Python already holds as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveal.data.dataset import KNOWN_SPLITS, Dataset, unknown
from foveal.data.images import as_image_array
from foveal.data.sources.folders import SPLIT_NAMES
from foveal.errors import DataError, listed


def read_arrays(
    images: object,
    labels: object,
    *,
    name: str,
    classes: Sequence[str] | None,
    groups: object | None,
    sources: object | None,
    splits: object | None,
) -> Dataset:
    """Return the dataset of uint8 `images` (N, H, W) or (N, H, W, 1 or 3) and `labels` (N,).

    Labels are class names or integers. Integers index `classes` when that is given, else each value
    is a class named by its digits. None and NaN among `groups`, `sources` and `splits` mean *unknown*.
    Raises DataError for other types, shapes, lengths or values, and for a label that is missing.
    """
    pixels = as_image_array(images)
    count = len(pixels)
    values = _one_dimension(labels, "labels", count)
    names, numbers = _classes(values, classes)
    return Dataset(
        name=name,
        origin="",
        classes=names,
        images=pixels,
        record_ids=np.array([f"{number:06d}" for number in range(count)]),
        labels=numbers,
        groups=_column(groups, "groups", count),
        sources=_column(sources, "sources", count),
        given_splits=_splits(splits, count),
    )


def _classes(values: np.ndarray, classes: Sequence[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names and each label's index into them."""
    whole = values.dtype.kind in "iu"
    if whole and classes is not None:
        if values.min() < 0 or values.max() >= len(classes):
            raise DataError(f"Labels go from {values.min()} to {values.max()}, but {len(classes)} classes are named.")
        return tuple(classes), values.astype(np.int64)
    items = values.tolist()
    absent = [str(row) for row, item in enumerate(items) if _missing(item) or str(item).strip() == ""]
    if absent:
        raise DataError(f"{len(absent)} images have no label, in the rows:\n{listed(absent)}")
    strange = sorted({type(item).__name__ for item in items if not isinstance(item, str | int)})
    if strange:
        raise DataError(f"Labels hold values of the type {', '.join(strange)}; give integers or class names.")
    names = [str(item) for item in items]
    if classes is None:
        known = tuple(str(item) for item in (np.unique(values).tolist() if whole else sorted(set(names))))
    else:
        known = tuple(classes)
        unknown_names = sorted(set(names) - set(known))
        if unknown_names:
            raise DataError(f"These labels are not among the classes: {', '.join(unknown_names[:10])}.")
    position = {name: index for index, name in enumerate(known)}
    return known, np.array([position[name] for name in names], np.int64)


def _one_dimension(values: object, what: str, count: int) -> np.ndarray:
    try:
        column: np.ndarray = np.asarray(values)
        if column.dtype.kind in "US" and not isinstance(values, np.ndarray):
            column = np.asarray(values, dtype=object)  # else None and NaN among names would become names
    except ValueError as error:  # lists of unequal length in it
        raise DataError(f"{what} is no array of one dimension: {error}.") from error
    if column.shape != (count,):
        raise DataError(f"{what} has shape {column.shape}; {count} images need {count} values in one dimension.")
    return column


def _column(values: object | None, what: str, count: int) -> np.ndarray:
    if values is None:
        return unknown(count)
    items = _one_dimension(values, what, count).tolist()
    return np.array(["" if _missing(item) else str(item).strip() for item in items])


def _splits(values: object | None, count: int) -> np.ndarray:
    column = _column(values, "splits", count).tolist()
    strange = sorted({name for name in column if name and name.lower() not in SPLIT_NAMES})
    if strange:
        raise DataError(f"splits holds {', '.join(strange[:5])}; it may hold {', '.join(KNOWN_SPLITS)} or nothing.")
    return np.array([SPLIT_NAMES.get(name.lower(), "") for name in column])


def _missing(value: object) -> bool:
    """Whether `value` is one of the ways to say *not known*: None, NaN, NaT, pandas' NA."""
    try:
        return value is None or bool(value != value)  # noqa: PLR0124 - what differs from itself is not a number
    except TypeError:  # NA can be neither true nor false
        return True
