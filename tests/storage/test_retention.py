"""Erasure: no byte and no name is left, the chain holds, and what others need stays."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from filled_store import NAME, REASON, SUBJECT, bytes_below, everything, explain, filled, receive
from sqlalchemy import insert, select, update
from stored_rows import a_case

from foveal.errors import StorageError
from foveal.storage.blobs import Blobs
from foveal.storage.cases import Received, insert_waiting
from foveal.storage.database import Database, open_database
from foveal.storage.folder import DataFolder
from foveal.storage.ids import new_id, now_us
from foveal.storage.jobs import LeaseLostError, add, claim, finish
from foveal.storage.retention import (
    LOSES,
    erase_case,
    hold,
    remove_unneeded,
    subjects_cases,
    sweep,
    sweep_done,
    sweep_orphans,
)
from foveal.storage.tables import cases, request_keys
from foveal.storage.tables import jobs as table
from foveal.storage.trail import append, entries, verify
from foveal.storage.witness import hear

DAY_US = 86_400_000_000


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    (tmp_path / "service").mkdir()
    return DataFolder(tmp_path / "service")


def test_an_erased_case_leaves_no_byte_and_an_unbroken_chain(database, folder):
    erased, other, *_ = filled(database, folder)
    blobs = Blobs(folder.blobs)
    before = everything(database, blobs)
    done = erase_case(database, blobs, erased, "user:1")
    assert (done.files, done.shared) == (2, 0)  # the image and its map
    now = everything(database, blobs)
    (case,) = [row for row in now["cases"] if row["id"] == erased]
    assert (case["state"], case["name"], case["subject"], case["reason"]) == ("erased", None, None, None)
    assert b"image 0" * 50 not in now["files"].values() and b"a map" not in now["files"].values()
    assert [row["kept"] for row in now["images"] if row["case_id"] == erased] == [False]
    assert [row["reason"] for row in now["reviews"]] == [None]
    assert REASON not in str(now)
    assert now["explanations"] == []
    assert now["predictions"] == before["predictions"]
    assert now["trail"][:-1] == before["trail"]
    with database.read() as connection:
        (entry,) = entries(connection, kind="erased")
        assert (entry.actor, entry.subject, entry.body["loses"]) == ("user:1", erased, LOSES)
        assert verify(connection).holds
        assert hear(connection, blobs).disagreements == ()
    assert [row for row in now["cases"] if row["id"] == other] == [row for row in before["cases"] if row["id"] == other]


def test_no_byte_of_it_is_left_on_the_disk(sqlite_place, folder, tmp_path):
    database = open_database(sqlite_place.url)
    for case in filled(database, folder):
        erase_case(database, Blobs(folder.blobs), case, "user:1")
    for word in (NAME, SUBJECT, REASON, "image 0image 0", "a map", "not answered yet"):
        assert word.encode() not in bytes_below(tmp_path), word
    database.close()


def test_an_erasure_does_not_keep_writers_out_while_somebody_reads(sqlite_place, folder):
    database = open_database(sqlite_place.url)
    (case, *_) = filled(database, folder)
    with database.read() as reader:  # a backup, say
        reader.execute(select(cases.c.id)).all()
        began = time.monotonic()
        erase_case(database, Blobs(folder.blobs), case, "user:1")
        assert time.monotonic() - began < 3
    with database.write() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000
    database.close()


def test_a_file_that_another_case_needs_stays_until_the_last_is_erased(database, folder):
    blobs = Blobs(folder.blobs)
    first, second = (receive(database, blobs, b"the same") for _ in range(2))
    explain(database, blobs, second, b"the same map")
    done = erase_case(database, blobs, first, "a")
    assert (done.files, done.shared > 0, len(list(blobs.names()))) == (0, True, 2)
    assert (erase_case(database, blobs, second, "a").files, len(list(blobs.names()))) == (2, 0)


def test_a_case_that_waits_is_not_answered_any_more(database, folder):
    *_, waiting = filled(database, folder)
    (job,) = claim(database, "worker", ["predict"])
    erase_case(database, Blobs(folder.blobs), waiting, "a")
    with pytest.raises(LeaseLostError), database.write() as connection:
        finish(connection, job)
    assert claim(database, "worker", ["predict"]) == []


def test_erasing_again_changes_nothing_and_an_unknown_case_is_said_to_be_so(database, folder):
    case, *_ = filled(database, folder)
    blobs = Blobs(folder.blobs)
    erase_case(database, blobs, case, "a")
    before = everything(database, blobs)
    again = erase_case(database, blobs, case, "b")
    assert (again.files, again.shared) == (0, 0)
    assert everything(database, blobs) == before
    with pytest.raises(StorageError, match="There is no case"):
        erase_case(database, blobs, "0" * 26, "a")


def test_a_crash_between_rows_and_files_is_finished_by_the_next_sweep(database, folder, monkeypatch):
    case, *_ = filled(database, folder)
    blobs = Blobs(folder.blobs)
    count = len(list(blobs.names()))

    def dies(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("foveal.storage.retention.remove_unneeded", dies)
    with pytest.raises(KeyboardInterrupt):
        erase_case(database, blobs, case, "a")
    monkeypatch.undo()
    assert len(list(blobs.names())) == count
    assert sweep_orphans(database, blobs, young_s=0).removed == 2
    assert len(list(blobs.names())) == count - 2
    assert sweep_orphans(database, blobs, young_s=0).removed == 0


def test_old_cases_are_swept_and_young_waiting_and_erased_ones_left(database, folder):
    *answered, waiting = filled(database, folder)
    old = [answered[0], answered[1], waiting]
    with database.write() as connection:
        connection.execute(
            update(cases).where(cases.c.id.in_(old)).values(received_at=cases.c.received_at - 31 * DAY_US)
        )
    blobs = Blobs(folder.blobs)
    assert sweep(database, blobs, 0) == 0
    assert sweep(database, blobs, 30, most=1) == 1
    assert sweep(database, blobs, 30) == 1
    assert sweep(database, blobs, 30) == 0
    states = {row["id"]: row["state"] for row in everything(database, blobs)["cases"]}
    assert [one for one, state in states.items() if state == "erased"] == answered[:2]
    assert states[waiting] == "waiting"


def test_young_files_and_those_of_another_database_are_not_orphans(database, place, folder):
    filled(database, folder)
    blobs = Blobs(folder.blobs)
    (never_acknowledged,) = blobs.put([b"stored, and then the process was killed"])
    assert sweep_orphans(database, blobs).removed == 0  # young
    for name in blobs.names():
        os.utime(blobs.path(name), (time.time() + 5, time.time() + 5))
    assert sweep_orphans(database, blobs, young_s=-60).aside == 1
    assert not blobs.path(never_acknowledged).exists()
    assert blobs.get(never_acknowledged) == b"stored, and then the process was killed"  # a row of a restored database
    assert sweep_orphans(database, blobs, young_s=-60).aside == 1
    assert blobs.forget_aside(older_than_s=-60) == 1
    with pytest.raises(StorageError):
        blobs.get(never_acknowledged)
    blobs.put([b"older than the database"])
    for name in blobs.names():
        os.utime(blobs.path(name), (1_000_000, 1_000_000))
    swept = sweep_orphans(database, blobs)
    assert (swept.removed, swept.aside, swept.unknown) == (0, 0, 1)


def test_with_an_empty_database_no_file_is_an_orphan(sqlite_place, folder, tmp_path):
    database = open_database(sqlite_place.url)
    blobs = Blobs(folder.blobs)
    blobs.put([b"one", b"two"])
    assert sweep_orphans(database, blobs, young_s=-60).removed == 0
    database.close()


def test_the_cases_of_one_subject_are_found(database, folder):
    made = filled(database, folder)
    erase_case(database, Blobs(folder.blobs), made[1], "a")
    with database.read() as connection:
        assert subjects_cases(connection, SUBJECT) == [one for one in made if one != made[1]]
        assert subjects_cases(connection, "nobody") == []


def test_whoever_stores_a_file_again_does_not_lose_it_to_an_erasure_elsewhere(database, place, folder):
    """Two processes, the same image over and over: one receives it, the other erases it. No kept row without bytes."""
    here, there = Blobs(folder.blobs), Blobs(folder.blobs)  # two processes know nothing of each other's lock
    other = open_database(place.url, timeout_s=10)
    content = b"always the same image"
    made: list[str] = []
    stop = threading.Event()
    failures: list[BaseException] = []

    def erase() -> None:
        try:
            while not stop.is_set() or made:
                if made:
                    erase_case(other, there, made.pop(), "a")
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    eraser = threading.Thread(target=erase)
    eraser.start()
    try:
        for _ in range(60):
            made += [receive_holding(database, here, content)]
    finally:
        stop.set()
        eraser.join()
    assert not failures
    last = receive_holding(database, here, content)
    with database.read() as connection:
        assert hear(connection, here).disagreements == ()
    erase_case(other, there, last, "a")
    assert list(here.names()) == []
    other.close()


def receive_holding(database: Database, blobs: Blobs, content: bytes) -> str:
    """Receive as the service's writer does: put, begin, hold, insert."""
    (sha256,) = blobs.put([content])
    received = Received(new_id(), new_id(), now_us(), "guest", "http", sha256, len(content))
    with database.write() as connection:
        hold(connection, blobs, {sha256: content})
        for table, row in insert_waiting(received):
            connection.execute(insert(table), row)
        append(connection, [received.event()])
    return received.case_id


