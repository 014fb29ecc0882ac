"""The service keeps cases as long as it is told, and sweeps what nobody needs."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'foveal[serve]'")

from sqlalchemy import update

from foveal.serving import keeping
from foveal.storage.tables import cases
from serving.running import picture, running
from small_classifiers import make_classifier

DAY_US = 86_400_000_000


def test_a_service_erases_what_is_old_and_says_so_in_the_trail(tmp_path):
    make_classifier().save(tmp_path / "fruit")
    with running(tmp_path / "fruit", tmp_path / "data") as service:
        old, young = (service.predict(picture(seed)).json()["answers"][0]["case"] for seed in (1, 2))
        with service.service.database.write() as connection:
            aged = cases.c.received_at - 3 * DAY_US
            connection.execute(update(cases).where(cases.c.id == old).values(received_at=aged))
    with running(tmp_path / "fruit", tmp_path / "data", retention_days=2) as service:
        deadline = time.monotonic() + 20
        while (state := service.client.get(f"/v1/cases/{old}").json()["state"]) != "erased":
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        assert service.trail(old)[-1] == "erased"
        assert service.client.get(f"/v1/cases/{young}").json()["state"] == "answered"
        text = service.client.get("/metrics").text
        assert "foveal_trail_rows" in text
        assert 'foveal_stage_seconds_count{stage="commit"}' in text


def test_a_folder_that_cannot_be_read_does_not_end_the_keeping(monkeypatch):
    calls: list[str] = []

    def failing(*_given):
        calls.append("orphans")
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(keeping, "EVERY_S", 0.01)
    monkeypatch.setattr(keeping, "sweep_orphans", failing)
    monkeypatch.setattr(keeping, "sweep_done", lambda *_: calls.append("done"))
    monkeypatch.setattr(keeping, "sweep", lambda *_, **__: calls.append("cases"))

    async def main() -> None:
        kept = keeping.Keeping(SimpleNamespace(database=None, blobs=None, settings=SimpleNamespace(retention_days=1)))
        kept.start()
        await asyncio.sleep(0.2)
        await kept.stop()

    asyncio.run(main())
    assert calls[:4] == ["cases", "done", "orphans", "cases"]
