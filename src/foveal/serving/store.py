"""The store of a service: its folder, database and files, opened together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foveal.errors import StorageError
from foveal.files import saying_why
from foveal.serving.settings import Settings
from foveal.storage.blobs import Blobs
from foveal.storage.database import Database, migrate, open_database, schema_state

SHARED_YOUNG_S = 3600.0  # with PostgreSQL another machine may put into the same folder


@dataclass(frozen=True, eq=False)
class Store:
    """What a service keeps things in."""

    folder: Path
    database: Database
    blobs: Blobs

    def sweep(self) -> None:
        """Remove what a killed process left half-written."""
        self.blobs.sweep_parts(0 if self.database.is_sqlite else SHARED_YOUNG_S)

    def close(self) -> None:
        """Close the database."""
        self.database.close()


def open_store(settings: Settings) -> Store:
    """Open the store that `settings` name, made or brought to this version's schema where it may be.

    Raises StorageError when the database cannot be used, OutputError when the folder cannot be made.
    """
    folder = settings.data_folder
    with saying_why(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = open_database(settings.database_url)
    try:
        if schema_state(database) != "current":
            migrate(database)
        return Store(folder, database, Blobs(folder / "blobs"))
    except BaseException:
        database.close()
        raise


def refuse_missing(folder: Path) -> None:
    """Raise StorageError where there is no store at `folder`."""
    if not folder.is_dir():
        raise StorageError(f"There is no store at {folder}; a service makes one when it is started with --data.")
