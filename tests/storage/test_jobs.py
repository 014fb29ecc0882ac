"""The queue: every job is done once or given up in the open, whatever becomes of its workers."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, update
from stored_rows import a_case, finish_with_effect, work_off

from foveal.errors import StorageError
from foveal.storage import jobs, trail
from foveal.storage.faults import LeaseLostError
from foveal.storage.reviews import add_review
from foveal.storage.tables import cases
from foveal.storage.tables import jobs as table


@pytest.fixture
def clock(monkeypatch):
    """The time that the queue sees, in seconds."""
    times = [1_000_000.0]
    monkeypatch.setattr(jobs, "now_us", lambda: int(times[0] * 1_000_000))
    return times


def add(database, number=1, kind="predict"):
    with database.write() as connection:
        return [jobs.add(connection, kind, a_case(connection), {"n": n}) for n in range(number)]


def counted(database):
    with database.read() as connection:
        return jobs.counts(connection)


def effects(database):
    with database.read() as connection:
        return sorted(int(one.subject) for one in trail.entries(connection, kind="effect", limit=10_000))


def test_jobs_are_done_in_the_order_they_came_in(database):
    ids = add(database, 5)
    add(database, 1, kind="explain")
    first = jobs.claim(database, "w", ["predict"], limit=3)
    assert [job.id for job in first] == ids[:3]
    assert [job.body for job in first] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert {job.attempts for job in first} == {1}
    assert [job.id for job in jobs.claim(database, "v", ["predict"], limit=9)] == ids[3:]
    assert jobs.claim(database, "v", ["predict"]) == []
    with database.write() as connection:
        jobs.finish(connection, *first)
    assert counted(database) == {"waiting": 1, "leased": 2, "quarantined": 0}


def test_a_job_can_be_added_and_begun_in_one(database):
    with database.write() as connection:
        wanted = [(a_case(connection), {"n": n}) for n in range(4)]
        begun = jobs.add_leased(connection, "predict", wanted, "w")
    assert [(job.case_id, job.body) for job in begun] == wanted
    assert sorted({job.id for job in begun}) == [job.id for job in begun]
    assert jobs.claim(database, "v", ["predict"], limit=9) == []
    with database.write() as connection:
        jobs.finish(connection, *begun)
        assert jobs.add_leased(connection, "predict", [], "w") == []
    assert counted(database)["leased"] == 0


def test_the_effects_of_a_lost_lease_are_taken_back(database, clock):
    add(database)
    (late,) = jobs.claim(database, "late", ["predict"], lease_s=60)
    clock[0] += 61
    (quick,) = jobs.claim(database, "quick", ["predict"], lease_s=60)
    assert quick.attempts == 2
    assert not finish_with_effect(database, late)
    assert finish_with_effect(database, quick)
    assert not finish_with_effect(database, quick)
    assert effects(database) == [quick.id]


def test_one_lost_lease_of_several_takes_all_of_them_back(database, clock):
    add(database, 2)
    held = jobs.claim(database, "w", ["predict"], limit=2, lease_s=60)
    clock[0] += 61
    jobs.claim(database, "v", ["predict"], limit=1)
    with pytest.raises(LeaseLostError), database.write() as connection:
        jobs.finish(connection, *held)
    assert counted(database)["leased"] == 2


def test_a_worker_that_claims_its_own_job_again_cannot_finish_the_first_attempt(database, clock):
    add(database)
    (before,) = jobs.claim(database, "w", ["predict"], lease_s=1)
    clock[0] += 2
    (after,) = jobs.claim(database, "w", ["predict"], lease_s=1)
    assert not finish_with_effect(database, before)
    assert finish_with_effect(database, after)


def test_a_lease_can_be_made_longer_while_it_is_held(database, clock):
    add(database)
    (job,) = jobs.claim(database, "w", ["predict"], lease_s=60)
    clock[0] += 50
    job = jobs.extend(database, job, lease_s=60)
    clock[0] += 50
    assert jobs.claim(database, "v", ["predict"]) == []
    clock[0] += 11
    jobs.claim(database, "v", ["predict"])
    with pytest.raises(LeaseLostError):
        jobs.extend(database, job)


def test_a_failed_job_is_tried_again_later_and_then_given_up(database, clock):
    (number,) = add(database)
    for pause in (2, 8):
        (job,) = jobs.claim(database, "w", ["predict"])
        jobs.fail(database, job, "the decoder crashed", retry=True)
        clock[0] += pause - 0.1
        assert jobs.claim(database, "w", ["predict"]) == []
        clock[0] += 0.2
    (job,) = jobs.claim(database, "w", ["predict"])
    jobs.fail(database, job, "the decoder crashed", retry=True)
    with database.read() as connection:
        (given_up,) = jobs.quarantined(connection)
        case = connection.execute(select(cases)).one()
        (entry,) = trail.entries(connection)
    assert (given_up.id, given_up.attempts, given_up.reason) == (number, 3, "the decoder crashed")
    assert (case.state, case.reason) == ("quarantined", "the decoder crashed")
    assert (entry.kind, entry.subject) == ("quarantined", case.id)
    clock[0] += 10_000
    assert jobs.claim(database, "w", ["predict"]) == []


def test_a_job_that_kills_its_worker_is_given_up(database, clock):
    add(database, 2)
    for _ in range(jobs.MOST_ATTEMPTS):
        assert len(jobs.claim(database, "w", ["predict"], limit=2, lease_s=10)) == 2
        clock[0] += 11
    (new,) = add(database)
    assert [job.id for job in jobs.claim(database, "w", ["predict"], limit=2)] == [new], "what is behind it goes on"
    assert counted(database) == {"waiting": 0, "leased": 1, "quarantined": 2}
    with database.read() as connection:
        assert {one.reason for one in jobs.quarantined(connection)} == {jobs.GIVEN_UP}
        assert trail.verify(connection).rows == 2


def test_an_answered_case_stays_answered_when_its_explanation_is_given_up(database):
    add(database, kind="explain")
    with database.write() as connection:
        connection.execute(update(cases).values(state="answered"))
    (job,) = jobs.claim(database, "w", ["explain"])
    jobs.fail(database, job, "no gradient", retry=False)
    with database.read() as connection:
        assert connection.execute(select(cases.c.state)).scalar_one() == "answered"
        assert len(jobs.quarantined(connection)) == 1


def test_a_quarantined_job_can_be_tried_anew(database):
    (number,) = add(database)
    (job,) = jobs.claim(database, "w", ["predict"])
    jobs.fail(database, job, "unreadable", retry=False)
    jobs.requeue(database, number, "user:a")
    with pytest.raises(StorageError, match="not in quarantine"):
        jobs.requeue(database, number, "user:a")
    (job,) = jobs.claim(database, "w", ["predict"])
    assert (job.id, job.attempts) == (number, 1)
    with database.read() as connection:
        assert connection.execute(select(cases.c.state)).scalar_one() == "waiting"
        assert [one.kind for one in trail.entries(connection)] == ["quarantined", "requeued"]


@pytest.mark.parametrize(("verdict", "left"), [("reject", 1), ("second-opinion", 2)])
def test_a_job_whose_case_a_person_decides_waits_for_nobody_any_more(database, verdict, left):
    add(database, 2)
    first, _ = given_up = jobs.claim(database, "w", ["predict"], limit=2)
    for job in given_up:
        jobs.fail(database, job, "unreadable", retry=False)
    with database.write() as connection:
        add_review(
            connection, case_id=first.case_id, reviewer="user:a", verdict=verdict, version=0, reason="a test image"
        )
    assert counted(database) == {"waiting": 0, "leased": 0, "quarantined": left}
    with database.read() as connection:
        assert (first.id in [one.id for one in jobs.quarantined(connection)]) == (verdict == "second-opinion")


def test_a_worker_that_was_given_up_cannot_finish_what_was_begun_anew(database, clock):
    (number,) = add(database)
    (silent,) = jobs.claim(database, "silent", ["predict"], lease_s=1)
    for _ in range(jobs.MOST_ATTEMPTS):
        clock[0] += 2
        jobs.claim(database, "w", ["predict"], lease_s=1)
    jobs.requeue(database, number, "user:a")
    (anew,) = jobs.claim(database, "w", ["predict"])
    assert anew.attempts == silent.attempts
    assert not finish_with_effect(database, silent)
    assert finish_with_effect(database, anew)


def test_what_was_not_begun_is_given_back_without_an_attempt(database):
    add(database, 2)
    held = jobs.claim(database, "w", ["predict"], limit=2)
    jobs.release(database, *held)
    assert [job.attempts for job in jobs.claim(database, "v", ["predict"], limit=2)] == [1, 1]


def test_a_restarted_service_takes_its_dead_workers_jobs_at_once(database):
    add(database, 3)
    jobs.claim(database, "host_a:1", ["predict"], limit=2)
    jobs.claim(database, "hostxa:1", ["predict"])
    assert jobs.release_of(database, "host_a:") == 2
    assert [job.attempts for job in jobs.claim(database, "host_a:2", ["predict"], limit=9)] == [2, 2]


def test_a_clock_that_was_days_ahead_holds_nothing_up(database, clock):
    add(database, 2)
    clock[0] += 3 * 86_400
    leased, failed = jobs.claim(database, "w", ["predict"], limit=2)
    jobs.fail(database, failed, "busy", retry=True)
    clock[0] -= 3 * 86_400
    assert {job.id for job in jobs.claim(database, "v", ["predict"], limit=2)} == {leased.id, failed.id}


def test_times_that_would_look_like_a_wrong_clock_are_refused(database):
    with pytest.raises(StorageError, match="put off"), database.write() as connection:
        jobs.add(connection, "predict", a_case(connection), not_before_us=jobs.now_us() + 2 * jobs.AHEAD_US)
    for lease in (0, -1, 4000):
        with pytest.raises(StorageError, match="lease"):
            jobs.claim(database, "w", ["predict"], lease_s=lease)


def test_threads_never_hold_the_same_job(database):
    add(database, 60)
    claimed = []

    def work(name):
        while found := jobs.claim(database, name, ["predict"], limit=4):
            claimed.extend(job.id for job in found)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(claimed) == 60
    assert len(set(claimed)) == 60


def test_processes_do_every_job_once(place, database):
    ids = add(database, 90)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        done = list(pool.map(work_off, [place.url] * 3, ["a", "b", "c"]))
    assert sum(done) == 90
    assert effects(database) == ids
    with database.read() as connection:
        assert trail.verify(connection).holds
        assert set(connection.execute(select(table.c.state)).scalars()) == {"done"}


WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from stored_rows import finish_with_effect
from foveal.storage import jobs
from foveal.storage.database import open_database
database = open_database(sys.argv[2], timeout_s=30)
while claimed := jobs.claim(database, sys.argv[3], ["predict"], limit=3):
    for job in claimed:
        print(job.id, finish_with_effect(database, job), flush=True)
"""


@pytest.mark.slow
def test_workers_killed_at_random_moments_do_every_job_once(place, database):
    ids = add(database, 300)
    chance = random.Random(8)
    acknowledged = []
    for round in range(8):
        words = [sys.executable, "-c", WORKER, str(Path(__file__).parent), place.url]
        workers = [
            subprocess.Popen([*words, f"{round}:{number}"], stdout=subprocess.PIPE, text=True) for number in range(2)
        ]
        seen = [one.stdout.readline() for one in workers]
        time.sleep(chance.uniform(0, 0.05))
        for one in workers:
            one.kill()
        for one in workers:
            with one:
                seen += one.stdout.readlines()  # by the same reader, which has read ahead
        acknowledged += [int(line.split()[0]) for line in seen if line.endswith("True\n")]
        jobs.release_of(database, f"{round}:")
    work_off(place.url, "last")
    with database.read() as connection:
        given_up = [one.id for one in jobs.quarantined(connection)]
        assert trail.verify(connection).holds
    done = effects(database)
    assert len(set(done)) == len(done), "once"
    assert sorted(done + given_up) == ids, "and none forgotten"
    assert set(acknowledged) <= set(done)
    assert counted(database) == {"waiting": 0, "leased": 0, "quarantined": len(given_up)}
