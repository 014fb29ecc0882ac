"""Dynamic batching: images of many requests enter the network together, and none waits longer than it may.

Whoever answers and is free takes what is waiting, up to a batch; where fewer are, it waits a moment for more. Nothing
waits here without bound: the service admits only so many images at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.classifier.answers import Said
from foveal.serving.refusal import Refusal
from foveal.serving.served import Answering, Served


@dataclass(frozen=True, eq=False)
class Answered:
    """What was said of one image, in a batch with others."""

    said: Said
    took_ms: float  # of the whole batch
    batch: int  # images in it


@dataclass(frozen=True, eq=False)
class _Waiting:
    pixels: np.ndarray  # (H, W, C) uint8
    future: asyncio.Future[Answered]
    until: float  # by the loop's clock: so long it waits for others


class Batcher:
    """Hands out what waits to what answers for one served classifier. All of it happens in one event loop."""

    def __init__(self, served: Served, *, batch: int, wait_s: float) -> None:
        self.served = served
        self._batch, self._wait_s = batch, wait_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._free: deque[Answering] = deque(served.answering)
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def answer(self, pixels: np.ndarray) -> Answered:
        """Return what the classifier says of uint8 `pixels` (H, W, C).

        Raises what answering raised; Refusal when it was closed meanwhile.
        """
        if self._closed:
            raise Refusal(503, "draining", "The service is stopping; ask again.", retry_after_s=1)
        waiting = _Waiting(pixels, self._loop.create_future(), self._loop.time() + self._wait_s)
        self._waiting.append(waiting)
        self._hand_out()
        return await waiting.future

    def close(self) -> None:
        """Answer what is waiting, then end what answers. Returns at once."""
        self._closed = True
        self._hand_out()

    async def join(self, timeout_s: float) -> None:
        """Wait for what is waiting to be answered, and end what answers, whatever it is at by then."""
        ended = self._loop.time() + timeout_s
        while self._tasks and (left := ended - self._loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        while self._waiting:
            self._waiting.popleft().future.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.served.close()

    def _hand_out(self) -> None:
        """Give what waits to what is free; where it is to wait for more, come back in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._free and self._waiting:
            early = len(self._waiting) < self._batch and not self._closed
            if early and self._waiting[0].until > self._loop.time():
                self._timer = self._loop.call_at(self._waiting[0].until, self._hand_out)
                return
            taken = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            self._begin(self._answer(self._free.popleft(), taken))
        if self._closed and not self._waiting:
            while self._free:
                self._begin(self._free.popleft().close())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, answering: Answering, batch: list[_Waiting]) -> None:
        started = time.perf_counter()
        try:
            said = list((await answering.answer(np.stack([one.pixels for one in batch]))).rows())
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait are told
            for one in batch:
                if not one.future.done():  # its request was given up
                    one.future.set_exception(error)
        else:
            took_ms = 1000 * (time.perf_counter() - started)
            for one, its in zip(batch, said, strict=True):
                if not one.future.done():
                    one.future.set_result(Answered(its, took_ms, len(batch)))
        finally:
            for one in batch:
                one.future.cancel()  # of those that were not told, since this was ended itself
            self._free.append(answering)
            self._hand_out()
