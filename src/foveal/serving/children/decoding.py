"""Decoding: untrusted image files in, pixels out, through child processes that may die without harm."""

from __future__ import annotations

import asyncio
import functools
import json
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.errors import ResourceError
from foveal.preprocess import MAX_PIXELS, Preprocess
from foveal.serving.children.child import Child, Lost, Reply
from foveal.serving.children.refused_image import CODES, RefusedImageError

PROGRAM = "foveal.serving.children.decoder"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0  # before the next try, where children cannot be started
MOST_PICTURE_BYTES = 1 << 29


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image as the network takes it, and what its file was."""

    pixels: np.ndarray  # (H, W, C) uint8
    pixels_sha256: str
    format: str  # JPEG, PNG …
    width: int  # as a viewer shows it
    height: int
    facts: dict[str, Any]  # what was done to it, as the answer tells


@dataclass(frozen=True, eq=False)
class _Request:
    """Something to be asked of whichever child is free next."""

    facts: bytes
    body: bytes
    reply_bytes: int
    most_bytes: int
    reply: asyncio.Future[Reply | Lost]


class Decoders:
    """A few child processes that decode, one image each at a time; who comes first is served first.

    A child that crashes, or takes longer than `timeout_s`, costs the image that it was at, and is replaced at once.

    Args:
        count: how many there are.
        memory_mib: the address space of each.
        timeout_s: how long an image may take, from the moment a child has it.
        program: the module that a child runs.
    """

    def __init__(self, count: int, memory_mib: int, timeout_s: float, *, program: str = PROGRAM) -> None:
        self._count, self._memory_mib, self._timeout_s, self._program = count, memory_mib, timeout_s, program
        self._children: set[Child] = set()
        self._free: deque[Child] = deque()
        self._waiting: deque[_Request] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = True

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of the processes that there are."""
        return tuple(child.pid for child in self._children)

    @property
    def waiting(self) -> int:
        """How many images wait for a child."""
        return len(self._waiting)

    async def start(self) -> None:
        """Start the children; ResourceError where that is not possible."""
        self._stopped = False
        try:
            await asyncio.gather(*(self._start_one() for _ in range(self._count)))
        except ResourceError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the children at once; whoever still waits gets a ResourceError. Nothing is left behind."""
        self._stopped = True
        self._refuse_waiting(ResourceError("The decoders were stopped."))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        children = list(self._children)
        for child in children:
            child.kill()
        await asyncio.gather(*(child.ended() for child in children))
        self._children.clear()
        self._free.clear()

    async def decode(self, content: bytes, preprocess: Preprocess, max_megapixels: int) -> Decoded:
        """Return `content` as `preprocess` gives it to the network.

        Raises RefusedImageError with its code; ResourceError where no child can be had.
        """
        shape = preprocess.height, preprocess.width, preprocess.channels
        reply = await self._ask(_pixels_wanted(preprocess, max_megapixels), content, shape[0] * shape[1] * shape[2])
        facts = reply.facts
        try:
            pixels = np.frombuffer(reply.body, np.uint8).reshape(shape)
            size = int(facts["width"]), int(facts["height"])
            done = dict(facts["preprocessing"])
            return Decoded(pixels, str(facts["pixels_sha256"]), str(facts["format"]), *size, done)
        except (KeyError, TypeError, ValueError) as error:  # no child of ours says so
            raise RefusedImageError("decoder_crashed", "the process that decodes it gave no sense") from error

    async def picture(self, content: bytes, longest_side: int | None = None) -> bytes:
        """Return the image as a viewer shows it, as a PNG of 8-bit grey or RGB that holds nothing but its pixels.

        With `longest_side`, scaled down to it. 16 bits of grey become 8 here too, as the network sees them (v / 257).
        Raises RefusedImageError with its code; ResourceError where no child can be had.
        """
        asked = {"preprocess": None, "most_pixels": MAX_PIXELS, "longest_side": longest_side}
        return bytes((await self._ask(json.dumps(asked).encode(), content, 0, MOST_PICTURE_BYTES)).body)

    async def _ask(self, facts: bytes, content: bytes, reply_bytes: int, most_bytes: int = 0) -> Reply:
        if not content:  # known without a child
            raise RefusedImageError("empty_file", "the file is empty (0 bytes)")
        if self._stopped:
            raise ResourceError("The decoders were stopped.")
        future: asyncio.Future[Reply | Lost] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(facts, content, reply_bytes, most_bytes or reply_bytes, future))
        self._hand_out()
        found = await future
        if isinstance(found, Lost):
            if found.why == "timeout":
                raise RefusedImageError("decoder_timeout", f"it was not decoded within {self._timeout_s:g} s")
            raise RefusedImageError("decoder_crashed", "the process that decoded it ended without an answer")
        if "code" in found.facts:
            code = str(found.facts["code"])
            raise RefusedImageError(code if code in CODES else "damaged", str(found.facts.get("reason")))
        return found

    def _hand_out(self) -> None:
        """Give what waits to the children that are free."""
        while self._free and self._waiting:
            request = self._waiting.popleft()
            if request.reply.done():  # whoever asked has gone
                continue
            self._free.popleft().ask(
                request.facts,
                request.body,
                request.reply,
                timeout_s=self._timeout_s,
                reply_bytes=request.reply_bytes,
                most_bytes=request.most_bytes,
            )

    def _refuse_waiting(self, error: ResourceError) -> None:
        while self._waiting:
            reply = self._waiting.popleft().reply
            if not reply.done():
                reply.set_exception(error)

    async def _start_one(self) -> None:
        child = Child(self._is_free, self._has_ended)
        self._children.add(child)
        arguments = [str(self._memory_mib), str(self._timeout_s)]
        try:
            await child.start(self._program, arguments)
        except BaseException:
            child.kill()
            await child.ended()
            self._children.discard(child)
            raise

    async def _replace(self, child: Child) -> None:
        """Start another child in the place of one that ended, and try until it works."""
        await child.ended()
        self._children.discard(child)
        pause_s = FIRST_PAUSE_S
        while not self._stopped:
            try:
                await self._start_one()
            except ResourceError as error:
                if not self._children:
                    self._refuse_waiting(error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                return

    def _is_free(self, child: Child) -> None:
        self._free.append(child)
        self._hand_out()

    def _has_ended(self, child: Child) -> None:
        if child in self._free:
            self._free.remove(child)
        if child.was_ready and not self._stopped:
            self._in_background(self._replace(child))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@functools.lru_cache(maxsize=16)
def _pixels_wanted(preprocess: Preprocess, max_megapixels: int) -> bytes:
    most_pixels = min(max_megapixels * 1_000_000, MAX_PIXELS)
    return json.dumps({"preprocess": preprocess.to_dict(), "most_pixels": most_pixels, "longest_side": None}).encode()
