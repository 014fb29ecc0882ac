"""What a request may be: named, of a size, of a pace, from where it says, and not too often.

Plain ASGI, each a few microseconds a request; `guarded` puts them around an application in this order:

::

    Named        a request id, in the state, the answer's header and the log; one log line and count a request
    Headers      what a browser is told not to do
    Origins      names the service is not called by, and pages of elsewhere that would use a guest: 400, 403
    Rates        too many requests of a caller, or too many wrong keys of an address: 429
    Bodies       too large 413, encoded 415, too slow 408, more in memory than all together may be 503
"""

from __future__ import annotations

import asyncio

from foveal.serving.door.asgi import App, Message, Receive, Scope, Send, count, refuse
from foveal.serving.door.naming import Named
from foveal.serving.door.origins import Headers, Origins
from foveal.serving.door.rates import Rates
from foveal.serving.metrics import Metrics
from foveal.serving.settings import Settings

READ_S = 10.0  # for the next bytes of a body
SLOWEST_BYTES_PER_S = 4096  # of a body, after the first `READ_S`
BODY_S = 120.0  # for all of it
MOST_HELD = 1 << 30  # bytes of all bodies whose requests are not answered yet; of the largest ones two, at least
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")


def guarded(app: App, settings: Settings, metrics: Metrics | None = None) -> App:
    """Return `app` behind every limit of the settings."""
    inner: App = Bodies(app, settings.max_body_bytes, metrics)
    inner = Rates(inner, settings.rate_per_minute, metrics)
    inner = Origins(inner, allowed_names(settings), metrics)
    inner = Headers(inner, is_encrypted=bool(settings.tls.certificate) or settings.behind_proxy)
    return Named(inner, metrics)


def allowed_names(settings: Settings) -> tuple[str, ...]:
    """Return the names that requests may call the service by; none: any.

    On loopback these are this machine's own, since a page of elsewhere can have its own name point here.
    """
    if settings.allowed_hosts:
        return (*settings.allowed_hosts, *LOOPBACK_NAMES)
    return (settings.host, *LOOPBACK_NAMES) if settings.is_loopback else ()


class Bodies:
    """Refuses a body that is too large, encoded, or too slow; whether its length is announced or not."""

    def __init__(self, app: App, most_bytes: int, metrics: Metrics | None = None, *, read_s: float = READ_S) -> None:
        """Wrap `app`; the first bytes, and each next ones, have `read_s` seconds."""
        self._app, self._most, self._metrics, self._read_s = app, most_bytes, metrics, read_s
        self._held, self._most_held = 0, max(MOST_HELD, 2 * most_bytes)  # bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body watched, or answer 413, 415, 408."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        encoding, length, is_chunked = b"", 0, False
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = int(value) if value.isdigit() and len(value) < 19 else self._most + 1
            elif name == b"content-encoding":
                encoding = value.strip().lower()
            elif name == b"transfer-encoding":
                is_chunked = True
        if encoding not in (b"", b"identity"):
            message = "An encoded body is not decoded here; send it without Content-Encoding."
            await self._refuse(scope, send, 415, "content_encoding", message)
            return
        if length > self._most:
            await self._refuse(scope, send, 413, "body_too_large", self._too_large())
            return
        if not length and not is_chunked:
            await self._app(scope, receive, send)
            return
        await _Watched(self, scope, receive, send).run()

    async def _refuse(self, scope: Scope, send: Send, status: int, code: str, message: str) -> None:
        count(self._metrics, code)
        told = {408: [(b"connection", b"close")], 503: [(b"retry-after", b"1")]}
        await refuse(scope, send, status, code, message, told.get(status, []))

    def _too_large(self) -> str:
        return f"A request may have {self._most >> 20} MiB; send fewer or smaller images at once."


class _Watched:
    """One request whose body is counted and timed. Once it is refused, the application finds the client gone."""

    def __init__(self, limits: Bodies, scope: Scope, receive: Receive, send: Send) -> None:
        self._limits, self._scope, self._receive, self._send = limits, scope, receive, send
        self._received, self._whole, self._refused, self._started = 0, False, False, False
        self._began = asyncio.get_running_loop().time()

    async def run(self) -> None:
        try:
            await self._limits._app(self._scope, self.receive, self.send)
        except Exception:
            if not self._refused:
                raise
        finally:
            self._limits._held -= self._received

    async def receive(self) -> Message:
        if self._refused:
            return {"type": "http.disconnect"}
        if self._whole:
            return await self._receive()
        read_s, now = self._limits._read_s, asyncio.get_running_loop().time()
        paced = self._began + read_s + self._received / SLOWEST_BYTES_PER_S
        try:
            async with asyncio.timeout_at(min(now + read_s, paced, self._began + BODY_S)):
                message = await self._receive()
        except TimeoutError:
            return await self._refuse(408, "slow_body", "The body came too slowly and was given up; send it again.")
        if message["type"] == "http.request":
            came = len(message.get("body", b""))
            self._received += came
            self._limits._held += came
            self._whole = not message.get("more_body", False)
            if self._received > self._limits._most:
                return await self._refuse(413, "body_too_large", self._limits._too_large())
            if self._limits._held > self._limits._most_held:
                return await self._refuse(503, "overloaded", "Too much is being sent at once; ask again.")
        return message

    async def send(self, message: Message) -> None:
        if not self._refused:
            self._started = self._started or message["type"] == "http.response.start"
            await self._send(message)

    async def _refuse(self, status: int, code: str, message: str) -> Message:
        self._refused = True
        if not self._started:
            await self._limits._refuse(self._scope, self._send, status, code, message)
        return {"type": "http.disconnect"}
