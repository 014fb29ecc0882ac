"""NPZ files: images and labels as NumPy arrays in one file, as `numpy.savez` writes it.

Nothing in the file is run (``allow_pickle=False``), and no more is unpacked than its directory and the
arrays' headers announce, which must agree.
"""

from __future__ import annotations

import dataclasses
import lzma
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from foveal.data.dataset import Dataset
from foveal.data.sources.arrays import read_arrays
from foveal.data.sources.folders import SPLIT_NAMES
from foveal.errors import DataError, ResourceError, listed

WHOLE_SETS = (("x", "y"), ("images", "labels"), ("data", "labels"), ("data", "target"))
PART_SETS = (
    ("x_{}", "y_{}"),
    ("{}_x", "{}_y"),
    ("{}_images", "{}_labels"),
    ("images_{}", "labels_{}"),
    ("{}_data", "{}_labels"),
)
NUMBERED = ("arr_0", "arr_1")
MAX_BYTES = 8 << 30
ROWS_AT_ONCE = 256
DAMAGE = (  # what zipfile and the packers raise over bytes that are none of theirs
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, ValueError, IndexError, KeyError,
    OverflowError, RuntimeError, NotImplementedError,
)  # fmt: skip
NEAR = 1e-3  # of 255 levels: how far float32 may lie from a whole level

RULE_WHOLE = "The images are stored as {}, but all values are whole numbers from 0 to 255: taken as they are."
RULE_SHARE = "The images are stored as {} from 0 to 1, and all values are whole 255ths: multiplied by 255."


@dataclasses.dataclass(frozen=True)
class _Part:
    """The names of the arrays that hold one split, or all images."""

    split: str
    images: str
    labels: str


