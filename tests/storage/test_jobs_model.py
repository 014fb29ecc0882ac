"""The queue against a model of it: workers that finish, fail, dawdle and die, under a clock that jumps."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from stored_rows import a_case, finish_with_effect

from foveal.storage import jobs, trail
from foveal.storage.database import open_database
from foveal.storage.faults import LeaseLostError
from foveal.storage.tables import jobs as table

SECOND = 1_000_000
LEASE_S = 30


@dataclass
class Model:
    """What the queue should hold of one job."""

    state: str = "waiting"
    attempts: int = 0
    not_before: int = 0
    until: int = 0


@dataclass
class Worker:
    held: list[jobs.Job] = field(default_factory=list)


class Queue(RuleBasedStateMachine):
    template: Path

    @initialize()
    def open(self):
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(self.template, self.folder / "foveal.db")
        self.database = open_database(f"sqlite:///{self.folder / 'foveal.db'}")
        self.now = 1_700_000_000 * SECOND
        self.patch = mock.patch.object(jobs, "now_us", lambda: self.now)
        self.patch.start()
        self.model: dict[int, Model] = {}
        self.workers = {name: Worker() for name in "abc"}

    def teardown(self):
        if hasattr(self, "patch"):
            self.patch.stop()
            self.database.close()
            shutil.rmtree(self.folder)

    def is_held(self, worker, job):
        one = self.model[job.id]
        return one.state == "leased" and one.attempts == job.attempts and self.holder[job.id] == worker

    @property
    def holder(self):
        with self.database.read() as connection:
            return {row.id: row.worker for row in connection.execute(select(table.c.id, table.c.worker))}

    @rule(number=st.integers(1, 3), later=st.sampled_from([0, 20]))
    def add(self, number, later):
        not_before = self.now + later * SECOND if later else 0
        with self.database.write() as connection:
            for _ in range(number):
                job = jobs.add(connection, "predict", a_case(connection), not_before_us=not_before)
                self.model[job] = Model(not_before=not_before)

    @rule(name=st.sampled_from("abc"), number=st.integers(1, 2))
    def add_leased(self, name, number):
        with self.database.write() as connection:
            cases = [(a_case(connection), {}) for _ in range(number)]
            begun = jobs.add_leased(connection, "predict", cases, name, lease_s=LEASE_S)
        for job in begun:
            self.model[job.id] = Model("leased", 1, 0, self.now + LEASE_S * SECOND)
        self.workers[name].held += begun

    @rule(name=st.sampled_from("abc"), limit=st.integers(1, 4))
    def claim(self, name, limit):
        claimed = jobs.claim(self.database, name, ["predict"], limit=limit, lease_s=LEASE_S)
        expected = []
        while len(expected) < limit:
            due = self.due()[: limit - len(expected)]
            for number in due:
                one = self.model[number]
                if one.attempts >= jobs.MOST_ATTEMPTS:
                    one.state = "quarantined"
                else:
                    one.state, one.attempts, one.until = "leased", one.attempts + 1, self.now + LEASE_S * SECOND
                    expected.append(number)
            if not due or all(self.model[number].state == "leased" for number in due):
                break
        assert [job.id for job in claimed] == expected
        self.workers[name].held += claimed

    def due(self):
        ahead = self.now + jobs.AHEAD_US
        expired = [n for n, one in self.model.items() if one.state == "leased" and not self.now <= one.until <= ahead]
        waiting = [
            (one.not_before, n)
            for n, one in self.model.items()
            if one.state == "waiting" and not self.now < one.not_before <= ahead
        ]
        return sorted(expired) + [n for _, n in sorted(waiting)]

    @precondition(lambda self: any(one.held for one in self.workers.values()))
    @rule(data=st.data(), end=st.sampled_from(["finish", "finish", "retry", "give up", "release", "extend"]))
    def end(self, data, end):
        name = data.draw(st.sampled_from([name for name, one in self.workers.items() if one.held]))
        job = data.draw(st.sampled_from(self.workers[name].held))
        held = self.is_held(name, job)
        one = self.model[job.id]
        try:
            if end == "finish":
                worked = finish_with_effect(self.database, job)
            else:
                self.call(end, name, job)
                worked = True
        except LeaseLostError:
            worked = False
        assert worked == held
        if end != "extend":
            self.workers[name].held.remove(job)
        if held:
            self.follow(end, one)

    def call(self, end, name, job):
        if end == "release":
            jobs.release(self.database, job)
        elif end == "extend":
            held = self.workers[name].held
            held[held.index(job)] = jobs.extend(self.database, job, lease_s=LEASE_S)
        else:
            jobs.fail(self.database, job, "it broke", retry=end == "retry")

    def follow(self, end, one):
        if end == "finish":
            one.state = "done"
        elif end == "extend":
            one.until = self.now + LEASE_S * SECOND
        elif end == "release":
            one.state, one.attempts = "waiting", one.attempts - 1
        elif end == "retry" and one.attempts < jobs.MOST_ATTEMPTS:
            one.state, one.not_before = "waiting", self.now + jobs.BACKOFF_US * 4 ** (one.attempts - 1)
        else:
            one.state = "quarantined"

    @rule(name=st.sampled_from("abc"))
    def die(self, name):
        self.workers[name].held.clear()

    @rule(name=st.sampled_from("abc"))
    def die_and_start_again(self, name):
        self.workers[name].held.clear()
        of = self.holder
        jobs.release_of(self.database, name)
        for number, one in self.model.items():
            if one.state == "leased" and of[number] == name:
                one.state = "waiting"

    @rule(seconds=st.sampled_from([1, 15, 31, 31, 31, 3 * 86_400, -5, -3 * 86_400]))
    def time_passes(self, seconds):
        self.now += seconds * SECOND

    @precondition(lambda self: any(one.state == "quarantined" for one in self.model.values()))
    @rule(data=st.data())
    def requeue(self, data):
        number = data.draw(st.sampled_from([n for n, one in self.model.items() if one.state == "quarantined"]))
        jobs.requeue(self.database, number, "user:a")
        self.model[number] = Model()

    @invariant()
    def the_queue_is_as_the_model_says(self):
        if not hasattr(self, "database"):
            return
        with self.database.read() as connection:
            rows = connection.execute(select(table)).all()
            entries = trail.entries(connection, kind="effect", limit=10_000)
        assert {row.id: (row.state, row.attempts) for row in rows} == {
            number: (one.state, one.attempts) for number, one in self.model.items()
        }
        done = [number for number, one in self.model.items() if one.state == "done"]
        assert sorted(int(one.subject) for one in entries) == done, "the effects of a job happen once"


@pytest.mark.parametrize("examples", [8, pytest.param(250, marks=pytest.mark.slow)])
def test_the_queue_does_what_its_model_does(sqlite_template, examples):
    class Here(Queue):
        template = sqlite_template

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
