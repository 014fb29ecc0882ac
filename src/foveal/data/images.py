"""The images of a dataset, wherever they lie: files on disk, or one array in memory.

Both kinds answer the same three questions: what is each image (`scan`), what are its pixels as the
network takes them (`decode`), and how does it look (`picture`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image

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

CHUNK = 256

T = TypeVar("T")


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


class Images(Protocol):
    """What a dataset needs of its images."""

    def __len__(self) -> int: ...

    def scan(self, progress: Progress) -> Scan:
        """Hash every image and read its header."""
        ...

    def decode(
        self, indices: np.ndarray, preprocess: Preprocess, out: np.ndarray, progress: Progress
    ) -> dict[int, str]:
        """Write the images at `indices` into `out` uint8 (len(indices), H, W, C); return image → reason it failed."""
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


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images as files; they are read anew each time, by a few threads (decoders release Python's lock)."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def scan(self, progress: Progress) -> Scan:
        digests = np.zeros(len(self), dtype="<U64")
        sizes = np.zeros((len(self), 3), dtype=np.int32)
        unreadable: dict[int, str] = {}

        def look(index: int) -> None:
            try:
                content = read_file(self.paths[index])
                digests[index] = hashlib.sha256(content).hexdigest()
                header: Header = read_header(content)
                sizes[index] = (header.height, header.width, header.channels)
            except UnreadableImageError as error:
                unreadable[index] = str(error)

        with progress.stage("reading headers", len(self)) as stage:
            in_threads(look, range(len(self)), stage.advance)
        return Scan(digests, sizes[:, 0], sizes[:, 1], sizes[:, 2].astype(np.int8), dict(sorted(unreadable.items())))

    def decode(
        self, indices: np.ndarray, preprocess: Preprocess, out: np.ndarray, progress: Progress
    ) -> dict[int, str]:
        failures: dict[int, str] = {}

        def put(row: int) -> None:
            try:
                out[row] = preprocess.geometry(self.picture(int(indices[row])))
            except UnreadableImageError as error:
                failures[int(indices[row])] = str(error)

        with progress.stage("decoding images", len(indices)) as stage:
            in_threads(put, range(len(indices)), stage.advance)
        return dict(sorted(failures.items()))

    def picture(self, index: int) -> Image.Image:
        return decode(read_file(self.paths[index]))

    def location(self, index: int) -> str:
        return str(self.paths[index])

    def take(self, indices: np.ndarray) -> ImageFiles:
        return ImageFiles([self.paths[i] for i in indices])


@dataclass(frozen=True, eq=False)
class ImageArray:
    """Images as one uint8 array (N, H, W, 1 or 3)."""

    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def scan(self, progress: Progress) -> Scan:  # noqa: ARG002 - arrays are hashed in a moment
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

    def decode(
        self, indices: np.ndarray, preprocess: Preprocess, out: np.ndarray, progress: Progress
    ) -> dict[int, str]:
        with progress.stage("fitting images", len(indices)) as stage:
            for start in range(0, len(indices), CHUNK * 16):
                rows = slice(start, start + CHUNK * 16)
                out[rows] = preprocess.geometry_of_arrays(self.pixels[indices[rows]])
                stage.advance(len(indices[rows]))
        return {}

    def picture(self, index: int) -> Image.Image:
        return array_picture(self.pixels[index])

    def location(self, index: int) -> str:  # noqa: ARG002
        return ""

    def take(self, indices: np.ndarray) -> ImageArray:
        return ImageArray(self.pixels[indices])


def read_file(path: Path) -> bytes:
    """Return the bytes of an image file; UnreadableImageError when it cannot be read or is no plain file."""
    try:
        if not path.is_file():
            raise UnreadableImageError("it is not there" if not path.exists() else "it is not a plain file")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"it cannot be read: {error.strerror}") from error


def in_threads(work: Callable[[int], None], items: range, done: Callable[[int], None]) -> None:
    """Call `work` for every item, in chunks over a few threads, reporting each finished chunk's length to `done`."""

    def chunk(start: int) -> int:
        part = items[start : start + CHUNK]
        for item in part:
            work(item)
        return len(part)

    with size_is_checked_here(), ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for count in ordered(pool, chunk, range(0, len(items), CHUNK)):
            done(count)


def ordered(pool: ThreadPoolExecutor, work: Callable[[int], T], items: Iterable[int]) -> Iterable[T]:
    """Yield ``work(item)`` in the order of `items`; on an error or Ctrl-C what has not begun is cancelled."""
    futures = [pool.submit(work, item) for item in items]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def as_image_array(images: object) -> ImageArray:
    """Return `images` checked: uint8 (N, H, W) or (N, H, W, 1 or 3), anything with ``__array__`` included.

    Raises DataError for another type or shape: values are not rescaled silently.
    """
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8:
        raise DataError(
            f"The images are {pixels.dtype}; give uint8 from 0 to 255, e.g. (x * 255).round().astype('uint8') "
            "for values between 0 and 1."
        )
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape:
        hint = " Move the channels last with x.transpose(0, 2, 3, 1)." if _channels_first(pixels.shape) else ""
        raise DataError(f"The images have shape {np.shape(images)}; give (N, H, W) or (N, H, W, 1 or 3).{hint}")
    return ImageArray(pixels)


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[1] in (1, 3)
