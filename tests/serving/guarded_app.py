"""A small application behind the limits, called directly or served by a real uvicorn in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from foveal.serving.door.connections import GuardedProtocol, guarded_protocol, uvicorn_options


class Caller:
    def __init__(self, actor: str) -> None:
        self.actor = actor


async def size(request: Request) -> JSONResponse:
    """Answer with the size of the body, to who shows the key "good"."""
    key = request.headers.get("x-api-key")
    if key == "wrong":
        return JSONResponse({}, 401)
    request.state.caller = Caller("key:1" if key == "good" else "guest")
    return JSONResponse({"bytes": len(await request.body())})


async def case(request: Request) -> PlainTextResponse:
    return PlainTextResponse("a case")


async def breaks(request: Request) -> PlainTextResponse:
    raise ValueError(f"cannot read {request.query_params.get('name')}")


APP = Starlette(
    routes=[
        Route("/size", size, methods=["POST", "GET"]),
        Route("/cases/{id}", case),
        Route("/breaks", breaks),
        Route("/health/live", case),
    ]
)


def call(app: Any, *, method: str = "GET", path: str = "/size", headers: Any = (), body: Any = (b"",), **more: Any):
    """Call an application once; return (status, headers, body). A body of pieces; a number is a pause in seconds."""
    given = [(name.encode(), value.encode()) for name, value in ({"host": "localhost:8000", **dict(headers)}).items()]
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "headers": given, "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 8000), "scheme": "http", "root_path": "", **more,
    }  # fmt: skip
    sent: list[dict[str, Any]] = []
    pieces = list(body)

    async def receive() -> dict[str, Any]:
        while pieces and isinstance(pieces[0], float):
            await asyncio.sleep(pieces.pop(0))
        if not pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    starts = [one for one in sent if one["type"] == "http.response.start"]
    assert len(starts) == 1, sent
    found = {name.decode(): value.decode() for name, value in starts[0]["headers"]}
    return starts[0]["status"], found, b"".join(one.get("body", b"") for one in sent)


@contextlib.contextmanager
def served(
    app: Any, *, most: int = 512, header_deadline_s: float = 10.0, **more: Any
) -> Iterator[tuple[int, type[GuardedProtocol]]]:
    """Serve `app` on a free port; yield the port and the protocol's class."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    protocol = guarded_protocol(most)
    protocol.header_deadline_s = header_deadline_s
    options = {**uvicorn_options(most, proxies=(), drain_s=1), "http": protocol, "lifespan": "off", **more}
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield port, protocol
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
