"""What browsers are told, and what they may ask: headers of the answer, names of the service, pages of elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence

from foveal.serving.door.asgi import UNSAFE, App, Message, Receive, Scope, Send, count, credential, header, refuse
from foveal.serving.metrics import Metrics

SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")


class Headers:
    """Adds what a browser is to be told, where the application said nothing of it."""

    def __init__(self, app: App, *, is_encrypted: bool) -> None:
        """Wrap `app`; over TLS browsers are told to come back over TLS only."""
        self._app = app
        self._added = (*SECURITY, STRICT_TRANSPORT) if is_encrypted else SECURITY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to the answer's beginning."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ())]
                there = {name.lower() for name, _ in headers}
                message["headers"] = headers + [pair for pair in self._added if pair[0] not in there]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Origins:
    """Refuses names that are not the service's, and changes that a page of elsewhere asks for without a key."""

    def __init__(self, app: App, names: Sequence[str], metrics: Metrics | None = None) -> None:
        """Wrap `app`, which is called by `names` (``*.example`` for any below; none: by any name)."""
        self._app, self._metrics = app, metrics
        self._names = frozenset(name.lower() for name in names)
        self._below = tuple(name[1:].lower() for name in names if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 400 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        called = header(scope, b"host").decode("latin-1").lower()
        if self._names and not self._is_ours(called):
            count(self._metrics, "unknown_host")
            message = "The service is not called by this name; its administrator can add it to allowed_hosts."
            await refuse(scope, send, 400, "unknown_host", message)
            return
        if scope["method"] in UNSAFE and not credential(scope) and self._is_foreign(scope, called):
            count(self._metrics, "cross_site")
            message = "A page of another site may not change anything here."
            await refuse(scope, send, 403, "cross_site", message)
            return
        await self._app(scope, receive, send)

    def _is_ours(self, called: str) -> bool:
        name = re.sub(r":\d*$", "", called)
        return name in self._names or (bool(self._below) and name.endswith(self._below))

    @staticmethod
    def _is_foreign(scope: Scope, called: str) -> bool:
        if (site := header(scope, b"sec-fetch-site")) and site not in (b"same-origin", b"none"):
            return True
        origin = header(scope, b"origin").decode("latin-1").lower()
        return bool(origin) and origin.partition("://")[2] != called
