"""The queue of work, in the same database as what the work is about.

::

    waiting ──claim──> leased ──finish──> done
       ^                 │ ├──fail, release, or the lease runs out──> waiting
       └──requeue────────┼──────────────────────────────────┐
                         └──fail for good, or too often──> quarantined ──settle──> done

A job may be begun more than once (a worker dies, a lease runs out), and has its effects once: `finish` belongs into
the transaction of the effects, and raises where the lease has gone to another worker meanwhile, so that the effects
are undone. An attempt counts when it begins: a job that kills its whole process is given up all the same.

Times come from a clock that may be set back or forth. A lease that ends too early costs a second attempt, no more;
a time further ahead than `AHEAD_US` was written by a clock that was wrong, and is not waited for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, insert, or_, select, tuple_, update

from foveal.errors import StorageError
from foveal.storage import trail
from foveal.storage.database import Database
from foveal.storage.faults import LeaseLostError
from foveal.storage.ids import now_us
from foveal.storage.tables import cases, jobs

MOST_ATTEMPTS = 3
BACKOFF_US = 2_000_000  # before the second attempt; four times as long before each one after it
AHEAD_US = 3_600_000_000  # nothing is leased or put off for longer
GIVEN_UP = f"its worker died or fell silent {MOST_ATTEMPTS} times"
ACTOR = "service"

_COLUMNS = (jobs.c.id, jobs.c.kind, jobs.c.case_id, jobs.c.body, jobs.c.attempts, jobs.c.worker, jobs.c.leased_until)
_INSERT = insert(jobs).returning(jobs.c.id, sort_by_parameter_order=True)
_LEASE = (
    update(jobs)
    .where(jobs.c.id == bindparam("of"))
    .values(
        state="leased",
        attempts=bindparam("attempts"),
        worker=bindparam("worker"),
        leased_until=bindparam("leased_until"),
    )
)


@dataclass(frozen=True)
class Job:
    """A job as its worker holds it."""

    id: int
    kind: str
    case_id: str
    body: dict[str, Any]
    attempts: int  # with the one that the lease is for
    worker: str
    leased_until: int  # microseconds since 1970


@dataclass(frozen=True)
class Quarantined:
    """A job that was given up, and why."""

    id: int
    kind: str
    case_id: str
    attempts: int
    reason: str
    made_at: int


def add(
    connection: Connection, kind: str, case_id: str, body: Mapping[str, Any] | None = None, *, not_before_us: int = 0
) -> int:
    """Add a waiting job in the transaction of `connection`, and return its id."""
    if not_before_us > now_us() + AHEAD_US:
        raise StorageError(f"A job is put off for at most {AHEAD_US // 1_000_000} seconds.")
    row = {**_new(kind, case_id, body or {}, now_us()), "not_before": not_before_us}
    return int(connection.execute(_INSERT, [row]).scalar_one())


def add_leased(
    connection: Connection,
    kind: str,
    wanted: Sequence[tuple[str, Mapping[str, Any]]],
    worker: str,
    *,
    lease_s: float = 60,
) -> list[Job]:
    """Add a job for each (case, body) that `worker` begins at once, and return them: an add and a claim in one."""
    if not wanted:
        return []
    now = now_us()
    held: dict[str, Any] = {
        "state": "leased",
        "attempts": 1,
        "worker": worker,
        "leased_until": now + _microseconds(lease_s),
    }
    ids = connection.execute(_INSERT, [{**_new(kind, case, body, now), **held} for case, body in wanted]).scalars()
    return [
        Job(int(id), kind, case, dict(body), 1, worker, held["leased_until"])
        for id, (case, body) in zip(ids, wanted, strict=True)
    ]


def _new(kind: str, case_id: str, body: Mapping[str, Any], now: int) -> dict[str, Any]:
    return {
        "kind": kind,
        "case_id": case_id,
        "body": json.dumps(dict(body), allow_nan=False),
        "state": "waiting",
        "attempts": 0,
        "not_before": 0,
        "made_at": now,
    }


def _microseconds(lease_s: float) -> int:
    lease = int(lease_s * 1_000_000)
    if not 0 < lease <= AHEAD_US:
        raise StorageError(f"A lease lasts from above 0 to {AHEAD_US // 1_000_000} seconds, not {lease_s}.")
    return lease


def claim(database: Database, worker: str, kinds: Sequence[str], *, limit: int = 1, lease_s: float = 60) -> list[Job]:
    """Lease up to `limit` jobs to `worker`: those whose lease ran out, then those that wait, oldest first.

    A job that was begun `MOST_ATTEMPTS` times already is quarantined instead.
    """
    lease = _microseconds(lease_s)
    claimed: list[Job] = []
    with database.write() as connection:
        while len(claimed) < limit:
            now = now_us()
            due = _due(connection, kinds, now, limit - len(claimed))
            if not due:
                break
            tired = [row for row in due if row.attempts >= MOST_ATTEMPTS]
            fresh = [
                Job(row.id, row.kind, row.case_id, json.loads(row.body), row.attempts + 1, worker, now + lease)
                for row in due
                if row.attempts < MOST_ATTEMPTS
            ]
            if fresh:
                connection.execute(
                    _LEASE,
                    [
                        {"of": job.id, "attempts": job.attempts, "worker": worker, "leased_until": job.leased_until}
                        for job in fresh
                    ],
                )
            claimed += fresh
            _quarantine(connection, [(row.id, row.kind, row.case_id, row.attempts) for row in tired], GIVEN_UP)
            if not tired:
                break
    return claimed


def _due(connection: Connection, kinds: Sequence[str], now: int, limit: int) -> list[Row[Any]]:
    """Return, and on PostgreSQL lock, up to `limit` jobs that may be begun."""
    expired = _to_claim(kinds, limit).where(
        jobs.c.state == "leased", or_(jobs.c.leased_until < now, jobs.c.leased_until > now + AHEAD_US)
    )
    found = list(connection.execute(expired.order_by(jobs.c.id)))
    if len(found) < limit:
        waiting = _to_claim(kinds, limit - len(found)).where(
            jobs.c.state == "waiting", or_(jobs.c.not_before <= now, jobs.c.not_before > now + AHEAD_US)
        )
        found += connection.execute(waiting.order_by(jobs.c.not_before, jobs.c.id))
    return found


def _to_claim(kinds: Sequence[str], limit: int) -> Select[Any]:
    return select(*_COLUMNS).where(jobs.c.kind.in_(list(kinds))).limit(limit).with_for_update(skip_locked=True)


def finish(connection: Connection, *done: Job) -> None:
    """Mark jobs as done, inside the transaction of their effects; LeaseLostError when one is no longer its worker's."""
    _leave(connection, done, state="done", leased_until=None)


