"""IDX files, the format of MNIST: a folder of four files, plain or gzip.

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits". A big-endian
header (two zero bytes, a type code, the number of dimensions, then each dimension as 32 bits), then
the values. Here images are unsigned bytes in 3 dimensions (magic 2051), labels in 1 (magic 2049).
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from foveal.data.dataset import Dataset, unknown
from foveal.data.images import ImageArray
from foveal.errors import DataError, ResourceError

UNSIGNED_BYTE = 8
PARTS = {"train": "train", "t10k": "test", "val": "validation", "test": "test"}
MAX_BYTES = 8 << 30
CHUNK_BYTES = 1 << 20


def is_idx_folder(root: Path) -> bool:
    """Return whether `root` holds IDX files of images under one of the usual names."""
    return any(_find(root, part, "images-idx3-ubyte") for part in PARTS)


def read_idx_folder(
    root: Path, *, name: str | None = None, origin: str | None = None, classes: Sequence[str] | None = None
) -> Dataset:
    """Return the dataset in `root`: ``train-images-idx3-ubyte[.gz]`` with its labels, ``t10k-…`` as the test split.

    The classes are the label values as text, or `classes`, which the values index. `name` and `origin`
    are what a data set of the catalog is called; those of the folder by default. Raises DataError
    naming the file for a wrong magic number, a wrong length, or a part without its partner.
    """
    parts = list(_parts(root))
    labels = [read_idx(part.label_file, dimensions=1) for part in parts]
    shapes = [idx_shape(part.image_file, dimensions=3) for part in parts]
    for part, values, shape in zip(parts, labels, shapes, strict=True):
        if shape[0] != len(values):
            raise DataError(
                f"{part.image_file.name} holds {shape[0]} images, {part.label_file.name} {len(values)} labels."
            )
    sizes = {shape[1:] for shape in shapes}
    if len(sizes) > 1:
        raise DataError(f"{root}: the parts hold images of different sizes: {sorted(sizes)}.")
    ends = np.cumsum([len(values) for values in labels]).tolist()
    pixels = _room(root, (ends[-1], *sizes.pop()))
    for part, values, end in zip(parts, labels, ends, strict=True):
        read_idx(part.image_file, dimensions=3, out=pixels[end - len(values) : end])
    names, numbers = _classes(root, np.concatenate(labels), classes)
    splits = [np.full(len(values), part.split) for part, values in zip(parts, labels, strict=True)]
    return Dataset(
        name=name or root.resolve().name,
        origin=origin or str(root),
        classes=names,
        images=ImageArray(pixels[..., None]),
        record_ids=np.array(
            [f"{part.name}/{row:05d}" for part, values in zip(parts, labels, strict=True) for row in range(len(values))]
        ),
        labels=numbers,
        groups=unknown(ends[-1]),
        sources=unknown(ends[-1]),
        given_splits=np.concatenate(splits) if len(splits) > 1 else unknown(ends[-1]),
    )


@dataclass(frozen=True)
class _Part:
    """One part of a folder: its images and their labels."""

    name: str
    split: str
    image_file: Path
    label_file: Path


def _parts(root: Path) -> Iterator[_Part]:
    """Yield the parts that lie in `root`; DataError for one without its partner."""
    for name, split in PARTS.items():
        image_file = _find(root, name, "images-idx3-ubyte")
        label_file = _find(root, name, "labels-idx1-ubyte")
        if image_file is None and label_file is None:
            continue
        if image_file is None or label_file is None:
            missing = f"{name}-{'images-idx3' if image_file is None else 'labels-idx1'}-ubyte"
            raise DataError(f"{root}: {missing} (or {missing}.gz) is missing beside its partner.")
        yield _Part(name, split, image_file, label_file)


def _classes(root: Path, values: np.ndarray, classes: Sequence[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names and each label's index into them."""
    if classes is None:
        present = np.flatnonzero(np.bincount(values, minlength=256))
        position = np.zeros(256, np.int64)
        position[present] = np.arange(len(present))
        return tuple(str(value) for value in present), position[values]
    if values.max() >= len(classes):
        raise DataError(f"{root}: the labels go up to {values.max()}, but there are {len(classes)} classes.")
    return tuple(classes), values.astype(np.int64)


def read_idx(path: Path, dimensions: int, out: np.ndarray | None = None) -> np.ndarray:
    """Return the array in one IDX file of unsigned bytes; DataError says what is wrong with which file.

    No more is unpacked than the header announces, and no more than 8 GiB. The values are read right
    into `out` where that is given, an array of the announced shape: MNIST is then in memory once.
    """
    with _opened(path) as file:
        shape = _header(path, file, dimensions)
        values = np.empty(shape, np.uint8) if out is None else out
        if values.shape != shape:
            raise DataError(f"{path} has changed while it was read.")
        count = _fill(file, values.data.cast("B"))
        more = file.read(1)
    if more or count != values.size:
        follow = "more" if more else f"{count:,}"
        raise DataError(f"{path} has the wrong length: its header announces {values.size:,} values, {follow} follow.")
    return values


def idx_shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """Return the shape that the header of one IDX file announces; DataError as `read_idx`."""
    with _opened(path) as file:
        return _header(path, file, dimensions)


def _header(path: Path, file: BinaryIO, dimensions: int) -> tuple[int, ...]:
    """Read the header at the start of `file` and return the shape that it announces."""
    start = file.read(4)
    expected = UNSIGNED_BYTE << 8 | dimensions
    magic = int.from_bytes(start, "big")
    if len(start) < 4 or magic != expected:
        what = f"magic number {magic}, expected {expected}" if len(start) == 4 else f"it has {len(start)} bytes"
        raise DataError(f"{path} is not the IDX file that its name says: {what}.")
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError(f"{path} has the wrong length: it ends within its header.")
    shape = tuple(int(one) for one in np.frombuffer(header, ">u4"))
    size = math.prod(shape)
    if size == 0:
        raise DataError(f"{path} is empty: its header announces {'×'.join(map(str, shape))} values.")
    if size > MAX_BYTES:
        raise DataError(f"{path} announces {size:,} values; the limit is {MAX_BYTES >> 30} GiB.")
    return shape


def _fill(file: BinaryIO, room: memoryview) -> int:
    """Read into `room` until it is full or the file ends; return how many bytes there were."""
    done = 0
    while done < len(room) and (count := file.readinto(room[done : done + CHUNK_BYTES])):  # type: ignore[attr-defined]
        done += count
    return done


def _room(root: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.empty(shape, np.uint8)
    except MemoryError as error:
        raise ResourceError(f"There is not enough memory for the {shape[0]:,} images of {root}.") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a plain or gzip file; what goes wrong while it is read becomes a DataError."""
    try:
        with path.open("rb") as plain, gzip.GzipFile(fileobj=plain) if path.suffix == ".gz" else plain as file:
            yield cast(BinaryIO, file)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    except MemoryError as error:
        raise ResourceError(f"There is not enough memory to read {path}.") from error


def _find(root: Path, part: str, kind: str) -> Path | None:
    """Return the file of one part, plain before gzip; some copies write a dot before ``idx``."""
    for name in (f"{part}-{kind}", f"{part}-{kind.replace('-idx', '.idx')}"):
        for path in (root / name, root / f"{name}.gz"):
            if path.is_file():
                return path
    return None
