"""How every image looks when it is small, and what its file says: what the audit reads of an image.

Each image is decoded once, at 128×128; what is kept of it goes into the same cache as features do.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.data.dataset import Dataset
from foveal.data.images import EncodedImages, in_threads
from foveal.features import Extractor, extract
from foveal.preprocess import Preprocess, UnreadableImageError
from foveal.progress import Progress

SIDE = 128  # at which an image is decoded
SMALL = 32  # of the thumbnail that is kept
CELLS = 4  # a side, of the grid in which marks are counted
PARTS = 8  # a side, of the grid of surroundings
BRIGHT, STEP = 0.92, 0.25  # a mark is brighter than this and than its surroundings by so much
PREPROCESS = Preprocess(3, SIDE, SIDE, SIDE, SIDE, "stretch", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "LA", "I;16", "YCbCr")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "MPO")


@dataclass(frozen=True, eq=False)
class Looks:
    """What the audit knows of N images. Rows of images that cannot be decoded are void."""

    thumbnails: np.ndarray  # (N, 32, 32, 3) float32, 0 to 1
    marks: np.ndarray  # (N, 16) float32: share of bright small marks in each cell of a 4×4 grid
    failures: dict[int, str]  # row → why it cannot be decoded


@dataclass(frozen=True, eq=False)
class FileFacts:
    """What the files of N images say of themselves; empty where images do not lie in files."""

    bytes: np.ndarray  # (N,) int64
    format: np.ndarray  # (N,) str
    mode: np.ndarray  # (N,) str, Pillow's colour mode
    exif: np.ndarray  # (N,) str: camera, software; empty without


def look(dataset: Dataset, rows: np.ndarray, progress: Progress, *, memory_gib: float, scratch: Path) -> Looks:
    """Return how the images of `dataset` at `rows` look."""
    found = extract(
        LOOKS, dataset.images, rows, dataset.scan.digests[rows], progress, memory_gib=memory_gib, scratch=scratch
    )
    pixels = SMALL * SMALL * 3
    values = found.values if found.values.shape[1] else np.zeros((len(rows), pixels + CELLS**2), np.float32)
    places = {int(row): at for at, row in enumerate(rows)}
    return Looks(
        values[:, :pixels].reshape(-1, SMALL, SMALL, 3),
        values[:, pixels:],
        {places[row]: why for row, why in found.failures.items()},
    )


def summarise(pixels: np.ndarray) -> np.ndarray:
    """Return thumbnail and marks of uint8 images (B, 128, 128, 3): (B, 32·32·3 + 16) float32."""
    x = PREPROCESS.normalise_array(pixels)  # (B, 3, 128, 128), 0 to 1
    shrink = SIDE // SMALL
    count = len(x)
    small = x.reshape(count, 3, SMALL, shrink, SMALL, shrink).mean(axis=(3, 5)).transpose(0, 2, 3, 1)
    grey = x.mean(axis=1)  # (B, 128, 128)
    part = SIDE // PARTS
    around = grey.reshape(count, PARTS, part, PARTS, part).mean(axis=(2, 4)).repeat(part, axis=1).repeat(part, axis=2)
    marked = (grey > BRIGHT) & (grey - around > STEP)
    cell = SIDE // CELLS
    marks = marked.reshape(count, CELLS, cell, CELLS, cell).mean(axis=(2, 4))
    return np.concatenate([small.reshape(count, -1), marks.reshape(count, -1)], axis=1).astype(np.float32)


LOOKS = Extractor({"what": "looks"}, PREPROCESS, lambda _: summarise, of_pixels=True, title="looking at images")


def file_facts(dataset: Dataset, progress: Progress) -> FileFacts | None:
    """Return what the files of `dataset` say of themselves, or None where the images do not lie in files."""
    images = dataset.images
    if not isinstance(images, EncodedImages):
        return None
    count = len(images)
    sizes, facts = np.zeros(count, np.int64), np.zeros((count, 3), "<U48")

    def read(row: int) -> None:
        try:
            content = images.read(row)
        except UnreadableImageError:
            return
        sizes[row] = len(content)
        try:
            with Image.open(io.BytesIO(content)) as image:
                exif = image.getexif()
                said = " ".join(str(exif.get(tag, "")).strip("\0 ") for tag in (271, 272, 305))  # make, model, software
                facts[row] = (image.format or "", image.mode, said.strip() or ("some" if len(exif) else ""))
        except Exception:  # noqa: BLE001 - what cannot be opened is told as unreadable elsewhere
            return

    with progress.stage("reading what files say", count) as stage:
        in_threads(read, range(count), stage.advance)
    return FileFacts(sizes, facts[:, 0], facts[:, 1], facts[:, 2])