def extend(database: Database, job: Job, *, lease_s: float = 60) -> Job:
    """Return `job` with a lease that lasts from now; LeaseLostError when it is no longer its worker's."""
    until = now_us() + _microseconds(lease_s)
    with database.write() as connection:
        _leave(connection, [job], leased_until=until)
    return replace(job, leased_until=until)


def release(database: Database, *unbegun: Job) -> None:
    """Give jobs back that were not begun: they wait again, and the attempt does not count."""
    with database.write() as connection:
        _leave(connection, unbegun, state="waiting", attempts=jobs.c.attempts - 1, leased_until=None, worker=None)


def release_of(database: Database, prefix: str) -> int:
    """Let the jobs of workers whose names begin with `prefix`, and which are dead for sure, wait again.

    Their attempts have counted. Returns how many; a restarted service so need not wait until its old leases end.
    """
    dead = and_(jobs.c.state == "leased", jobs.c.worker.startswith(prefix, autoescape=True))
    with database.write() as connection:
        return connection.execute(update(jobs).where(dead).values(state="waiting", leased_until=None)).rowcount


def fail(database: Database, job: Job, reason: str, *, retry: bool) -> None:
    """Let a job that failed wait and be tried again, or put it into quarantine with its case.

    `reason` is a sentence without a name of a person or a file. LeaseLostError when the job is no longer its worker's.
    """
    with database.write() as connection:
        if retry and job.attempts < MOST_ATTEMPTS:
            pause = BACKOFF_US * 4 ** (job.attempts - 1)
            _leave(connection, [job], state="waiting", leased_until=None, not_before=now_us() + pause, error=reason)
        else:
            _leave(connection, [job], leased_until=None)
            _quarantine(connection, [(job.id, job.kind, job.case_id, job.attempts)], reason)


