"""Features: the activations at a cut, computed once an image and kept on disk by content.

What is kept answers to a key: the SHA-256 of everything that an activation depends on but the image (the trunk's
layers and weights, the preprocessing, the engine and its version), and to the SHA-256 of the image's file. So another
split, another head, a fold, an image more or less cost nothing or that one image; another anything costs all.

::

    $FOVEAL_CACHE/features/<key>/part-<n>-<name>.safetensors     digests, seen, features of some images

A part carries its own SHA-256. One that is damaged is removed and its images are computed anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foveal.data.images import Fitting, Images, ordered
from foveal.data.pixels import mapped, pixel_digests
from foveal.download import cache_folder
from foveal.errors import OutputError
from foveal.files import write_bytes
from foveal.preprocess import Preprocess, size_is_checked_here
from foveal.progress import Progress

SCHEMA = 2
DECODED_BYTES = 64 << 20  # of pixels that may wait for the trunk
MOST_READERS = 8  # threads that decode
PART_BYTES = 64 << 20
LARGEST_CACHE_GIB = 20.0  # beyond that the keys that were not used for longest go
GIB = 1 << 30

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
    lanes: int = 1  # batches that the trunk can be asked at once, by as many threads; of pixels: any number
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
    home = _Home(_folder(extractor), progress)
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
        failures = _compute(extractor, images, rows, digests, missing, table, home, progress, also)
    home.touch()
    return Features(table.values, table.seen, failures, len(missing), extractor.key)


def _folder(extractor: Extractor) -> Path:
    return cache_folder() / "features" / extractor.key[:32]


@dataclass(frozen=True, eq=False)
class _Beside:
    """What else is made of images that are decoded, and where it is kept."""

    extractor: Extractor
    home: _Home
    known: frozenset[str]  # digests of the images that it is kept of already

    @classmethod
    def of(cls, extractor: Extractor, progress: Progress) -> _Beside:
        if not extractor.of_pixels:
            raise ValueError("what is made beside others is made of pixels")
        home = _Home(_folder(extractor), progress)
        return cls(extractor, home, frozenset(digest for part in home.parts() for digest in part.digests))


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some images, decoded: those that could be."""

    places: np.ndarray  # (B,) of the images among all that were asked for
    own: np.ndarray  # (B,) str: SHA-256 of their files
    seen: np.ndarray  # (B,) str: SHA-256 of what the network sees of them
    pixels: np.ndarray  # (B, H, W, C) uint8
    failures: dict[int, str]
    beside: list[tuple[np.ndarray, np.ndarray]]  # of each extractor beside: which of them (n,), and what it made


