"""Snapshots, transactions, the schema and who may change what."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select, text
from stored_rows import a_case

from foveal.errors import StorageError, UsageError
from foveal.storage import database as module
from foveal.storage import jobs, migrations, trail
from foveal.storage.database import ConflictError, migrate, open_database, schema_state
from foveal.storage.roles import grant_application_role
from foveal.storage.tables import cases, metadata

NUMBER = select(func.count()).select_from(cases)


def number_of_cases(database):
    with database.read() as connection:
        return connection.execute(NUMBER).scalar_one()


def test_a_write_is_kept_whole_or_not_at_all(database):
    with database.write() as connection:
        a_case(connection)
        a_case(connection)
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        a_case(connection)
        raise ZeroDivisionError
    assert number_of_cases(database) == 2


def test_what_a_read_changes_is_dropped_or_refused(database):
    try:
        with database.read() as connection:
            a_case(connection)
    except StorageError as error:
        assert "only be read" in str(error)
    assert number_of_cases(database) == 0


def test_a_read_sees_one_moment_while_others_write(database):
    with database.read() as reader:
        assert reader.execute(NUMBER).scalar_one() == 0
        with database.write() as writer:
            a_case(writer)
        assert reader.execute(NUMBER).scalar_one() == 0
    assert number_of_cases(database) == 1


def test_writers_in_many_threads_wait_for_one_another(database):
    def write() -> None:
        for _ in range(10):
            with database.write() as connection:
                connection.execute(NUMBER)
                a_case(connection)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert number_of_cases(database) == 60


def test_sqlite_has_a_commit_on_the_disk_before_it_returns(sqlite_place):
    database = open_database(sqlite_place.url)
    with database.write() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("synchronous", "journal_mode", "foreign_keys", "trusted_schema")
        }
    assert found == {"synchronous": 2, "journal_mode": "wal", "foreign_keys": 1, "trusted_schema": 0}
    database.close()


def test_a_row_that_leans_on_nothing_is_refused(database):
    with pytest.raises(ConflictError), database.write() as connection:
        jobs.add(connection, "predict", "no-such-case")


def test_an_error_says_neither_sql_nor_values(database):
    with database.write() as connection:
        case = a_case(connection)
    with pytest.raises(ConflictError) as caught, database.write() as connection:
        connection.execute(cases.insert(), [{"id": case, "received_at": 1, "sender": "Erika Mustermann", "via": "http",
                                             "state": "waiting"}])  # fmt: skip
    assert str(caught.value).count(".") == 1
    assert not any(word in str(caught.value) for word in ("INSERT", "Erika", case))
    assert caught.value.__suppress_context__


def test_the_migrated_tables_are_those_of_the_code(place):
    database = open_database(place.empty())
    assert schema_state(database) == "empty"
    migrate(database)
    assert schema_state(database) == "current"
    migrate(database)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": module.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    database.close()


def test_the_known_revisions_are_those_of_the_folder():
    folder = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert tuple(one.revision for one in folder.walk_revisions())[::-1] == module.REVISIONS


def test_a_newer_schema_is_refused_in_words(place):
    place.tamper("UPDATE schema_version SET version_num = '9999'")
    database = open_database(place.url)
    assert schema_state(database) == "newer"
    with pytest.raises(StorageError, match="newer version of Foveal"):
        migrate(database)
    database.close()


@pytest.mark.slow
def test_processes_that_migrate_at_once_make_one_schema(place):
    url = place.empty()
    open_database(url).close()
    code = "import sys; from foveal.storage.database import *; migrate(open_database(sys.argv[1], timeout_s=30))"
    started = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(3)]
    assert [one.wait(timeout=60) for one in started] == [0, 0, 0]
    database = open_database(url)
    assert schema_state(database) == "current"
    database.close()


@pytest.mark.slow
def test_threads_that_make_one_new_sqlite_file_wait_for_one_another(tmp_path):
    faults = []

    def make(number):
        try:
            database = open_database(f"sqlite:///{tmp_path}/{number}.db")
            migrate(database)
            database.close()
        except StorageError as error:
            faults.append(error)

    for number in range(40):
        threads = [threading.Thread(target=make, args=(number,)) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert not faults


KILLED = """
import os, signal, sys
from sqlalchemy import event
from foveal.storage.database import migrate, open_database, schema_state
import foveal.storage.migrations.versions.first_tables, alembic.command
url, at = sys.argv[1], sys.argv[2]
database = open_database(url)
seen = 0
@event.listens_for(database.engine, "after_cursor_execute")
def count(connection, cursor, statement, *rest):
    global seen
    seen += statement.lstrip().startswith("CREATE")
    if str(seen) == at or (at == "last" and statement.startswith("INSERT INTO schema_version")):
        os.kill(os.getpid(), signal.SIGKILL)
