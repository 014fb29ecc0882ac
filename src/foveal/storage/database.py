"""One database, SQLite or PostgreSQL: opened, read in snapshots, written in transactions, brought to its schema.

::

    with database.read() as connection:     a consistent snapshot; whatever it changes is dropped
    with database.write() as connection:    all of it is committed when the block is left, or none of it

On SQLite a write holds the only write lock from its first moment, so that it never finds out half-way that another
process wrote what it had read. Every wait has an end: a lock, a frozen server and a lost network give a BusyError.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import sqlalchemy
from sqlalchemy import Connection, Engine, event, exc, text
from sqlalchemy.engine import URL, make_url

from foveal.errors import MissingPartError, StorageError, UsageError
from foveal.storage.faults import BusyError, ConflictError, FullError, translated
from foveal.storage.turns import Turns

__all__ = [
    "BusyError", "ConflictError", "Database", "FullError", "SchemaState", "migrate", "open_database", "schema_state",
]  # fmt: skip

SchemaState = Literal["current", "old", "newer", "empty"]

REVISIONS = ("0001",)  # oldest first, as in migrations/versions
VERSION_TABLE = "schema_version"
MIGRATION_LOCK = 0x666F7665616C01  # of PostgreSQL's advisory locks: one process migrates
CONNECTIONS = 8
IDLE_TRANSACTION_S = 60  # after which PostgreSQL gives up the transaction, and the locks, of a frozen service


@dataclass(frozen=True, eq=False)
class Database:
    """An open database; safe to use from several threads."""

    url: str = field(repr=False)  # may hold a password
    engine: Engine
    turns: Turns | None = None  # of those that write to SQLite

    @property
    def is_sqlite(self) -> bool:
        """Whether it is the embedded SQLite, and not a PostgreSQL server."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees the database as it is at its first query, until the block is left."""
        with _in_words(), self._reader().connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a transaction: committed when the block is left, undone on any error.

        A BusyError may also mean that the answer to a commit was lost, and the commit not: what is done again must
        notice that it was done. Writes are not nested: on SQLite the inner one would wait for the outer one.
        """
        turn = self.turns.turn() if self.turns is not None else nullcontext()
        with turn, _in_words(), self.engine.begin() as connection:
            yield connection

    def _reader(self) -> Engine:
        if self.is_sqlite:
            return self.engine.execution_options(only_reads=True)
        return self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise translated(error) from None  # the cause may quote what was to be stored


def open_database(url: str, *, timeout_s: float = 5.0) -> Database:
    """Open ``sqlite:////folder/foveal.db`` or ``postgresql://user:password@host/name``; nothing is migrated.

    A wait for a lock ends after `timeout_s`, one for a server that does not answer soon after.
    """
    try:
        address = make_url(url)
    except exc.ArgumentError:
        raise UsageError("The database's address is not readable: write sqlite:////folder/foveal.db or "
                         "postgresql://user:password@host/name.") from None  # fmt: skip
    if address.get_backend_name() == "sqlite":
        engine = _sqlite(address, timeout_s)
    elif address.get_backend_name() in ("postgresql", "postgres"):
        engine = _postgres(address.set(drivername="postgresql+psycopg"), timeout_s)
    else:
        raise UsageError(f'A database of the kind "{address.drivername}" is not known; use sqlite or postgresql.')
    turns = Turns(timeout_s) if engine.dialect.name == "sqlite" else None
    database = Database(url, engine, turns)
    try:
        with database.read() as connection:
            _refuse_the_forgetful(connection)
    except BaseException:
        database.close()
        raise
    return database


def _refuse_the_forgetful(connection: Connection) -> None:
    """Raise StorageError where a commit is acknowledged before it is on the disk; SQLite is told so by `_settle`."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("SELECT 1 FROM sqlite_master"))
    elif connection.execute(text("SHOW synchronous_commit")).scalar_one() == "off":
        raise StorageError("PostgreSQL would lose what it has acknowledged: set synchronous_commit to on.")


