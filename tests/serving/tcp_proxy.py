"""A TCP proxy that is slow, loses what it carries, or falls silent: what `tc netem` does where a kernel has it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field


@dataclass
class TcpProxy:
    """Carries connections from its own port to `target`; the faults may be changed while it runs."""

    target: tuple[str, int]
    latency_s: float = 0.0  # of every piece, in each direction
    silent: bool = False  # holds connections and carries nothing
    cut_after: int | None = None  # bytes of an answer's next piece, after which the connection is reset
    port: int = 0
    _listener: socket.socket = field(default_factory=socket.socket)

    def __enter__(self) -> TcpProxy:
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self.target, 5)
                except OSError:
                    client.close()
                    continue
                for one, other, is_answer in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._carry, args=(one, other, is_answer), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65_536):
                time.sleep(self.latency_s)
                while self.silent:
                    time.sleep(0.02)
                if is_answer and (cut := self.cut_after) is not None:
                    sink.sendall(part[:cut])
                    for one in (source, sink):  # no linger: a reset, not an end
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    break
                sink.sendall(part)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
