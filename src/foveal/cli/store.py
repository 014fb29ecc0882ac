"""The store of a service, opened by a command that works on it while the service runs, or before it first does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.errors import MissingPartError, StorageError, UsageError

if TYPE_CHECKING:
    from foveal.storage.database import Database
    from foveal.storage.folder import DataFolder

Data = Annotated[
    str | None, typer.Option(help="The service's data folder; foveal-data unless the settings say.", show_default=False)
]
Config = Annotated[Path | None, typer.Option(help="The service's settings, a TOML file.", show_default=False)]
DatabaseAddress = Annotated[
    str | None,
    typer.Option(help="The address of its database, where that is not foveal.db.", show_default=False),
]
DatabaseConfig = Annotated[
    Path | None,
    typer.Option(
        help="The service's settings, a TOML file: they tell the address of its database.", show_default=False
    ),
]


def address(folder: DataFolder, database: str | None, config: Path | None) -> str:
    """Return the address of the database beside `folder`: as it was said, as the settings tell, or the embedded one.

    Raises UsageError where both are said, or the settings are wrong; StorageError where there is no database.
    """
    if config is None:
        return database or folder.existing_url()
    if database is not None:
        raise UsageError("Say --database or --config, not both: each tells the address of the database.")
    try:
        from foveal.serving.settings import load_settings
    except ImportError:
        raise MissingPartError("A service needs its parts: pip install 'foveal[serve]'.") from None
    return load_settings(config, options={"data": str(folder.root)}).database or folder.existing_url()


@contextmanager
def opened_store(config: Path | None, data: str | None, *, make: bool = False) -> Iterator[Database]:
    """Yield the database of the service that `config`, the environment and `data` tell of.

    One that is not there is made ready where `make` says so, refused otherwise.
    """
    try:
        from foveal.serving.settings import load_settings
        from foveal.storage.database import migrate, open_database, schema_state
    except ImportError:
        raise MissingPartError("A service needs its parts: pip install 'foveal[serve]'.") from None
    settings = load_settings(config, options={"data": data} if data is not None else {})
    if not settings.database:
        if not make and not (settings.data_folder / "foveal.db").is_file():
            raise StorageError(f"{settings.data_folder} holds no store of a service; name it by --data or --config.")
        try:
            settings.data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"The folder {settings.data_folder} cannot be made: {error.strerror}.") from None
    database = open_database(settings.database_url)
    try:
        state = schema_state(database)
        if state == "empty":
            migrate(database)
        elif state != "current":
            raise StorageError(
                f"The database is of a {'newer' if state == 'newer' else 'former'} version of Foveal: "
                "start its service with this version first, which brings it up to date, or use that version."
            )
        yield database
    finally:
        database.close()