def test_a_file_is_removed_by_whoever_looks_last(database, folder):
    blobs = Blobs(folder.blobs)
    receive(database, blobs, b"needed")
    blobs.put([b"not needed"])
    assert remove_unneeded(database, blobs, list(blobs.names())) == 1
    assert [blobs.get(name) for name in blobs.names()] == [b"needed"]


def test_rows_that_have_served_go_and_what_waits_or_is_young_stays(database):
    old = now_us() - 31 * DAY_US
    with database.write() as connection:
        case = a_case(connection)
        for state, made_at in (("done", old), ("waiting", old), ("quarantined", old), ("done", now_us())):
            job = add(connection, "predict", case)
            connection.execute(table.update().where(table.c.id == job).values(state=state, made_at=made_at))
        for key, made_at in (("old", old), ("young", now_us())):
            row = {"sender": "guest", "key": key, "request_hash": "x", "case_ids": "[]", "made_at": made_at}
            connection.execute(request_keys.insert().values(**row))
    assert sweep_done(database) == 2
    with database.read() as connection:
        left = connection.execute(select(table.c.state).order_by(table.c.id)).scalars().all()
        assert left == ["waiting", "quarantined", "done"]
        assert connection.execute(select(request_keys.c.key)).scalars().all() == ["young"]
    assert sweep_done(database) == 0
