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
import unicodedata
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from foveal.data.dataset import Dataset
from foveal.data.members import BOMB_FREE_GIB, BOMB_RATIO
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
NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of control characters, halves of pairs, line breaks
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
            for images or labels that mean nothing certain, for names with control characters, and for damage.
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
                raise DataError(f'{path} holds two arrays of the name "{_spelled(member)}".')
            self._members[name] = member

    @property
    def names(self) -> list[str]:
        """The arrays' names in lower case."""
        return list(self._members)

    def spelled(self, name: str) -> str:
        """Return an array's name as the file spells it, for messages."""
        return _spelled(self._members[name]) if name in self._members else name

    def read(self, name: str, *, remedy: str = "") -> np.ndarray:
        """Return one array; DataError when it holds objects (with `remedy`), is too large, or of another length."""
        member, place = self._members[name], f'{self._path}: "{self.spelled(name)}"'
        with self._file.open(member) as stream:
            shape, fortran, dtype = self._header(name, stream)
            size = math.prod(shape) * dtype.itemsize
            if dtype.hasobject:
                raise DataError(f"{place} holds Python objects, which only a pickle could bring back.{remedy}")
            self._left -= size
            if self._left < 0:
                raise DataError(f"{place} announces {size:,} bytes; the limit is {MAX_BYTES >> 30} GiB.")
            if member.file_size - stream.tell() != size:
                there = member.file_size - stream.tell()
                raise DataError(f"{place} announces {size:,} bytes, {there:,} follow its header.")
            packed = min(member.compress_size, self._path.stat().st_size)  # the directory may boast
            if size > BOMB_FREE_GIB << 30 and size > BOMB_RATIO * packed:
                raise DataError(
                    f"{place} unpacks to more than {BOMB_RATIO} times its size, which images do not: it may be made to "
                    "fill the memory. If it is sound, write it with numpy.savez, which does not compress."
                )
            return _filled(place, stream, shape, dtype, fortran=fortran)

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
            raise DataError(f'{self._path}: "{self.spelled(name)}" is no array of NumPy: {error}.') from error


def _spelled(member: zipfile.ZipInfo) -> str:
    return _shown(member.filename.removesuffix(".npy"))


