"""The worker of the queue: it takes jobs that were received earlier, by this process or one that died."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import socket
from typing import TYPE_CHECKING

from foveal.errors import FovealError
from foveal.serving.refusal import Refusal
from foveal.storage import jobs
from foveal.storage.faults import BusyError, FullError, LeaseLostError

if TYPE_CHECKING:
    from foveal.serving.service import Service

POLL_S = 1.0  # also finds jobs of other processes, and those whose lease has run out
LEASE_S = 60.0
AT_ONCE = 8  # jobs in hand: less urgent than requests that wait


class Working:
    """Takes jobs while there are any."""

    def __init__(self, service: Service) -> None:
        self._service = service
        folder = hashlib.sha256(os.fsencode(service.settings.data_folder)).hexdigest()[:8]
        self._home = f"{socket.gethostname()}:{folder}:"  # one service at a time holds the folder's lock
        self._name = f"{self._home}{os.getpid()}:{secrets.token_hex(4)}"
        self._unfinished: list[jobs.Job] = []  # to be given back when the store can be written to again
        self._released = False
        self._jobs: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take jobs."""
        self._loop = asyncio.create_task(self._run(), name="jobs")

    async def stop(self, timeout_s: float) -> None:
        """Take no more, and finish those in hand; one that takes longer is done by whoever comes next."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=timeout_s)

    async def _run(self) -> None:
        new = self._service.intake.new_jobs
        while True:
            new.clear()
            try:
                await asyncio.to_thread(self._give_back)
                free = AT_ONCE - len(self._jobs)
                taken = await asyncio.to_thread(
                    jobs.claim, self._service.database, self._name, ("predict",), limit=free, lease_s=LEASE_S
                ) if free else []  # fmt: skip
            except FovealError:
                taken = []  # the store is busy or away: what waits there is safe
            for job in taken:
                task = asyncio.create_task(self._done(job))
                self._jobs.add(task)
                task.add_done_callback(self._jobs.discard)
            if self._jobs and len(self._jobs) >= AT_ONCE:
                await asyncio.wait(self._jobs, return_when=asyncio.FIRST_COMPLETED)
            elif not taken:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(new.wait(), POLL_S)

    def _give_back(self) -> None:
        """Let wait again what could not be finished: by the service before this one, which is dead, or by this one."""
        database = self._service.database
        if not self._released:
            jobs.release_of(database, "" if database.is_sqlite else self._home)
            self._released = True
        while self._unfinished:
            job = self._unfinished.pop()  # first, since others are added meanwhile
            try:
                jobs.release(database, job)
            except LeaseLostError:
                continue
            except BaseException:
                self._unfinished.append(job)
                raise

    async def _done(self, job: jobs.Job) -> None:
        held = asyncio.create_task(self._hold(job))
        try:
            await self._service.intake.work(job)
        except (BusyError, FullError):
            self._unfinished.append(job)  # no fault of the job's: it is not counted as an attempt
        except (FovealError, Refusal):
            return  # its lease runs out, and it is taken again
        finally:
            held.cancel()

    async def _hold(self, job: jobs.Job) -> None:
        """Keep the lease of a job in hand: behind many large images one takes long, and is not given up for it."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            with contextlib.suppress(FovealError):
                await asyncio.to_thread(jobs.extend, self._service.database, job, lease_s=LEASE_S)
