"""Features: the activations at a cut, computed once an image and kept on disk by content.

What is kept answers to a key: the SHA-256 of everything that an activation depends on but the image (the trunk's
layers and weights, the preprocessing, the engine and its version), and to the SHA-256 of the image's file. So another
split, another head, a fold, an image more or less cost nothing or that one image; another anything costs all.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foveal.data.images import Fitting, Images, ordered
from foveal.data.pixels import mapped, pixel_digests
from foveal.features.cache import GIB, SCHEMA, Home
from foveal.preprocess import Preprocess, size_is_checked_here
from foveal.progress import Progress

DECODED_BYTES = 64 << 20  # of pixels that may wait for the trunk
MOST_READERS = 8  # threads that decode

Trunk = Callable[[np.ndarray], np.ndarray]  # normalised images (B, C, H, W) → activations (B, …)


@dataclass(frozen=True, eq=False)
class Extractor:
    """What makes features of images. `open` is called when the first image is not in the cache."""

    facts: Mapping[str, Any]  # all that a feature depends on but the image; plain JSON
    preprocess: Preprocess
    open: Callable[[np.ndarray], Trunk]  # is handed a first batch of normalised images, to check itself with
    vary: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None  # pixels, digests → pixels
    batch: int = 32  # images asked at once, always
    of_pixels: bool = False  # whether the trunk takes uint8 pixels (B, H, W, C) as they are, each image by itself
    lanes: int = 1  # batches that an engine can be asked at once, by as many threads; of pixels: all that there are
    title: str = "computing features"  # of the work, for whoever waits

    @property
    def key(self) -> str:
        """The SHA-256 of the facts and the preprocessing."""
        whole = {"schema": SCHEMA, **self.facts, "batch": self.batch, "preprocess": self.preprocess.to_dict()}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Features:
    """The features of some images, in their order."""

    values: np.ndarray  # (N, …) float32; float64 of statistics
    seen: np.ndarray  # (N,) str: SHA-256 of what the network sees of each image
    failures: dict[int, str] = field(default_factory=dict)  # image → why it could not be decoded; its row is void
    computed: int = 0  # how many were not in the cache
    key: str = ""  # of the extractor that made them


def extract(
    extractor: Extractor,
    images: Images,
    rows: np.ndarray,
    digests: np.ndarray,
    progress: Progress,
    *,
    memory_gib: float,
    scratch: Path,
    beside: Sequence[Extractor] = (),
) -> Features:
    """Return the features of the images at `rows`, whose files have the SHA-256 of `digests` (len(rows),).

    Of images that have to be decoded for it, what those `beside` make of their pixels is kept, too, for whoever asks
    for it next.

    Images are decoded while others are asked about, so that memory holds no more than a few batches of them and the
    features; above `memory_gib` these are memory-mapped from an unnamed file in `scratch`. A cache that cannot be
    written is no error: it is said, and the features are used.
    """
    home = Home(extractor.key, progress)
    wanted: dict[str, list[int]] = {}
    for at, digest in enumerate(digests.tolist()):
        wanted.setdefault(digest, []).append(at)
    table = _Table(len(rows), memory_gib, scratch)
    for kept in home.parts():
        for index, digest in enumerate(kept.digests):
            for at in wanted.pop(digest, ()):
                table.put(at, kept.features[index], kept.seen[index])
        del kept
    missing = np.array(sorted(at for places in wanted.values() for at in places), np.int64)
    failures: dict[int, str] = {}
    if len(missing):
        also = [_Beside.of(one, progress) for one in beside]
        failures = _compute(_Reader(extractor, images, rows, digests, also), missing, table, home, progress)
    home.touch()
    return Features(table.values, table.seen, failures, len(missing), extractor.key)


def _compute(reader: _Reader, missing: np.ndarray, table: _Table, home: Home, progress: Progress) -> dict[int, str]:
    """Compute the features at `missing`, put them into `table` and `home`; return image → why it failed.

    Some threads decode, ahead of those that ask the trunk: a decoder and an engine both leave Python's lock alone.
    """
    extractor, trunk = reader.extractor, _Opened(reader.extractor)
    failures: dict[int, str] = {}
    batches = [missing[start : start + extractor.batch] for start in range(0, len(missing), extractor.batch)]
    preprocess = extractor.preprocess
    image_bytes = preprocess.height * preprocess.width * preprocess.channels
    waiting = max(2, DECODED_BYTES // (extractor.batch * image_bytes))
    threads = min(MOST_READERS, os.cpu_count() or 1)
    lanes = threads if extractor.of_pixels else extractor.lanes

    def ask(batch: _Batch) -> tuple[_Batch, np.ndarray]:
        return batch, trunk(batch.pixels)

    try:
        with (
            progress.stage(extractor.title, len(missing)) as stage,
            size_is_checked_here(),
            ThreadPoolExecutor(threads) as readers,
            ThreadPoolExecutor(lanes) as askers,
            closing(ordered(readers, reader.read, batches, waiting)) as read,
            closing(ordered(askers, ask, read, 2 * lanes)) as asked,  # closed at an error: no more is begun
        ):
            for batch, values in asked:
                for at, value, digest in zip(batch.places.tolist(), values, batch.seen.tolist(), strict=True):
                    table.put(at, value, digest)
                home.add(batch.digests, batch.seen, values)
                for one, (which, made) in zip(reader.also, batch.beside, strict=True):
                    one.home.add(batch.digests[which], batch.seen[which], made)
                failures |= batch.failures
                stage.advance(len(batch.places) + len(batch.failures))
    finally:  # what was computed before an error or Ctrl-C serves the next time
        for filled in (home, *(one.home for one in reader.also)):
            filled.flush()
    home.make_room()
    return failures


@dataclass(frozen=True, eq=False)
class _Beside:
    """What else is made of images that are decoded, and where it is kept."""

    extractor: Extractor
    home: Home
    known: frozenset[str]  # digests of the images that it is kept of already

    @classmethod
    def of(cls, extractor: Extractor, progress: Progress) -> _Beside:
        home = Home(extractor.key, progress)
        return cls(extractor, home, frozenset(digest for part in home.parts() for digest in part.digests))

    def made(self, digests: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which of some images are new to it, and what it makes of their `pixels` (B, H, W, C)."""
        which = np.array([at for at, digest in enumerate(digests.tolist()) if digest not in self.known], np.int64)
        return which, _Opened(self.extractor)(pixels[which])


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some images, decoded: those that could be."""

    places: np.ndarray  # (B,) of the images among all that were asked for
    digests: np.ndarray  # (B,) str: SHA-256 of their files
    seen: np.ndarray  # (B,) str: SHA-256 of what the network sees of them
    pixels: np.ndarray  # (B, H, W, C) uint8
    failures: dict[int, str]
    beside: list[tuple[np.ndarray, np.ndarray]]  # of each extractor beside: which of them (n,), and what it made


@dataclass(frozen=True, eq=False)
class _Reader:
    """Decodes images once, for a trunk and for those beside it."""

    extractor: Extractor
    images: Images
    rows: np.ndarray  # (N,) of the images that are asked for
    digests: np.ndarray  # (N,)
    also: Sequence[_Beside]

    def read(self, places: np.ndarray) -> _Batch:
        """Return the images at `places` of those asked for, from any thread; those beside are asked here, too."""
        extractor, rows = self.extractor, self.rows[places]
        preprocesses = dict.fromkeys([extractor.preprocess, *(one.extractor.preprocess for one in self.also)])
        outs = {one: np.zeros((len(rows), one.height, one.width, one.channels), np.uint8) for one in preprocesses}
        failures = self.images.decode(rows, [Fitting(*one) for one in outs.items()], Progress(silent=True))
        good = np.flatnonzero(~np.isin(rows, list(failures)))
        digests, pixels = self.digests[places[good]], outs[extractor.preprocess][good]
        beside = [one.made(digests, outs[one.extractor.preprocess][good]) for one in self.also]
        seen = pixel_digests(pixels)
        varied = pixels if extractor.vary is None or not len(good) else extractor.vary(pixels, digests)
        return _Batch(places[good], digests, seen, varied, failures, beside)


class _Opened:
    """The trunk of an extractor, opened when it is first asked, which any number of threads may do."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor, self.lock = extractor, threading.Lock()
        self.trunk: Trunk | None = None

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the activations of `pixels` (B, H, W, C), asked in a batch of the extractor's size, however few.

        Engines choose their arithmetic by the size of the batch: an image's features are to be the same, to the bit,
        whichever images were missing beside it.
        """
        extractor = self.extractor
        if not len(pixels):
            return np.zeros((0, 0), np.float32)
        x = pixels if extractor.of_pixels else extractor.preprocess.normalise_array(pixels)
        with self.lock:
            trunk = self.trunk = self.trunk or extractor.open(x)
        if extractor.of_pixels or len(x) == extractor.batch:
            return trunk(x)
        full = np.zeros((extractor.batch, *x.shape[1:]), np.float32)
        full[: len(x)] = x
        return trunk(full)[: len(x)]


class _Table:
    """The features of all images asked for; made when the shape of one is known."""

    def __init__(self, count: int, memory_gib: float, scratch: Path) -> None:
        self.count, self.memory_gib, self.scratch = count, memory_gib, scratch
        self.values: np.ndarray = np.zeros((count, 0), np.float32)
        self.seen = np.zeros(count, "<U64")

    def put(self, at: int, value: np.ndarray, seen: str) -> None:
        if self.values.shape[1:] != value.shape:
            shape = (self.count, *value.shape)
            large = self.count * value.nbytes > self.memory_gib * GIB
            dtype = value.dtype.type
            self.values = mapped(shape, self.scratch, dtype) if large else np.zeros(shape, dtype)
        self.values[at], self.seen[at] = value, seen
