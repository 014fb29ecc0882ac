"""Downloads against a server of our own: whole, resumed, begun anew, broken off, wrong, refused, and never half."""

from __future__ import annotations

import hashlib
import http.server
import io
import multiprocessing
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from foveal import download
from foveal.download import NotFetchedError, RemoteFile, cache_folder, fetch
from foveal.errors import OutputError
from foveal.progress import Progress

CONTENT = bytes(range(256)) * 5_000  # 1.28 MB
SILENT = Progress(silent=True)


class Server(http.server.ThreadingHTTPServer):
    """Serves `CONTENT` as `behaviour` says; `asked` keeps the Range of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.behaviour, self.asked = CONTENT, "", []

    def file(self, sha256: str = hashlib.sha256(CONTENT).hexdigest(), *more: str) -> RemoteFile:
        return RemoteFile("data.bin", len(CONTENT), sha256, (f"http://127.0.0.1:{self.server_port}/data.bin", *more))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        content, behaviour, wanted = self.server.content, self.server.behaviour, self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and "no ranges" not in behaviour else 0
        if behaviour.isdecimal():
            self.send_error(int(behaviour))
            return
        if behaviour.startswith("to "):
            self.send_response(302)
            self.send_header("Location", behaviour.removeprefix("to "))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if behaviour == "silent":
            time.sleep(2)
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start + 1 if behaviour == "other range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behaviour.startswith("breaks off"):  # each time after 300,000 bytes
            self.wfile.write(body[:300_000])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def refusal(file: RemoteFile, folder: Path) -> str:
    with pytest.raises(NotFetchedError) as caught:
        fetch("some data", (file,), folder, SILENT)
    assert "data.bin" not in names(folder)
    return str(caught.value)


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    out = io.StringIO()
    fetch("some data", (server.file(),), tmp_path / "new" / "folder", Progress(stream=out))
    assert (tmp_path / "new" / "folder" / "data.bin").read_bytes() == CONTENT
    assert names(tmp_path / "new" / "folder") == ["data.bin"]
    fetch("some data", (server.file(),), tmp_path / "new" / "folder", SILENT)
    assert server.asked == [None]
    assert out.getvalue() == f"downloading some data (1.3 MB) into {tmp_path / 'new' / 'folder'}\n"


def test_a_file_of_another_size_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"half")
    fetch("some data", (server.file(),), tmp_path, SILENT)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("there", [1, 700_000, len(CONTENT)])
def test_what_is_there_is_not_asked_again(there: int, server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:there])
    fetch("some data", (server.file(),), tmp_path, SILENT)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.asked == ([f"bytes={there}-"] if there < len(CONTENT) else [])
    assert names(tmp_path) == ["data.bin"]


def test_a_server_without_ranges_is_heard_from_the_start(server: Server, tmp_path: Path) -> None:
    server.behaviour = "no ranges"
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:700_000])
    fetch("some data", (server.file(),), tmp_path, SILENT)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"another beginning", bytes(len(CONTENT)), bytes(len(CONTENT) + 1)])
def test_a_wrong_beginning_is_thrown_away(part: bytes, server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(part)
    fetch("some data", (server.file(),), tmp_path, SILENT)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_broken_connection_is_taken_up_again(server: Server, tmp_path: Path) -> None:
    server.behaviour = "breaks off"
    fetch("some data", (server.file(),), tmp_path, SILENT)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.asked == [None, *(f"bytes={start}-" for start in (300_000, 600_000, 900_000, 1_200_000))]


def test_a_server_that_gets_no_further_is_given_up_and_what_came_is_kept(server: Server, tmp_path: Path) -> None:
    server.behaviour = "breaks off, no ranges"
    assert "the connection broke off after 300,000 of 1,280,000 bytes" in refusal(server.file(), tmp_path)
    assert len(server.asked) == 4
    assert (tmp_path / "data.bin.part").read_bytes() == CONTENT[:300_000]


def test_a_wrong_file_never_gets_the_name(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    assert "what it sends has another SHA-256 than the published file" in refusal(server.file(), tmp_path)
    assert names(tmp_path) == []
    server.content = CONTENT + b"x"
    assert "it offers 1,280,001 bytes, the published file has 1,280,000" in refusal(server.file(), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("behaviour", "words", "requests"),
    [
        ("404", "the server answers 404 Not Found", 1),
        ("416", "the server answers 416 Requested Range Not Satisfiable", 1),
        ("503", "the server answers 503 Service Unavailable", 3),
        ("other range", "the server sends another part of the file than was asked for", 1),
        ("to http://127.0.0.1:1/elsewhere", "the server points to http, which is not secure", 1),
        ("to ftp://127.0.0.1/elsewhere", "the server points to ftp, which is not secure", 1),
    ],
)
def test_answers_that_are_no_file(behaviour: str, words: str, requests: int, server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:10])
    server.behaviour = behaviour
    assert words in refusal(server.file(), tmp_path)
    assert len(server.asked) == requests
    assert (tmp_path / "data.bin.part").read_bytes() == CONTENT[:10]


def test_a_redirect_to_https_is_followed() -> None:
    asked = urllib.request.Request("https://here.example/data.bin", headers={"Range": "bytes=10-"})
    redirect = download._StaysSecure()
    there = redirect.redirect_request(asked, io.BytesIO(), 302, "Found", Message(), "https://there.example/data.bin")
    assert there is not None
    assert (there.full_url, there.get_header("Range")) == ("https://there.example/data.bin", "bytes=10-")


def test_a_silent_server_and_no_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(download, "TRIES", 1)
    server.behaviour = "silent"
    assert "no answer within 0 s" in refusal(server.file(), tmp_path)
    nobody = RemoteFile("data.bin", 1, "", ("http://127.0.0.1:1/data.bin",))
    assert refusal(nobody, tmp_path) == "127.0.0.1:1: Connection refused"


def test_the_next_address_is_tried(server: Server, tmp_path: Path) -> None:
    here = server.file().urls[0]
    dead = "http://127.0.0.1:1/data.bin"
    fetch("some data", (RemoteFile("data.bin", len(CONTENT), server.file().sha256, (dead, here)),), tmp_path, SILENT)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    both = RemoteFile("data.bin", 3, "", (dead, here))
    (tmp_path / "data.bin").unlink()
    assert refusal(both, tmp_path) == (
        f"127.0.0.1:1: Connection refused; 127.0.0.1:{server.server_port}: it offers 1,280,000 bytes, the published "
        "file has 3"
    )


def test_a_full_disk_is_noticed_before(server: Server, tmp_path: Path) -> None:
    huge = RemoteFile("data.bin", 10**15, "", server.file().urls)
    assert "1,000,000,000 MB are needed" in refusal(huge, tmp_path)
    assert server.asked == []


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"file/folder cannot be written"):
        fetch("some data", (server.file(),), tmp_path / "file" / "folder", SILENT)


def _fetch_elsewhere(file: RemoteFile, folder: Path) -> None:
    fetch("some data", (file,), folder, SILENT)


def test_two_processes_fetch_once(server: Server, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fetch_elsewhere, args=(server.file(), tmp_path)) for _ in range(2)]
    for worker in workers:
        worker.start()
    fetch("some data", (server.file(),), tmp_path, SILENT)
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_second_process_says_that_it_waits(server: Server, tmp_path: Path) -> None:
    from filelock import FileLock

    out = io.StringIO()
    lock = FileLock(tmp_path / ".lock", is_singleton=False)
    lock.acquire()
    worker = threading.Thread(target=fetch, args=("some data", (server.file(),), tmp_path, Progress(stream=out)))
    worker.start()
    time.sleep(0.3)
    assert server.asked == []
    lock.release()
    worker.join(10)
    assert out.getvalue().startswith(f"waiting for another process that downloads into {tmp_path}\n")
    assert names(tmp_path) == ["data.bin"]


def test_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOVEAL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().name == "foveal"
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "xdg" / "foveal"
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
