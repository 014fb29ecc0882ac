"""What is kept and for how long: old cases are erased, and files that no row needs removed, while the service runs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from foveal.errors import FovealError
from foveal.serving.logs import get_log
from foveal.storage.retention import sweep, sweep_done, sweep_orphans

if TYPE_CHECKING:
    from foveal.serving.service import Service

EVERY_S = 3600.0
AT_ONCE = 100  # cases erased in a row; then others may write
PAUSE_S = 1.0
LOG = get_log()


class Keeping:
    """Sweeps when the service starts, and every hour after that."""

    def __init__(self, service: Service) -> None:
        """Sweep the store of `service`, as its settings have it."""
        self._database, self._blobs = service.database, service.blobs
        self._days = service.settings.retention_days
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sweep."""
        self._task = asyncio.create_task(self._run(), name="keeping")

    async def stop(self) -> None:
        """End; what is being erased is finished by the thread that does it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._sweep()
            except (FovealError, OSError) as error:  # a store that is away is swept when it is back
                LOG.warning("not swept", fault=type(error).__name__)
            await asyncio.sleep(EVERY_S)

    async def _sweep(self) -> None:
        while erased := await asyncio.to_thread(sweep, self._database, self._blobs, self._days, most=AT_ONCE):
            LOG.info("cases erased", count=erased, days=self._days)
            await asyncio.sleep(PAUSE_S)
        await asyncio.to_thread(sweep_done, self._database)
        swept = await asyncio.to_thread(sweep_orphans, self._database, self._blobs)
        if swept.removed:
            LOG.info("files swept", count=swept.removed)
        if swept.aside:
            LOG.warning("files set aside", count=swept.aside)
        if swept.unknown:
            LOG.warning("files unknown to this database", count=swept.unknown)