def _leave(connection: Connection, held: Sequence[Job], **values: Any) -> None:
    """Set columns of jobs, each of which must still be leased for this attempt."""
    if not held:
        return
    ours = and_(
        jobs.c.state == "leased",
        jobs.c.worker == held[0].worker,
        tuple_(jobs.c.id, jobs.c.attempts).in_([(job.id, job.attempts) for job in held]),
    )
    if connection.execute(update(jobs).where(ours).values(**values)).rowcount != len(held):
        raise LeaseLostError("The job went to another worker meanwhile; what this one did for it is taken back.")


def _quarantine(connection: Connection, given_up: Sequence[tuple[int, str, str, int]], reason: str) -> None:
    """Put jobs aside, with their cases where these were still to be answered, and say so in the trail."""
    if not given_up:
        return
    connection.execute(
        update(jobs)
        .where(jobs.c.id.in_([id for id, *_ in given_up]))
        .values(state="quarantined", leased_until=None, error=reason)
    )
    connection.execute(
        update(cases)
        .where(cases.c.id.in_([case for _, _, case, _ in given_up]), cases.c.state == "waiting")
        .values(state="quarantined", reason=reason)
    )
    trail.append(
        connection,
        [
            trail.Event(
                "quarantined", ACTOR, case, {"job": id, "job_kind": kind, "attempts": attempts, "reason": reason}
            )
            for id, kind, case, attempts in given_up
        ],
    )


def settle(connection: Connection, case_id: str) -> None:
    """Mark the jobs of a case that were given up as done, since a person has decided what becomes of the case."""
    given_up = and_(jobs.c.case_id == case_id, jobs.c.kind == "predict", jobs.c.state == "quarantined")
    connection.execute(update(jobs).where(given_up).values(state="done"))


def counts(connection: Connection) -> dict[str, int]:
    """Return how many jobs there are of each state, but for those that are done."""
    states = ("waiting", "leased", "quarantined")
    rows = connection.execute(select(jobs.c.state, func.count()).where(jobs.c.state.in_(states)).group_by(jobs.c.state))
    return {**dict.fromkeys(states, 0), **{state: int(number) for state, number in rows}}


def quarantined(connection: Connection, *, limit: int = 200) -> list[Quarantined]:
    """Return the jobs that were given up, newest first."""
    wanted = select(jobs).where(jobs.c.state == "quarantined").order_by(jobs.c.id.desc()).limit(limit)
    return [
        Quarantined(row.id, row.kind, row.case_id, row.attempts, row.error or "", row.made_at)
        for row in connection.execute(wanted)
    ]


def requeue(database: Database, job_id: int, actor: str) -> None:
    """Let a quarantined job be tried anew, and its case wait again; the trail says who wanted it."""
    with database.write() as connection:
        there = and_(jobs.c.id == job_id, jobs.c.state == "quarantined")
        row = connection.execute(select(jobs.c.case_id, jobs.c.kind).where(there).with_for_update()).first()
        if row is None:
            raise StorageError(f"Job {job_id} is not in quarantine.")
        connection.execute(
            update(jobs).where(there).values(state="waiting", attempts=0, not_before=0, worker=None, error=None)
        )
        connection.execute(
            update(cases)
            .where(cases.c.id == row.case_id, cases.c.state == "quarantined")
            .values(state="waiting", reason=None)
        )
        trail.append(connection, [trail.Event("requeued", actor, row.case_id, {"job": job_id, "job_kind": row.kind})])
