"""A backup put back into an empty place: all of it, verified, or nothing.

::

    unpack beside the place, hold every member against the manifest
    load the tables in one transaction, count them, verify the trail against its signed heads and the manifest
    commit, and rename the folder to its place
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, text

from foveal.errors import OutputError, StorageError
from foveal.files import saying_why
from foveal.storage.archive import Manifest, rows_of, unpack
from foveal.storage.database import REVISIONS, migrate, open_database, schema_state
from foveal.storage.folder import DataFolder
from foveal.storage.heads import read_heads
from foveal.storage.tables import jobs, metadata, trail
from foveal.storage.trail import Event, append, verify

BATCH = 1000
FORMER_HEADS = "heads-before-restore.jsonl"
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Restored:
    """What was put back, and where."""

    folder: DataFolder
    manifest: Manifest
    has_keys: bool


def restore(file: Path, data: Path, *, database_url: str | None = None, actor: str = "service") -> Restored:
    """Put the backup `file` back as the data directory `data`, which is absent or empty.

    The tables go into `database_url`, which holds no row yet, or into SQLite within `data`. Raises StorageError in
    one sentence where the backup is damaged or its trail does not hold, or where the place is not empty; then
    nothing was changed there.
    """
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise OutputError(f"{data} is not empty; a backup is restored into a new folder, and nothing is overwritten.")
    place = data.absolute()
    with saying_why(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.restoring-", dir=place.parent))
    try:
        with saying_why(scratch):
            manifest = unpack(file, scratch)
            (scratch / "blobs").mkdir(exist_ok=True)
        if manifest.schema != REVISIONS[-1]:
            raise StorageError(
                f"{file} has the schema {manifest.schema} of Foveal {manifest.foveal}: restore it with that version, "
                "and then start its service with this one."
            )
        has_keys = (scratch / "keys" / "trail.key").is_file()
        _load_and_place(file, manifest, scratch, place, database_url, actor, has_keys=has_keys)
        return Restored(DataFolder(place), manifest, has_keys)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _load_and_place(
    file: Path, manifest: Manifest, scratch: Path, place: Path, url: str | None, actor: str, *, has_keys: bool
) -> None:
    tables, unpacked = scratch / "tables", DataFolder(scratch)
    database = open_database(url or unpacked.url, timeout_s=PATIENCE_S)
    try:
        state = schema_state(database)
        if state == "empty":
            migrate(database)
        elif state != "current":
            raise StorageError("The database has not this version's schema: migrate it first, or take an empty one.")
        with database.write() as connection:
            _refuse_filled(connection)
            for table in metadata.sorted_tables:
                _load(connection, table, tables / f"{table.name}.jsonl", manifest.rows.get(table.name, 0), file)
            if not database.is_sqlite:
                _count_on(connection)
            _verify(connection, unpacked, manifest, file)
            body = {"made_at": manifest.made_at, "seq": manifest.trail_seq, "hash": manifest.trail_hash}
            append(connection, [Event("restored", actor, "", body)])
    finally:
        database.close()
    shutil.rmtree(tables)
    if not has_keys and unpacked.heads.is_file():
        unpacked.heads.rename(scratch / FORMER_HEADS)  # of a key that is not here: a new one signs from now on
    with saying_why(place):
        if place.exists():
            place.rmdir()
        scratch.rename(place)
        if hasattr(os, "sync"):
            os.sync()  # one call instead of a flush a file


def _refuse_filled(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        if connection.execute(select(func.count()).select_from(table)).scalar_one():
            raise StorageError(
                f"The database is not empty ({table.name} has rows); a backup is restored into a new one."
            )


def _load(connection: Connection, table: Table, source: Path, expected: int, file: Path) -> None:
    count = 0
    if source.is_file():
        names = {column.name for column in table.columns}
        for batch in _batches(rows_of(source)):
            if any(set(row) != names for row in batch):
                raise StorageError(f"{file} is no backup of this version: its table {table.name} has other columns.")
            connection.execute(insert(table), batch)
            count += len(batch)
    if count != expected:
        raise StorageError(f"{file} is damaged: its table {table.name} has {count} rows, not {expected}.")


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _count_on(connection: Connection) -> None:
    """Let PostgreSQL number new jobs after those that were put back."""
    last = connection.execute(select(func.max(jobs.c.id))).scalar()
    if last is not None:
        # not setval, for which the role of a service has no right
        connection.execute(
            text("SELECT count(nextval(pg_get_serial_sequence('jobs', 'id'))) FROM generate_series(1, :last)"),
            {"last": last},
        )


def _verify(connection: Connection, unpacked: DataFolder, manifest: Manifest, file: Path) -> None:
    heads = read_heads(unpacked.heads) if unpacked.heads.is_file() else []
    verdict = verify(connection, [head for head in heads if head.seq <= manifest.trail_seq])
    if verdict.fault:
        raise StorageError(f"The trail in {file} was altered. Row {verdict.fault.seq}: {verdict.fault.sentence}.")
    last = connection.execute(select(trail.c.hash).where(trail.c.seq == manifest.trail_seq)).scalar()
    if manifest.trail_seq and last != manifest.trail_hash:
        raise StorageError(f"The trail in {file} ends otherwise than its manifest says.")
