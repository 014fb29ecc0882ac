"""The trail's head, signed while the service runs: what was cut off or rewritten later shows against it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from foveal.errors import FovealError
from foveal.storage.folder import DataFolder
from foveal.storage.heads import sign_last, signing_key

if TYPE_CHECKING:
    from foveal.serving.service import Service

EVERY_S = 60.0


class Heads:
    """Signs the head every minute in which something was added, and once more at the end."""

    def __init__(self, service: Service) -> None:
        """Make the key where there is none yet."""
        self._database = service.database
        self._folder = DataFolder(service.settings.data_folder)
        self._key = signing_key(self._folder.keys)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sign."""
        self._task = asyncio.create_task(self._run(), name="heads")

    async def stop(self) -> None:
        """Sign what is there, and end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(FovealError):
            await asyncio.to_thread(self._sign)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(FovealError):  # a store that is away is signed when it is back
                await asyncio.to_thread(self._sign)
            await asyncio.sleep(EVERY_S)

    def _sign(self) -> None:
        with self._database.read() as connection:
            sign_last(connection, self._key, self._folder.heads)
