"""foveal users: the people who may sign in to a service."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.store import Config, Data, opened_store
from foveal.errors import UsageError

if TYPE_CHECKING:
    from foveal.storage.accounts import User
    from foveal.storage.database import Database

ACTOR = "service"  # of the trail: whoever may run commands on the service's own machine
app = typer.Typer(help="The people who may sign in to a service: add, list, change, disable.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The name the person signs in with.")]


class Role(StrEnum):
    reader = "reader"
    reviewer = "reviewer"
    admin = "admin"


RoleOption = Annotated[Role, typer.Option(help="reader sees, reviewer also signs, admin also administers.")]


@app.command("add")
def add(name: Name, role: RoleOption = Role.reviewer, data: Data = None, config: Config = None) -> None:
    """Add a person; the password is asked for, or read from standard input, and never an argument."""
    from foveal.storage.accounts import add_user

    password = read_password()
    with opened_store(config, data, make=True) as database:
        user = add_user(database, name, password, role.value, actor=ACTOR)
    typer.echo(f"{user.name} may sign in as {user.role}.")


@app.command("list")
def list_users(data: Data = None, config: Config = None) -> None:
    """List the people with their roles."""
    from foveal.storage.accounts import all_users
    from foveal.web.svg import printable

    with opened_store(config, data) as database, database.read() as connection:
        users = all_users(connection)
    for user in users:
        typer.echo(f"{printable(user.name)}  {user.role}{'  disabled' if user.disabled_at is not None else ''}")
    if not users:
        typer.echo("Nobody may sign in yet: foveal users add NAME --role admin")


@app.command("role")
def role(
    name: Name,
    role: Annotated[Role, typer.Argument(help="The role that the person has from now on.")],
    data: Data = None,
    config: Config = None,
) -> None:
    """Give a person another role; they sign in again."""
    from foveal.storage.accounts import set_role

    with _named(name, data, config) as (database, user):
        set_role(database, user.id, role.value, actor=ACTOR)
    typer.echo(f"{user.name} is {role.value} now.")


@app.command("password")
def password(name: Name, data: Data = None, config: Config = None) -> None:
    """Give a person another password; they sign in again."""
    from foveal.storage.accounts import set_password

    with _named(name, data, config) as (database, user):
        set_password(database, user.id, read_password(), actor=ACTOR)
    typer.echo(f"{user.name} has another password now.")


@app.command("disable")
def disable(name: Name, data: Data = None, config: Config = None) -> None:
    """Let a person in no more; who is signed in is out at once."""
    from foveal.storage.accounts import disable_user

    with _named(name, data, config) as (database, user):
        disable_user(database, user.id, actor=ACTOR)
    typer.echo(f"{user.name} is out, and stays out until enabled.")


@app.command("enable")
def enable(name: Name, data: Data = None, config: Config = None) -> None:
    """Let a disabled person in again."""
    from foveal.storage.accounts import enable_user

    with _named(name, data, config) as (database, user):
        enable_user(database, user.id, actor=ACTOR)
    typer.echo(f"{user.name} may sign in again.")


@contextmanager
def _named(name: str, data: str | None, config: Path | None) -> Iterator[tuple[Database, User]]:
    """Yield the store, and the person of that name in it; UsageError where there is none."""
    from foveal.storage.accounts import user_named

    with opened_store(config, data) as database:
        with database.read() as connection:
            user = user_named(connection, name)
        yield database, user


def read_password() -> str:
    """Return a password: asked for twice at a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password (12 characters or more)", hide_input=True, confirmation_prompt=True))
    said = sys.stdin.readline().rstrip("\r\n")
    if not said:
        raise UsageError("No password came: type it at a terminal, or give it as the first line of standard input.")
    return said
