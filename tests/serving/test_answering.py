"""A stored engine in a process of its own: the answers of the engine here, whatever happens to the process."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs foveal[serve]")
pytest.importorskip("openvino", reason="needs foveal[openvino]")
pytest.importorskip("onnxscript", reason="needs foveal[onnx]")

from child_processes import children_of
from foveal.classifier.answers import Answers
from foveal.classifier.light import find_stored, open_light
from foveal.errors import ClassifierError, ResourceError
from foveal.serving.batching import Answered, Batcher
from foveal.serving.children import answering
from foveal.serving.children.answering import Answerer
from foveal.serving.refusal import Refusal
from foveal.serving.served import open_served
from serving.scenario import small_classifier

T = TypeVar("T")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 20, 18, 1), np.uint8)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_classifier(tmp_path_factory.mktemp("stored"), 0)


def asked(place: Path, work: Callable[[Answerer], Awaitable[T]]) -> T:
    """Do `work` with the answerer of what is stored at `place`; nothing of it is left afterwards."""

    async def main() -> T:
        one = Answerer(find_stored(place, "openvino"), 1)
        await one.start()
        try:
            return await work(one)
        finally:
            await one.close()

    before = children()
    found = asyncio.run(main())
    assert children() == before
    return found


def children() -> set[int]:
    return children_of(os.getpid())


def same(answers: Answers, stored: Path) -> bool:
    """Whether these are the answers of the engine in this process, to the bit."""
    here = open_light(find_stored(stored, "openvino"), 1).answer(PIXELS)
    names = ("raw", "probabilities", "labels", "sets", "abstained", "gate_scores")
    return all(np.array_equal(getattr(here, name), getattr(answers, name)) for name in names)


def test_it_answers_as_the_engine_does_here_and_loads_no_torch(stored: Path) -> None:
    async def work(one: Answerer) -> tuple[Answers, str, bytes]:
        process = Path(f"/proc/{one.pid}")
        return await one.answer(PIXELS), (process / "maps").read_text(), (process / "environ").read_bytes()

    answers, maps, variables = asked(stored, work)
    assert same(answers, stored)
    assert "openvino" in maps
    assert "torch" not in maps
    assert b"FOVEAL" not in variables


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "at work"])
def test_a_process_that_was_killed_is_replaced_and_nobody_is_told(stored: Path, busy: bool) -> None:
    async def work(one: Answerer) -> Answers:
        before = one.pid
        assert before is not None
        if busy:  # it takes the question, and is killed before it answers
            os.kill(before, signal.SIGSTOP)
            asyncio.get_running_loop().call_later(0.3, os.kill, before, signal.SIGKILL)
        else:
            os.kill(before, signal.SIGKILL)
        answers = await one.answer(PIXELS)
        assert one.pid != before
        assert one.restarts == 1
        return answers

    assert same(asked(stored, work), stored)


def test_one_that_hangs_is_given_up_in_words(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "LONGEST_S", 0.5)
    monkeypatch.setattr(answering, "TRIES", 1)

    async def work(one: Answerer) -> None:
        assert one.pid is not None
        os.kill(one.pid, signal.SIGSTOP)
        with pytest.raises(ResourceError, match="without an answer"):
            await one.answer(PIXELS)

    asked(stored, work)


def test_a_classifier_exchanged_on_the_disk_does_not_answer_for_the_old_one(stored: Path, tmp_path: Path) -> None:
    place = tmp_path / "classifier"
    shutil.copytree(stored, place)

    async def work(one: Answerer) -> Answers:
        shutil.rmtree(place)
        shutil.copytree(small_classifier(tmp_path, 1), place)
        answers = await one.answer(PIXELS)  # by the one that is open
        assert one.pid is not None
        os.kill(one.pid, signal.SIGKILL)
        await asyncio.sleep(0.2)
        with pytest.raises(ClassifierError, match="exchanged"):
            await one.answer(PIXELS)
        return answers

    assert same(asked(place, work), stored)


def test_what_cannot_be_opened_is_said_at_the_start_and_leaves_no_process(stored: Path, tmp_path: Path) -> None:
    place = tmp_path / "classifier"
    shutil.copytree(stored, place)
    content = bytearray((place / "model.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (place / "model.bin").write_bytes(content)
    before = children()
    with pytest.raises(ClassifierError, match="damaged or was exchanged"):
        asyncio.run(open_served(place, "openvino", workers=2).start())
    assert children() == before


@pytest.mark.parametrize("wait_s", [0, 0.05])
def test_what_waits_is_answered_together_and_at_the_end_no_process_is_left(stored: Path, wait_s: float) -> None:
    served = open_served(stored, "openvino", workers=2)
    before = children()

    async def work() -> list[Answered]:
        await served.start()
        batcher = Batcher(served, batch=2, wait_s=wait_s)
        begun = [asyncio.ensure_future(batcher.answer(one)) for one in PIXELS]
        await asyncio.sleep(0)
        batcher.close()  # what came before is answered
        with pytest.raises(Refusal):
            await batcher.answer(PIXELS[0])
        found = await asyncio.gather(*begun)
        await batcher.join(5)
        assert children() == before
        return found

    found = asyncio.run(work())
    assert sorted(one.batch for one in found) == ([1, 1, 1, 2, 2] if wait_s == 0 else [1, 2, 2, 2, 2])
    expected = open_light(find_stored(stored, "openvino"), 1).answer(PIXELS).probabilities
    assert np.allclose([one.said.probabilities for one in found], expected, atol=1e-6)


def test_an_end_waits_no_longer_than_it_may_and_leaves_nobody_waiting() -> None:
    class Stuck:
        restarts, closed = 0, False

        async def start(self) -> None: ...

        async def answer(self, pixels: np.ndarray) -> Answers:
            await asyncio.sleep(60)
            raise AssertionError(len(pixels))

        async def close(self) -> None:
            self.closed = True

    async def work() -> tuple[list[object], bool]:
        stuck = Stuck()
        batcher = Batcher(SimpleNamespace(answering=[stuck], close=stuck.close), batch=2, wait_s=0)  # type: ignore[arg-type]
        begun = [asyncio.ensure_future(batcher.answer(one)) for one in PIXELS]
        await asyncio.sleep(0)
        batcher.close()
        await batcher.join(0.1)
        return await asyncio.gather(*begun, return_exceptions=True), stuck.closed

    found, closed = asyncio.run(asyncio.wait_for(work(), 10))
    assert [type(one) for one in found] == [asyncio.CancelledError] * len(PIXELS)
    assert closed


def test_the_last_image_waits_no_longer_for_others_than_it_may(stored: Path) -> None:
    served = open_served(stored, "openvino", workers=1)

    async def work() -> list[int]:
        await served.start()
        batcher = Batcher(served, batch=4, wait_s=0.2)
        begun = asyncio.ensure_future(batcher.answer(PIXELS[0]))
        await asyncio.sleep(0.05)
        assert not begun.done()
        found = await asyncio.gather(begun, batcher.answer(PIXELS[1]))
        batcher.close()
        await batcher.join(5)
        return [one.batch for one in found]

    assert asyncio.run(work()) == [2, 2]
