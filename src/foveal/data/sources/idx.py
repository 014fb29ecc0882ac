"""IDX files, the format of MNIST: a folder of four files, plain or gzip.

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits". A big-endian
header (two zero bytes, a type code, the number of dimensions, then each dimension as 32 bits), then
the values. Here images are unsigned bytes in 3 dimensions (magic 2051), labels in 1 (magic 2049).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from foveal.data.dataset import Dataset, unknown
from foveal.data.images import ImageArray
from foveal.errors import DataError

UNSIGNED_BYTE = 8
PARTS = {"train": "train", "t10k": "test", "val": "validation", "test": "test"}
MAX_BYTES = 8 << 30


def is_idx_folder(root: Path) -> bool:
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
    """Return the array in one IDX file of unsigned bytes; DataError says what is wrong with which file."""
    content = _content(path)
    magic = int.from_bytes(content[:4], "big")
    expected = UNSIGNED_BYTE << 8 | dimensions
    if magic != expected:
        raise DataError(f"{path} is not the IDX file that its name says: magic number {magic}, expected {expected}.")
    header = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    size = math.prod(shape)
    if len(content) != header + size:
        raise DataError(
            f"{path} has the wrong length: its header announces {size:,} values, {max(len(content) - header, 0):,} follow."
        )
    if 0 in shape:
        raise DataError(f"{path} is empty: its header announces {'×'.join(map(str, shape))} values.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path) as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if len(content) > MAX_BYTES:
        raise DataError(f"{path} unpacks to more than {MAX_BYTES >> 30} GiB.")
    return content


def _find(root: Path, part: str, kind: str) -> Path | None:
    """Return the file of one part, plain before gzip; some copies write a dot before ``idx``."""
    for name in (f"{part}-{kind}", f"{part}-{kind.replace('-idx', '.idx')}"):
        for path in (root / name, root / f"{name}.gz"):
            if path.is_file():
                return path
    return None
