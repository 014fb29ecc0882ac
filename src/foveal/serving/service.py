"""The service: its parts, brought up in order and taken down in the reverse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import Connection, func, select, update

from foveal.errors import FovealError
from foveal.serving.children.decoding import Decoders
from foveal.serving.current import Current
from foveal.serving.heads import Heads
from foveal.serving.http.uploads import tidy_name
from foveal.serving.intake import SERVICE, Intake, Sender, Sent
from foveal.serving.keeping import Keeping
from foveal.serving.logs import get_log
from foveal.serving.maps import Maps
from foveal.serving.metrics import Metrics
from foveal.serving.refusal import Refusal, overloaded
from foveal.serving.served import Served, all_of, card_text, open_served
from foveal.serving.settings import Settings
from foveal.serving.watching import Watcher, watch_key
from foveal.serving.working import Working
from foveal.serving.writing import Change, Writer
from foveal.storage import jobs, tables
from foveal.storage.blobs import Blobs
from foveal.storage.database import BusyError, ConflictError, Database
from foveal.storage.ids import now_us
from foveal.storage.trail import Event

LAST_ANSWERS_S = 5.0  # for what is in hand when the requests have ended
LEAST_FREE = 1 << 20  # bytes
FAILED_S = 5.0  # for so long a write that failed makes the service not ready
FRESH_S = 2.0  # how long a check of the database counts for readiness


@dataclass(frozen=True)
class Readiness:
    """Whether the service can take a request now, and what each part says."""

    ready: bool
    checks: dict[str, str]


class Service:
    """All that a request can need, made once for the process."""

    def __init__(self, settings: Settings, database: Database, blobs: Blobs, served: Served, metrics: Metrics) -> None:
        """Bind the parts; nothing runs before `running` is entered."""
        self.settings, self.database, self.blobs, self.metrics = settings, database, blobs, metrics
        self.draining = False
        self.server: uvicorn.Server | None = None  # that it runs in
        self.failed: FovealError | None = None  # why it could not start
        self.waiting = 0  # images admitted and not answered yet
        self.started_at = now_us()
        self._first = served
        self._checked: tuple[float, str] = (0.0, "")
        self._swapping = asyncio.Lock()

    @property
    def served(self) -> Served:
        """The classifier that answers the next request."""
        return self.current.served

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the parts; on leaving, or where one cannot start, end those that run, the last one first."""
        settings, ending = self.settings, AsyncExitStack()
        async with ending:
            self.writer = Writer(self.database, self.blobs, committed=self._committed)
            ending.push_async_callback(asyncio.to_thread, self.writer.close)
            self.decoders = Decoders(settings.decoders, settings.decoder_memory_mib, settings.decoder_timeout_s)
            ending.push_async_callback(self.decoders.stop)
            ending.push_async_callback(self._first.close)
            await all_of(self._first.start(), self.decoders.start())
            self.current = Current(self._first, batch=settings.batch, wait_s=settings.batch_wait_ms / 1000)
            ending.push_async_callback(self.current.close, LAST_ANSWERS_S)
            self.intake = Intake(
                self.database, self.blobs, self.writer, self.decoders, self.current, self.metrics,
                max_megapixels=int(settings.max_megapixels), max_queue=settings.max_queue, urgent=settings.urgent,
            )  # fmt: skip
            self.maps = Maps(self)
            ending.push_async_callback(self.maps.stop)
            self._observe()
            await self._note_served(self._first, "service-started")
            heads, keeping, working = Heads(self), Keeping(self), Working(self)
            heads.start()
            ending.push_async_callback(heads.stop)
            keeping.start()
            ending.push_async_callback(keeping.stop)
            ending.push_async_callback(self._note_stopped)
            working.start()
            ending.push_async_callback(working.stop, LAST_ANSWERS_S)
            self._watch(ending)
            yield
            self.draining = True

    def _observe(self) -> None:
        self.metrics.observe("waiting_images", "Images that wait for an answer", lambda: self.waiting)
        self.metrics.observe("decoders", "Decoders that run", lambda: len(self.decoders.pids))
        self.metrics.observe("network_restarts", "Processes of the network replaced", lambda: self.served.restarts)
        self.metrics.observe("jobs", "Jobs of the queue", self._jobs, "state")
        self.metrics.observe("trail_rows", "Rows of the trail", self._trail_rows)

    async def _note_stopped(self) -> None:
        with contextlib.suppress(FovealError, Refusal):
            await self.writer.write(Change(events=[Event("service-stopped", SERVICE, "", {})]))

    def welcome(self) -> None:
        """Raise Refusal, before a body is read, where an image would not be admitted, or the service is stopping."""
        if self.draining:
            raise Refusal(503, "draining", "The service is stopping; ask again.", retry_after_s=2)
        self._refuse_crowd(1)

    @contextlib.contextmanager
    def admitted(self, images: int) -> Any:
        """Count `images`, which have come whole, among those that wait; Refusal when there are too many.

        Those that are still coming are not counted: who sends slowly would keep out everybody else. A request that
        holds more images than may wait is taken while no other waits: it could never be otherwise.
        """
        self._refuse_crowd(images)
        self.waiting += images
        try:
            yield
        finally:
            self.waiting -= images

    def _refuse_crowd(self, images: int) -> None:
        if self.waiting and self.waiting + images > self.settings.max_waiting:
            self.metrics.refusal("overloaded")
            raise overloaded("More images wait than the service can answer soon; ask again.")

    def _watch(self, ending: AsyncExitStack) -> None:
        """Start to receive the files of the watched folder, where one is watched, until `ending`."""
        folder = self.settings.watch_folder
        if folder is None:
            return

        async def receive(name: str, content: bytes) -> str:
            sender = Sender("watch", "watch", None, watch_key(name, content))
            try:
                return (await self.intake.receive([Sent(content, tidy_name(name))], sender))[0]
            except Refusal as error:  # a full queue, or a service that stops: the file waits where it is
                raise BusyError(error.message) from None

        watcher = Watcher(folder, receive, most_bytes=self.settings.max_body_bytes, told=_tell_of_watching)
        watcher.prepare()
        task = asyncio.create_task(watcher.run(), name="watch")

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        ending.push_async_callback(stop)

    async def swap(self, path: str, engine: str, actor: str) -> Served:
        """Let the classifier at `path` answer from now on, once it is loaded, warm, and noted in the trail.

        Raises UsageError, ClassifierError or MissingPartError when it cannot be served: the old one goes on.
        """
        async with self._swapping:
            served = await asyncio.to_thread(open_served, Path(path), engine, workers=self.settings.workers)
            await served.start()
            try:
                await self._note_served(served, "model-loaded", actor)
            except BaseException:
                await served.close()
                raise
            self.current.exchange(served)
        return served

    async def readiness(self) -> Readiness:
        """Return whether requests can be taken; the database is asked at most every two seconds."""
        when, said = self._checked
        if time.monotonic() - when > FRESH_S:
            said = await asyncio.to_thread(self._check)
            self._checked = (time.monotonic(), said)
        checks = {
            "service": "stopping" if self.draining else "ok",
            "store": said or "ok",
            "decoders": "ok" if self.decoders.pids else "none is running",
        }
        return Readiness(all(one == "ok" for one in checks.values()), checks)

    def _check(self) -> str:
        try:
            with self.database.read() as connection:
                connection.execute(select(1))
            if not os.access(self.blobs.folder, os.W_OK):
                return "the data folder cannot be written to"
            if shutil.disk_usage(self.blobs.folder).free < LEAST_FREE:
                return "the disk is nearly full"
        except FovealError as error:
            return str(error)
        except OSError:
            return "the data folder is not there"
        if time.monotonic() - self.writer.failed_at < FAILED_S:
            return "something could not be kept a moment ago"
        return ""

    def _jobs(self) -> dict[str, float]:
        with self.database.read() as connection:
            return {state: float(count) for state, count in jobs.counts(connection).items()}

    def _trail_rows(self) -> float:
        with self.database.read() as connection:
            return float(connection.execute(select(func.max(tables.trail.c.seq))).scalar() or 0)

    def _committed(self, group: int, took_s: float) -> None:
        del group
        self.metrics.stage("commit", took_s)

    async def _note_served(self, served: Served, kind: str, actor: str = SERVICE) -> None:
        """Write the classifier into its table and the trail."""
        values = {
            "name": served.name, "path": str(served.path.resolve()), "engine": served.engine,
            "card": card_text(served), "loaded_at": now_us(),
        }  # fmt: skip

        def keep(connection: Connection) -> None:
            table = tables.classifiers
            done = connection.execute(update(table).where(table.c.hash == served.hash).values(**values))
            if not done.rowcount:
                connection.execute(table.insert().values(hash=served.hash, **values))

        body = {"classifier": served.hash, "engine": served.engine, "classes": list(served.classes)}
        change = Change(events=[Event(kind, actor, served.hash, body)], apply=keep)
        try:
            await self.writer.write(change)
        except ConflictError:  # another service on this database began at the same moment: now its row is there
            await self.writer.write(change)


def _tell_of_watching(_: str) -> None:
    """Log that the folder waits; the words may name a file, so they are not written."""
    get_log().warning("watched folder waits")
