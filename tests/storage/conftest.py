"""Databases to test on: the embedded one, and a real PostgreSQL server as the limited role of a service."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postgres_server import Server

    from foveal.storage.database import Database


class WithoutParts(pytest.File):
    """A file of tests whose packages are not installed: skipped with the reason."""

    def collect(self):
        pytest.skip("the service's packages are not installed (pip install 'foveal[serve]')", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.File | None:
    missing = [one for one in ("sqlalchemy", "alembic", "cryptography") if importlib.util.find_spec(one) is None]
    return WithoutParts.from_parent(parent, path=module_path) if missing else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install 'foveal[postgres]')")
    from postgres_server import running_server

    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: Server) -> str:
    """The name of a database with the tables made and the rights given."""
    from foveal.storage.database import migrate, open_database
    from foveal.storage.roles import grant_application_role

    name = postgres.new_database()
    owner = open_database(postgres.url(name, "keeper"))
    migrate(owner)
    grant_application_role(owner, "clerk")
    owner.close()
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from foveal.storage.database import migrate, open_database

    file = tmp_path_factory.mktemp("template") / "foveal.db"
    database = open_database(f"sqlite:///{file}")
    migrate(database)
    database.close()
    return file


@dataclass(frozen=True)
class Place:
    """A migrated database that no test used before."""

    url: str  # as the service opens it
    tamper: Callable[[str], None]  # runs a statement as somebody whom neither rights nor triggers stop
    empty: Callable[[], str]  # makes a database without tables, and returns its owner's URL


@pytest.fixture
def sqlite_place(tmp_path: Path, sqlite_template: Path) -> Place:
    from foveal.storage.ids import new_id

    file = tmp_path / "foveal.db"
    shutil.copy(sqlite_template, file)

    def tamper(statement: str) -> None:
        connection = sqlite3.connect(file)
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()
        connection.close()

    return Place(f"sqlite:///{file}", tamper, lambda: f"sqlite:///{tmp_path / new_id()}.db")


@pytest.fixture
def postgres_place(postgres: Server, postgres_template: str) -> Iterator[Place]:
    name = postgres.new_database(postgres_template)

    def tamper(statement: str) -> None:
        postgres.execute(f"SET session_replication_role = replica; {statement}", name)

    yield Place(postgres.url(name, "clerk"), tamper, lambda: postgres.url(postgres.new_database(), "keeper"))
    postgres.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    from foveal.storage.database import open_database

    opened = open_database(place.url, timeout_s=10)
    yield opened
    opened.close()
