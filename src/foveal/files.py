"""Writing files so that a reader sees the old one or the new one, never half of either."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from foveal.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on leaving, flush it to disk and rename it over `path`.

    Raises OutputError in one sentence when the disk is full or the folder may not be written; the
    old file is then still there, whole, and the temporary one is gone.
    """
    with saying_why(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with saying_why(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            _flush_folder(path.parent)
    finally:
        with suppress(OSError):  # a disk that may only be read says so of a file that is not there, too
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flush the folder's own entry, so that the rename survives a power cut; not every system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def saying_why(path: Path) -> Iterator[None]:
    """Turn an operating-system error about writing `path` into an OutputError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(
                f"The disk is full: {path} could not be written. Free some space, then resume or begin again."
            ) from error
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder` against other processes; OutputError at once when one holds it already.

    The lock goes with the process, also when it is killed. Where the system has no such locks nothing is held.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with saying_why(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"Another process is at work on {folder}; wait for it or stop it.") from error
        yield
    finally:
        os.close(handle)


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, or nothing where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON; not-a-number is refused, since other JSON readers refuse it too."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows of as many texts or numbers as `header` has; what needs quotes gets them."""
    lines = [list(header), *([one if isinstance(one, str) else str(one) for one in row] for row in rows)]
    plain = "\n".join(map(",".join, lines)) + "\n"
    special = plain.count(",") + plain.count("\n") > len(lines) * len(header) or '"' in plain or "\r" in plain
    write_text(path, _quoted(lines) if special else plain)


def _quoted(lines: Sequence[Sequence[str]]) -> str:
    returns = any("\r" in one for line in lines for one in line)  # Python 3.11 leaves them bare, and reads two rows
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL).writerows(lines)
    return buffer.getvalue()