def read_npz(path: Path) -> Dataset:
    """Return the dataset in an NPZ file.

    Images and labels are found by the usual pairs of names, in any case: one pair for all images, or
    one for each of train, validation and test. Labels are integers, names, or one-hot rows (N, K).
    Arrays named ``classes`` (K,) and, beside one pair, ``groups`` (N,) are used too; others are passed over.

    Raises:
        DataError: when there is no pair or more than one, for object arrays (they would be pickles),
            for images or labels that mean nothing certain, and for damage.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return _dataset(path, _Arrays(path, file))
    except DAMAGE as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    except MemoryError as error:
        raise ResourceError(f"There is not enough memory to read {path}.") from error


def refuse_npy(path: Path) -> None:
    """Raise DataError for a file of one array: images alone have no labels."""
    raise DataError(
        f"{path} holds one array, so either the images or the labels are missing: put both into one file with "
        "numpy.savez('data.npz', X=images, Y=labels)."
    )


class _Arrays:
    """The arrays of an open file by their names in lower case; each is checked before it is read."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self._path, self._file, self._left = path, file, MAX_BYTES
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in file.infolist():
            name = member.filename.removesuffix(".npy").lower()
            if name in self._members:
                raise DataError(f'{path} holds two arrays of the name "{name}".')
            self._members[name] = member

    @property
    def names(self) -> list[str]:
        """The arrays' names in lower case."""
        return list(self._members)

    def read(self, name: str) -> np.ndarray:
        """Return one array; DataError when it holds objects, is too large, or is not as long as it says."""
        member = self._members[name]
        with self._file.open(member) as stream:
            shape, fortran, dtype = self._header(name, stream)
            size = math.prod(shape) * dtype.itemsize
            if dtype.hasobject:
                raise DataError(f'{self._path}: "{name}" holds Python objects, which only a pickle could bring back.')
            self._left -= size
            if self._left < 0:
                raise DataError(f'{self._path}: "{name}" announces {size:,} bytes; the limit is {MAX_BYTES >> 30} GiB.')
            if member.file_size - stream.tell() != size:
                there = member.file_size - stream.tell()
                raise DataError(f'{self._path}: "{name}" announces {size:,} bytes, {there:,} follow its header.')
            return _filled(self._path, name, stream, shape, dtype, fortran=fortran)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape that one array announces."""
        with self._file.open(self._members[name]) as stream:
            return self._header(name, stream)[0]

    def _header(self, name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of headers that Python 2 wrote
                return _header(stream)
        except (ValueError, TypeError, SyntaxError, tokenize.TokenError) as error:
            raise DataError(f'{self._path}: "{name}" is no array of NumPy: {error}.') from error


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if any(side < 0 for side in shape) or not dtype.itemsize:
        raise ValueError("its header means nothing")
    return shape, fortran, dtype


def _filled(
    path: Path, name: str, stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype, *, fortran: bool
) -> np.ndarray:
    values = np.empty(math.prod(shape), dtype)
    room, done = values.view(np.uint8), 0
    while done < len(room) and (chunk := stream.read(min(1 << 20, len(room) - done))):
        room[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    if done < len(room) or stream.read(1):
        raise DataError(f'{path}: "{name}" has another length than its header announces.')
    return values.reshape(shape, order="F" if fortran else "C")


def _dataset(path: Path, arrays: _Arrays) -> Dataset:
    parts = _parts(path, arrays)
    classes = _names(path, arrays.read("classes")) if "classes" in arrays.names else None
    groups = arrays.read("groups") if "groups" in arrays.names else None
    if groups is not None and len(parts) > 1:
        raise DataError(f'{path}: "groups" beside {parts[0].images} and {parts[1].images} does not say whose they are.')
    labels = [_labels(path, part.labels, arrays.read(part.labels)) for part in parts]
    notes: list[str] = []
    pixels = [_pixels(path, part.images, arrays.read(part.images), notes) for part in parts]
    if len(shapes := {one.shape[1:] for one in pixels}) > 1:
        raise DataError(f"{path}: the parts hold images of different shapes: {sorted(shapes)}.")
    for part, values, count in zip(parts, labels, [len(one) for one in pixels], strict=True):
        if len(values) != count:
            raise DataError(f'{path}: "{part.images}" has {count:,} images, "{part.labels}" {len(values):,} labels.')
    splits = [np.full(len(values), part.split) for part, values in zip(parts, labels, strict=True)]
    try:
        dataset = read_arrays(
            pixels[0] if len(parts) == 1 else np.concatenate(pixels),
            np.concatenate(labels),
            name=path.stem,
            classes=classes,
            groups=None if groups is None else _text(groups),
            sources=None,
            splits=np.concatenate(splits) if len(parts) > 1 else None,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    ids = [f"{part.split}/{row:05d}" for part, values in zip(parts, labels, strict=True) for row in range(len(values))]
    return dataclasses.replace(
        dataset,
        origin=str(path),
        record_ids=np.array(ids) if len(parts) > 1 else dataset.record_ids,
        notes=tuple(dict.fromkeys(notes)),
    )


def _parts(path: Path, arrays: _Arrays) -> list[_Part]:
    """Return which arrays hold images and labels; DataError when no pair of names is there, or more than one."""
    names = set(arrays.names)
    whole = [_Part("", *pair) for pair in WHOLE_SETS if names.issuperset(pair)]
    divided = [found for pair in PART_SETS if (found := _divided(path, names, *pair))]
    choices = [[one] for one in whole] + divided
    if not choices and set(NUMBERED) == names and {len(arrays.shape(name)) >= 3 for name in NUMBERED} == {True, False}:
        images, labels = sorted(NUMBERED, key=lambda name: -len(arrays.shape(name)))
        choices = [[_Part("", images, labels)]]
    if len(choices) == 1:
        return choices[0]
    held = f"{path} holds the arrays {', '.join(arrays.names) or '(none)'}"
    if choices:
        pairs = " or ".join(" and ".join((one[0].images, one[0].labels)) for one in choices)
        raise DataError(f"{held}: are the images and labels {pairs}? Keep one pair.")
    raise DataError(
        f"{held}, but no images with labels under names known here: X and Y, images and labels, or x_train, y_train, "
        "x_test, y_test. Write them so with numpy.savez('data.npz', X=images, Y=labels)."
    )


def _divided(path: Path, names: set[str], images: str, labels: str) -> list[_Part]:
    """Return the parts whose arrays are named like `images` and `labels`; DataError for one without its partner."""
    words = [word for word in SPLIT_NAMES if images.format(word) in names]
    labelled = [word for word in SPLIT_NAMES if labels.format(word) in names]
    if not words:
        return []
    for word in {*words} ^ {*labelled}:
        there, missing = (images, labels) if word in words else (labels, images)
        raise DataError(f'{path} holds "{there.format(word)}" but not "{missing.format(word)}".')
    if len({SPLIT_NAMES[word] for word in words}) < len(words):
        raise DataError(f"{path} holds one split under two names ({', '.join(images.format(word) for word in words)}).")
    return [_Part(SPLIT_NAMES[word], images.format(word), labels.format(word)) for word in words]


def _labels(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Return labels (N,): a column as it is, one-hot rows as the place of their one."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1 and values.dtype.kind == "S":
        return _text(values)
    if values.ndim == 1 and values.dtype.kind in "iuU":
        return values
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise DataError(
            f'{path}: "{name}" is {values.dtype} of the shape {values.shape}; labels are whole numbers (N,), names '
            '(N,) or one-hot rows (N, classes). Whole numbers are made by y.astype("int64").'
        )
    hot = values == 1
    strange = np.flatnonzero(((values != 0) & ~hot).any(axis=1) | (hot.sum(axis=1) != 1))
    if len(strange):
        raise DataError(
            f'{path}: "{name}" is {values.dtype} of the shape {values.shape}, but not one-hot: {len(strange):,} rows '
            f"do not have one 1 among zeros:\n{listed([f'row {row}' for row in strange], 5)}"
        )
    return np.asarray(hot.argmax(axis=1))


def _pixels(path: Path, name: str, values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Return images as bytes where the stored values say without a doubt which; add the rule to `notes`.

    Floats or wider integers that are all whole numbers from 0 to 255 are those numbers. Floats from 0
    to 1 that are all whole 255ths are bytes that were divided by 255, as tflearn's data sets hold them.
    Nothing is rounded: for both, one array of bytes alone can have been meant.
    """
    if values.dtype == np.uint8 or values.dtype.kind not in "iuf" or not values.size:
        return values  # what is neither, `read_arrays` refuses
    low, high = values.min(), values.max()
    scale = 255 if values.dtype.kind == "f" and high <= 1 else 1
    out = np.empty(values.shape, np.uint8)
    if low >= 0 and high <= 255:  # false for not-a-number, too
        for start in range(0, len(values), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            levels = values[rows] * np.float32(scale) if scale > 1 else values[rows]
            whole = np.rint(levels)
            if np.abs(levels - whole).max() > (NEAR if scale > 1 else 0):
                break
            out[rows] = whole
        else:
            notes.append((RULE_SHARE if scale > 1 else RULE_WHOLE).format(values.dtype))
            return out
    raise DataError(
        f'{path}: "{name}" is {values.dtype} from {low:g} to {high:g}; images are bytes from 0 to 255 (uint8), or '
        "values that are certainly such bytes: whole numbers from 0 to 255, or whole 255ths from 0 to 1. Convert them "
        "as they are meant, e.g. (x * 255).round().astype('uint8') for values between 0 and 1."
    )


def _names(path: Path, values: np.ndarray) -> list[str]:
    if values.ndim != 1 or values.dtype.kind not in "US":
        raise DataError(f'{path}: "classes" is {values.dtype} of the shape {values.shape}, not a list of names.')
    return [str(one) for one in _text(values).tolist()]


def _text(values: np.ndarray) -> np.ndarray:
    """Return bytes as text, anything else as it is."""
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
