"""Slow and many connections against a real server: whoever asks properly is served throughout."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import subprocess
import time

import pytest
import uvicorn
from guarded_app import APP, served

from foveal.serving.door.connections import uvicorn_options
from foveal.serving.door.limits import Bodies


def connect(port: int, said: bytes = b"") -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), timeout=10)
    one.sendall(said)
    return one


def ask(port: int, trust: ssl.SSLContext | None = None) -> float:
    """Return how many seconds a proper request took."""
    began = time.perf_counter()
    kind = {} if trust is None else {"context": trust}
    client = (http.client.HTTPSConnection if trust else http.client.HTTPConnection)(
        "localhost", port, timeout=5, **kind
    )
    client.request("POST", "/size", b"abc")
    answer = client.getresponse()
    assert (answer.status, answer.read()) == (200, b'{"bytes":3}')
    client.close()
    return time.perf_counter() - began


def said_of(one: socket.socket) -> bytes:
    """Return what the server said until it closed."""
    parts = []
    try:
        while part := one.recv(4096):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


SLOW = {
    "nothing": b"",
    "half a header": b"POST /size HTTP/1.1\r\nhost: lo",
    "half a body": b"POST /size HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nx",
    "an endless trailer": b"POST /size HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y",
}


@pytest.mark.parametrize("said", SLOW.values(), ids=SLOW)
def test_two_hundred_slow_connections_keep_nobody_out_and_are_closed(said):
    with served(Bodies(APP, 1 << 20, read_s=2.0), header_deadline_s=2.0) as (port, protocol):
        slow = [connect(port, said) for _ in range(200)]
        try:
            assert max(ask(port) for _ in range(20)) < 2
            for one in slow if said else ():
                one.sendall(b"z")
            assert ask(port) < 2
            for one in slow:
                answer = said_of(one)
                assert (answer == b"") if not said else answer.startswith(b"HTTP/1.1 408 "), answer
            assert ask(port) < 2
            assert len(protocol.guard.open) <= 2
        finally:
            for one in slow:
                one.close()


def test_more_connections_than_places_make_the_longest_silent_one_leave():
    with served(APP, most=20) as (port, protocol):
        slow = [connect(port, SLOW["half a header"]) for _ in range(300)]
        try:
            assert max(ask(port) for _ in range(10)) < 2
            assert len(protocol.guard.open) <= 11
            assert protocol.guard.of_address["127.0.0.1"] == len(protocol.guard.open)
        finally:
            for one in slow:
                one.close()
        time.sleep(0.1)
        assert ask(port) < 2


def test_where_every_place_is_at_work_the_next_is_told_to_come_back():
    body = b"POST /size HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nx"
    with served(APP, most=20) as (port, _):
        busy = [connect(port, body) for _ in range(10)]
        time.sleep(0.2)
        late = connect(port)
        answer = said_of(late)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after" in answer
        for one in busy:
            one.sendall(b"x" * 8)
            assert one.recv(4096).startswith(b"HTTP/1.1 200 ")
            one.close()
        late.close()


@pytest.mark.parametrize(
    ("proxies", "caller", "seen"),
    [
        (("10.0.0.0/24", "::1"), "10.0.0.7", "192.0.2.1"),
        (("10.0.0.0/24", "::1"), "::1", "192.0.2.1"),
        (("10.0.0.0/24", "::1"), "10.0.1.7", "10.0.1.7"),
        ((), "127.0.0.1", "127.0.0.1"),
    ],
)
def test_only_the_proxies_that_were_named_are_believed(monkeypatch, proxies, caller, seen):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own way to be told, which settings do not show
    found = []

    async def app(scope, _receive, _send):
        found.append(scope["client"][0])

    config = uvicorn.Config(app, **uvicorn_options(64, proxies=proxies, drain_s=1))
    config.load()
    headers = [(b"x-forwarded-for", b"192.0.2.1")]
    scope = {"type": "http", "client": (caller, 1), "headers": headers, "scheme": "http"}
    asyncio.run(config.loaded_app(scope, None, None))
    assert found == [seen]


def test_a_header_has_a_size():
    with served(APP) as (port, _):
        one = connect(port, b"GET /size HTTP/1.1\r\nhost: localhost\r\nx-long: ")
        with pytest.raises(OSError):  # reset or broken pipe, as the system has it
            for _ in range(500):
                one.sendall(b"x" * 4096)
                time.sleep(0.001)
        one.close()
        many = connect(port, b"GET /size HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(9000)))
        assert said_of(many).startswith(b"HTTP/1.1 431 ")
        many.close()
        assert ask(port) < 2


def test_a_connection_that_is_kept_may_ask_again_and_has_a_new_deadline():
    with served(APP, header_deadline_s=0.5) as (port, _):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        for _ in range(3):
            client.request("GET", "/health/live")
            assert client.getresponse().read() == b"a case"
            time.sleep(0.3)
        client.sock.sendall(b"GET /health/live HT")
        assert said_of(client.sock).startswith(b"HTTP/1.1 408 ")
        client.close()


def test_who_still_sends_a_refused_body_comes_to_read_why_and_not_for_ever(monkeypatch):
    monkeypatch.setattr("foveal.serving.door.connections.LINGER_S", 0.5)
    with served(Bodies(APP, 1 << 20)) as (port, _):
        one = connect(port, b"POST /size HTTP/1.1\r\nhost: localhost\r\ncontent-length: 8000000\r\n\r\n")
        for _ in range(8):
            one.sendall(b"x" * 1_000_000)
        assert one.recv(4096).startswith(b"HTTP/1.1 413 ")
        one.sendall(b"POST /size HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nxy")  # it may go on
        assert one.recv(4096).startswith(b"HTTP/1.1 200 ")
        one.close()
        endless = connect(port, b"POST /size HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4000000000\r\n\r\n")
        began = time.perf_counter()
        with pytest.raises(OSError):
            while time.perf_counter() - began < 5:
                endless.sendall(b"x" * 1000)
                time.sleep(0.001)
        assert time.perf_counter() - began < 3
        endless.close()


def test_connections_that_never_finish_their_handshake_are_closed(tmp_path, monkeypatch):
    monkeypatch.setattr("foveal.serving.door.connections.HANDSHAKE_S", 1.0)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "own.pem"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    trust = ssl.create_default_context(cafile=str(tmp_path / "own.pem"))
    with served(APP, ssl_certfile=str(tmp_path / "own.pem"), ssl_keyfile=str(tmp_path / "key.pem")) as (port, _):
        slow = [connect(port) for _ in range(200)]
        assert max(ask(port, trust) for _ in range(5)) < 2
        for one in slow:
            assert said_of(one) == b""
            one.close()
        assert ask(port, trust) < 2
