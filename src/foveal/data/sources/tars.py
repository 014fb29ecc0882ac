"""tar archives, read in place; compressed ones have no random access and are unpacked once, into memory or a spool."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from foveal.data.members import Pieces, refuse_bomb
from foveal.data.sources.listing import Listed, plain_files
from foveal.data.spool import IN_MEMORY_GIB, Bytes, FileBytes, Spool
from foveal.errors import DataError, FovealError
from foveal.progress import Progress

OPENERS: dict[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
COMPRESSED = tuple(OPENERS)  # the first bytes of a compressed file
BLOCK = tarfile.BLOCKSIZE
PIECE = 1 << 20
LONGEST_HEADER = 1 << 20  # of a long name or pax header, which tarfile would read whole, whatever its size
MOST_PADDING = 64 << 20
KINDS = {tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link"}


def open_tar(path: Path, progress: Progress) -> tuple[Pieces, list[str]]:
    """Return the files of the tar archive `path`, plain or compressed by gzip, xz or bzip2, and its folders' names.

    Raises DataError when it is none, cut off or damaged, holds anything but plain files and folders, or
    unpacks to more than images do; ResourceError when what it unpacks to fits nowhere.
    """
    with path.open("rb") as file:
        magic = file.read(max(map(len, OPENERS)))
    opener = next((one for begins, one in OPENERS.items() if magic.startswith(begins)), None)
    with _saying_damage(path):
        store = FileBytes(path.open("rb")) if opener is None else _unpacked(path, opener, progress)
        entries, where = _contents(store)
    found, folders = plain_files(path, entries)
    return Pieces(store, {name: where[position] for name, position in found.items()}), folders


def _unpacked(path: Path, opener: Callable[[BinaryIO], object], progress: Progress) -> Bytes:
    """Return the content of a compressed file, decompressed once from front to end."""
    packed = path.stat().st_size
    spool = Spool(str(path))
    with (
        path.open("rb") as raw,
        cast(BinaryIO, opener(raw)) as file,
        progress.stage("unpacking (KiB)", packed >> 10) as stage,
    ):
        while piece := file.read(PIECE):
            spool.append(piece)
            refuse_bomb(str(path), spool.size, packed)
            stage.advance((raw.tell() >> 10) - stage.done)
    store, on_disk = spool.finished()
    if on_disk:
        progress.line(
            f"note: {path} unpacks to more than {IN_MEMORY_GIB} GiB and is kept in a temporary file in "
            f"{tempfile.gettempdir()} until this process ends"
        )
    return store


def _contents(store: Bytes) -> tuple[list[Listed], list[tuple[int, int]]]:
    """Return every entry, and where its content begins and how long it is."""
    headers = _Headers(store)
    entries: list[Listed] = []
    where: list[tuple[int, int]] = []
    with tarfile.open(fileobj=cast(BinaryIO, headers), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        before = -1
        while (member := tar.next()) is not None:
            if member.size < 0 or tar.offset <= before:
                raise tarfile.ReadError("a size below zero")
            before = tar.offset
            entries.append(Listed(member.name, _kind(member)))
            where.append((member.offset_data, member.size))
            tar.members = []  # type: ignore[attr-defined]  # it would keep every header
        end = tar.offset
    if headers.last != tarfile.NUL * BLOCK:  # tarfile ends in silence at a damaged header, too
        raise tarfile.ReadError("it ends without its end mark")
    _refuse_more(store, end)
    return entries, where


def _kind(member: tarfile.TarInfo) -> str:
    if member.sparse is not None:
        return "sparse file"
    if member.isreg() or member.isdir():
        return "file" if member.isreg() else "folder"
    return KINDS.get(member.type, "device")


def _refuse_more(store: Bytes, end: int) -> None:
    """Refuse anything but zeros after the end mark: it would be members that nobody reads."""
    for offset in range(end, end + MOST_PADDING, PIECE):
        piece = store.read(offset, PIECE)
        if piece.count(0) != len(piece):
            raise tarfile.ReadError("more follows after its end mark")
        if len(piece) < PIECE:
            return
    raise tarfile.ReadError("more follows after its end mark")


class _Headers:
    """What tarfile reads the headers from: a file as far as it needs one, which refuses reads that no header needs."""

    def __init__(self, store: Bytes) -> None:
        self.last = b""  # what was read last
        self._store, self._at = store, 0

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, position: int) -> int:
        """Set the position."""
        self._at = position
        return position

    def read(self, count: int) -> bytes:
        """Return `count` bytes."""
        if not 0 <= count <= LONGEST_HEADER or self._at < 0:
            raise tarfile.ReadError(f"a header of {count:,} bytes")
        self.last = self._store.read(self._at, count)
        self._at += len(self.last)
        return self.last


@contextmanager
def _saying_damage(path: Path) -> Iterator[None]:
    """Turn whatever the readers raise into a DataError with the reason in plain words."""
    try:
        yield
    except (FovealError, PermissionError):
        raise
    except (EOFError, lzma.LZMAError, zlib.error, OSError, tarfile.TarError) as error:
        raise DataError(f"{path} is no tar archive, or it is cut off or damaged: {error}.") from error
    except MemoryError:
        raise
    except Exception as error:  # hostile headers raise nearly anything
        raise DataError(f"{path} is a damaged tar archive: {error}.") from error
