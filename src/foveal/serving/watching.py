"""A watched folder: what is laid into it is received like what comes over HTTP, once, and then moved aside."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from foveal.errors import DataError, FovealError, UsageError

OWN, DONE, FAILED = ".foveal", "done", "failed"
UNFINISHED = (".part", ".tmp")
STILL_S = 1.0  # for so long a file must have stood still before it is taken
POLL_S = 1.0
PAUSE_S = 5.0  # before the next try, where the service cannot receive just now

Receive = Callable[[str, bytes], Awaitable[str]]  # a file's name and bytes → the number of its case, durably received


@dataclass(frozen=True)
class _Sight:
    """What a file looked like; another look is another file, or one that is still being written."""

    inode: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Sight:
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


def watch_key(name: str, content: bytes) -> str:
    """Return the idempotency key under which a file is received: the same file is never a second case."""
    return "watch:" + hashlib.sha256(os.fsencode(name) + b"\0" + content).hexdigest()


class Watcher:
    """Takes the files that are laid into `folder`, not those below it.

    A file is moved into ``.foveal/done`` only after `receive` has returned. Where the service dies in between, it is
    received again under the same key (`watch_key`), which gives the same case. What `receive` refuses by a DataError
    goes into ``.foveal/failed``, with the reason in a text file beside it; any other FovealError (a locked database, a
    full disk) leaves the file where it is, for later.

    Args:
        folder: the folder.
        receive: receives a file durably.
        most_bytes: a larger file is refused unread.
        told: is called with a sentence when something keeps files from being received.
        poll_s: how often one looks, and how long a file must have stood still.
    """

    def __init__(
        self,
        folder: Path,
        receive: Receive,
        *,
        most_bytes: int,
        told: Callable[[str], None] = lambda _: None,
        poll_s: float = POLL_S,
    ) -> None:
        self._folder, self._receive, self._most_bytes = folder, receive, most_bytes
        self._told, self._poll_s, self._still_s = told, poll_s, min(STILL_S, poll_s)
        self._seen: dict[str, tuple[_Sight, float]] = {}  # since when it looks like that
        self._received: dict[str, _Sight] = {}  # and could not be moved

    async def run(self) -> None:
        """Watch until cancelled. UsageError where the folder cannot be used."""
        await asyncio.to_thread(self.prepare)
        while True:
            await asyncio.sleep(self._poll_s if await self._look() else max(self._poll_s, PAUSE_S))

    async def _look(self) -> bool:
        """Take what stands still; return whether all of it could be taken. A file that cannot be keeps no other."""
        all_taken = True
        try:
            for name in await asyncio.to_thread(self._settled):
                try:
                    await self._take(name)
                except OSError as error:
                    self._told(f"A file waits: {error.strerror}")
                    all_taken = False
        except (FovealError, OSError) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            self._told(f"The watched folder waits: {words}")
            all_taken = False
        return all_taken

    def prepare(self) -> None:
        """Make the folders for what is done and what failed; UsageError where that cannot be, or links lie there."""
        if not self._folder.is_dir():
            raise UsageError(f"There is no folder {self._folder} to watch.")
        for path in (self._folder / OWN, self._folder / OWN / DONE, self._folder / OWN / FAILED):
            try:
                path.mkdir(exist_ok=True)
            except OSError as error:
                raise UsageError(f"{self._folder} cannot be watched: {path} cannot be made ({error}).") from error
            if path.is_symlink():
                raise UsageError(f"{self._folder} cannot be watched: {path} is a link, and files would go elsewhere.")

    def _settled(self) -> list[str]:
        """Return the names of the files that stood still, the oldest first."""
        now, seen, found = time.monotonic(), {}, []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(UNFINISHED):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if not stat.S_ISREG(status.st_mode):
                    continue
                sight = _Sight.of(status)
                before, since = self._seen.get(entry.name, (sight, now))
                seen[entry.name] = (sight, since if sight == before else now)
                if sight == before and now - since >= self._still_s:
                    found.append((sight.changed_ns, entry.name))
        self._seen = seen
        return [name for _, name in sorted(found)]

    async def _take(self, name: str) -> None:
        """Receive one file and move it aside."""
        sight = self._seen[name][0]
        if self._received.get(name) != sight:
            if sight.size > self._most_bytes:
                limit = self._most_bytes / (1 << 20)
                await self._fail(name, sight, f"The file has {sight.size:,} bytes; the limit is {limit:,.0f} MiB.")
                return
            try:
                content = await asyncio.to_thread(self._read, name, sight)
            except PermissionError:
                await self._fail(name, sight, "The file cannot be read: permission denied.")
                return
            if content is None:  # it has changed or gone
                return
            try:
                await self._receive(name, content)
            except DataError as error:
                await self._fail(name, sight, str(error))
                return
            self._received[name] = sight
        await asyncio.to_thread(self._move, name, sight, DONE)
        self._received.pop(name, None)

    def _read(self, name: str, sight: _Sight) -> bytes | None:
        """Return the bytes of a file that still looks like `sight`, when they have been read as well; else None."""
        try:
            handle = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(handle, "rb") as file:
            if _Sight.of(os.fstat(handle)) != sight:
                return None
            content = file.read(sight.size + 1)
            return content if _Sight.of(os.fstat(handle)) == sight and len(content) == sight.size else None

    async def _fail(self, name: str, sight: _Sight, reason: str) -> None:
        moved = await asyncio.to_thread(self._move, name, sight, FAILED)
        if moved is not None:
            note = moved.with_name(f"{moved.name}.txt")
            await asyncio.to_thread(note.write_text, f"{reason}\n", "utf-8")

    def _move(self, name: str, sight: _Sight, where: str) -> Path | None:
        """Move a file aside without overwriting another; return where it is, None if another had taken its place."""
        source = self._folder / name
        target = self._folder / OWN / where / name
        number = 1
        while target.exists() or target.is_symlink():
            number += 1
            target = target.with_name(f"{source.stem}-{number}{source.suffix}")
        try:
            source.rename(target)
        except FileNotFoundError:
            return None
        if _Sight.of(target.lstat()) != sight and not source.exists():  # written anew since it was received
            target.rename(source)
            return None
        return target
