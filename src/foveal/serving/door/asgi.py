"""What an ASGI application is, as types, and how a middleware answers in its place."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from foveal.serving.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


async def refuse(
    scope: Scope, send: Send, status: int, code: str, message: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with the service's JSON error."""
    request_id = scope.get("state", {}).get("request_id", "")
    body = json.dumps({"error": {"code": code, "message": message, "request_id": request_id}}).encode()
    start = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> bytes:
    """Return the value of a header, or nothing."""
    for one, value in scope["headers"]:
        if one == name:
            found: bytes = value
            return found
    return b""


def credential(scope: Scope) -> bytes:
    """Return what a program says to be known by; no browser sends it by itself."""
    return header(scope, b"authorization") or header(scope, b"x-api-key")


def count(metrics: Metrics | None, code: str) -> None:
    """Count a refusal where anything is counted."""
    if metrics is not None:
        metrics.refusal(code)
