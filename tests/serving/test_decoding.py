"""Decoding in child processes: what is refused, and that a child's end harms nobody else."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_images import BAD_IMAGES, COLOUR, GREY, SMOOTH, BadImage, encoded, png, refused
from hypothesis import given, settings
from PIL import Image

from foveal.errors import ResourceError
from foveal.preprocess import Preprocess, decode
from foveal.serving.children.decoding import Decoders
from foveal.serving.children.refused_image import CODES, RefusedImageError
from image_files import damaged_files

THREE = (0.5, 0.5, 0.5)
PREPROCESS = Preprocess(3, 40, 36, 32, 32, "letterbox", THREE, THREE)
GOOD = encoded(COLOUR, "PNG")
PICTURES = (COLOUR, GREY, SMOOTH, COLOUR[:5, :60], COLOUR[:, :7], GREY[:32, :32])
PREPROCESSES = (
    PREPROCESS,
    Preprocess(1, 32, 32, 32, 32, "stretch", (0.5,), (0.5,)),
    Preprocess(3, 32, 28, 32, 28, "crop", THREE, THREE, interpolation="bicubic"),
    Preprocess(3, 32, 32, 32, 32, "crop", THREE, THREE, short_side=36),
)


@asynccontextmanager
async def running(count: int = 1, memory_mib: int = 1024, timeout_s: float = 20) -> AsyncIterator[Decoders]:
    decoders = Decoders(count, memory_mib, timeout_s)
    await decoders.start()
    try:
        yield decoders
    finally:
        await decoders.stop()


def run(work: Callable[[Decoders], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        async with running(**options) as decoders:
            return await work(decoders)

    return asyncio.run(main())


async def refusal(decoders: Decoders, content: bytes, max_megapixels: int = 89) -> RefusedImageError:
    with pytest.raises(RefusedImageError) as caught:
        await decoders.decode(content, PREPROCESS, max_megapixels)
    return caught.value


async def is_well(decoders: Decoders) -> bool:
    found = await decoders.decode(GOOD, PREPROCESS, 89)
    return np.array_equal(found.pixels, PREPROCESS.geometry(decode(GOOD)))


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.01)


def exists(pid: int) -> bool:
    """Whether the process is there, as a zombie or alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What one decoder said of each bad image, and of a good one after each."""

    async def main() -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with running() as decoders:
            pids = decoders.pids
            for bad in BAD_IMAGES:
                try:
                    found[bad.name] = await decoders.decode(bad.make(), PREPROCESS, 89)
                except RefusedImageError as error:
                    found[bad.name] = error
                assert await is_well(decoders)
            assert decoders.pids == pids, "a refusal costs no process"
        return found

    return asyncio.run(main())


@pytest.mark.parametrize("bad", BAD_IMAGES, ids=str)
def test_a_bad_image_is_refused_with_its_code_or_read_as_defined(bad: BadImage, answers: dict[str, Any]) -> None:
    found = answers[bad.name]
    if bad.code is None:
        assert np.array_equal(found.pixels, PREPROCESS.geometry(decode(bad.make())))
    else:
        assert isinstance(found, RefusedImageError)
        assert (found.code, found.poison) == (bad.code, False)
        assert str(found).startswith("The image cannot be used: ")
        assert "Traceback" not in str(found) and ".py" not in str(found) and "0x" not in str(found)


def test_every_code_is_in_the_table() -> None:
    assert {one.code for one in refused()} | {"decoder_crashed", "decoder_timeout", "decoder_memory"} == set(CODES)


def test_the_network_sees_what_preprocessing_makes_of_the_file() -> None:
    async def work(decoders: Decoders) -> None:
        for picture in PICTURES:
            for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
                content = encoded(picture, kind)
                for preprocess in PREPROCESSES:
                    found = await decoders.decode(content, preprocess, 89)
                    assert np.array_equal(found.pixels, preprocess.geometry(decode(content)))
                    assert found.pixels_sha256 == hashlib.sha256(found.pixels.tobytes()).hexdigest()
                    assert (found.format, found.height, found.width) == (kind, *picture.shape[:2])
                    assert found.facts["fit"] == preprocess.fit
                    assert found.facts["orientation_applied"] == 1

    run(work, count=2)


def test_the_limit_of_megapixels_is_kept_before_decoding() -> None:
    async def work(decoders: Decoders) -> None:
        content = png(1500, 1000)
        found = await refusal(decoders, content, max_megapixels=1)
        assert (found.code, found.reason) == ("too_many_pixels", "1500×1000 is 2 megapixels; the limit is 1")
        assert (await decoders.decode(content, PREPROCESS, 2)).width == 1500

    run(work)


def test_a_picture_is_shown_as_a_viewer_shows_it_and_keeps_nothing_but_its_pixels() -> None:
    exif = Image.Exif()
    exif[0x112], exif[0x10E] = 6, "Jane Doe"
    content = encoded(GREY, "PNG", exif=exif, icc_profile=b"Jane Doe")

    async def work(decoders: Decoders) -> None:
        shown = await decoders.picture(content)
        assert b"Jane" not in shown
        image = Image.open(io.BytesIO(shown))
        assert (image.format, image.mode) == ("PNG", "L")
        assert np.array_equal(np.asarray(image), np.rot90(GREY, -1))
        small = Image.open(io.BytesIO(await decoders.picture(encoded(COLOUR, "JPEG"), longest_side=16)))
        assert (small.size, small.mode) == ((16, 12), "RGB")
        with pytest.raises(RefusedImageError, match="not an image"):
            await decoders.picture(b"nothing")

    run(work)


def test_a_child_that_dies_costs_its_own_image_alone() -> None:
    async def work(decoders: Decoders) -> None:
        (first,) = decoders.pids
        os.kill(first, signal.SIGSTOP)
        asked = [asyncio.create_task(decoders.decode(GOOD, PREPROCESS, 89)) for _ in range(5)]
        await until(lambda: decoders.waiting == 4)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(RefusedImageError) as caught:
            await asked[0]
        assert (caught.value.code, caught.value.poison) == ("decoder_crashed", True)
        assert len({one.pixels_sha256 for one in await asyncio.gather(*asked[1:])}) == 1
        assert decoders.pids != (first,)

    run(work)


def test_a_child_that_takes_too_long_is_replaced() -> None:
    async def work(decoders: Decoders) -> None:
        (first,) = decoders.pids
        os.kill(first, signal.SIGSTOP)
        found = await refusal(decoders, GOOD)
        assert (found.code, found.poison) == ("decoder_timeout", True)
        assert await is_well(decoders)
        await until(lambda: not exists(first))

    run(work, timeout_s=1)


def test_an_image_that_needs_too_much_memory_is_refused_and_the_child_lives_on() -> None:
    bomb = encoded(Image.new("RGB", (8000, 8000)), "PNG")

    async def work(decoders: Decoders) -> None:
        pids = decoders.pids
        found = await asyncio.gather(*(refusal(decoders, bomb) for _ in range(3)))
        assert {(one.code, one.poison) for one in found} == {("decoder_memory", False)}
        assert await is_well(decoders)
        assert decoders.pids == pids

    run(work, count=2, memory_mib=256)


def test_whoever_goes_away_takes_no_child_along() -> None:
    async def work(decoders: Decoders) -> None:
        pids = decoders.pids
        for delay in (0, 0, 0.001, 0.002):
            asked = [asyncio.create_task(decoders.decode(GOOD, PREPROCESS, 89)) for _ in range(4)]
            await asyncio.sleep(delay)
            for one in asked[::2]:
                one.cancel()
            assert [isinstance(one, BaseException) for one in await asyncio.gather(*asked[1::2])] == [False, False]
        assert await is_well(decoders)
        assert decoders.pids == pids

    run(work)


def test_who_comes_first_is_served_first() -> None:
    async def work(decoders: Decoders) -> None:
        done: list[int] = []

        async def one(number: int) -> None:
            await decoders.decode(GOOD, PREPROCESS, 89)
            done.append(number)

        await asyncio.gather(*(one(number) for number in range(20)))
        assert done == list(range(20))

    run(work)


def test_neither_zombies_nor_handles_are_left_by_crashes() -> None:
    async def work() -> None:
        async with running(2) as decoders:
            await is_well(decoders)
            before, seen = open_handles(), set(decoders.pids)
            for number in range(200):
                try:
                    await decoders.decode(GOOD, PREPROCESS, 89)
                except RefusedImageError as error:
                    assert error.code == "decoder_crashed"
                if number % 20 == 0:
                    os.kill(decoders.pids[0], signal.SIGKILL)
                    seen |= set(decoders.pids)
            await until(lambda: len(decoders.pids) == 2 and not any(map(exists, seen - set(decoders.pids))))
            assert await is_well(decoders)
            assert open_handles() <= before + 2
            seen |= set(decoders.pids)
        assert not any(exists(pid) for pid in seen)

    asyncio.run(work())


def test_children_end_when_the_service_is_killed() -> None:
    program = (
        "import asyncio\nfrom foveal.serving.children.decoding import Decoders\n"
        "async def main():\n    decoders = Decoders(2, 512, 10)\n    await decoders.start()\n"
        "    print(*decoders.pids, flush=True)\n    await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        pids = [int(one) for one in service.stdout.readline().split()]
        assert len(pids) == 2 and all(map(exists, pids))
        os.kill(pids[0], signal.SIGSTOP)  # a child that does not even look at its socket
        service.kill()
        service.wait()
    end = time.monotonic() + 10
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < end, "a child outlives the service"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether a process that is not ours is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_holds_no_secret_no_spare_handle_and_nothing_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_SECRET", "hunter2")

    async def work(decoders: Decoders) -> None:
        folder = Path(f"/proc/{decoders.pids[0]}")
        await is_well(decoders)
        assert b"hunter2" not in (folder / "environ").read_bytes()
        assert len(list((folder / "fd").iterdir())) == 4  # three that lead nowhere, and the socket
        maps = (folder / "maps").read_text()
        assert not any(name in maps for name in ("torch", "pydantic", "sqlalchemy", "cryptography", "openvino"))
        limits = (folder / "limits").read_text().splitlines()
        held = {line[:25].strip(): line[26:].split()[:2] for line in limits}
        assert held["Max address space"] == [str(512 << 20)] * 2
        assert held["Max core file size"] == held["Max file size"] == ["0", "0"]
        assert held["Max open files"] == ["16", "16"]

    run(work, memory_mib=512)


def test_signals_for_the_service_leave_its_children_to_their_work() -> None:
    async def work(decoders: Decoders) -> None:
        pids = decoders.pids
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pids[0], number)
        assert await is_well(decoders)
        assert decoders.pids == pids

    run(work)


def test_the_event_loop_of_uvicorn_does_as_well_and_so_do_large_files() -> None:
    uvloop = pytest.importorskip("uvloop")
    large = encoded(np.random.default_rng(3).integers(0, 256, (900, 900, 3), dtype=np.uint8), "PNG")
    assert len(large) > 2 << 20

    async def main() -> None:
        async with running(2) as decoders:
            found = await asyncio.gather(*(decoders.decode(large, PREPROCESS, 89) for _ in range(6)))
            assert all(np.array_equal(one.pixels, PREPROCESS.geometry(decode(large))) for one in found)
            shown = Image.open(io.BytesIO(await decoders.picture(large)))
            assert np.array_equal(np.asarray(shown), np.asarray(decode(large)))
            first = decoders.pids[0]
            os.kill(first, signal.SIGKILL)
            await until(lambda: first not in decoders.pids and len(decoders.pids) == 2)
            assert await is_well(decoders)

    for factory in (uvloop.new_event_loop, asyncio.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())


def test_poison_costs_itself_alone_however_often_it_comes() -> None:
    async def main() -> None:
        decoders = Decoders(2, 1024, 1, program="deadly_decoder")
        await decoders.start()
        try:
            contents = [GOOD, GOOD + b"POISON", GOOD, GOOD + b"SLUMBER", GOOD] * 3
            asked = (decoders.decode(content, PREPROCESS, 89) for content in contents)
            found = await asyncio.gather(*asked, return_exceptions=True)
            codes = [getattr(one, "code", None) for one in found]
            assert codes == [None, "decoder_crashed", None, "decoder_timeout", None] * 3
        finally:
            await decoders.stop()

    asyncio.run(main())


def test_decoders_that_cannot_start_say_so() -> None:
    async def main() -> None:
        with pytest.raises(ResourceError, match="ended at its start, with exit code 1"):
            await Decoders(2, 1024, 5, program="foveal.serving.no_such_program").start()
        decoders = Decoders(1, 1024, 5)
        with pytest.raises(ResourceError, match="stopped"):
            await decoders.decode(GOOD, PREPROCESS, 89)

    asyncio.run(main())


@pytest.fixture(scope="module")
def decoder() -> Any:
    """One decoder and its event loop, for many small questions."""
    with asyncio.Runner() as runner:
        decoders = Decoders(1, 1024, 20)
        runner.run(decoders.start())
        yield lambda content: runner.run(decoders.decode(content, PREPROCESS, 1))
        runner.run(decoders.stop())


@settings(deadline=None, max_examples=150)
@given(damaged=damaged_files(COLOUR, GREY))
def test_a_mutated_file_is_decoded_or_refused(decoder: Any, damaged: bytes) -> None:
    try:
        found = decoder(damaged)
    except RefusedImageError as error:
        assert error.code in CODES and not error.poison
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, which are errors in tests and nothing in a decoder
            assert np.array_equal(found.pixels, PREPROCESS.geometry(decode(damaged)))
