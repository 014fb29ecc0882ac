"""The queue's worker: what is slow, or meets a store that is away, is done once and not given up."""

from __future__ import annotations

import asyncio
import time

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'foveal[serve]'")

from sqlalchemy import select

from foveal.errors import ClassifierError
from foveal.serving import working
from foveal.storage import jobs
from foveal.storage.faults import BusyError
from foveal.storage.tables import jobs as table
from serving.running import Running, picture, running
from small_classifiers import make_classifier


@pytest.fixture
def service(tmp_path):
    make_classifier().save(tmp_path / "fruit")
    with running(tmp_path / "fruit", tmp_path / "data") as one:
        yield one


def sent(one: Running, number: int) -> str:
    answer = one.client.post("/v1/predict?wait=false", content=picture(number), headers={"content-type": "image/png"})
    return str(answer.json()["cases"][0]["case"])


def settled(one: Running, case_id: str) -> dict[str, object]:
    end = time.monotonic() + 20
    while (found := one.client.get(f"/v1/cases/{case_id}").json())["state"] == "waiting":
        assert time.monotonic() < end
        time.sleep(0.05)
    return dict(found)


def attempts(one: Running, case_id: str) -> int:
    with one.service.database.read() as connection:
        return int(connection.execute(select(table.c.attempts).where(table.c.case_id == case_id)).scalar_one())


def test_a_job_that_takes_longer_than_a_lease_is_begun_once(service, monkeypatch):
    monkeypatch.setattr(working, "LEASE_S", 1.5)
    intake, begun = service.service.intake, []
    predict = intake._predict

    async def slow(*given):
        begun.append(1)
        await asyncio.sleep(4)
        return await predict(*given)

    monkeypatch.setattr(intake, "_predict", slow)
    case_id = sent(service, 1)
    assert settled(service, case_id)["state"] == "answered"
    assert (len(begun), attempts(service, case_id)) == (1, 1)


def test_a_store_that_is_away_costs_a_job_no_attempt(service, monkeypatch):
    intake, left = service.service.intake, [1] * 5
    find = intake._case

    def away(case_id):
        if left:
            left.pop()
            raise BusyError("The database does not answer.")
        return find(case_id)

    monkeypatch.setattr(intake, "_case", away)
    case_id = sent(service, 2)
    assert settled(service, case_id)["state"] == "answered"
    assert attempts(service, case_id) == 1


def test_why_a_case_is_held_back_names_no_path(service, monkeypatch):
    async def broken(*_given):
        raise ClassifierError("/home/ana/runs/chest answers with values that are no numbers.")

    monkeypatch.setattr(service.service.intake, "_predict", broken)
    monkeypatch.setattr(jobs, "MOST_ATTEMPTS", 1)
    found = settled(service, sent(service, 3))
    assert (found["state"], found["reason"]) == ("quarantined", "it could not be answered (ClassifierError)")
