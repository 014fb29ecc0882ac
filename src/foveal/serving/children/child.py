"""A child process as the service sees it: started confined, asked one thing at a time, killed at the deadline."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from foveal.errors import ResourceError
from foveal.serving.children.frames import HEAD, MOST_JSON, frame_head

START_S = 60.0  # within which a child must be ready, on a machine that has much else to do
SOCKET_BYTES = 1 << 20  # asked of the system for each direction, so that a reply seldom waits to be read
USUAL_JSON = 1 << 10  # bytes
SMALL = 1 << 18  # bytes up to which a request is copied together, to be sent by one call
MEMORY = {  # of glibc: what was freed is kept for the next image, which else pays for new pages
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_TOP_PAD_": str(4 << 20),
}
ALLOWED_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TMPDIR", "TZ")


@dataclass(frozen=True, eq=False)
class Reply:
    """What a child answered: its JSON, and bytes in a buffer that is the receiver's own."""

    facts: dict[str, Any]
    body: memoryview


@dataclass(frozen=True)
class Lost:
    """There will be no answer, since the child ended or was ended."""

    why: Literal["crashed", "timeout"]


class Child(asyncio.BufferedProtocol):
    """One process, its socket, and the one request that it is at.

    `on_free` is called when it can be asked (again), `on_end` once when its socket is closed.
    """

    def __init__(self, on_free: Callable[[Child], None], on_end: Callable[[Child], None]) -> None:
        self._on_free, self._on_end = on_free, on_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reply: asyncio.Future[Reply | Lost] | None = None  # None: it is free
        self._why: Literal["crashed", "timeout"] = "crashed"
        self._timer: asyncio.TimerHandle | None = None
        self._buffer, self._filled, self._total, self._most = bytearray(HEAD.size), 0, 0, 0
        self.was_ready = False  # once it was, its end is news

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid if self._process is not None else 0

    async def start(self, module: str, arguments: Sequence[str]) -> dict[str, Any]:
        """Start ``python -m module SOCKET PARENT arguments…``, wait until it is ready, and return what it says then.

        Raises ResourceError when it cannot be started or ends at once.
        """
        here, there = socket.socketpair()
        ready: asyncio.Future[Reply | Lost] = self._loop.create_future()
        try:
            for one in (here, there):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            here.setblocking(False)
            self._expect(ready, 0, MOST_JSON, START_S)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", module, str(there.fileno()), str(os.getpid()), *arguments,
                pass_fds=[there.fileno()], env=_environment(), start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            await self._loop.create_unix_connection(lambda: self, sock=here)
        except OSError as error:
            here.close()
            self._settle(Lost("crashed"))
            raise ResourceError(f"A process cannot be started for {module}: {error.strerror or error}.") from error
        finally:
            there.close()
        found = await ready
        if isinstance(found, Lost):
            code = await self._process.wait()
            raise ResourceError(f"The process of {module} ended at its start, with exit code {code}.")
        self.was_ready = True
        return found.facts

    def ask(
        self,
        facts: bytes,
        body: bytes | memoryview,
        reply: asyncio.Future[Reply | Lost],
        *,
        timeout_s: float,
        reply_bytes: int,
        most_bytes: int,
    ) -> None:
        """Send a request; `reply` will hold what came of it, never an error.

        Args:
            facts: JSON.
            body: the bytes that go with it.
            reply: where the answer goes; whether somebody still waits for it or not, the child answers to the end.
            timeout_s: after which the child is killed.
            reply_bytes: how large the body of the reply will be, so far as is known; spares a copy.
            most_bytes: how large it may be; a child that sends more is killed.
        """
        assert self._reply is None and self._transport is not None, "a child is asked one thing at a time"
        self._expect(reply, reply_bytes, most_bytes + MOST_JSON, timeout_s)
        head = frame_head(facts, len(body))
        if len(body) <= SMALL:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    def kill(self, why: Literal["crashed", "timeout"] = "crashed") -> None:
        """End the process at once; what was asked of it is lost."""
        self._why = why
        self._end_process()
        if self._transport is not None:
            self._transport.abort()

    async def ended(self) -> int:
        """Wait until the process is gone, and return its exit code; nothing of it is left then."""
        return await self._process.wait() if self._process is not None else 0

    def _expect(self, reply: asyncio.Future[Reply | Lost], reply_bytes: int, most_bytes: int, timeout_s: float) -> None:
        self._buffer, self._filled, self._total = bytearray(HEAD.size + USUAL_JSON + reply_bytes), 0, 0
        self._most = HEAD.size + most_bytes
        self._timer = self._loop.call_later(timeout_s, self.kill, "timeout")
        self._reply = reply

    def _end_process(self) -> None:
        """Kill the process; by its number, since asyncio's own way may take the exit code away from its watcher."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def _settle(self, found: Reply | Lost) -> None:
        reply, self._reply = self._reply, None
        if self._timer is not None:
            self._timer.cancel()
        if reply is not None and not reply.done():  # else whoever asked has gone
            reply.set_result(found)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        del sizehint
        return memoryview(self._buffer)[self._filled :] if self._reply is not None else memoryview(bytearray(1))

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes in; with the last of a frame, hand it over."""
        if self._reply is None:  # it talks unasked
            self.kill()
            return
        self._filled += nbytes
        if not self._total and self._filled >= HEAD.size:
            facts_bytes, body_bytes = HEAD.unpack_from(self._buffer)
            self._total = HEAD.size + facts_bytes + body_bytes
            if facts_bytes > MOST_JSON or self._total > self._most:
                self.kill()
                return
            if self._total > len(self._buffer):  # a new one, since the event loop still holds the old one
                larger = bytearray(self._total)
                larger[: self._filled] = memoryview(self._buffer)[: self._filled]
                self._buffer = larger
        if self._total and self._filled >= self._total:
            self._finish()

    def _finish(self) -> None:
        whole = memoryview(self._buffer)
        start = HEAD.size + HEAD.unpack_from(whole)[0]
        try:
            facts = json.loads(bytes(whole[HEAD.size : start]))
        except ValueError:
            facts = None
        if not isinstance(facts, dict) or self._filled > self._total:
            self.kill()
            return
        self._settle(Reply(facts, whole[start : self._total]))
        self._on_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the child has gone, or has closed its socket, which is the same to us."""
        del exc
        self._end_process()
        self._settle(Lost(self._why))
        self._on_end(self)


def _environment() -> dict[str, str]:
    """Return the variables of a child: what it needs to find its libraries, and none of the service's secrets."""
    kept = {name: os.environ[name] for name in ALLOWED_VARIABLES if name in os.environ}
    paths = [str(Path(one).absolute()) for one in sys.path if one]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **one_thread, **own, **MEMORY}
