"""Rows to lean on, and what runs in processes of its own."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from foveal.storage import jobs, trail
from foveal.storage.database import Database, open_database
from foveal.storage.faults import LeaseLostError
from foveal.storage.ids import new_id, now_us
from foveal.storage.tables import cases
from foveal.storage.trail import Event


def a_case(connection: Connection, state: str = "waiting") -> str:
    """Insert a case and return its id."""
    case = new_id()
    row = {"id": case, "received_at": now_us(), "sender": "guest", "via": "http", "state": state}
    connection.execute(insert(cases), [row])
    return case


def append_many(url: str, actor: str, transactions: int) -> None:
    """Append three rows in each of so many transactions."""
    database = open_database(url, timeout_s=30)
    for number in range(transactions):
        with database.write() as connection:
            trail.append(connection, [Event("received", actor, f"{number}", {"n": part}) for part in range(3)])
    database.close()


def work_off(url: str, worker: str) -> int:
    """Claim and finish jobs until there are none, each with one row of the trail as its effect; return how many."""
    database = open_database(url, timeout_s=30)
    done = 0
    while claimed := jobs.claim(database, worker, ["predict"], limit=3):
        done += sum(finish_with_effect(database, job) for job in claimed)
    database.close()
    return done


def finish_with_effect(database: Database, job: jobs.Job) -> bool:
    """Finish a job together with a row of the trail; return whether the lease was still held."""
    try:
        with database.write() as connection:
            jobs.finish(connection, job)
            trail.append(connection, [Event("effect", job.worker, str(job.id))])
    except LeaseLostError:
        return False
    return True
