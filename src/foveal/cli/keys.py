"""foveal keys: what programs show to a service instead of a password."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from foveal.cli.store import Config, Data, opened_store

ACTOR = "service"
app = typer.Typer(help="The keys that programs show to a service: add, list, revoke.", no_args_is_help=True)


class ScopeName(StrEnum):
    predict = "predict"
    explain = "explain"
    read = "read"
    review = "review"
    admin = "admin"


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What uses the key, such as the name of a program.")],
    scope: Annotated[list[ScopeName], typer.Option(help="What it may do; repeat it.")],
    expires_days: Annotated[
        float | None, typer.Option(help="After how many days it ends.", show_default="never")
    ] = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    from foveal.storage.keys import make_key

    with opened_store(config, data, make=True) as database:
        key, token = make_key(database, name, {one.value for one in scope}, actor=ACTOR, expires_days=expires_days)
    until = "" if key.expires_at is None else f" until {_day(key.expires_at)}"
    typer.echo(f"{key.name} may {', '.join(sorted(key.scopes))}{until}. Its key, shown this once:", err=True)
    typer.echo(token)


@app.command("list")
def list_keys(data: Data = None, config: Config = None) -> None:
    """List the keys, without their secrets."""
    from foveal.storage.ids import now_us
    from foveal.storage.keys import all_keys
    from foveal.web.svg import printable

    with opened_store(config, data) as database, database.read() as connection:
        keys = all_keys(connection)
    for key in keys:
        until = "no end" if key.expires_at is None else f"until {_day(key.expires_at)}"
        scopes = ",".join(sorted(key.scopes))
        typer.echo(f"{key.id}  {key.state(now_us())}  {scopes}  {until}  {printable(key.name)}")
    if not keys:
        typer.echo("There is no key yet: foveal keys add NAME --scope predict")


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id of the key, as `foveal keys list` shows it.")],
    data: Data = None,
    config: Config = None,
) -> None:
    """Let a key in no more; a running service notices within half a minute."""
    from foveal.storage.keys import revoke_key

    with opened_store(config, data) as database:
        revoke_key(database, key_id, actor=ACTOR)
    typer.echo(f"The key {key_id} is revoked.")


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
