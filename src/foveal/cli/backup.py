"""foveal backup, restore, erase: a service's store taken away whole, put back, and one case of it removed for good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.store import DatabaseAddress, DatabaseConfig, address
from foveal.errors import MissingPartError, StorageError, UsageError

if TYPE_CHECKING:
    from foveal.storage.database import Database

ACTOR = "service"  # of the trail: whoever may run commands on the machine of the service

DataArgument = Annotated[Path, typer.Argument(help="The data directory of a service.")]


def backup(
    data: DataArgument,
    out: Annotated[Path, typer.Argument(help="The tar file to write, e.g. foveal-2026-11-27.tar.")],
    database: DatabaseAddress = None,
    config: DatabaseConfig = None,
    keys: Annotated[
        bool, typer.Option("--keys/--no-keys", help="Whether what signs the trail and the forms is in it, too.")
    ] = True,
) -> None:
    """Write everything a service keeps into one file, of one moment, while the service runs."""
    try:
        from foveal.storage.backup import back_up
        from foveal.storage.database import open_database
        from foveal.storage.folder import DataFolder
    except ImportError as error:
        raise _missing() from error
    folder = DataFolder(data)
    opened = open_database(address(folder, database, config), timeout_s=60)
    try:
        done = back_up(opened, folder, out, with_keys=keys, actor=ACTOR)
    finally:
        opened.close()
    manifest = done.manifest
    typer.echo(f"cases      {manifest.rows['cases']:,}, and {done.images:,} files of images and maps")
    typer.echo(f"trail      row {manifest.trail_seq:,}, {manifest.trail_hash}")
    typer.echo(f"written    {done.file} ({done.file.stat().st_size / 1e6:,.1f} MB)")
    if manifest.missing:
        raise StorageError(
            f"The backup is written, but {len(manifest.missing)} images are gone or altered in {folder.blobs}, "
            f"the first of them {manifest.missing[0]}: look for them in an older backup."
        )


def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    data: Annotated[Path, typer.Argument(help="The data directory to make; absent or empty.")],
    database: Annotated[
        str | None,
        typer.Option(help="The address of an empty database (default: SQLite in DATA).", show_default=False),
    ] = None,
) -> None:
    """Put a backup back into an empty place: all of it, its trail verified, or nothing."""
    try:
        from foveal.storage.restore import restore as put_back
    except ImportError as error:
        raise _missing() from error
    done = put_back(file, data, database_url=database, actor=ACTOR)
    manifest = done.manifest
    typer.echo(f"made       {manifest.made_at}, by Foveal {manifest.foveal}")
    typer.echo(f"cases      {manifest.rows['cases']:,}")
    typer.echo(f"trail      holds: {manifest.trail_seq:,} rows")
    typer.echo(f"restored   {done.folder.root}")
    if not done.has_keys:
        typer.echo("keys       none in the backup: new ones are made; former heads: heads-before-restore.jsonl")
    if manifest.missing:
        typer.echo(f"missing    {len(manifest.missing)} images, which were gone when the backup was made")


def erase(
    data: DataArgument,
    case: Annotated[str | None, typer.Argument(help="The id of a case.", show_default=False)] = None,
    subject: Annotated[
        str | None, typer.Option(help="Instead: every case of this subject, as senders called it.", show_default=False)
    ] = None,
    database: DatabaseAddress = None,
    config: DatabaseConfig = None,
) -> None:
    """Erase a case's image, maps, name, subject and reasons for good; the trail keeps that it was."""
    if (case is None) == (subject is None):
        raise UsageError("Say which case, or whose by --subject; one of the two.")
    try:
        from foveal.storage.blobs import Blobs
        from foveal.storage.database import open_database
        from foveal.storage.folder import DataFolder
        from foveal.storage.retention import LOSES, erase_case
    except ImportError as error:
        raise _missing() from error
    folder = DataFolder(data)
    opened = open_database(address(folder, database, config))
    try:
        for one in [case] if case is not None else _cases_of(opened, subject or ""):
            done = erase_case(opened, Blobs(folder.blobs), one, ACTOR)
            typer.echo(f"erased     {done.case_id}: {LOSES}")
            shared = f", {done.shared} shared with other cases" if done.shared else ""
            typer.echo(f"files      {done.files} removed{shared}")
    finally:
        opened.close()
    typer.echo("Backups made before still hold it.")


def _cases_of(database: Database, subject: str) -> list[str]:
    from foveal.storage.retention import subjects_cases

    with database.read() as connection:
        found = subjects_cases(connection, subject)
    if not found:
        raise StorageError(f'There is no case of a subject "{subject}", or all of them are erased.')
    return found


def _missing() -> MissingPartError:
    return MissingPartError("A service needs its parts: pip install 'foveal[serve]'.")
