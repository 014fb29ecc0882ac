"""Bytes that any thread reads anywhere: of a file on disk, or unpacked into memory or a temporary file."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from typing import BinaryIO, Protocol

from foveal.errors import ResourceError

IN_MEMORY_GIB = 1  # what is unpacked beyond this goes into a temporary file


class Bytes(Protocol):
    """Bytes with random access."""

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset` on, fewer at the end; from any thread."""
        ...


class FileBytes:
    """The bytes of an open file, which is closed when nobody needs them any more.

    Reads name their position, so one handle serves every thread (where the system has no such reads, a lock helps).
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._lock = file, threading.Lock()
        weakref.finalize(self, file.close)

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset` on, fewer at the end."""
        if not hasattr(os, "pread"):
            with self._lock:
                self._file.seek(offset)
                return self._file.read(count)
        handle = self._file.fileno()
        content = os.pread(handle, count, offset)
        while len(content) < count:  # the system may give less than was asked for
            more = os.pread(handle, count - len(content), offset + len(content))
            if not more:
                break
            content += more
        return content


class MemoryBytes:
    """Bytes in memory."""

    def __init__(self, content: bytearray) -> None:
        self._content = memoryview(content)

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset` on, fewer at the end."""
        return bytes(self._content[offset : offset + count])


class Spool:
    """Takes bytes piece by piece, in memory up to `IN_MEMORY_GIB`, beyond that in an unnamed temporary file.

    A file without a name vanishes with the process, also when that is killed.
    """

    def __init__(self, what: str) -> None:
        """`what` is the thing whose content is kept here, for messages."""
        self.size = 0
        self._what = what
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._of_file: FileBytes | None = None

    def append(self, piece: bytes) -> int:
        """Add `piece` and return where it begins; ResourceError when neither memory nor disk can hold it."""
        begins, self.size = self.size, self.size + len(piece)
        try:
            if self._file is None and self.size > IN_MEMORY_GIB << 30:
                self._move_to_disk()
            if self._file is None:
                self._memory += piece
            else:
                self._file.write(piece)
        except OSError as error:
            raise self._too_large(error) from error
        except MemoryError as error:
            raise ResourceError(f"There is not enough memory to unpack {self._what}.") from error
        return begins

    def finished(self) -> tuple[Bytes, bool]:
        """Return what was appended, and whether it lies on disk; nothing is appended after this."""
        if self._file is None or self._of_file is None:
            return MemoryBytes(self._memory), False
        try:
            self._file.flush()
        except OSError as error:
            raise self._too_large(error) from error
        return self._of_file, True

    def _move_to_disk(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="foveal-")  # noqa: SIM115 - FileBytes closes it
        self._of_file = FileBytes(self._file)
        self._file.write(self._memory)
        self._memory = bytearray()

    def _too_large(self, error: OSError) -> ResourceError:
        return ResourceError(
            f"{self._what} does not fit unpacked into {tempfile.gettempdir()} ({error.strerror}): unpack it yourself "
            "and give the folder, or let the variable TMPDIR name a folder on a larger disk."
        )
