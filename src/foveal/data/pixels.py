"""All images decoded once: one uint8 array in memory, or memory-mapped on disk above a limit."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from foveal.data.images import Fitting, ImageArray, Images
from foveal.errors import ResourceError
from foveal.files import saying_why
from foveal.preprocess import Preprocess
from foveal.progress import Progress

GIB = 1 << 30
CHUNK_BYTES = 1 << 20


def decode_all(
    images: Images, rows: np.ndarray, preprocess: Preprocess, *, memory_gib: float, scratch: Path, progress: Progress
) -> tuple[np.ndarray, dict[int, str]]:
    """Return uint8 pixels (len(rows), H, W, C) of the images at `rows`, and image → reason for those that failed.

    Above `memory_gib` the array is memory-mapped from an unnamed file in the folder `scratch`, which
    vanishes with the process. Raises OutputError when the disk cannot hold it, ResourceError out of memory.
    """
    shape = (len(rows), preprocess.height, preprocess.width, preprocess.channels)
    if isinstance(images, ImageArray) and images.pixels.shape == shape and (rows == np.arange(len(rows))).all():
        return np.require(images.pixels, requirements=["C", "W"]), {}  # they are what the network takes
    size = int(np.prod(shape, dtype=np.int64))
    try:
        pixels = mapped(shape, scratch, np.uint8) if size > memory_gib * GIB else np.zeros(shape, np.uint8)
        failures = images.decode(rows, [Fitting(preprocess, pixels)], progress)
    except MemoryError as error:
        raise ResourceError(
            f"There is not enough memory for {len(rows):,} images of {shape[1]}×{shape[2]} ({size / GIB:.1f} GiB): "
            "lower --memory-gib (they are then kept on disk) or --size."
        ) from error
    return pixels, failures


def pixel_digests(pixels: np.ndarray) -> np.ndarray:
    """Return the SHA-256 of each image of `pixels` (N, H, W, C): equal where the network would see no difference."""
    return np.array([hashlib.sha256(np.ascontiguousarray(image).data).hexdigest() for image in pixels], dtype="<U64")


def mean_and_std(
    pixels: np.ndarray, rows: np.ndarray, preprocess: Preprocess
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation a channel, on the scale 0 to 1, over the content box of the images at `rows`.

    A standard deviation below one grey level counts as one level, so constant images do not divide by zero.
    """
    top = (preprocess.height - preprocess.content_height) // 2
    left = (preprocess.width - preprocess.content_width) // 2
    box = (slice(top, top + preprocess.content_height), slice(left, left + preprocess.content_width))
    counts = np.zeros((preprocess.channels, 256), np.int64)
    at_once = max(1, CHUNK_BYTES // (preprocess.height * preprocess.width * preprocess.channels))
    for start in range(0, len(rows), at_once):
        part = pixels[rows[start : start + at_once]][:, box[0], box[1]]  # (n, h, w, C)
        for channel in range(preprocess.channels):
            counts[channel] += _histogram(np.ascontiguousarray(part[..., channel]).reshape(-1))
    levels = np.arange(256) / 255
    mean = counts @ levels / counts.sum(axis=1)
    variance = counts @ levels**2 / counts.sum(axis=1) - mean**2
    std = np.maximum(np.sqrt(np.maximum(variance, 0)), 1 / 255)
    return tuple(round(float(one), 6) for one in mean), tuple(round(float(one), 6) for one in std)


def _histogram(values: np.ndarray) -> np.ndarray:
    """Return how often each level 0 to 255 stands in uint8 `values` (N,); counted in pairs, which takes a fifth."""
    even = len(values) // 2 * 2
    pairs = np.bincount(values[:even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    counts: np.ndarray = pairs.sum(axis=0) + pairs.sum(axis=1) + np.bincount(values[even:], minlength=256)
    return counts


def mapped(shape: tuple[int, ...], scratch: Path, dtype: type[np.generic]) -> np.ndarray:
    """Return an array of `shape` that lies in an unnamed file in the folder `scratch` and vanishes with the process.

    Raises OutputError when the disk cannot hold it.
    """
    with saying_why(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch, prefix=".pixels-") as file:
            _reserve(file.fileno(), int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)  # holds the file open after this block


def _reserve(handle: int, size: int) -> None:
    """Claim the room on disk now, so that a full disk is an error here and not a crash while writing."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)
