"""What a service has acknowledged is kept, once, with its answer and its trail, whatever is done to it meanwhile.

Small versions of `python -m tests.serving.ledger`, which does the same for longer.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'foveal[serve]'")

from serving import client_faults, faults, store_faults
from serving.ledger import Ledger, compare
from serving.running import picture
from serving.scenario import Home, Told, post, small_classifier, undisturbed
from serving.service_process import ServiceProcess


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("classifiers")
    return small_classifier(place, 0), small_classifier(place, 1)


@pytest.fixture
def home(classifiers, tmp_path) -> Home:
    return Home(*classifiers, tmp_path, seconds=2.0, kills=2, rate=40.0)


def check(told: Told) -> None:
    if told.skipped:
        pytest.skip(told.skipped)
    assert told.faults == [], json.dumps(told.counts)
    assert told.counts.get("acknowledged", 1) > 0


def test_a_killed_service_has_lost_nothing_doubled_nothing_and_left_no_child_behind(home):
    check(faults.kills(home))


def test_a_service_that_is_stopped_while_it_starts_has_not_failed(home):
    service = ServiceProcess(home.classifier, home.data, home.folder / "log")
    try:
        service.launch()
        while not service.children():  # it is starting its parts
            time.sleep(0.005)
        assert service.stop() == 0, service.tail()
    finally:
        service.end()
    assert "could not start" not in service.tail()


def test_one_key_is_one_case_at_the_same_moment_too(home):
    check(client_faults.same_image(home))


SHORT = (faults.kills, client_faults.same_image)
LONGER = [one for one in (*faults.FAULTS, *client_faults.FAULTS, *store_faults.FAULTS) if one not in SHORT]


@pytest.mark.slow
@pytest.mark.parametrize("fault", LONGER, ids=lambda one: one.__name__)
def test_nothing_is_lost_under(fault, home):
    check(fault(home))


def test_the_comparison_notices_what_it_is_for(home):
    """A case that goes missing, one too many, a prediction without its row, another score: each is named."""
    import sqlite3

    ledger = home.ledger()
    with home.service() as service:
        for number in range(4):
            content = picture(number)
            answer = post(service, content)[1]["answers"][0]
            ledger.acknowledged(
                "now", str(number), sha256=ledger.sent(content), case=answer["case"], prediction=answer["prediction"],
                probabilities=answer["probabilities"], classifier=answer["classifier"]["hash"],
            )  # fmt: skip
        assert service.stop() == 0
    assert compare(ledger, home.data, expected=undisturbed(home.classifier)).faults() == []
    store = sqlite3.connect(home.data / "foveal.db")
    first, second, third, fourth = (one["case"] for one in ledger.entries)
    store.execute("DELETE FROM predictions WHERE case_id = ?", (first,))
    store.execute("UPDATE predictions SET id = 'another' WHERE case_id = ?", (second,))
    store.execute("UPDATE predictions SET probabilities = '{\"apple\": 1.0}' WHERE case_id = ?", (third,))
    store.execute("UPDATE images SET sha256 = (SELECT sha256 FROM images WHERE case_id = ?)", (fourth,))
    store.commit()
    store.close()
    told = compare(ledger, home.data, expected=undisturbed(home.classifier))
    assert any(first in one for one in told.lost)
    assert any("another" in one for one in told.untraced)
    assert any(third in one for one in told.differing)
    assert any(ledger.entries[3]["sha256"][:12] in one for one in told.doubled)


def test_the_ledger_is_on_disk_before_its_sender_goes_on(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    ledger = Ledger(tmp_path / "ledger")
    ledger.acknowledged("now", "1", case="a")
    assert len(synced) == 1
    assert json.loads((tmp_path / "ledger").read_text()) == {"way": "now", "key": "1", "case": "a"}
