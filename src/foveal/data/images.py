"""The images of a dataset, wherever they lie: files on disk, or one array in memory.

Both kinds answer the same three questions: what is each image (`scan`), what are its pixels as the
network takes them (`decode`), and how does it look (`picture`).
"""

from __future__ import annotations

import hashlib
import os
import stat
import statistics
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from PIL import Image

from foveal.dicom import pixels as dicom_pixels
from foveal.dicom import read as dicom
from foveal.errors import DataError
from foveal.preprocess import (
    Header,
    Preprocess,
    UnreadableImageError,
    array_picture,
    decode,
    read_header,
    size_is_checked_here,
)
from foveal.progress import Progress

MAX_FILE_GIB = 1  # twice what 89 megapixels need as uncompressed 16-bit colour
TRIED = 32  # items that are timed before threads are started
TOO_SHORT_S = 200e-6  # below this, threads wait for Python's lock longer than they work (measured on 32×32 JPEGs)
CHUNK = 32  # items that a thread takes at once
ARRAY_CHUNK = 4096

T = TypeVar("T")
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Scan:
    """What each image is, before any is decoded. Row i speaks of image i."""

    digests: np.ndarray  # (N,) str: SHA-256 of the file's bytes, or of the array's pixels
    heights: np.ndarray  # (N,) int32, orientation applied; 0 where unreadable
    widths: np.ndarray  # (N,) int32
    channels: np.ndarray  # (N,) int8: 1 grey, 3 colour
    unreadable: dict[int, str]  # image → reason

    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the smallest and the largest (height, width), by area, among readable images."""
        readable = self.heights > 0
        heights, widths = self.heights[readable], self.widths[readable]
        areas = heights.astype(np.int64) * widths
        low, high = int(areas.argmin()), int(areas.argmax())
        return (int(heights[low]), int(widths[low])), (int(heights[high]), int(widths[high]))

    def one_size(self) -> tuple[int, int] | None:
        """Return (height, width) when every readable image has the same, else None."""
        sizes = set(zip(self.heights[self.heights > 0].tolist(), self.widths[self.heights > 0].tolist(), strict=True))
        return sizes.pop() if len(sizes) == 1 else None


class Fitting(NamedTuple):
    """How images are to be fitted, and where they are to be written: `out` uint8 (n, H, W, C)."""

    preprocess: Preprocess
    out: np.ndarray


class Images(Protocol):
    """What a dataset needs of its images."""

    def __len__(self) -> int: ...

    def scan(self, progress: Progress) -> Scan:
        """Hash every image and read its header."""
        ...

    def decode(self, indices: np.ndarray, fittings: Sequence[Fitting], progress: Progress) -> dict[int, str]:
        """Write the images at `indices`, each decoded once, by each of `fittings`; return image → reason it failed."""
        ...

    def picture(self, index: int) -> Image.Image:
        """Return one image at its own size, mode L or RGB; UnreadableImageError with the reason."""
        ...

    def location(self, index: int) -> str:
        """Return where the image lies, for people; empty when it lies only in memory."""
        ...

    def take(self, indices: np.ndarray) -> Images:
        """Return the images at `indices`, in that order."""
        ...


class EncodedImages(ABC):
    """Images as the bytes of files (JPEG, PNG, DICOM, …), wherever these lie: a subclass says how one is read.

    They are read anew each time, large ones by a few threads (decoders release Python's lock).
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return the bytes of one image, from any thread; UnreadableImageError with the reason."""

    @abstractmethod
    def location(self, index: int) -> str:
        """Return where the image lies, for people; empty when it lies only in memory."""

    @abstractmethod
    def take(self, indices: np.ndarray) -> EncodedImages:
        """Return the images at `indices`, in that order."""

    def scan(self, progress: Progress) -> Scan:
        """Hash every image and read its header."""
        digests = np.zeros(len(self), dtype="<U64")
        sizes = np.zeros((len(self), 3), dtype=np.int32)
        unreadable: dict[int, str] = {}

        def look(index: int) -> None:
            try:
                content = self.read(index)
                digests[index] = hashlib.sha256(content).hexdigest()
                header = header_of(content)
                sizes[index] = (header.height, header.width, header.channels)
            except UnreadableImageError as error:
                unreadable[index] = str(error)

        with progress.stage("reading headers", len(self)) as stage:
            in_threads(look, range(len(self)), stage.advance)
        return Scan(digests, sizes[:, 0], sizes[:, 1], sizes[:, 2].astype(np.int8), dict(sorted(unreadable.items())))

    def decode(self, indices: np.ndarray, fittings: Sequence[Fitting], progress: Progress) -> dict[int, str]:
        """Write the images at `indices`, each decoded once, by each of `fittings`; return image → reason it failed."""
        failures: dict[int, str] = {}

        def put(row: int) -> None:
            try:
                picture = self.picture(int(indices[row]))
                for one in fittings:
                    one.out[row] = one.preprocess.geometry(picture)
            except UnreadableImageError as error:
                failures[int(indices[row])] = str(error)

        with progress.stage("decoding images", len(indices)) as stage:
            in_threads(put, range(len(indices)), stage.advance)
        return dict(sorted(failures.items()))

    def picture(self, index: int) -> Image.Image:
        """Return one image at its own size; UnreadableImageError with the reason."""
        return picture_of(self.read(index))


@dataclass(frozen=True, eq=False)
class ImageFiles(EncodedImages):
    """Images as files."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> bytes:
        """Return the bytes of one file; UnreadableImageError with the reason."""
        return read_file(self.paths[index])

    def location(self, index: int) -> str:
        """Return the path of one file."""
        return str(self.paths[index])

    def take(self, indices: np.ndarray) -> ImageFiles:
        """Return the files at `indices`, in that order."""
        return ImageFiles([self.paths[i] for i in indices])


@dataclass(frozen=True, eq=False)
class ImageArray:
    """Images as one uint8 array (N, H, W, 1 or 3)."""

    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def scan(self, progress: Progress) -> Scan:  # noqa: ARG002 - arrays are hashed in a moment
        """Hash every image's pixels."""
        count, height, width, channels = self.pixels.shape
        rows = np.ascontiguousarray(self.pixels)
        digests = np.array([hashlib.sha256(row).hexdigest() for row in rows], dtype="<U64")
        return Scan(
            digests,
            np.full(count, height, np.int32),
            np.full(count, width, np.int32),
            np.full(count, channels, np.int8),
            {},
        )

    def decode(self, indices: np.ndarray, fittings: Sequence[Fitting], progress: Progress) -> dict[int, str]:
        """Write the images at `indices` by each of `fittings`; none fails."""
        with progress.stage("fitting images", len(indices)) as stage:
            for start in range(0, len(indices), ARRAY_CHUNK):
                rows = slice(start, start + ARRAY_CHUNK)
                for one in fittings:
                    one.out[rows] = one.preprocess.geometry_of_arrays(self.pixels[indices[rows]])
                stage.advance(len(indices[rows]))
        return {}

    def picture(self, index: int) -> Image.Image:
        """Return one image at its own size."""
        return array_picture(self.pixels[index])

    def location(self, index: int) -> str:  # noqa: ARG002
        """Return nothing: the image lies only in memory."""
        return ""

    def take(self, indices: np.ndarray) -> ImageArray:
        """Return the images at `indices`, in that order."""
        return ImageArray(self.pixels[indices])


def header_of(content: bytes) -> Header:
    """Return what the file says of itself, DICOM or any kind that `read_header` knows; UnreadableImageError if nothing.

    Every image is decoded by `picture_of`, and what it refuses by the header this refuses too.
    """
    if not dicom.is_dicom(content):
        return read_header(content)
    with _dicom_reasons():
        return Header(*dicom.size(dicom.read(content)))


def picture_of(content: bytes) -> Image.Image:
    """Return the picture in a file's bytes, DICOM or any kind that `decode` knows, as mode L or RGB.

    Raises UnreadableImageError with the reason, MissingPartError for DICOM where pydicom is not installed.
    """
    if not dicom.is_dicom(content):
        return decode(content)
    with _dicom_reasons():
        return Image.fromarray(dicom_pixels.display(dicom.read(content)))


@contextmanager
def _dicom_reasons() -> Iterator[None]:
    try:
        yield
    except dicom.UnreadableDicomError as error:
        raise UnreadableImageError(str(error)) from error


def read_file(path: Path) -> bytes:
    """Return the bytes of an image file; UnreadableImageError when it cannot be read or is no plain file."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # opening a pipe would wait for ever
            raise UnreadableImageError("it is not a plain file")
        refuse_huge(about.st_size)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableImageError("it is not there") from error
    except OSError as error:
        raise UnreadableImageError(f"it cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a path with a NUL character
        raise UnreadableImageError(f"it cannot be read: {error}") from error


def refuse_huge(size: int) -> None:
    """Raise UnreadableImageError when a file of `size` bytes is too large to be an image."""
    if size > MAX_FILE_GIB << 30:
        raise UnreadableImageError(f"the file has {size / (1 << 30):.1f} GiB; the limit is {MAX_FILE_GIB}")


def in_threads(work: Callable[[int], None], items: range, done: Callable[[int], None]) -> None:
    """Call `work` for every item, over a few threads where that pays, reporting to `done` how many more are finished.

    The first items are done here and timed; where they take next to no time, so are all others.
    """

    def chunk(start: int) -> int:
        part = items[start : start + CHUNK]
        for item in part:
            work(item)
        return len(part)

    def timed(item: int) -> float:
        started = time.perf_counter()
        work(item)
        return time.perf_counter() - started

    with size_is_checked_here():
        times = [timed(item) for item in items[:TRIED]]
        done(len(times))
        starts = range(TRIED, len(items), CHUNK)
        if not starts or statistics.median(times) < TOO_SHORT_S:
            for start in starts:
                done(chunk(start))
            return
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            for count in ordered(pool, chunk, starts):
                done(count)


def ordered(
    pool: ThreadPoolExecutor, work: Callable[[Item], T], items: Iterable[Item], most: int | None = None
) -> Generator[T, None, None]:
    """Yield ``work(item)`` in the order of `items`, with at most `most` of them begun or waiting in the pool.

    On an error or Ctrl-C what has not begun is cancelled.
    """
    futures: deque[Future[T]] = deque()
    try:
        for item in items:
            futures.append(pool.submit(work, item))
            if most is not None and len(futures) >= most:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()


def as_image_array(images: object) -> ImageArray:
    """Return `images` checked: uint8 (N, H, W) or (N, H, W, 1 or 3), anything with ``__array__`` included.

    Raises DataError for another type or shape: values are not rescaled silently.
    """
    try:
        pixels: np.ndarray = np.array(images)  # a copy: what is hashed and split now is what is trained later
    except (TypeError, ValueError) as error:
        raise DataError(f"The images are no array: {error}.") from error
    if pixels.dtype != np.uint8:
        raise DataError(
            f"The images are {pixels.dtype}; give uint8 from 0 to 255, e.g. (x * 255).round().astype('uint8') "
            "for values between 0 and 1."
        )
    shape = pixels.shape
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or 0 in shape:
        first = len(shape) == 4 and shape[1] in (1, 3)
        hint = " Move the channels last with x.transpose(0, 2, 3, 1)." if first else ""
        raise DataError(f"The images have shape {shape}; give (N, H, W) or (N, H, W, 1 or 3).{hint}")
    return ImageArray(pixels if len(shape) == 4 else pixels[..., None])
