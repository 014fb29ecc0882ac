"""Dynamic batching: images of many requests enter the network together, and none waits longer than it may.

A worker thread takes what is waiting, up to a batch; where fewer are, it waits a moment for more. Nothing waits
here without bound: the service admits only so many images at a time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from foveal.classifier.answers import Said
from foveal.serving.giving_way import give_way
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
    loop: asyncio.AbstractEventLoop


class Batcher:
    """Threads that answer for one served classifier."""

    def __init__(self, served: Served, *, batch: int, wait_s: float) -> None:
        self.served = served
        self._batch, self._wait_s = batch, wait_s
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(one,), name=f"answer-{number}", daemon=True)
            for number, one in enumerate(served.answering)
        ]
        for thread in self._threads:
            thread.start()

    async def answer(self, pixels: np.ndarray) -> Answered:
        """Return what the classifier says of uint8 `pixels` (H, W, C).

        Raises what answering raised; Refusal when it was closed meanwhile.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(pixels, loop.create_future(), loop)
        with self._changed:
            if self._closed:
                raise Refusal(503, "draining", "The service is stopping; ask again.", retry_after_s=1)
            self._waiting.append(waiting)
            self._changed.notify()
        return await waiting.future

    def close(self) -> None:
        """Answer what is waiting, then end the threads. Returns at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait for the threads to end."""
        for thread in self._threads:
            thread.join(timeout_s)

    def _work(self, answering: Answering) -> None:
        give_way()
        while batch := self._take():
            started = time.perf_counter()
            try:
                said = list(answering.answer(np.stack([one.pixels for one in batch])).rows())
            except Exception as error:  # noqa: BLE001  # whatever it is, those who wait are told
                _tell(batch, error)
                continue
            took_ms = 1000 * (time.perf_counter() - started)
            _tell(batch, [Answered(one, took_ms, len(batch)) for one in said])

    def _take(self) -> list[_Waiting]:
        """Return the next batch, of one image or more; none when there is nothing left and it was closed."""
        with self._changed:
            while True:
                while not self._waiting:
                    if self._closed:
                        return []
                    self._changed.wait()
                until = time.monotonic() + self._wait_s
                while len(self._waiting) < self._batch and not self._closed and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
                taken = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
                if taken:  # else another thread took them meanwhile
                    return taken


def _tell(batch: list[_Waiting], told: list[Answered] | Exception) -> None:
    """Hand the results, or the one error, to those who wait, in one call of their loop."""

    def deliver() -> None:
        for row, one in enumerate(batch):
            if one.future.done():  # its request was given up
                continue
            if isinstance(told, Exception):
                one.future.set_exception(told)
            else:
                one.future.set_result(told[row])

    batch[0].loop.call_soon_threadsafe(deliver)