def _sqlite(address: URL, timeout_s: float) -> Engine:
    if not address.database or address.database == ":memory:":
        raise UsageError("A service needs a database that is a file: write sqlite:////folder/foveal.db.")
    if not Path(address.database).parent.is_dir():
        raise StorageError(f"The folder of the database {address.database} is not there.")
    engine = sqlalchemy.create_engine(
        address.set(drivername="sqlite+pysqlite"),
        pool_size=CONNECTIONS, max_overflow=CONNECTIONS, pool_timeout=timeout_s, hide_parameters=True,
        connect_args={"timeout": timeout_s},
    )  # fmt: skip

    @event.listens_for(engine, "connect")
    def _settle(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # Python begins no transaction of its own: `_begin` does
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {int(timeout_s * 1000)}",
            "journal_mode = WAL",
            "synchronous = FULL",  # a commit is on the disk when it returns
            "foreign_keys = ON",
            "trusted_schema = OFF",
            "secure_delete = ON",  # what is erased is overwritten, not only let go
            "journal_size_limit = 67108864",
        ):
            _patiently(cursor, f"PRAGMA {pragma}", timeout_s)
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        only_reads = connection.get_execution_options().get("only_reads", False)
        connection.exec_driver_sql("BEGIN DEFERRED" if only_reads else "BEGIN IMMEDIATE")

    return engine


def _patiently(cursor: sqlite3.Cursor, statement: str, timeout_s: float) -> None:
    """Run a statement, again while another process makes the same database: SQLite waits not there by itself."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            cursor.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _postgres(address: URL, timeout_s: float) -> Engine:
    try:
        from foveal.storage.deadline import connect
    except ImportError:
        raise MissingPartError("PostgreSQL needs psycopg: pip install 'foveal[postgres]'.") from None
    milliseconds = int(timeout_s * 1000)
    engine = sqlalchemy.create_engine(
        address,
        pool_size=CONNECTIONS, max_overflow=CONNECTIONS, pool_timeout=timeout_s, pool_pre_ping=True,
        hide_parameters=True,
    )  # fmt: skip
    settings = {
        "lock_timeout": milliseconds,
        "statement_timeout": milliseconds + 1000,
        "idle_in_transaction_session_timeout": IDLE_TRANSACTION_S * 1000,
    }
    given: dict[str, Any] = {
        "connect_timeout": max(2, min(3, round(timeout_s))),  # two seconds are libpq's least
        "tcp_user_timeout": milliseconds + 2000, "keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5,
        "keepalives_count": 3, "application_name": "foveal",
    }  # fmt: skip

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, _words: object, options: dict[str, Any]) -> object:
        asked = str(options.get("options", ""))
        ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
        return connect(timeout_s + 2, **{**given, **options, "options": f"{ours} {asked}".strip()})

    return engine


def schema_state(database: Database) -> SchemaState:
    """Return whether the database's schema is this version's, an older one's, a newer one's, or there is none."""
    with database.read() as connection:
        return _state(connection)


def _state(connection: Connection) -> SchemaState:
    if not sqlalchemy.inspect(connection).has_table(VERSION_TABLE):
        return "empty"
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all()
    if not found:
        return "empty"
    if list(found) == [REVISIONS[-1]]:
        return "current"
    return "old" if set(found) <= set(REVISIONS) else "newer"


def migrate(database: Database) -> None:
    """Bring the schema to this version's in one transaction: whatever stops it, the old schema is still there."""
    if schema_state(database) == "current":
        return
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        state = _state(connection)  # once more: another process may have been faster
        if state == "newer":
            raise StorageError(
                "The database was written by a newer version of Foveal, which this one does not understand: "
                "install that version, or restore the backup that was made before."
            )
        if state != "current":
            from foveal.storage.migrations import upgrade

            upgrade(connection)
