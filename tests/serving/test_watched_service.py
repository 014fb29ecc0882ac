"""A service with a watched folder: whatever is in the way of one file, the folder is watched on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'foveal[serve]'")

from foveal.serving import watching
from serving.running import picture, running
from small_classifiers import make_classifier


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def test_a_full_queue_and_a_name_that_is_no_text_do_not_end_the_watching(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "PAUSE_S", 0.1)
    make_classifier().save(tmp_path / "fruit")
    folder = tmp_path / "in"
    folder.mkdir()
    done = folder / ".foveal" / "done"
    with running(tmp_path / "fruit", tmp_path / "data", watch=str(folder)) as one:
        one.service.intake._max_queue = 0
        (folder / "one.png").write_bytes(picture(1))
        until(lambda: one.service.intake._queued[0] > 0)
        time.sleep(0.3)
        assert (folder / "one.png").exists()
        one.service.intake._max_queue = 10
        until((done / "one.png").exists)
        Path(os.fsdecode(os.fsencode(folder) + b"/gr\xfcn.png")).write_bytes(picture(2))
        until(lambda: len(list(done.iterdir())) == 2)
        assert {case["state"] for case in one.client.get("/v1/cases").json()["cases"]} <= {"waiting", "answered"}


def test_a_full_queue_still_knows_a_request_that_it_took_before(tmp_path):
    make_classifier().save(tmp_path / "fruit")
    with running(tmp_path / "fruit", tmp_path / "data") as one:
        intake = one.service.intake

        def ask(key: str) -> tuple[int, object]:
            headers = {"content-type": "image/png", "idempotency-key": key}
            done = one.client.post("/v1/predict?wait=false", content=picture(1), headers=headers)
            return done.status_code, done.json().get("cases")

        first = ask("a")
        intake._max_queue, intake._queued = 0, (0.0, 0)
        assert first[0] == 202 and ask("a") == first
        assert ask("b") == (503, None)


def test_a_file_that_cannot_be_moved_keeps_no_other_from_being_received(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "PAUSE_S", 0.03)
    received: list[str] = []

    async def receive(name: str, content: bytes) -> str:
        received.append(name)
        return name

    async def main() -> None:
        watcher = watching.Watcher(tmp_path, receive, most_bytes=100, poll_s=0.03)
        watcher.prepare()
        long = "a" * 251 + ".png"  # beside another of that name it would be longer than a name may be
        (tmp_path / ".foveal" / "done" / long).write_bytes(b"before")
        (tmp_path / long).write_bytes(b"again")
        await asyncio.sleep(0.05)
        (tmp_path / "b.png").write_bytes(b"other")
        task = asyncio.create_task(watcher.run())
        end = time.monotonic() + 10
        while not (tmp_path / ".foveal" / "done" / "b.png").exists():
            assert time.monotonic() < end, received
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert received == ["a" * 251 + ".png", "b.png"]
