"""How many connections are held, and how long one may take to say what it wants.

uvicorn closes an idle connection only after its first answer: one that sends half a header, or nothing, is held for
ever, and a header may be as long as it likes. This protocol gives each request a deadline and a size for its header,
and a stalled reader an end; where all places are taken, the connection that has been silent longest makes room.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HANDSHAKE_S = 10.0  # of TLS; a connection counts among ours only after it
HEADER_DEADLINE_S = 10.0
MAX_HEADER_BYTES = 64 << 10
LINGER_S = 5.0  # for a body that nobody wants any more, so that the client comes to read why
STALLED_S = 60.0  # a client that does not read its answer
BACKLOG = 512
PLAIN = "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n{more}\r\n"


class Connections:
    """The connections of one service."""

    def __init__(self, most: int, most_of_address: int | None) -> None:
        """Hold `most`, and of one address `most_of_address` (None: any number, as behind a proxy)."""
        self.most, self.most_of_address = most, most_of_address
        self.open: dict[GuardedProtocol, str] = {}  # → address
        self.silent: dict[GuardedProtocol, None] = {}  # those without a request under way, longest first
        self.of_address: Counter[str] = Counter()

    def admit(self, one: GuardedProtocol, address: str) -> bool:
        """Take `one` in; where there is no place, the longest silent one makes it, or False is returned."""
        full = len(self.open) >= self.most
        too_many = self.most_of_address is not None and self.of_address[address] >= self.most_of_address
        if full or too_many:
            leaving = next((other for other in self.silent if full or self.open[other] == address), None)
            if leaving is None:
                return False
            self.forget(leaving)
            leaving.transport.abort()
        self.open[one] = address
        self.of_address[address] += 1
        self.silent[one] = None
        return True

    def forget(self, one: GuardedProtocol) -> None:
        """Let go of `one`, which is closed."""
        self.silent.pop(one, None)
        if (address := self.open.pop(one, None)) is not None:
            self.of_address[address] -= 1
            if not self.of_address[address]:
                del self.of_address[address]


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a deadline and a size for headers, and places that are counted."""

    guard: Connections
    header_deadline_s = HEADER_DEADLINE_S
    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _linger: asyncio.TimerHandle | None = None
    _heading = True  # whether the header of a request is awaited or under way
    _whole = True  # whether the body of the request came to its end
    _asked = False  # whether the first byte of it came
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in, or answer 503 where there is no place."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if self.guard.admit(self, address):
            self._timer = self.loop.call_later(self.header_deadline_s, self._too_slow)
        else:
            self._end("503 Service Unavailable", "retry-after: 5\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self.guard.forget(self)
        self._stop_timer()
        self._stop_lingering()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless a header has grown too long."""
        if self.parser is None or self.transport.is_closing():
            return
        if self._heading:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._heading and self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self._end("431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """Start the clock of the next header; that of the first runs since the connection was made."""
        if not self._heading:
            self._heading = True
            self._timer = self.loop.call_later(self.header_deadline_s, self._too_slow)
        self._asked = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the clock: a request is under way."""
        self._heading = self._asked = self._whole = False
        self._header_bytes = 0
        self._stop_timer()
        self.guard.silent.pop(self, None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body is whole."""
        self._whole = True
        self._stop_lingering()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Count the connection among the silent ones again; what still comes of a refused body is thrown away a while.

        To close at once would throw away the answer, too: who is still sending then finds the connection reset.
        """
        super().on_response_complete()
        if not self._whole and not self.transport.is_closing():
            self._linger = self._linger or self.loop.call_later(LINGER_S, self.transport.close)
        if self in self.guard.open and not self.pipeline and (self.cycle is None or self.cycle.response_complete):
            self.guard.silent[self] = None

    def pause_writing(self) -> None:
        """Give a client that does not read its answer some time."""
        super().pause_writing()
        self._stall = self._stall or self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that clock."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if self.flow is not None:
            super().resume_writing()

    def _too_slow(self) -> None:
        if self._heading and not self.transport.is_closing():
            self._end("408 Request Timeout") if self._asked else self.transport.close()

    def _end(self, status: str, more: str = "") -> None:
        self.transport.write(PLAIN.format(status=status, more=more).encode("ascii"))
        self.transport.close()

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def guarded_protocol(most: int, *, behind_proxy: bool = False) -> type[GuardedProtocol]:
    """Return the protocol for ``uvicorn.Config(http=…)``: `most` connections, half of them of one address.

    A proxy is one address that speaks for many, so behind one all may be its own.
    """
    guard = Connections(most, None if behind_proxy else max(1, most // 2))
    return type("Guarded", (GuardedProtocol,), {"guard": guard})


def uvicorn_options(max_connections: int, *, proxies: Sequence[str], drain_s: float) -> dict[str, Any]:
    """Return what ``uvicorn.Config`` is told of connections, logs and headers, for every way of starting a service.

    `proxies` are the addresses of those that stand before the service; none where it is called directly.
    """
    return {
        "http": guarded_protocol(max_connections, behind_proxy=bool(proxies)),
        "loop": f"{__name__}:service_loop",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "proxy_headers": bool(proxies),
        "forwarded_allow_ips": list(proxies),  # else a variable of the environment would tell
        "backlog": BACKLOG,
        "timeout_keep_alive": 15,
        "timeout_graceful_shutdown": max(1, round(drain_s)),
    }


def service_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of a service, in which a TLS handshake has `HANDSHAKE_S`; uvicorn has no word for it."""
    base: Any = asyncio.SelectorEventLoop
    with contextlib.suppress(ImportError):
        import uvloop

        base = uvloop.Loop

    async def create_server(self: Any, *given: Any, ssl: Any = None, **named: Any) -> Any:
        if ssl is not None:
            named["ssl_handshake_timeout"] = HANDSHAKE_S
        return await base.create_server(self, *given, ssl=ssl, **named)

    loop: asyncio.AbstractEventLoop = type("ServiceLoop", (base,), {"create_server": create_server})()
    return loop


def allow_open_files(wanted: int) -> None:
    """Raise this process's limit of open files to `wanted` as far as the system lets it."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < goal:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
