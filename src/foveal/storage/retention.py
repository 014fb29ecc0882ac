"""Erasure: what is known of a person goes, what proves the service's doing stays.

::

    gone                                        kept
    the image's and the maps' bytes             ids, times, hashes, sizes
    name and subject of the case                the classifier's figures and people's verdicts
    reasons of reviews, texts of problems       every row of the trail, and one more: erased

It is done in two steps, so that a crash between them loses nothing: the rows first, in one transaction with the row
of the trail; then the files that no row needs any more. What a crash leaves of the second `sweep_orphans` finishes.

Files are shared by content. Whoever stores one that is there already must not lose it to an erasure at the same
moment: the last look at a file, and its removal, exclude each other by the database's own locks (`hold`), since two
processes, or two machines, may be at work.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from foveal.errors import StorageError
from foveal.storage.blobs import Blobs
from foveal.storage.database import Database
from foveal.storage.ids import now_us
from foveal.storage.tables import (
    cases,
    explanations,
    images,
    jobs,
    problems,
    request_keys,
    reviews,
    sessions,
    trail,
)
from foveal.storage.trail import Event, append

DAY_US = 86_400_000_000
FILES_LOCK = 0x666F7665616C03  # of PostgreSQL's advisory locks: shared to need a file, alone to remove one
ERASED_TEXT = "(erased)"
LOSES = "its image, heat maps, name and subject, and the reasons of its reviews; it cannot be replayed"
DONE_DAYS = 30  # for so long a repeated request is known
PATIENCE_MS = 200
YOUNG_S = 3600.0  # a file without a row may belong to a transaction under way

_SHARED = select(func.pg_advisory_xact_lock_shared(bindparam("lock")))
_ALONE = select(func.pg_advisory_xact_lock(bindparam("lock")))


@dataclass(frozen=True)
class Erased:
    """What an erasure did."""

    case_id: str
    files: int  # removed
    shared: int  # kept, since another case has the same bytes


def erase_case(database: Database, blobs: Blobs, case_id: str, actor: str) -> Erased:
    """Erase a case for good; one that is erased already loses what a crash may have left of it.

    Raises StorageError where there is no such case, BusyError where the database does not answer.
    """
    erased = _erase(database, blobs, case_id, actor)
    _forget_freed(database)
    return erased


def _erase(database: Database, blobs: Blobs, case_id: str, actor: str) -> Erased:
    with database.write() as connection:
        names = _erase_rows(connection, case_id, actor)
    removed = remove_unneeded(database, blobs, names)
    shared = sum(blobs.path(name).exists() for name in names)  # nothing else was left
    return Erased(case_id, removed, shared)


def _erase_rows(connection: Connection, case_id: str, actor: str) -> list[str]:
    """Empty the case's rows and note it in the trail; return the files it had."""
    case = connection.execute(select(cases.c.state).where(cases.c.id == case_id).with_for_update()).first()
    if case is None:
        raise StorageError(f"There is no case {case_id}.")
    had = connection.execute(select(images.c.id, images.c.sha256).where(images.c.case_id == case_id)).all()
    maps = connection.execute(select(explanations.c.map_sha256).where(explanations.c.case_id == case_id)).scalars()
    names = list(dict.fromkeys([*(row.sha256 for row in had), *maps]))
    if case.state == "erased":
        return names
    connection.execute(explanations.delete().where(explanations.c.case_id == case_id))
    connection.execute(update(images).where(images.c.case_id == case_id).values(kept=False))
    connection.execute(update(reviews).where(reviews.c.case_id == case_id).values(reason=None))
    connection.execute(
        update(problems).where(problems.c.case_id == case_id).values(description=ERASED_TEXT, answer=None)
    )
    connection.execute(
        update(jobs)
        .where(jobs.c.case_id == case_id, jobs.c.state != "done")
        .values(state="done", leased_until=None, worker=None, body="{}", error="its case was erased")
    )
    connection.execute(
        update(cases)
        .where(cases.c.id == case_id)
        .values(state="erased", name=None, subject=None, reason=None, urgency=0.0)
    )
    body = {"images": [row.id for row in had], "sha256": [row.sha256 for row in had], "loses": LOSES}
    append(connection, [Event("erased", actor, case_id, body)])
    return names


def remove_unneeded(database: Database, blobs: Blobs, names: Iterable[str]) -> int:
    """Remove those files of `names` that no row needs, for good; return how many there were."""
    removed = 0
    for name in names:
        with blobs.lock, database.write() as connection:  # for one file at a time: requests are answered in between
            if not database.is_sqlite:  # SQLite has one writer at a time anyway
                connection.execute(_ALONE, {"lock": FILES_LOCK})
            if not needed(connection, [name]) and blobs.path(name).exists():
                blobs.remove(name)
                removed += 1
    return removed


def hold(connection: Connection, blobs: Blobs, contents: Mapping[str, bytes]) -> None:
    """Make sure, in the transaction that writes their rows, that `contents`, by SHA-256, are still among the files.

    An erasure in another process may have removed one after `Blobs.put` found it there. From here to the
    transaction's end it cannot.
    """
    if not contents:
        return
    if connection.dialect.name != "sqlite":
        connection.execute(_SHARED, {"lock": FILES_LOCK})
    lost = [content for name, content in contents.items() if not blobs.path(name).exists()]
    if lost:
        blobs.put(lost)


