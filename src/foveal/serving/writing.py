"""Group commit: what many requests have to keep is written by one thread in one transaction, and then acknowledged.

A transaction that reaches the disk costs the same for one row as for a hundred. Whoever calls `Writer.write` gets
control back only after the commit; a crash before it leaves nothing of the change behind but unnamed files, which
the next start sweeps.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, insert

from foveal.errors import StorageError
from foveal.serving.refusal import Refusal
from foveal.storage.blobs import Blobs
from foveal.storage.database import BusyError, ConflictError, Database, FullError
from foveal.storage.retention import hold
from foveal.storage.trail import Event, append


@dataclass(frozen=True, eq=False)
class Change:
    """What belongs together: all of it is kept, or nothing."""

    rows: Sequence[tuple[Table, dict[str, Any]]] = ()  # inserted, in the order of the tables' first mention
    events: Sequence[Event] = ()
    blobs: Sequence[bytes] = ()  # on disk before the rows are committed
    apply: Callable[[Connection], None] | None = None  # what else is done in the transaction, after the rows


@dataclass(frozen=True, eq=False)
class _Waiting:
    change: Change
    future: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop
    since: float = field(default_factory=time.perf_counter)


class Writer:
    """One thread that commits changes in groups."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        *,
        group: int = 64,
        committed: Callable[[int, float], None] = lambda *_: None,
    ) -> None:
        """Write into `database` and `blobs`; `committed` is told the size of each group and its seconds."""
        self._database, self._blobs, self._group, self._committed = database, blobs, group, committed
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.failed_at = -math.inf  # when something could not be kept last, by the monotonic clock
        self._thread = threading.Thread(target=self._work, name="write", daemon=True)
        self._thread.start()

    async def write(self, change: Change) -> None:
        """Return when `change` is committed.

        Raises BusyError, FullError or StorageError when it could not be: then nothing of it is kept.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(change, loop.create_future(), loop)
        with self._changed:
            if self._closed:
                raise Refusal(503, "draining", "The service is stopping; ask again.", retry_after_s=1)
            self._waiting.append(waiting)
            self._changed.notify()
        await asyncio.shield(waiting.future)

    def close(self, timeout_s: float = 10.0) -> None:
        """Commit what is waiting, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while group := self._take():
            started = time.perf_counter()
            outcome: list[Exception | None]
            try:
                self._commit([one.change for one in group])
                outcome = [None] * len(group)
            except (BusyError, FullError) as error:
                outcome = [error] * len(group)  # alone they would fare no better, one after the other
            except Exception as error:  # noqa: BLE001  # one of them is at fault: each is tried alone
                outcome = [error] if len(group) == 1 else [self._alone(one.change) for one in group]
            if any(isinstance(one, StorageError) and not isinstance(one, ConflictError) for one in outcome):
                self.failed_at = time.monotonic()
            self._committed(len(group), time.perf_counter() - started)
            _tell(group, outcome)

    def _alone(self, change: Change) -> Exception | None:
        try:
            self._commit([change])
        except Exception as error:  # noqa: BLE001  # its request is told
            return error
        return None

    def _commit(self, changes: Sequence[Change]) -> None:
        contents = [content for change in changes for content in change.blobs]
        with self._blobs.lock:  # nobody erases a blob between its being found there and its row
            names = self._blobs.put(contents) if contents else []
            with self._database.write() as connection:
                hold(connection, self._blobs, dict(zip(names, contents, strict=True)))
                tables: dict[Table, list[dict[str, Any]]] = {}
                for change in changes:
                    for table, row in change.rows:
                        tables.setdefault(table, []).append(row)
                for table, rows in tables.items():
                    connection.execute(insert(table), rows)
                for change in changes:
                    if change.apply is not None:
                        change.apply(connection)
                append(connection, [event for change in changes for event in change.events])

    def _take(self) -> list[_Waiting]:
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(self._group, len(self._waiting)))]


def _tell(group: Sequence[_Waiting], outcome: Sequence[Exception | None]) -> None:
    def deliver() -> None:
        for one, error in zip(group, outcome, strict=True):
            if one.future.done():
                continue
            if error is None:
                one.future.set_result(None)
            else:
                one.future.set_exception(_told(error))

    group[0].loop.call_soon_threadsafe(deliver)


def _told(error: Exception) -> Exception:
    """Return an error of its own for each that waits: one exception raised in several tasks would mix their traces."""
    if isinstance(error, StorageError):
        return type(error)(*error.args)
    return error
