"""A request's id, its one line in the log, and its place in the figures."""

from __future__ import annotations

import re
import secrets
import time

from foveal.serving.door.asgi import UNSAFE, App, Message, Receive, Scope, Send, header, refuse
from foveal.serving.logs import get_log
from foveal.serving.metrics import Metrics

SANE_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")


class Named:
    """Gives each request an id, and writes its one line: route and figures, never path, query or bodies."""

    def __init__(self, app: App, metrics: Metrics | None = None) -> None:
        """Wrap `app`."""
        self._app, self._metrics, self._log = app, metrics, get_log()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the request, let it be answered, note it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        said = header(scope, b"x-request-id")
        request_id = said.decode() if SANE_ID.fullmatch(said) else secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        status, is_replaced = 0, False

        async def named_send(message: Message) -> None:
            nonlocal status, is_replaced
            if is_replaced:
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == 500 and (b"content-type", b"text/plain; charset=utf-8") in message.get("headers", ()):
                    await fail()  # what a framework says of an error that nobody foresaw is no JSON
                    is_replaced = True
                    return
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        async def fail() -> None:
            message = "The service met an error of its own; its log tells more under this request id."
            await refuse(scope, named_send, 500, "internal_error", message)

        try:
            await self._app(scope, receive, named_send)
        except Exception:  # noqa: BLE001 - whatever it is, it is answered and noted without its words
            self._log.error("request failed", request_id=request_id, exc_info=True)
            if not status:
                await fail()
        finally:
            self._note(scope, request_id, status, time.perf_counter() - began)

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        caller = getattr(scope["state"].get("caller"), "actor", "-")
        if self._metrics is not None:
            self._metrics.request(route, scope["method"], status, seconds)
        self._log.info(
            "request",
            request_id=request_id,
            method=scope["method"] if scope["method"] in (*UNSAFE, "GET", "HEAD", "OPTIONS") else "other",
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            caller=caller,
        )
