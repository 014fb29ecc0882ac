"""What can go wrong with a database, in one sentence each, never with SQL or a value in it.

::

    StorageError
    ├── BusyError       locked, frozen, unreachable: the same call may do later
    ├── FullError       no space
    ├── ConflictError   a row is there already, or one that it leans on is not
    ├── UnfitError      a value that cannot be stored, such as a text with a NUL in PostgreSQL
    └── LeaseLostError  a job went to another worker: what was done for it is taken back
"""

from __future__ import annotations

import errno
import sqlite3

from sqlalchemy import exc

from foveal.errors import StorageError


class BusyError(StorageError):
    """The database is locked, frozen or out of reach; the same call may do later."""


class FullError(StorageError):
    """There is no space left."""


class ConflictError(StorageError):
    """A row is there already, or one that it leans on is not."""


class UnfitError(StorageError):
    """A value cannot be stored: whoever sent it is at fault, and not the store."""


class LeaseLostError(StorageError):
    """The lease of a job went to another worker, and with it the right to finish it."""


_FULL = "The disk of the database is full: nothing was written. Free some space."
_CONFLICT = "The database holds such a row already, or lacks one that it leans on: nothing was written."
_UNFIT = "The database refuses a value: it is too long, or not of the column's kind."
_LOST = "The database cannot be reached or does not answer. What was not acknowledged may have to be sent again."

_SQLITE = {
    sqlite3.SQLITE_BUSY: (BusyError, "The database is locked by another process. Try again."),
    sqlite3.SQLITE_LOCKED: (BusyError, "The database is locked by another connection. Try again."),
    sqlite3.SQLITE_FULL: (FullError, _FULL),
    sqlite3.SQLITE_CONSTRAINT: (ConflictError, _CONFLICT),
    sqlite3.SQLITE_READONLY: (StorageError, "The database may only be read: its file or folder is write-protected."),
    sqlite3.SQLITE_PERM: (StorageError, "The database may not be used: permission denied."),
    sqlite3.SQLITE_CANTOPEN: (StorageError, "The database cannot be opened: its folder is missing or protected."),
    sqlite3.SQLITE_IOERR: (StorageError, "The disk of the database reports an error."),
    sqlite3.SQLITE_CORRUPT: (StorageError, "The database is damaged. Restore a backup."),
    sqlite3.SQLITE_NOTADB: (StorageError, "The file is no SQLite database."),
}
# Where a disk is full, SQLite's shared memory and its truncations fail with errors of their own.
_SQLITE_SHORT_OF_SPACE = {sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_TRUNCATE}

_POSTGRES = {  # by SQLSTATE, or by its class of two letters
    "08": (BusyError, _LOST),
    "57P": (BusyError, "The database is being stopped or started. Try again."),
    "57014": (BusyError, "The database took too long and the work was given up. Try again."),
    "53300": (BusyError, "The database has no connection to spare. Try again."),
    "53200": (BusyError, "The database is out of memory. Try again."),
    "53100": (FullError, _FULL),
    "55P03": (BusyError, "The database is locked by another process. Try again."),
    "25P03": (BusyError, "The database gave up a transaction that was idle for too long. Try again."),
    "40": (BusyError, "The database undid the work, since it collided with another's. Try again."),
    "42501": (StorageError, "The database refuses: permission denied."),
    "42P01": (StorageError, "The database has no such table: migrate it with foveal database migrate."),
    "28": (StorageError, "The database refuses the user or the password."),
    "3D": (StorageError, "There is no such database on the server."),
    "25006": (StorageError, "The database may only be read."),
    "22": (UnfitError, _UNFIT),
    "23": (ConflictError, _CONFLICT),
    "XX": (StorageError, "The database is damaged, or has a fault of its own."),
}


def translated(error: exc.SQLAlchemyError) -> StorageError:
    """Return what a database's error means, without its SQL, its values or the address of the server."""
    if isinstance(error, exc.TimeoutError):
        return BusyError("Every connection to the database is in use. Try again.")
    origin = getattr(error, "orig", None)
    if isinstance(origin, sqlite3.Error):
        return _of_sqlite(origin)
    state = getattr(origin, "sqlstate", None)
    if state is not None:
        for length in (5, 3, 2):
            if state[:length] in _POSTGRES:
                kind, words = _POSTGRES[state[:length]]
                return kind(words)
        return StorageError(f"The database refuses the work (SQLSTATE {state}).")
    if isinstance(error, exc.DataError):  # psycopg's own, before the server is asked
        return UnfitError(_UNFIT)
    if isinstance(error, exc.OperationalError | exc.InterfaceError) or getattr(error, "connection_invalidated", False):
        words = str(origin).lower()
        if "no password supplied" in words:
            return StorageError("The database asks for a password: put it into ~/.pgpass, PGPASSWORD or the address.")
        if "password authentication failed" in words or "no pg_hba" in words or "does not exist" in words:
            return StorageError("The database refuses the user, the password or the name of the database.")
        return BusyError(_LOST)
    return StorageError(f"The database refuses the work ({type(origin or error).__name__}).")


def _of_sqlite(origin: sqlite3.Error) -> StorageError:
    code = getattr(origin, "sqlite_errorcode", None)
    if code is None:
        return StorageError(f"The database refuses the work ({type(origin).__name__}).")
    if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
        return StorageError("The trail is only appended to: its rows cannot be changed, deleted or put out of order.")
    if code in _SQLITE_SHORT_OF_SPACE:
        return FullError(_FULL)
    kind, words = _SQLITE.get(code & 0xFF, (StorageError, f"The database refuses the work (SQLite {code})."))
    return kind(words)


def refuse_nul(*texts: str | None) -> None:
    """Raise UnfitError for a text with a NUL: SQLite would keep it, and PostgreSQL never take it over."""
    if any("\0" in text for text in texts if text is not None):
        raise UnfitError("A text holds a NUL, which cannot be stored.")


def of_file(error: OSError, what: str) -> StorageError:
    """Return what an operating-system error about `what` (words, no path) means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return FullError(f"The disk is full: {what} could not be written. Free some space.")
    return StorageError(f"{what[0].upper()}{what[1:]} cannot be used: {error.strerror or error}.")
