"""Answering by a child process that runs a stored engine, and decides by what the network says.

Python computes in one thread at a time, whatever an engine does beside it: an image's statistics, the deciding, the
requests. In a process of its own an engine shares nothing but the cores; and one that crashes ends no service.
"""

from __future__ import annotations

import asyncio
import json

import numpy as np
from safetensors.numpy import load

from foveal.classifier.answers import Answers
from foveal.classifier.light import Stored
from foveal.errors import ClassifierError, ResourceError
from foveal.serving.children.child import Child, Lost, Reply
from foveal.serving.children.told import raise_told

PROGRAM = "foveal.serving.children.answerer"
LONGEST_S = 60.0  # that a batch may take, of which the slowest network here needs a few
TRIES = 2  # of a batch: a process that was killed from outside is replaced, and nobody need know
WORDS_BYTES, CLASS_BYTES = 4096, 32  # at most, of an answer's words, and of its numbers for each class


class Answerer:
    """What answers as `stored` does, in a process of its own; asked one batch at a time.

    Args:
        stored: the classifier and its engine.
        threads: how many threads its network computes on.
    """

    def __init__(self, stored: Stored, threads: int, *, program: str = PROGRAM) -> None:
        self._stored, self._threads, self._program = stored, threads, program
        self._child: Child | None = None
        self.restarts = 0  # how often the process was replaced

    @property
    def pid(self) -> int | None:
        """The number of the process; None while there is none."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """Start the process, and wait until the engine is open.

        Raises what opening it raised; ResourceError where the process cannot be started or ends at once.
        """
        await self._open()

    async def answer(self, pixels: np.ndarray) -> Answers:
        """Return all that is said of uint8 `pixels` (N, H, W, C).

        Raises what answering raised; ResourceError where the process ended without an answer, twice.
        """
        body = np.ascontiguousarray(pixels).data.cast("B")
        most = len(pixels) * (WORDS_BYTES + CLASS_BYTES * len(self._stored.card.classes))
        for _ in range(TRIES):
            child = self._child or await self._replaced()
            reply: asyncio.Future[Reply | Lost] = asyncio.get_running_loop().create_future()
            child.ask(b"{}", body, reply, timeout_s=LONGEST_S, reply_bytes=most, most_bytes=most)
            found = await reply
            if isinstance(found, Reply):
                raise_told(found.facts)
                return _answers(found.body, len(pixels))
            await child.ended()
        raise ResourceError("The process that runs the network ended without an answer.")

    async def _replaced(self) -> Child:
        self.restarts += 1
        return await self._open()

    async def _open(self) -> Child:
        stored = self._stored
        child = self._child = Child(lambda _: None, self._has_ended)
        arguments = [str(self._threads), str(stored.folder.absolute()), stored.engine, stored.hash]
        try:
            raise_told(await child.start(self._program, arguments))
        except BaseException:
            await self.close()
            raise
        return child

    async def close(self) -> None:
        """End the process; nothing of it is left behind."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            await child.ended()

    def _has_ended(self, child: Child) -> None:
        if self._child is child:
            self._child = None


def _answers(body: memoryview, count: int) -> Answers:
    """Return what an answerer has sent; ClassifierError where it is not an answer to `count` images."""
    arrays = load(bytes(body))
    words = arrays.pop("words", np.empty(0, np.uint8))
    abstained = np.array(json.loads(words.tobytes() or b"[]"), str)
    whole = len(abstained) == count and all(len(one) == count for one in arrays.values())
    if not whole or not {"raw", "probabilities", "labels"} <= set(arrays):
        raise ClassifierError(f"The process that runs the network did not answer {count} images.")
    optional = {name: arrays.get(name) for name in ("sets", "gate_scores")}
    return Answers(arrays["raw"], arrays["probabilities"], arrays["labels"], abstained=abstained, **optional)
