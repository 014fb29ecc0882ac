"""IDX files, the format of MNIST: a folder of four files, plain or gzip.

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits". A big-endian
header (two zero bytes, a type code, the number of dimensions, then each dimension as 32 bits), then
the values. Here images are unsigned bytes in 3 dimensions (magic 2051), labels in 1 (magic 2049).
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from foveal.data.dataset import Dataset, unknown
from foveal.data.images import ImageArray
from foveal.errors import DataError, ResourceError

UNSIGNED_BYTE = 8
PARTS = {"train": "train", "t10k": "test", "val": "validation", "test": "test"}
MAX_BYTES = 8 << 30


def is_idx_folder(root: Path) -> bool:
    """Return whether `root` holds IDX files of images under one of the usual names."""
    return any(_find(root, part, "images-idx3-ubyte") for part in PARTS)


def read_idx_folder(root: Path) -> Dataset:
    """Return the dataset in `root`: ``train-images-idx3-ubyte[.gz]`` with its labels, ``t10k-…`` as the test split.

    The classes are the label values as text. Raises DataError naming the file for a wrong magic
    number, a wrong length, or a part without its partner.
    """
    images, labels, splits, ids = [], [], [], []
    for part, split in PARTS.items():
        image_file = _find(root, part, "images-idx3-ubyte")
        label_file = _find(root, part, "labels-idx1-ubyte")
        if image_file is None and label_file is None:
            continue
        if image_file is None or label_file is None:
            missing = f"{part}-{'images-idx3' if image_file is None else 'labels-idx1'}-ubyte"
            raise DataError(f"{root}: {missing} (or {missing}.gz) is missing beside its partner.")
        pixels, values = read_idx(image_file, dimensions=3), read_idx(label_file, dimensions=1)
        if len(pixels) != len(values):
            raise DataError(f"{image_file.name} holds {len(pixels)} images, {label_file.name} {len(values)} labels.")
        images.append(pixels)
        labels.append(values)
        splits += [split] * len(values)
        ids += [f"{part}/{number:05d}" for number in range(len(values))]
    shapes = {part.shape[1:] for part in images}
    if len(shapes) > 1:
        raise DataError(f"{root}: the parts hold images of different sizes: {sorted(shapes)}.")
    values, indices = np.unique(np.concatenate(labels), return_inverse=True)
    return Dataset(
        name=root.resolve().name,
        origin=str(root),
        classes=tuple(str(value) for value in values),
        images=ImageArray(np.concatenate(images)[..., None]),
        record_ids=np.array(ids),
        labels=indices.astype(np.int64),
        groups=unknown(len(ids)),
        sources=unknown(len(ids)),
        given_splits=np.array(splits) if len(set(splits)) > 1 else unknown(len(ids)),
    )


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return the array in one IDX file of unsigned bytes; DataError says what is wrong with which file.

    No more is unpacked than the header announces, and no more than 8 GiB.
    """
    with _opened(path) as file:
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
        content = file.read(size + 1)
    if len(content) != size:
        follow = "more" if len(content) > size else f"{len(content):,}"
        raise DataError(f"{path} has the wrong length: its header announces {size:,} values, {follow} follow.")
    return np.frombuffer(content, np.uint8).reshape(shape)


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
