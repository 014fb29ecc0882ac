"""From settings to a listening service, and from a signal to its end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn

from foveal.errors import FovealError, OutputError, UsageError
from foveal.files import locked
from foveal.serving.door.connections import allow_open_files, uvicorn_options
from foveal.serving.door.limits import guarded
from foveal.serving.http.app import make_app
from foveal.serving.logs import configure_logs
from foveal.serving.metrics import Metrics
from foveal.serving.served import open_served
from foveal.serving.service import Service
from foveal.serving.settings import Settings
from foveal.serving.store import open_store
from foveal.serving.tracing import start_tracing

LAST_S = 20.0  # beyond the time to drain, for the parts to end
TAKE_IN_S, LOOKS = 2.0, 20  # for requests sent before the signal: at most so long; until so many looks find none


def serve(settings: Settings, *, ready: Callable[[str, Service], None] = lambda *_: None) -> None:
    """Serve until a signal says stop; then finish what was begun.

    `ready` is told the address once requests are taken. Raises FovealError when the service cannot start.
    """
    configure_logs(settings.log_level)
    allow_open_files(4 * settings.max_connections)
    if not settings.classifier:
        raise UsageError('No classifier is named; write: foveal serve RUN, or classifier = "RUN" in the settings.')
    store = open_store(settings)
    with locked(store.folder):
        store.sweep()
        served = open_served(Path(settings.classifier), settings.engine, workers=settings.workers)
        if unknown := [name for name in settings.urgent if name not in served.classes]:
            raise UsageError(f'urgent: the classifier tells no class "{unknown[0]}", but {", ".join(served.classes)}.')
        tracing = start_tracing(settings.telemetry)
        service = Service(settings, store.database, store.blobs, served, Metrics(stages=tracing.note))
        listener = _listener(settings)
        port = listener.getsockname()[1]
        scheme = "https" if settings.tls.certificate else "http"
        host = _called(settings)
        server = _Server(_config(settings, service), lambda: ready(f"{scheme}://{host}:{port}", service), service)
        service.server = server
        try:
            with suppress(SystemExit):  # so uvicorn ends where it could not start; why is told below
                server.run([listener])
        finally:
            listener.close()
            tracing.close()
            store.close()
    if service.failed is not None:
        raise service.failed
    if not server.was_ready and not service.draining:  # unless it was asked to stop before it was
        raise FovealError("The service could not start; its log says why.")


class _Server(uvicorn.Server):
    """Uvicorn, which tells when it is ready and leaves with 0 when it was asked to stop."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], service: Service) -> None:
        super().__init__(config)
        self._ready, self._service = ready, service
        self.was_ready = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell."""
        await super().startup(sockets)
        if self.started and not self.should_exit:
            _collect_seldom()
            self.was_ready = True
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in what was sent before, to be answered or refused in words; then stop as uvicorn does.

        What waits unread in a socket that is closed is lost without a word, and a busy machine lets much wait there.
        """
        begun, ended = -1, time.monotonic() + TAKE_IN_S
        while begun != self.server_state.total_requests and time.monotonic() < ended:
            begun = self.server_state.total_requests
            for _ in range(LOOKS):
                await asyncio.sleep(0.001)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the first signal: not ready from that moment, and a second one changes nothing."""
        if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
            yield
            return
        before = {one: signal.signal(one, self._stop) for one in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._service.draining:
            patience = threading.Timer(self._service.settings.drain_s + LAST_S, os._exit, [FovealError.exit_code])
            patience.daemon = True  # what hangs in spite of every deadline ends hard: all that was acknowledged is kept
            patience.start()
        self._service.draining = True
        self.should_exit = True


def _collect_seldom() -> None:
    """Leave what is there by now, which stays, out of garbage collection, and collect the rest a tenth as often.

    Of the processor's time for a request that saves a thirtieth.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _config(settings: Settings, service: Service) -> uvicorn.Config:
    options = uvicorn_options(settings.max_connections, proxies=_proxies(settings), drain_s=settings.drain_s)
    tls = settings.tls
    app = guarded(make_app(service), settings, service.metrics)
    return uvicorn.Config(app, ssl_certfile=tls.certificate or None, ssl_keyfile=tls.key or None, **options)


def _proxies(settings: Settings) -> tuple[str, ...]:
    return settings.proxies if settings.behind_proxy else ()


def _called(settings: Settings) -> str:
    """Return the name by which the service is reached: its address, or of every address the first name it was told."""
    if settings.host in ("0.0.0.0", "::") and settings.allowed_hosts:
        return settings.allowed_hosts[0].removeprefix("*.")
    return f"[{settings.host}]" if ":" in settings.host else settings.host


def _listener(settings: Settings) -> socket.socket:
    """Return the listening socket; OutputError when the port is taken or the address is none of this machine's."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise OutputError(
            f"{settings.host}:{settings.port} cannot be listened on: {error.strerror or error}. "
            f"Choose another --port, or stop what uses it."
        ) from error
    listener.set_inheritable(False)
    return listener