def _compute(
    extractor: Extractor,
    images: Images,
    rows: np.ndarray,
    digests: np.ndarray,
    missing: np.ndarray,
    table: _Table,
    home: _Home,
    progress: Progress,
    also: Sequence[_Beside],
) -> dict[int, str]:
    """Compute the features at `missing`, put them into `table` and `home`; return image → why it failed.

    Some threads decode, ahead of those that ask the trunk: a decoder and an engine both leave Python's lock alone.
    """
    shape = _shape(extractor)
    failures: dict[int, str] = {}
    trunk = _Opened(extractor)

    def read(places: np.ndarray) -> _Batch:
        return _decoded(extractor, images, rows[places], digests[places], places, also)

    def ask(batch: _Batch) -> tuple[_Batch, np.ndarray]:
        return batch, trunk(batch.pixels)

    batches = [missing[start : start + extractor.batch] for start in range(0, len(missing), extractor.batch)]
    waiting = max(2, DECODED_BYTES // (extractor.batch * int(np.prod(shape))))
    with (
        progress.stage(extractor.title, len(missing)) as stage,
        size_is_checked_here(),
        ThreadPoolExecutor(min(MOST_READERS, os.cpu_count() or 1)) as readers,
        ThreadPoolExecutor(extractor.lanes) as askers,
    ):
        for batch, values in ordered(askers, ask, ordered(readers, read, batches, waiting), 2 * extractor.lanes):
            failures |= batch.failures
            for at, value, digest in zip(batch.places.tolist(), values, batch.seen.tolist(), strict=True):
                table.put(at, value, digest)
            home.add(batch.own, batch.seen, values)
            for one, (which, made) in zip(also, batch.beside, strict=True):
                one.home.add(batch.own[which], batch.seen[which], made)
            stage.advance(len(batch.places) + len(batch.failures))
    for filled in (home, *(one.home for one in also)):
        filled.flush()
    home.make_room()
    return failures


def _decoded(
    extractor: Extractor,
    images: Images,
    rows: np.ndarray,
    digests: np.ndarray,
    places: np.ndarray,
    also: Sequence[_Beside],
) -> _Batch:
    """Return the images at `rows`, decoded once for the trunk and for those beside it, who are asked here."""
    preprocesses = dict.fromkeys([extractor.preprocess, *(one.extractor.preprocess for one in also)])
    outs = {one: np.zeros((len(rows), one.height, one.width, one.channels), np.uint8) for one in preprocesses}
    failures = images.decode(rows, [Fitting(*one) for one in outs.items()], Progress(silent=True))
    good = np.flatnonzero(~np.isin(rows, list(failures)))
    own, pixels = digests[good], outs[extractor.preprocess][good]
    beside = []
    for one in also:
        which = np.array([at for at, digest in enumerate(own.tolist()) if digest not in one.known], np.int64)
        beside.append((which, _Opened(one.extractor)(outs[one.extractor.preprocess][good[which]])))
    seen = pixel_digests(pixels)
    varied = pixels if extractor.vary is None or not len(good) else extractor.vary(pixels, own)
    return _Batch(places[good], own, seen, varied, failures, beside)


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


def _shape(extractor: Extractor) -> tuple[int, int, int]:
    preprocess = extractor.preprocess
    return preprocess.height, preprocess.width, preprocess.channels


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


@dataclass(frozen=True, eq=False)
class _Part:
    digests: list[str]
    seen: list[str]
    features: np.ndarray


class _Home:
    """The folder of one key.

    What cannot be read is not used, and removed where it can be; what cannot be written is said once and given up.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder, self.progress = folder, progress
        self.waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.waiting_bytes = 0
        self.writable = True

    def parts(self) -> Iterator[_Part]:
        """Yield what is kept, file by file."""
        for file in sorted(self.folder.glob("part-*.safetensors")):
            try:
                yield _read_part(file)
            except FileNotFoundError:  # another process has removed it
                continue
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not trusted
                done = "removed" if _removed(file) else "passed over, and cannot be removed"
                self.progress.line(f"note: a damaged part of the feature cache was {done} ({str(error).rstrip('.')})")

    def add(self, digests: np.ndarray, seen: np.ndarray, features: np.ndarray) -> None:
        """Keep the features of some images, if any, when enough have come together for a file."""
        if not len(digests):
            return
        self.waiting.append((digests, seen, features))
        self.waiting_bytes += features.nbytes
        if self.waiting_bytes >= PART_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self.waiting and self.writable:
            digests, seen, features = (np.concatenate(column) for column in zip(*self.waiting, strict=True))
            content, name = _part_bytes(digests, seen, features)
            try:
                write_bytes(self.folder / f"part-{name}.safetensors", content)
            except OutputError as error:
                self.writable = False
                self.progress.line(f"note: the features are not kept for the next time: {str(error).rstrip('.')}")
        self.waiting, self.waiting_bytes = [], 0

    def touch(self) -> None:
        """Note that this key was used now."""
        try:
            (self.folder / "used").write_text(f"{time.time():.0f}\n")
        except OSError:
            return

    def make_room(self) -> None:
        """Remove the keys that were not used for longest, until the cache is no larger than it may be."""
        sizes = {}
        for folder in self.folder.parent.glob("*"):
            files = [file.stat() for file in folder.glob("part-*.safetensors")]
            used = folder / "used"
            when = used.stat().st_mtime if used.exists() else max((file.st_mtime for file in files), default=0.0)
            sizes[folder] = (when, sum(file.st_size for file in files))
        total = sum(size for _, size in sizes.values())
        for folder, (_, size) in sorted(sizes.items(), key=lambda item: item[1]):
            if total <= LARGEST_CACHE_GIB * GIB or folder == self.folder:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def _removed(file: Path) -> bool:
    """Remove `file`; return whether that could be done, which a cache that may only be read does not allow."""
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _part_bytes(digests: np.ndarray, seen: np.ndarray, features: np.ndarray) -> tuple[bytes, str]:
    """Return a part as the bytes of a file, and a name that tells it from others."""
    from safetensors.numpy import save

    tensors = {"digests": _packed(digests), "seen": _packed(seen), "features": np.ascontiguousarray(features)}
    digest = _digest(tensors)
    return save(tensors, metadata={"sha256": digest, "schema": str(SCHEMA)}), digest[:16]


def _read_part(file: Path) -> _Part:
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        metadata = opened.metadata() or {}
        tensors = {name: opened.get_tensor(name) for name in ("digests", "seen", "features")}
    if metadata.get("sha256") != _digest(tensors):
        raise ValueError("its SHA-256 is not the one that was written with it")
    if not len(tensors["digests"]) == len(tensors["seen"]) == len(tensors["features"]):
        raise ValueError("its columns are of different length")
    return _Part(_unpacked(tensors["digests"]), _unpacked(tensors["seen"]), tensors["features"])


def _packed(digests: np.ndarray) -> np.ndarray:
    """Return SHA-256 in hexadecimal (N,) as bytes (N, 32)."""
    return np.frombuffer(bytes.fromhex("".join(digests.tolist())), np.uint8).reshape(-1, 32)


def _unpacked(digests: np.ndarray) -> list[str]:
    return [row.tobytes().hex() for row in digests]


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"\0{name} {tensor.shape} {tensor.dtype}\0".encode())
        whole.update(np.ascontiguousarray(tensor).data)
    return whole.hexdigest()
