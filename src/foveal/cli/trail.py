"""foveal trail: whether the record of a service is as it was written, and its signed head to keep elsewhere."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.store import DatabaseAddress, DatabaseConfig, address
from foveal.errors import StorageError, UsageError

if TYPE_CHECKING:
    from foveal.storage.folder import DataFolder
    from foveal.storage.heads import PublicKey

app = typer.Typer(help="The append-only record of a service: verify it, and sign its head.", no_args_is_help=True)


@app.callback()
def _trail() -> None:
    """The append-only record of a service: verify it, and sign its head."""


@app.command("verify")
def verify(
    data: Annotated[str, typer.Argument(help="The data directory of a service, or the address of its database.")],
    database: DatabaseAddress = None,
    config: DatabaseConfig = None,
    head: Annotated[
        list[Path] | None,
        typer.Option(help="A file of signed heads that was kept elsewhere; may be given again.", show_default=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="The public key they were signed for (default: keys/trail.pub of DATA).", show_default=False),
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="Read every image that is kept, too.")] = False,
) -> None:
    """Recompute the whole chain, hold it against signed heads and the store against it; name the first altered row."""
    from foveal.storage.blobs import Blobs
    from foveal.storage.database import open_database
    from foveal.storage.folder import DataFolder
    from foveal.storage.heads import read_heads
    from foveal.storage.trail import verify as verify_trail
    from foveal.storage.witness import hear

    folder = None if "://" in data else DataFolder(Path(data))
    if folder is None and (images or database or config):
        raise UsageError("Images lie in the data directory: foveal trail verify DATA --database ADDRESS --images.")
    if folder:
        _there(folder)
    files = list(head or [])
    if folder and folder.heads.is_file():
        files.append(folder.heads)
    heads = [one for file in files for one in read_heads(file)]
    opened = open_database(address(folder, database, config) if folder else data)
    try:
        with opened.read() as connection:
            verdict = verify_trail(connection, heads, _public_key(folder, key))
            blobs = Blobs(folder.blobs) if folder and images else None
            heard = hear(connection, blobs) if verdict.holds else None
    finally:
        opened.close()
    if verdict.fault:
        raise StorageError(f"The trail was altered. Row {verdict.fault.seq}: {verdict.fault.sentence}.")
    assert heard is not None
    for one in heard.disagreements:
        raise StorageError(f"The store was altered. {one.table}, {one.id}: {one.sentence}.")
    typer.echo(f"The trail holds: {verdict.rows} rows, {verdict.heads} signed heads.")
    read = f", and {heard.images} images read" if blobs is not None else ""
    typer.echo(f"The store agrees: {heard.predictions} predictions, {heard.reviews} reviews{read}.")
    if not heads:
        typer.echo("Without a signed head a trail that was cut short, or written anew, holds too: foveal trail head.")


def _there(folder: DataFolder) -> DataFolder:
    """Return `folder`; a name that was mistyped makes no new one, with a key of its own."""
    if not folder.root.is_dir():
        raise StorageError(f"There is no data directory {folder.root}.")
    return folder


def _public_key(folder: DataFolder | None, given: Path | None) -> PublicKey | None:
    from foveal.storage.heads import public_key_of

    file = given or (folder.keys / "trail.pub" if folder else None)
    if file is None or (given is None and not file.is_file()):
        return None
    try:
        return public_key_of(file.read_text("ascii"))
    except UnicodeDecodeError:
        raise StorageError(f"{file} holds no public key of a trail.") from None


@app.command("head")
def head(
    data: Annotated[Path, typer.Argument(help="The data directory of a service.")],
    database: DatabaseAddress = None,
    config: DatabaseConfig = None,
) -> None:
    """Sign the trail's last row and print the signed head: keep it where who could alter the trail cannot write."""
    from foveal.storage.database import open_database
    from foveal.storage.folder import DataFolder
    from foveal.storage.heads import sign_last, signing_key

    folder = _there(DataFolder(data))
    opened = open_database(address(folder, database, config))
    try:
        with opened.read() as connection:
            signed = sign_last(connection, signing_key(folder.keys), folder.heads)
    finally:
        opened.close()
    if signed is None:
        raise StorageError("The trail has no row yet, and so no head.")
    typer.echo(json.dumps(asdict(signed)))


@app.command("replay")
def replay(
    case: Annotated[str, typer.Argument(help="The id of a case.")],
    data: Annotated[Path, typer.Option(help="The data directory of the service.")] = Path("foveal-data"),
    database: DatabaseAddress = None,
    config: DatabaseConfig = None,
    classifier: Annotated[
        Path | None,
        typer.Option(help="Where the classifier that answered lies now (default: where it lay).", show_default=False),
    ] = None,
) -> None:
    """Compute a stored case anew, from its image and with the classifier and engine that answered, and compare."""
    from foveal.serving.replay import replay as replay_case
    from foveal.serving.store import Store
    from foveal.storage.blobs import Blobs
    from foveal.storage.database import open_database
    from foveal.storage.folder import DataFolder

    folder = _there(DataFolder(data))
    opened = open_database(address(folder, database, config))
    try:
        found = replay_case(Store(folder.root, opened, Blobs(folder.blobs)), case, classifier)
    finally:
        opened.close()
    width = max(len(name) for name in found.then)
    typer.echo(f"case {found.case_id}, classifier {found.classifier_hash[:12]}, {found.engine}")
    for name, then in found.then.items():
        typer.echo(f"  {name:<{width}}  then {then:.9f}  now {found.now[name]:.9f}")
    if not found.holds:
        what = "other pixels" if not found.same_pixels else f"a difference of {found.difference:.2e}"
        raise StorageError(f"The replay of case {found.case_id} gives {what}.")
    typer.echo(f"The same: probabilities differ by {found.difference:.1e} at most.")
