"""Published files, data sets and weights: downloaded once, resumed, checked, and kept in the user's cache."""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import urlsplit

from foveal.errors import DataError
from foveal.files import saying_why
from foveal.progress import Progress, Stage

TIMEOUT_S = 30.0  # without a byte
TRIES = 3  # of one address that breaks off
PAUSE_S = 1.0  # before it is tried again
CHUNK_BYTES = 1 << 18
MB = 1_000_000


@dataclass(frozen=True)
class RemoteFile:
    """One published file, known to the byte."""

    name: str
    size: int  # bytes
    sha256: str  # or its leading digits, where no more was published: proof against mishaps, not against malice
    urls: tuple[str, ...]  # the same bytes from different places, tried in this order


class NotFetchedError(DataError):
    """A file could not be downloaded; the message is the reason alone, without the file."""


class _BrokenOffError(NotFetchedError):
    """The connection ended before the file did; it is worth another try."""


def cache_folder() -> Path:
    """Return where downloads are kept: $FOVEAL_CACHE, else ``foveal`` in the user's cache folder of this system."""
    if given := os.environ.get("FOVEAL_CACHE"):
        return Path(given).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("foveal", appauthor=False)


def fetch(title: str, files: tuple[RemoteFile, ...], folder: Path, progress: Progress) -> None:
    """Bring all `files` of `title` into `folder`, those excepted that lie there already, in their size.

    A download goes into ``NAME.part``, from where the next call resumes it, and gets its name only
    when its SHA-256 is right. One process downloads into a folder at a time; others wait for it.
    Raises NotFetchedError with the reason, OutputError when the folder cannot be written.
    """
    missing = [file for file in files if not _is_there(file, folder)]
    if not missing:
        return
    with saying_why(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _turn(folder, progress):
        progress.line(f"downloading {title} ({sum(file.size for file in missing) / MB:,.1f} MB) into {folder}")
        for file in missing:
            if not _is_there(file, folder):  # another process may have brought it meanwhile
                _refuse_full_disk(file, folder)
                _fetch(file, folder, progress)


def _is_there(file: RemoteFile, folder: Path) -> bool:
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size


@contextmanager
def _turn(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the folder's lock; it goes with the process, also when that is killed."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    with saying_why(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.line(f"waiting for another process that downloads into {folder}")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _refuse_full_disk(file: RemoteFile, folder: Path) -> None:
    missing = file.size - _size(folder / f"{file.name}.part")
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise NotFetchedError(f"{folder} has {free / MB:,.0f} MB free, {missing / MB:,.0f} MB are needed")


def _fetch(file: RemoteFile, folder: Path, progress: Progress) -> None:
    """Download one file from the first address that gives it whole."""
    part = folder / f"{file.name}.part"
    reasons = []
    for url in file.urls:
        with progress.stage(f"{file.name} (MB)", -(-file.size // MB), done=_size(part) // MB) as stage:
            try:
                _fetch_from(url, file, part, stage)
            except NotFetchedError as error:
                reasons.append(f"{urlsplit(url).netloc}: {error}")
                continue
        with saying_why(folder):
            part.replace(folder / file.name)
        return
    raise NotFetchedError("; ".join(reasons))


def _fetch_from(url: str, file: RemoteFile, part: Path, stage: Stage) -> None:
    """Download from `url`, resuming what `part` holds, until its SHA-256 is right."""
    began_with, vain = _size(part), 0
    while True:
        before = _size(part)
        try:
            _receive(url, file, part, stage)
            break
        except _BrokenOffError:
            vain = 0 if _size(part) > before else vain + 1
            if vain == TRIES:
                raise
            time.sleep(PAUSE_S)
    if _digest(part).startswith(file.sha256):
        return
    part.unlink()
    if began_with:  # the beginning may have been another file's: once more, from the start
        _fetch_from(url, file, part, stage)
        return
    raise NotFetchedError("what it sends has another SHA-256 than the published file")


def _receive(url: str, file: RemoteFile, part: Path, stage: Stage) -> None:
    """Ask for what is missing of `part` and append it; a server that sends all again is heard from the start."""
    start = _size(part) if _size(part) <= file.size else 0
    if start == file.size:
        return
    with _answer(url, start) as answer:
        start = _starts_at(answer, start)
        _refuse_other_size(answer, file, start)
        with saying_why(part), part.open("ab") as out:
            out.truncate(start)
            while start < file.size and (chunk := _read(answer)):
                out.write(chunk[: file.size - start])
                start = min(start + len(chunk), file.size)
                stage.advance(start // MB - stage.done)
            out.flush()
            os.fsync(out.fileno())
    if start < file.size:
        raise _BrokenOffError(f"the connection broke off after {start:,} of {file.size:,} bytes")


def offered(url: str) -> tuple[int, str]:
    """Return the size in bytes of what `url` offers, and the SHA-256 that a hub says of it ("" where it says none).

    Raises NotFetchedError with the reason.
    """
    way = _StaysSecure()
    with _answer(url, 0, way) as answer:
        length = answer.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise NotFetchedError("the server does not say how large the file is")
        said = (way.linked or answer.headers.get("X-Linked-ETag", "")).strip('"')
        return int(length), said if re.fullmatch(r"[0-9a-f]{64}", said) else ""


@contextmanager
def _answer(url: str, start: int, way: _StaysSecure | None = None) -> Iterator[Any]:
    """Yield the server's answer to a request for `url` from byte `start` on."""
    headers = {"User-Agent": "foveal", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = urllib.request.build_opener(way or _StaysSecure())
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:
            raise _BrokenOffError(f"the server answers {error.code} {error.reason}") from error
        raise NotFetchedError(f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        _refuse_unreached(error.reason)
    except (OSError, http.client.HTTPException) as error:
        _refuse_unreached(error)
    with answer:
        yield answer


def _refuse_unreached(reason: object) -> NoReturn:
    if isinstance(reason, TimeoutError):
        raise _BrokenOffError(f"no answer within {TIMEOUT_S:.0f} s")
    if isinstance(reason, ConnectionResetError | http.client.HTTPException):
        raise _BrokenOffError(f"the connection broke off ({reason})")
    raise NotFetchedError(str(getattr(reason, "strerror", None) or reason))


def _starts_at(answer: Any, asked: int) -> int:
    """Return the byte at which the answer begins: the one asked for, or 0 where the server knows no ranges."""
    if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
    if not match or int(match[1]) != asked:
        raise NotFetchedError("the server sends another part of the file than was asked for")
    return asked


def _refuse_other_size(answer: Any, file: RemoteFile, start: int) -> None:
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and start + int(length) != file.size:
        raise NotFetchedError(f"it offers {start + int(length):,} bytes, the published file has {file.size:,}")


def _read(answer: IO[bytes]) -> bytes:
    """Return the next bytes of an answer; none when the connection ends or nothing comes for a while."""
    try:
        return answer.read(CHUNK_BYTES)
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException):
        return b""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _StaysSecure(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to https, so that nobody between here and there can point elsewhere."""

    linked = ""  # the SHA-256 that a hub tells on the way to where its files lie

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            raise NotFetchedError(f"the server points to {urlsplit(newurl).scheme}, which is not secure")
        self.linked = headers.get("X-Linked-ETag", "") or self.linked
        return super().redirect_request(req, fp, code, msg, headers, newurl)
