"""Files named by what is in them: ``folder/ab/cdef…`` holds the bytes whose SHA-256 is abcdef….

A blob is written under another name, flushed to the disk, and renamed; so it is there whole or not at all, and what
`put` has returned survives a power cut. It is never changed afterwards.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from foveal.errors import StorageError
from foveal.storage.faults import of_file

FLUSHES = 16  # at once: a file system brings many flushes to the disk in the time of one
_NAME = re.compile(r"[0-9a-f]{64}")
_PARTS = "parts"
_ASIDE = "orphans"

T = TypeVar("T")
R = TypeVar("R")


class Blobs:
    """A folder of blobs. Whoever removes one holds `lock` meanwhile, and whoever puts one until its row is committed:
    else a blob could go between the moment it is found to be there already and the moment that a row needs it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._known: set[str] = set()  # folders that are there and flushed
        self._pool = ThreadPoolExecutor(FLUSHES, thread_name_prefix="flush")
        try:
            (folder / _PARTS).mkdir(parents=True, exist_ok=True)
            _flush(folder)
        except OSError as error:
            raise of_file(error, "the folder of the images") from error

    def path(self, sha256: str) -> Path:
        """Return where the blob of that hash lies, or would lie."""
        if not _NAME.fullmatch(sha256):
            raise StorageError("A blob is named by the 64 hexadecimal digits of its SHA-256.")
        return self.folder / sha256[:2] / sha256[2:]

    def put(self, contents: Sequence[bytes]) -> list[str]:
        """Store each of `contents`, and return their SHA-256 when all of them are on the disk."""
        names = [hashlib.sha256(content).hexdigest() for content in contents]
        try:
            self._store(dict(zip(names, contents, strict=True)))
        except OSError as error:
            raise of_file(error, "the folder of the images") from error
        return names

    def _store(self, wanted: dict[str, bytes]) -> None:
        parts: dict[Path, Path] = {}  # temporary name → name
        try:
            there: list[Path] = []
            for name, content in wanted.items():
                path = self.path(name)
                if _holds(path, content):
                    there.append(path)  # by a process that may have died before it flushed
                    continue
                self._make_folder(path.parent)
                part = self.folder / _PARTS / f"{name[:16]}.{secrets.token_hex(8)}.part"
                parts[part] = path
                _write(part, content)
            self._each(_flush, [*parts, *there])
            for part, path in parts.items():
                part.replace(path)
            self._each(_flush, {path.parent for path in (*parts.values(), *there)})
        except BaseException:
            for part in parts:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
            raise

    def _each(self, call: Callable[[T], R], items: Iterable[T]) -> None:
        items = list(items)
        if len(items) < 2:
            for item in items:
                call(item)
        else:
            list(self._pool.map(call, items))

    def _make_folder(self, folder: Path) -> None:
        if folder.name not in self._known:
            folder.mkdir(exist_ok=True)
            _flush(self.folder)
            self._known.add(folder.name)

    def get(self, sha256: str) -> bytes:
        """Return the bytes of that hash; StorageError where they are missing or altered."""
        try:
            content = self._found(sha256).read_bytes()
        except FileNotFoundError:
            raise StorageError(f"The image {sha256} is not there.") from None
        except OSError as error:
            raise of_file(error, f"the image {sha256}") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StorageError(f"The image {sha256} was altered or is damaged: its bytes have another SHA-256.")
        return content

    def _found(self, sha256: str) -> Path:
        """Return where the blob lies: in its place, or aside, where it is taken from."""
        path, aside = self.path(sha256), self.folder / _ASIDE / sha256
        if not path.exists() and aside.exists():
            self._make_folder(path.parent)
            aside.replace(path)
        return path

    def set_aside(self, sha256: str) -> None:
        """Take a blob that no row needs out of its place; `forget_aside` removes it later, `get` takes it back."""
        (self.folder / _ASIDE).mkdir(exist_ok=True)
        aside = self.folder / _ASIDE / sha256
        try:
            self.path(sha256).replace(aside)
            os.utime(aside)
        except FileNotFoundError:
            return
        except OSError as error:
            raise of_file(error, f"the image {sha256}") from error

    def forget_aside(self, older_than_s: float) -> int:
        """Remove what was set aside longer ago than that; return how many."""
        before = time.time() - older_than_s
        if not (self.folder / _ASIDE).is_dir():
            return 0
        old = [one for one in (self.folder / _ASIDE).iterdir() if one.stat().st_mtime < before]
        for one in old:
            one.unlink(missing_ok=True)
        return len(old)

    def remove(self, sha256: str) -> None:
        """Remove the blob of that hash, for good; nothing happens where there is none."""
        path = self.path(sha256)
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                _flush(path.parent)
        except OSError as error:
            raise of_file(error, f"the image {sha256}") from error

    def names(self) -> Iterator[str]:
        """Yield the SHA-256 of every blob, sorted."""
        for folder in sorted(self.folder.iterdir()):
            if len(folder.name) == 2 and folder.is_dir():
                yield from (folder.name + one.name for one in sorted(folder.iterdir()) if len(one.name) == 62)

    def sweep_parts(self, young_s: float = 0.0) -> int:
        """Remove what killed processes left half-written, and return how many; call it before anybody puts.

        Where other machines put into the same folder, what is younger than `young_s` may be theirs and stays.
        """
        removed, now = 0, time.time()
        for part in (self.folder / _PARTS).glob("*.part"):
            with suppress(FileNotFoundError):
                if not young_s or part.stat().st_mtime < now - young_s:
                    part.unlink()
                    removed += 1
        return removed


def _holds(path: Path, content: bytes) -> bool:
    """Return whether the file is there with these bytes: one that was damaged since is written anew."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except FileNotFoundError:
        return False


def _write(path: Path, content: bytes) -> None:
    with path.open("xb", buffering=0) as file:
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