def needed(connection: Connection, names: Sequence[str]) -> set[str]:
    """Return those of `names` that are the image of a case that is kept, or a map of one."""
    kept = select(images.c.sha256).where(images.c.sha256.in_(names), images.c.kept.is_(True))
    maps = select(explanations.c.map_sha256).where(explanations.c.map_sha256.in_(names))
    return {*connection.execute(kept).scalars(), *connection.execute(maps).scalars()}


def sweep(database: Database, blobs: Blobs, older_than_days: int, *, actor: str = "service", most: int = 1000) -> int:
    """Erase up to `most` cases that were received more than `older_than_days` ago; return how many.

    Cases that still wait for their answer are left. 0 days: none is erased, ever.
    """
    if older_than_days <= 0:
        return 0
    before = now_us() - older_than_days * DAY_US
    old = (
        select(cases.c.id)
        .where(cases.c.received_at < before, cases.c.state.in_(("answered", "quarantined")))
        .order_by(cases.c.received_at)
        .limit(most)
    )
    with database.read() as connection:
        due = list(connection.execute(old).scalars())
    for case_id in due:
        _erase(database, blobs, case_id, actor)
    if due:
        _forget_freed(database)
    return len(due)


@dataclass(frozen=True)
class Swept:
    """What was found among the files."""

    removed: int  # files of erased cases
    aside: int  # files that no row knows, set aside
    unknown: int  # left alone: older than this database, so they may be another's


def sweep_orphans(database: Database, blobs: Blobs, *, young_s: float = YOUNG_S) -> Swept:
    """Remove files that erased cases left, and set those aside that no row knows: a killed process stored them.

    Set aside and not removed, since a database that was put back to an earlier day does not know later images either;
    after `DONE_DAYS` they go. Left alone are files younger than `young_s`, and those that are older than the database
    and unknown to it: with the wrong database, or a new one, every image would look like that.
    """
    now = time.time()
    with database.read() as connection:
        first = connection.execute(select(func.min(trail.c.made_at))).scalar()
        known = set(connection.execute(select(images.c.sha256)).scalars())
        explained = connection.execute(select(trail.c.body).where(trail.c.kind == "explained")).scalars()
        known |= {str(json.loads(body).get("map")) for body in explained}  # whose rows an erasure removes
        wanted = set(connection.execute(select(images.c.sha256).where(images.c.kept.is_(True))).scalars())
        wanted |= set(connection.execute(select(explanations.c.map_sha256)).scalars())
    erased, orphans, unknown = [], [], 0
    for name in blobs.names():
        if name in wanted:
            continue
        try:
            made = blobs.path(name).stat().st_mtime
        except FileNotFoundError:
            continue
        if made > now - young_s:
            continue
        if name in known:
            erased.append(name)
        elif first is not None and made * 1e6 > first:
            orphans.append(name)
        else:
            unknown += 1
    aside = _set_aside(database, blobs, orphans)
    blobs.forget_aside(DONE_DAYS * DAY_US / 1e6)
    return Swept(remove_unneeded(database, blobs, erased), aside, unknown)


def _set_aside(database: Database, blobs: Blobs, names: Sequence[str]) -> int:
    """Set those of `names` aside that still no row needs; return how many."""
    count = 0
    for name in names:
        with blobs.lock, database.write() as connection:
            if not database.is_sqlite:
                connection.execute(_ALONE, {"lock": FILES_LOCK})
            if not needed(connection, [name]):
                blobs.set_aside(name)
                count += 1
    return count


def sweep_done(database: Database, *, older_than_days: int = DONE_DAYS) -> int:
    """Remove rows that have served: jobs done, sessions ended, keys of requests that nobody repeats any more.

    Returns how many. None of them is evidence: what happened stands in the trail.
    """
    before = now_us() - older_than_days * DAY_US
    removals = (
        jobs.delete().where(jobs.c.state == "done", jobs.c.made_at < before),
        sessions.delete().where(sessions.c.seen_at < before),
        request_keys.delete().where(request_keys.c.made_at < before),
    )
    with database.write() as connection:
        return sum(connection.execute(one).rowcount for one in removals)


def _forget_freed(database: Database) -> None:
    """Have SQLite write its log into the file and cut it off: the log still held what was erased.

    Where a reader is in the way, such as a backup, it is done with the next erasure, or when the service stops:
    nobody else can write while it waits, so it does not wait for long.
    """
    if not database.is_sqlite:
        return
    with suppress(sqlite3.Error, SQLAlchemyError):
        raw = database.engine.raw_connection()
        cursor = raw.cursor()
        (before,) = cursor.execute("PRAGMA busy_timeout").fetchone()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {before}")
            raw.close()


def subjects_cases(connection: Connection, subject: str) -> list[str]:
    """Return the ids of the cases of one `subject` that are not erased, oldest first."""
    wanted = select(cases.c.id).where(cases.c.subject == subject, cases.c.state != "erased").order_by(cases.c.id)
    return list(connection.execute(wanted).scalars())
