"""Decoders and the threads that answer do not interrupt the event loop when they wake up."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs foveal[serve]")

from foveal.serving.children.decoding import Decoders
from foveal.serving.served import Here

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has this policy")


def test_a_decoder_gives_way() -> None:
    async def policies() -> list[int]:
        decoders = Decoders(2, 1024, 10)
        await decoders.start()
        try:
            return [os.sched_getscheduler(pid) for pid in decoders.pids]
        finally:
            await decoders.stop()

    assert asyncio.run(policies()) == [os.SCHED_BATCH] * 2


def test_the_thread_that_answers_gives_way_and_no_other() -> None:
    async def policy() -> object:
        one = Here(SimpleNamespace(answer=lambda _: os.sched_getscheduler(0)))  # type: ignore[arg-type]
        try:
            return await one.answer(np.zeros((1, 2, 2, 1), np.uint8))
        finally:
            await one.close()

    assert asyncio.run(policy()) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
