"""Images and labels that Python already holds as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveal.data.dataset import SPLITS, Dataset, unknown
from foveal.data.images import as_image_array
from foveal.errors import DataError


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
    is a class named by its digits. Raises DataError for other types, shapes, lengths or values.
    """
    pixels = as_image_array(images)
    values = np.asarray(labels)
    if values.shape != (len(pixels),):
        raise DataError(f"{len(pixels)} images need {len(pixels)} labels in one dimension, not shape {values.shape}.")
    return Dataset(
        name=name,
        origin="",
        **_labels(values, classes),
        images=pixels,
        record_ids=np.array([f"{number:06d}" for number in range(len(pixels))]),
        groups=_column(groups, "groups", len(pixels)),
        sources=_column(sources, "sources", len(pixels)),
        given_splits=_splits(splits, len(pixels)),
    )


def _labels(values: np.ndarray, classes: Sequence[str] | None) -> dict[str, object]:
    if values.dtype.kind in "iu" and classes is not None:
        if values.min() < 0 or values.max() >= len(classes):
            raise DataError(f"Labels go from {values.min()} to {values.max()}, but {len(classes)} classes are named.")
        return {"classes": tuple(classes), "labels": values.astype(np.int64)}
    if values.dtype.kind not in "iuUOb":
        raise DataError(f"Labels are {values.dtype}; give integers or class names.")
    names = np.array([str(value) for value in values.tolist()])
    if classes is not None:
        strange = sorted(set(names) - set(classes))
        if strange:
            raise DataError(f"These labels are not among the classes: {', '.join(strange[:10])}.")
        position = {name: index for index, name in enumerate(classes)}
        return {"classes": tuple(classes), "labels": np.array([position[name] for name in names], np.int64)}
    unique = np.unique(values.astype(np.int64)) if values.dtype.kind in "iu" else np.unique(names)
    order = {str(value): index for index, value in enumerate(unique.tolist())}
    return {"classes": tuple(order), "labels": np.array([order[name] for name in names], np.int64)}


def _column(values: object | None, what: str, count: int) -> np.ndarray:
    if values is None:
        return unknown(count)
    column = np.array(["" if value is None else str(value) for value in np.asarray(values, dtype=object).tolist()])
    if column.shape != (count,):
        raise DataError(f"{what} has shape {column.shape}; {count} images need {count} values.")
    return column


def _splits(values: object | None, count: int) -> np.ndarray:
    column = _column(values, "splits", count)
    strange = sorted(set(column.tolist()) - {*SPLITS, ""})
    if strange:
        raise DataError(f"splits holds {', '.join(strange[:5])}; it may hold {', '.join(SPLITS)} or nothing.")
    return column
