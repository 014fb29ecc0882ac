"""foveal database: the schema of a service's database, brought to this version's by its owner."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="The database of a service: bring it to this version's schema.", no_args_is_help=True)

PATIENCE_S = 600.0  # a step may rebuild a large table


@app.callback()
def _database() -> None:
    """The database of a service: bring it to this version's schema."""


@app.command("migrate")
def migrate(
    url: Annotated[
        str, typer.Argument(help="postgresql://OWNER@HOST/NAME; the password, if any, from PGPASSWORD or ~/.pgpass.")
    ],
    app_role: Annotated[
        str | None,
        typer.Option(help="The role of the service, which may add to the trail and not change it.", show_default=False),
    ] = None,
) -> None:
    """Make or upgrade the tables in one transaction, as their owner, and grant the service's own role what it needs."""
    from foveal.storage.database import migrate as migrate_database
    from foveal.storage.database import open_database, schema_state
    from foveal.storage.roles import grant_application_role

    database = open_database(url, timeout_s=PATIENCE_S)
    try:
        before = schema_state(database)
        migrate_database(database)
        typer.echo({"current": "The schema is this version's already.", "empty": "The tables are made."}.get(
            before, "The schema is this version's now."
        ))  # fmt: skip
        if app_role is not None:
            grant_application_role(database, app_role)
            typer.echo(f"{app_role} may use the tables, and of the trail only add to it and read it.")
    finally:
        database.close()
