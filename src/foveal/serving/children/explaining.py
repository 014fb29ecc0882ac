"""Explaining: heat maps from one child process, which is there while it is needed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.errors import ResourceError
from foveal.serving.children.child import Child, Lost, Reply
from foveal.serving.children.decoding import Decoded
from foveal.serving.children.told import raise_told

PROGRAM = "foveal.serving.children.explainer"
MOST_BYTES = 1 << 26  # of a heat map
LONGEST_SIDE = 1024  # of a heat map, which is smooth; it is laid over the picture by whoever shows it


@dataclass(frozen=True, eq=False)
class HeatMap:
    """A PNG of 8-bit grey over the picture as a viewer shows it, and what it was made by."""

    png: bytes
    facts: dict[str, Any]


class Explainer:
    """One child process with torch in it: started by the first question, ended after a while without any.

    Questions are answered one after another. Where the process crashes, or takes longer than `timeout_s`, the next
    question starts another one.

    Args:
        memory_mib: the address space that it may have; torch alone takes some of it.
        timeout_s: how long a heat map may take, once the process is there.
        idle_minutes: after how long without a question the process ends.
        program: the module that the child runs.
    """

    def __init__(
        self, memory_mib: int = 4096, timeout_s: float = 120, idle_minutes: float = 10, *, program: str = PROGRAM
    ) -> None:
        self._memory_mib, self._timeout_s, self._idle_s = memory_mib, timeout_s, idle_minutes * 60
        self._program = program
        self._child: Child | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def pid(self) -> int | None:
        """The number of the process; None while there is none."""
        return self._child.pid if self._child is not None else None

    async def explain(
        self,
        decoded: Decoded,
        classifier: Path,
        classifier_hash: str,
        *,
        method: str = "gradcam",
        target: str | None = None,
        judged: bool = False,
        longest_side: int = LONGEST_SIDE,
    ) -> HeatMap:
        """Return why `classifier` gives the image `target` (the class that it answers, where none is named).

        Args:
            decoded: what `Decoders.decode` made of the image, by the preprocessing of this classifier.
            classifier: the path of the classifier.
            classifier_hash: its hash; another one there is refused.
            method: as `foveal explain` calls it.
            target: a class.
            judged: whether the map is measured, which takes a hundred times as long: its warnings are in the facts.
            longest_side: of the map in pixels.

        Raises:
            UsageError: for an unknown method or class, or a method that does not suit the network.
            ClassifierError: where the classifier is gone, damaged or another one.
            ResourceError: where there is no process for it, or it took too long or too much.
        """
        asked = {
            "classifier": str(classifier.absolute()),
            "hash": classifier_hash,
            "method": method,
            "target": target,
            "judged": judged,
            "picture": [decoded.width, decoded.height],
            "longest_side": longest_side,
        }
        begun = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._in_turn(json.dumps(asked).encode(), decoded, begun))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            found = await asyncio.shield(task)  # whoever goes away leaves the process at its work
        except asyncio.CancelledError:
            if not task.cancelled():
                if not begun.is_set():
                    task.cancel()
                raise
            raise ResourceError("The explainer was stopped.") from None
        if isinstance(found, Lost):
            why = f"took longer than {self._timeout_s:g} s" if found.why == "timeout" else "ended its process"
            raise ResourceError(f"The explanation {why}.")
        raise_told(found.facts)
        return HeatMap(bytes(found.body), found.facts)

    async def stop(self) -> None:
        """End the process at once; nothing of it is left behind."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._idle is not None:
            self._idle.cancel()
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            await child.ended()

    async def _in_turn(self, facts: bytes, decoded: Decoded, begun: asyncio.Event) -> Reply | Lost:
        async with self._turn:
            begun.set()
            if self._idle is not None:
                self._idle.cancel()
            if self._child is None:
                self._child = await self._started()
            child = self._child
            reply: asyncio.Future[Reply | Lost] = asyncio.get_running_loop().create_future()
            limits = {"timeout_s": self._timeout_s}
            child.ask(facts, decoded.pixels.tobytes(), reply, reply_bytes=0, most_bytes=MOST_BYTES, **limits)
            found = await reply
            if isinstance(found, Lost):
                await child.ended()
            elif not self._tasks - {asyncio.current_task()}:
                self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._end_idle)
            return found

    async def _started(self) -> Child:
        child = Child(lambda _: None, self._has_ended)
        try:
            await child.start(self._program, [str(self._memory_mib), str(self._timeout_s)])
        except BaseException:
            child.kill()
            await child.ended()
            raise
        return child

    def _has_ended(self, child: Child) -> None:
        if self._child is child:
            self._child = None

    def _end_idle(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
