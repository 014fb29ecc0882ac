"""A light HTTP client that loads a server and says how long each answer took: for `bench/serve.py`.

One process, one thread, plain sockets, the requests made beforehand, only what is needed read of an answer: it shares
the machine with the server, so it must cost little. It tells its own processor time, and `bench/serve.py` measures
how many requests a second it makes of a server that does nothing.

Closed loop: so many connections, each asks again as soon as it is answered. Fixed rate: requests fall due at even
times, whatever the server does, and each one's time counts from when it was due, so that a server that stalls pays
for all that it kept waiting (no coordinated omission).
"""

from __future__ import annotations

import collections
import json
import os
import re
import select
import socket
import sys
import time
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MOST_CONNECTIONS = 256  # of a fixed rate; what falls due beyond waits for a free one, and that time counts
BOUNDARY = "7a3f5c11e0b84d62"


@dataclass
class Load:
    """What to ask, and how: `concurrency` connections in a closed loop, or `rate` requests a second."""

    port: int
    path: str
    images: str  # a folder of .png
    seconds: float
    concurrency: int = 1
    rate: float = 0.0
    part: str = "image"  # of the multipart form; empty: the image is the whole body
    warm_s: float = 1.0  # before the measured seconds
    distinct: bool = True  # whether every upload is a file of its own
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Report:
    """What came of it: of the requests that fell into the measured seconds."""

    ms: list[float]  # of the answers 200
    statuses: dict[str, int]  # other than 200; "lost" for a connection that ended
    seconds: float
    client_s: float  # processor time of this client within `seconds`
    unanswered: int  # still in flight when the grace after the measured seconds was over


class Request:
    """The bytes of one image's request. Each time it is sent the image is another file: it counts in a text of its own.

    Else a server that keeps files by their hash would write each image once and never again.
    """

    def __init__(self, load: Load, name: str, content: bytes) -> None:
        text = b"Comment\0" + b"0" * 24
        chunk = len(text).to_bytes(4, "big") + b"tEXt" + text + bytes(4)
        if not content.startswith(b"\x89PNG\r\n\x1a\n"):
            raise SystemExit(f"{name} is no PNG")
        self.whole = bytearray(request_bytes(load, name, content[:33] + chunk + content[33:]))  # behind IHDR
        self.at = self.whole.index(b"tEXt" + text)

    def numbered(self, number: str) -> bytes:
        """Return it with the text `number`, of 24 letters."""
        if number:
            text = slice(self.at, self.at + 4 + 8 + 24)
            self.whole[text] = b"tEXtComment\0" + number.encode()
            self.whole[text.stop : text.stop + 4] = zlib.crc32(self.whole[text]).to_bytes(4, "big")
        return bytes(self.whole)


