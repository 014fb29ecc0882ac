"""A watched folder: files are taken when they stand still, received once, and moved only afterwards."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from foveal.errors import StorageError, UsageError
from foveal.serving.children.refused_image import RefusedImageError
from foveal.serving.watching import Watcher, watch_key

POLL_S = 0.03


class Service:
    """Receives by idempotency key, as the store does."""

    def __init__(self) -> None:
        self.cases: dict[str, str] = {}
        self.calls: list[str] = []
        self.trouble: Exception | None = None

    async def receive(self, name: str, content: bytes) -> str:
        self.calls.append(name)
        if self.trouble is not None:
            raise self.trouble
        if not content:
            raise RefusedImageError("empty_file", "the file is empty (0 bytes)")
        return self.cases.setdefault(watch_key(name, content), f"case-{len(self.cases)}")


@asynccontextmanager
async def watched(folder: Path, service: Service, said: list[str] | None = None) -> AsyncIterator[None]:
    told = said.append if said is not None else lambda _: None
    watcher = Watcher(folder, service.receive, most_bytes=100, told=told, poll_s=POLL_S)
    task = asyncio.create_task(watcher.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.01)


def done(folder: Path, where: str = "done") -> list[str]:
    return sorted(path.name for path in (folder / ".foveal" / where).glob("*"))


def test_files_are_received_and_moved_and_what_is_none_of_ours_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"not to be sent")
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "deep.png").write_bytes(b"deep")
    for name in (".hidden", "a.part", "b.TMP", "one.png", "two.jpg"):
        (folder / name).write_bytes(name.encode())
    (folder / "link.png").symlink_to(outside)
    os.mkfifo(folder / "pipe.png")

    async def main() -> None:
        service = Service()
        async with watched(folder, service):
            await until(lambda: done(folder) == ["one.png", "two.jpg"])
            (folder / "a.part").rename(folder / "a.png")
            await until(lambda: len(done(folder)) == 3)
        assert sorted(service.calls) == ["a.png", "one.png", "two.jpg"]
        left = {path.name for path in folder.iterdir()}
        assert left == {".foveal", ".hidden", "b.TMP", "below", "link.png", "pipe.png"}

    asyncio.run(main())


def test_a_file_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    async def main() -> None:
        service = Service()
        async with watched(tmp_path, service):
            with (tmp_path / "slow.png").open("wb") as file:
                for _ in range(30):
                    file.write(b".")
                    file.flush()
                    await asyncio.sleep(POLL_S / 3)
                assert service.calls == []
            await until(lambda: done(tmp_path) == ["slow.png"])
        assert list(service.cases) == [watch_key("slow.png", b"." * 30)]

    asyncio.run(main())


def test_what_is_refused_is_put_aside_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "large.png").write_bytes(b"." * 101)

    async def main() -> None:
        service = Service()
        async with watched(tmp_path, service):
            await until(lambda: len(done(tmp_path, "failed")) == 4)
        assert service.calls == ["empty.png"], "what is too large is not read"
        failed = tmp_path / ".foveal" / "failed"
        assert done(tmp_path, "failed") == ["empty.png", "empty.png.txt", "large.png", "large.png.txt"]
        assert (failed / "empty.png.txt").read_text() == "The image cannot be used: the file is empty (0 bytes).\n"
        assert (failed / "large.png.txt").read_text() == "The file has 101 bytes; the limit is 0 MiB.\n"

    asyncio.run(main())


def test_files_wait_while_the_service_cannot_receive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.serving.watching.PAUSE_S", POLL_S)
    (tmp_path / "one.png").write_bytes(b"one")

    async def main() -> None:
        service, said = Service(), []
        service.trouble = StorageError("The database is locked.")
        async with watched(tmp_path, service, said):
            await until(lambda: len(service.calls) > 2)
            assert (tmp_path / "one.png").exists() and set(said) == {
                "The watched folder waits: The database is locked."
            }
            service.trouble = None
            await until(lambda: done(tmp_path) == ["one.png"])
        assert len(service.cases) == 1

    asyncio.run(main())


def test_the_same_name_twice_overwrites_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        service = Service()
        async with watched(tmp_path, service):
            for number, content in enumerate((b"one", b"two", b"two"), start=1):
                (tmp_path / "a.png").write_bytes(content)
                await until(lambda number=number: len(done(tmp_path)) == number)
        kept = tmp_path / ".foveal" / "done"
        assert [(kept / name).read_bytes() for name in done(tmp_path)] == [b"two", b"two", b"one"]
        assert len(service.cases) == 2, "the same bytes under the same name are the same case"

    asyncio.run(main())


def test_a_file_that_is_replaced_while_it_is_received_is_received_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"first")

    async def main() -> None:
        service = Service()
        receive = service.receive

        async def replacing(name: str, content: bytes) -> str:
            case = await receive(name, content)
            if content == b"first":
                (tmp_path / "new").write_bytes(b"second")
                (tmp_path / "new").replace(tmp_path / "a.png")
            return case

        service.receive = replacing  # type: ignore[method-assign]
        async with watched(tmp_path, service):
            await until(lambda: len(service.cases) == 2 and done(tmp_path) == ["a.png"])
        assert (tmp_path / ".foveal" / "done" / "a.png").read_bytes() == b"second"

    asyncio.run(main())


def test_a_kill_between_receive_and_move_makes_no_second_case(tmp_path: Path) -> None:
    """A service is killed inside `receive`, right after the receipt became durable; another one goes on."""
    folder, receipts = tmp_path / "in", tmp_path / "receipts"
    folder.mkdir()
    receipts.mkdir()
    program = f"""
import asyncio, os, signal, sys
from pathlib import Path
from foveal.serving.watching import Watcher, watch_key
async def receive(name, content):
    case = Path({str(receipts)!r}) / watch_key(name, content)
    new = not case.exists()
    case.touch()
    if new:
        os.kill(os.getpid(), signal.SIGKILL)
    return case.name
asyncio.run(Watcher(Path({str(folder)!r}), receive, most_bytes=100, poll_s={POLL_S}).run())
"""
    names = ["a.png", "b.png", "c.png"]
    for name in names:
        (folder / name).write_bytes(name.encode())
    for _ in names:  # each start receives one more for the first time, and dies
        service = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
        assert service.returncode == -9
    with subprocess.Popen([sys.executable, "-c", program]) as service:
        end = time.monotonic() + 20
        while done(folder) != names:
            assert time.monotonic() < end
            time.sleep(0.02)
        service.kill()
    assert sorted(path.name for path in receipts.iterdir()) == sorted(watch_key(name, name.encode()) for name in names)


def test_a_folder_that_would_lead_elsewhere_is_not_watched(tmp_path: Path) -> None:
    service = Service()
    with pytest.raises(UsageError, match="There is no folder"):
        asyncio.run(Watcher(tmp_path / "none", service.receive, most_bytes=1).run())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / ".foveal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link"):
        asyncio.run(Watcher(tmp_path / "in", service.receive, most_bytes=1).run())
    assert not list((tmp_path / "elsewhere").iterdir()), "nothing is made behind a link"