def _shown(name: str) -> str:
    """Return `name` so that a terminal shows it and does nothing else."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(stream)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError) as error:  # in words for programmers
        raise ValueError("its header cannot be understood") from error
    if any(side < 0 for side in shape) or not dtype.itemsize:
        raise ValueError("its header means nothing")
    return shape, fortran, dtype


def _filled(place: str, stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype, *, fortran: bool) -> np.ndarray:
    values = np.empty(math.prod(shape), dtype)
    room, done = values.view(np.uint8), 0
    while done < len(room) and (chunk := stream.read(min(1 << 20, len(room) - done))):
        room[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    if done < len(room) or stream.read(1):
        raise DataError(f"{place} has another length than its header announces.")
    return values.reshape(shape, order="F" if fortran else "C")


def _dataset(path: Path, arrays: _Arrays) -> Dataset:
    parts = _parts(path, arrays)
    if all(arrays.shape(part.images)[:1] == (0,) for part in parts):
        name = parts[0].images
        raise DataError(f'{path} holds no images: "{arrays.spelled(name)}" has the shape {arrays.shape(name)}.')
    remedy = " Save names as text: {}.astype(str)."
    classes = (
        _names(path, arrays.spelled("classes"), arrays.read("classes", remedy=remedy.format("classes")))
        if "classes" in arrays.names
        else None
    )
    groups = arrays.read("groups") if "groups" in arrays.names else None
    if groups is not None and len(parts) > 1:
        both = " and ".join(arrays.spelled(part.images) for part in parts[:2])
        raise DataError(f'{path}: "{arrays.spelled("groups")}" beside {both} does not say whose they are.')
    labels = [
        _labels(path, arrays.spelled(part.labels), arrays.read(part.labels, remedy=remedy.format("y")))
        for part in parts
    ]
    notes: list[str] = []
    pixels = [_pixels(path, arrays.spelled(part.images), arrays.read(part.images), notes) for part in parts]
    if len(shapes := {one.shape[1:] for one in pixels}) > 1:
        raise DataError(f"{path}: the parts hold images of different shapes: {sorted(shapes)}.")
    for part, values, count in zip(parts, labels, [len(one) for one in pixels], strict=True):
        if len(values) != count:
            raise DataError(
                f'{path}: "{arrays.spelled(part.images)}" has {count:,} images, "{arrays.spelled(part.labels)}" '
                f"{len(values):,} labels."
            )
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
    divided = [found for pair in PART_SETS if (found := _divided(path, arrays, *pair))]
    choices = [[one] for one in whole] + divided
    if not choices and set(NUMBERED) == names and {len(arrays.shape(name)) >= 3 for name in NUMBERED} == {True, False}:
        images, labels = sorted(NUMBERED, key=lambda name: -len(arrays.shape(name)))
        choices = [[_Part("", images, labels)]]
    if len(choices) == 1:
        return choices[0]
    held = f"{path} holds the arrays {', '.join(map(arrays.spelled, arrays.names)) or '(none)'}"
    if choices:
        pairs = " or ".join(" and ".join(map(arrays.spelled, (one[0].images, one[0].labels))) for one in choices)
        raise DataError(f"{held}: are the images and labels {pairs}? Keep one pair.")
    raise DataError(
        f"{held}, but no images with labels under names known here: X and Y, images and labels, or x_train, y_train, "
        "x_test, y_test. Write them so with numpy.savez('data.npz', X=images, Y=labels)."
    )


def _divided(path: Path, arrays: _Arrays, images: str, labels: str) -> list[_Part]:
    """Return the parts whose arrays are named like `images` and `labels`; DataError for one without its partner."""
    names = arrays.names
    words = [word for word in SPLIT_NAMES if images.format(word) in names]
    labelled = [word for word in SPLIT_NAMES if labels.format(word) in names]
    if not words:
        return []
    for word in {*words} ^ {*labelled}:
        there, missing = (images, labels) if word in words else (labels, images)
        held = arrays.spelled(there.format(word))
        raise DataError(f'{path} holds "{held}" but not "{missing.format(word)}".')
    if len({SPLIT_NAMES[word] for word in words}) < len(words):
        twice = ", ".join(arrays.spelled(images.format(word)) for word in words)
        raise DataError(f"{path} holds one split under two names ({twice}).")
    return [_Part(SPLIT_NAMES[word], images.format(word), labels.format(word)) for word in words]


def _labels(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Return labels (N,): a column as it is, one-hot rows as the place of their one."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1 and values.dtype.kind in "SU":
        return _plain(path, name, _text(values))
    if values.ndim == 1 and values.dtype.kind in "iu":
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
    if not values.ndim:
        raise DataError(f'{path}: "{name}" is a single value; images are (N, H, W) or (N, H, W, 1 or 3).')
    if values.dtype == np.uint8 or values.dtype.kind not in "iuf" or not values.size:
        return values  # what is neither, `read_arrays` refuses
    if np.isnan(low := values.min()):
        lost = np.flatnonzero(np.isnan(values).reshape(len(values), -1).any(axis=1))
        raise DataError(
            f'{path}: "{name}" holds values that are no numbers (NaN), in {len(lost):,} of {len(values):,} images; '
            f"leave these images out, or write the values that are meant:\n{listed([f'row {row}' for row in lost], 5)}"
        )
    high = values.max()
    scale = 255 if values.dtype.kind == "f" and high <= 1 else 1
    out = np.empty(values.shape, np.uint8)
    if low >= 0 and high <= 255:
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


def _names(path: Path, name: str, values: np.ndarray) -> list[str]:
    if values.ndim != 1 or values.dtype.kind not in "US":
        raise DataError(f'{path}: "{name}" is {values.dtype} of the shape {values.shape}, not a list of names.')
    return [str(one) for one in _plain(path, name, _text(values)).tolist()]


def _plain(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Return class names as they are; DataError for control characters, which archives may not hold either."""
    known = np.unique(values).tolist()
    strange = [_shown(one) for one in known if any(unicodedata.category(mark) in NO_TEXT for mark in one)]
    if strange:
        raise DataError(
            f'{path}: "{name}" holds class names with control characters or line breaks; write them without:\n'
            f"{listed(strange, 5)}"
        )
    return values


def _text(values: np.ndarray) -> np.ndarray:
    """Return bytes as text, anything else as it is."""
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