migrate(database)
"""


@pytest.mark.parametrize("at", ["1", pytest.param("12", marks=pytest.mark.slow), "30", "last"])
def test_a_migration_killed_half_way_leaves_the_old_schema(place, at):
    url = place.empty()
    done = subprocess.run([sys.executable, "-c", KILLED, url, at], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    database = open_database(url, timeout_s=10)
    assert schema_state(database) == "empty"
    migrate(database)
    assert schema_state(database) == "current"
    database.close()


@pytest.mark.slow
def test_a_migration_killed_at_any_time_leaves_the_old_schema_or_the_new(place):
    code = (
        "import sys; from foveal.storage.database import *; import alembic.command; d = open_database(sys.argv[1]);"
        "print(flush=True); migrate(d); print(flush=True)"
    )
    states = []
    for number in range(12):
        url = place.empty()
        child = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE)
        child.stdout.readline()
        threading.Event().wait(number * 0.012)
        child.kill()
        child.communicate()
        database = open_database(url, timeout_s=10)
        states.append(schema_state(database))
        migrate(database)
        assert schema_state(database) == "current"
        database.close()
    assert set(states) <= {"empty", "current"}


@pytest.mark.parametrize("statement", [
    "UPDATE trail SET actor = 'nobody'", "DELETE FROM trail",
    pytest.param("TRUNCATE trail", id="truncate"),
])  # fmt: skip
def test_the_role_of_a_service_cannot_change_the_trail(postgres_place, statement):
    database = open_database(postgres_place.url)
    with pytest.raises(StorageError, match="permission denied"), database.write() as connection:
        connection.execute(text(statement))
    database.close()


def test_the_role_of_a_service_has_these_rights_and_no_others(postgres_place):
    database = open_database(postgres_place.url)
    rights = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    with database.read() as connection:
        held = {
            table: [
                right
                for right in rights
                if connection.execute(text(f"SELECT has_table_privilege('{table}', '{right}')")).scalar_one()
            ]
            for table in ("trail", "schema_version", *(set(metadata.tables) - {"trail"}))
        }
    assert held.pop("trail") == ["SELECT", "INSERT"]
    assert held.pop("schema_version") == ["SELECT"]
    assert all(one == ["SELECT", "INSERT", "UPDATE", "DELETE"] for one in held.values())
    database.close()


def test_the_owner_is_stopped_by_a_trigger(postgres, postgres_template):
    name = postgres.new_database(postgres_template)
    owner = open_database(postgres.url(name, "keeper"))
    with owner.write() as connection:
        trail.append(connection, [trail.Event("signed-in", "user:a")])
    for statement in ("UPDATE trail SET actor = 'x'", "DELETE FROM trail", "TRUNCATE trail"):
        with pytest.raises(StorageError), owner.write() as connection:
            connection.execute(text(statement))
    owner.close()


def test_a_role_that_could_become_the_owner_is_refused(postgres, postgres_template):
    name = postgres.new_database(postgres_template)
    owner = open_database(postgres.url(name, "keeper"))
    for role, words in (("keeper", "rights of the owner"), ("super", "superuser"), ("nobody-here", "CREATE ROLE")):
        with pytest.raises(StorageError, match=words):
            grant_application_role(owner, role)
    owner.close()


def test_the_role_of_a_service_cannot_make_or_drop_tables(postgres_place):
    database = open_database(postgres_place.url)
    for statement in ("DROP TABLE trail", "CREATE TABLE more (x int)", "ALTER TABLE trail DISABLE TRIGGER ALL"):
        with pytest.raises(StorageError, match="permission denied"), database.write() as connection:
            connection.execute(text(statement))
    database.close()


@pytest.mark.parametrize(("url", "words"), [
    ("nonsense", "not readable"), ("mysql://host/name", "mysql"), ("sqlite://", "is a file"),
])  # fmt: skip
def test_an_address_that_will_not_do_is_refused(url, words):
    with pytest.raises(UsageError, match=words):
        open_database(url)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "foveal.db").write_bytes(b"PNG" * 2000)
    with pytest.raises(StorageError, match="no SQLite database"):
        open_database(f"sqlite:///{tmp_path}/foveal.db")
    with pytest.raises(StorageError, match="not there"):
        open_database(f"sqlite:///{tmp_path}/nowhere/foveal.db")