def request_bytes(load: Load, name: str, content: bytes) -> bytes:
    """Return the whole request that sends one image."""
    kind, body = "image/png", content
    if load.part:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{load.part}"; filename="{name}"\r\n'
        body = f"{head}Content-Type: image/png\r\n\r\n".encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    lines = [f"POST {load.path} HTTP/1.1", f"Host: 127.0.0.1:{load.port}", f"Content-Type: {kind}"]
    lines += [f"Content-Length: {len(body)}", *(f"{key}: {value}" for key, value in load.headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """One socket and the request that is under way on it."""

    def __init__(self, port: int, poll: select.epoll) -> None:
        self.port, self.poll = port, poll
        self.socket = self._open()

    def _open(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        self.poll.register(made.fileno(), select.EPOLLIN)
        self.received, self.unsent, self.since = b"", memoryview(b""), 0.0
        return made

    def again(self) -> None:
        """Open it anew."""
        self.close()
        self.socket = self._open()

    def close(self) -> None:
        self.poll.unregister(self.socket.fileno())
        self.socket.close()

    def ask(self, request: bytes, since: float) -> None:
        self.unsent, self.received, self.since = memoryview(request), b"", since
        self.send()

    def send(self) -> None:
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            return  # reading will tell that it is lost
        self.poll.modify(self.socket.fileno(), select.EPOLLIN | (select.EPOLLOUT if self.unsent else 0))

    def read(self) -> int | None:
        """Return the status of a whole answer; None while it is not whole, 0 when the connection is lost."""
        try:
            part = self.socket.recv(65_536)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        self.received += part
        if not part:
            return 0
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = LENGTH.search(self.received, 0, end)
        whole = len(self.received) >= end + 4 + int(length[1]) if length else self.received.endswith(b"0\r\n\r\n")
        return int(self.received[9:12]) if whole else None


class Client:
    """The loop: see the module's text."""

    def __init__(self, load: Load) -> None:
        self.load, self.poll = load, select.epoll()
        files = sorted(Path(load.images).glob("*.png"))
        self.requests = [Request(load, file.name, file.read_bytes()) for file in files]
        for request in self.requests:
            request.numbered("0" * 24)  # a whole PNG
        self.run_name = os.urandom(6).hex()
        self.all: dict[int, Connection] = {}  # by the number of its socket
        self.sent, self.idle = 0, collections.deque[Connection]()
        self.ms: list[float] = []
        self.statuses: collections.Counter[str] = collections.Counter()

    def run(self) -> Report:
        load = self.load
        for _ in range(load.concurrency if not load.rate else 8):
            self.idle.append(self._connected())
        begun = time.perf_counter()
        self.start, self.stop = begun + load.warm_s, begun + load.warm_s + load.seconds
        due, waiting = begun, collections.deque[float]()
        cpu_at_start, cpu_s = 0.0, 0.0
        while True:
            now = time.perf_counter()
            if now >= self.start and not cpu_at_start:
                cpu_at_start = time.process_time()
            if now >= self.stop and not cpu_s:
                cpu_s = time.process_time() - cpu_at_start
            while load.rate and due <= now and due < self.stop:
                waiting.append(due)
                due += 1 / load.rate
            if load.rate:
                while waiting and (self.idle or len(self.all) < MOST_CONNECTIONS):
                    self._ask(self.idle.pop() if self.idle else self._connected(), waiting.popleft())
            elif now < self.stop:
                while self.idle:
                    self._ask(self.idle.popleft(), time.perf_counter())
            busy = len(self.all) - len(self.idle)
            if now >= self.stop and ((not busy and not waiting) or now > self.stop + 30):
                return Report(self.ms, dict(self.statuses), load.seconds, cpu_s, busy + len(waiting))
            self._wait(min(due, self.stop) if load.rate else self.stop)

    def _wait(self, until: float) -> None:
        """Take what the sockets have; at most until then, by the microsecond, which epoll's own wait does not know."""
        left = until - time.perf_counter()
        ready, _, _ = select.select([self.poll.fileno()], [], [], max(left, 0.0) if left > 0 else 0.01)
        for number, event in self.poll.poll(0) if ready else ():
            connection = self.all[number]
            if event & select.EPOLLOUT:
                connection.send()
            if event & ~select.EPOLLOUT and (status := connection.read()) is not None:
                self._answered(connection, status)

    def _answered(self, connection: Connection, status: int) -> None:
        now = time.perf_counter()
        if connection.since and self._counts(connection.since, now):
            if status == 200:
                self.ms.append((now - connection.since) * 1e3)
            else:
                self.statuses[str(status) if status else "lost"] += 1
        was_idle = connection in self.idle
        if self.load.rate and was_idle:  # one too many, which the server has closed after a while
            self.idle.remove(connection)
            del self.all[connection.socket.fileno()]
            connection.socket.close()
            return
        if not status or b"\r\nconnection: close" in connection.received[:600].lower():
            del self.all[connection.socket.fileno()]
            connection.again()
            self.all[connection.socket.fileno()] = connection
        connection.since = 0.0
        if not was_idle:
            self.idle.append(connection)

    def _counts(self, since: float, now: float) -> bool:
        """Whether a request is measured: by when it fell due; in a closed loop by when it was answered."""
        return self.start <= (since if self.load.rate else now) < self.stop

    def _ask(self, connection: Connection, since: float) -> None:
        number = f"{self.run_name}{self.sent:012}" if self.load.distinct else ""
        connection.ask(self.requests[self.sent % len(self.requests)].numbered(number), since)
        self.sent += 1

    def _connected(self) -> Connection:
        made = Connection(self.load.port, self.poll)
        self.all[made.socket.fileno()] = made
        return made


def main() -> None:
    """Do the load that is described on the command line, as JSON; print the report."""
    print(json.dumps(asdict(Client(Load(**json.loads(sys.argv[1]))).run())))


def null_server(port: int) -> Any:
    """Be a server that reads a request and answers at once, to learn what the client itself can do."""
    import asyncio

    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"

    class Null(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.left, self.head = transport, 0, b""

        def data_received(self, data: bytes) -> None:
            if not self.left:
                self.head += data
                end = self.head.find(b"\r\n\r\n")
                if end < 0:
                    return
                length = LENGTH.search(self.head, 0, end)
                self.left, data, self.head = int(length[1]) if length else 0, self.head[end + 4 :], b""
            self.left -= len(data)
            if self.left <= 0:
                self.left = 0
                self.transport.write(answer)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Null, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(run())


if __name__ == "__main__":
    main()
