"""Where features are kept: a folder a key, and in it files that each answer for themselves.

::

    $FOVEAL_CACHE/features/<key>/part-<name>.safetensors     digests, seen, features of some images

A part carries its own SHA-256. One that is damaged is removed and its images are computed anew.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.download import cache_folder
from foveal.errors import OutputError
from foveal.files import write_bytes
from foveal.progress import Progress

SCHEMA = 2
PART_BYTES = 64 << 20
PART_S = 60.0  # seconds after which a smaller part is written, too: what a kill costs
LARGEST_CACHE_GIB = 20.0  # beyond that the keys that were not used for longest go
GIB = 1 << 30


@dataclass(frozen=True, eq=False)
class Part:
    """What one file keeps: of some images the digests of their files, of what the network sees, and the features."""

    digests: list[str]
    seen: list[str]
    features: np.ndarray


class Home:
    """The folder of one key.

    What cannot be read is not used, and removed where it can be; what cannot be written is said once and given up.
    """

    def __init__(self, key: str, progress: Progress) -> None:
        self.folder, self.progress = cache_folder() / "features" / key[:32], progress
        self.waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.waiting_bytes, self.flushed = 0, time.monotonic()
        self.writable = True

    def parts(self) -> Iterator[Part]:
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
        """Keep the features of some images, if any, when enough have come together for a file, or a minute is over."""
        if not len(digests):
            return
        self.waiting.append((digests, seen, features))
        self.waiting_bytes += features.nbytes
        if self.waiting_bytes >= PART_BYTES or time.monotonic() - self.flushed > PART_S:
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
        self.waiting, self.waiting_bytes, self.flushed = [], 0, time.monotonic()

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


def _read_part(file: Path) -> Part:
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        metadata = opened.metadata() or {}
        tensors = {name: opened.get_tensor(name) for name in ("digests", "seen", "features")}
    if metadata.get("sha256") != _digest(tensors):
        raise ValueError("its SHA-256 is not the one that was written with it")
    if not len(tensors["digests"]) == len(tensors["seen"]) == len(tensors["features"]):
        raise ValueError("its columns are of different length")
    return Part(_unpacked(tensors["digests"]), _unpacked(tensors["seen"]), tensors["features"])


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
