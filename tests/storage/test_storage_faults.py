"""What breaks: locks, frozen and killed servers, full and read-only disks. Waits end, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time

import pytest
from sqlalchemy import event, func, select, text
from stored_rows import a_case, finish_with_effect

from foveal.errors import MissingPartError, StorageError
from foveal.storage import jobs, trail
from foveal.storage.blobs import Blobs
from foveal.storage.database import BusyError, ConflictError, FullError, open_database
from foveal.storage.faults import UnfitError
from foveal.storage.tables import cases

PATIENCE_S = 30  # far above every deadline: what is meant is that there is one


def number_of_cases(database):
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(cases)).scalar_one()


@pytest.fixture
def hasty(place):
    opened = open_database(place.url, timeout_s=0.4)
    yield opened
    opened.close()


def write_a_case(database):
    with database.write() as connection:
        a_case(connection)
        trail.append(connection, [trail.Event("received", "guest")])


def busy_within(limit_s, call):
    start = time.monotonic()
    with pytest.raises(BusyError) as caught:
        call()
    assert time.monotonic() - start < limit_s
    return str(caught.value)


def test_a_second_writer_waits_a_while_and_is_told(place, hasty):
    other = open_database(place.url)
    with other.write() as connection:
        a_case(connection)
        trail.append(connection, [trail.Event("received", "guest")])
        assert "locked" in busy_within(PATIENCE_S, lambda: write_a_case(hasty))
        assert number_of_cases(hasty) == 0, "readers go on"
    other.close()
    write_a_case(hasty)
    assert number_of_cases(hasty) == 2


def test_another_programs_lock_on_sqlite_is_told(sqlite_place):
    hasty = open_database(sqlite_place.url, timeout_s=0.3)
    other = sqlite3.connect(sqlite_place.url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    busy_within(PATIENCE_S, lambda: write_a_case(hasty))
    other.execute("ROLLBACK")
    other.close()
    write_a_case(hasty)
    hasty.close()


def test_more_threads_than_connections_are_told(hasty):
    with pytest.raises(BusyError, match="in use"):
        hold(hasty, 40)
    assert number_of_cases(hasty) == 0


def hold(database, number):
    """Read, and read again while that is not over, so many times."""
    with database.read() as connection:
        connection.execute(text("SELECT 1"))
        if number:
            hold(database, number - 1)


@pytest.mark.slow
def test_a_frozen_server_is_told_and_found_again(postgres, postgres_place):
    database = open_database(postgres_place.url, timeout_s=0.4)
    write_a_case(database)
    with postgres.frozen():
        busy_within(PATIENCE_S, lambda: write_a_case(database))
        busy_within(PATIENCE_S, lambda: number_of_cases(database))
        busy_within(PATIENCE_S, lambda: open_database(postgres_place.url, timeout_s=0.4))
    write_a_case(database)
    assert number_of_cases(database) == 2
    database.close()


def test_a_server_that_freezes_within_a_transaction_keeps_none_of_it(postgres, postgres_place):
    database = open_database(postgres_place.url, timeout_s=0.4)

    def write():
        with database.write() as connection:
            a_case(connection)
            with postgres.frozen():
                a_case(connection)

    busy_within(PATIENCE_S, write)
    write_a_case(database)
    assert number_of_cases(database) == 1
    database.close()


@pytest.mark.slow
def test_a_commit_whose_answer_is_lost_has_its_effects_once(postgres, postgres_place):
    database = open_database(postgres_place.url, timeout_s=0.4)
    with database.write() as connection:
        jobs.add(connection, "predict", a_case(connection))
    (job,) = jobs.claim(database, "w", ["predict"])
    with contextlib.ExitStack() as until_told:

        @event.listens_for(database.engine, "commit", once=True)
        def freeze(connection):
            until_told.enter_context(postgres.frozen())

        busy_within(PATIENCE_S, lambda: finish_with_effect(database, job))
    assert not finish_with_effect(database, job), "the commit had reached the server, which made it"
    with database.read() as connection:
        assert len(trail.entries(connection, kind="effect")) == 1
    database.close()


def test_a_server_that_is_killed_and_started_again_is_found_again(postgres, postgres_place):
    database = open_database(postgres_place.url, timeout_s=2)
    write_a_case(database)

    def write():
        with database.write() as connection:
            a_case(connection)
            postgres.stop("immediate")

    busy_within(PATIENCE_S, write)
    busy_within(PATIENCE_S, lambda: write_a_case(database))
    postgres.start()
    write_a_case(database)
    assert number_of_cases(database) == 2
    with database.read() as connection:
        assert trail.verify(connection).rows == 2
    database.close()


def test_a_connection_that_the_server_ended_is_replaced(postgres, postgres_place):
    database = open_database(postgres_place.url, timeout_s=2)
    write_a_case(database)
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'clerk'")
    write_a_case(database)
    assert number_of_cases(database) == 2
    database.close()


def test_a_query_that_takes_too_long_is_given_up(postgres_place):
    database = open_database(postgres_place.url, timeout_s=0.2)
    with pytest.raises(BusyError, match="too long"), database.read() as connection:
        connection.execute(text("SELECT pg_sleep(20)"))
    assert number_of_cases(database) == 0
    database.close()


@pytest.mark.parametrize(("state", "kind"), [
    ("53100", FullError), ("53200", BusyError), ("53300", BusyError), ("57P01", BusyError), ("40P01", BusyError),
    ("40001", BusyError), ("25006", StorageError), ("23505", ConflictError), ("22001", UnfitError),
    ("XX001", StorageError), ("0A000", StorageError),
])  # fmt: skip
def test_what_a_server_says_becomes_a_sentence(postgres_place, state, kind):
    database = open_database(postgres_place.url)
    raises = f"DO $$ BEGIN RAISE 'Erika Mustermann' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(StorageError) as caught, database.write() as connection:
        connection.exec_driver_sql(raises)
    assert type(caught.value) is kind
    assert "Erika" not in str(caught.value)
    database.close()


def test_a_server_that_acknowledges_too_early_is_refused(postgres, postgres_place):
    name = postgres_place.url.rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pytest.raises(StorageError, match="synchronous_commit"):
        open_database(postgres_place.url)


@pytest.mark.parametrize(("url", "words"), [
    ("postgresql://clerk:wrong@127.0.0.1:{port}/postgres", "refuses the user"),
    ("postgresql://clerk:not-a-secret@127.0.0.1:{port}/nowhere", "name of the database"),
    ("postgresql://clerk:not-a-secret@127.0.0.1:1/postgres", "cannot be reached"),
])  # fmt: skip
def test_a_server_that_lets_nobody_in_is_told_without_the_address(postgres, url, words):
    with pytest.raises(StorageError, match=words) as caught:
        open_database(url.format(port=postgres.port), timeout_s=2)
    assert "clerk" not in str(caught.value)
    assert "127" not in str(caught.value)


def test_postgres_without_its_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "foveal.storage.deadline", None)
    with pytest.raises(MissingPartError, match="postgres"):
        open_database("postgresql://a@127.0.0.1/b")


def run_python(code, *words, before=()):
    """Run `code` in a process of its own and return what it printed."""
    command = [*before, sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


NO_LARGE_FILE = """
import resource, sys
from pathlib import Path
from foveal.storage.blobs import Blobs
from foveal.storage.faults import FullError
blobs = Blobs(Path(sys.argv[1]))
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
try:
    blobs.put([b"small", b"x" * 20_000, b"large" * 4_000])
except FullError as error:
    print("full")
print(len(list((blobs.folder / "parts").iterdir())), len(list(blobs.names())))
resource.setrlimit(resource.RLIMIT_FSIZE, before)
print(len(blobs.put([b"small", b"x" * 20_000])))
"""


def test_a_blob_that_has_no_room_leaves_nothing(tmp_path):
    assert run_python(NO_LARGE_FILE, tmp_path / "blobs") == ["full", "0", "0", "2"]


FULL_DISK = """
import os, sys
from pathlib import Path
from sqlalchemy import func, select
from foveal.storage import trail
from foveal.storage.blobs import Blobs
from foveal.storage.database import FullError, migrate, open_database
from foveal.storage.tables import trail as table
disk = Path(sys.argv[1])
ballast = disk / "ballast"
ballast.write_bytes(bytes(1 << 20))
blobs, put = Blobs(disk / "blobs"), []
while True:
    try:
        put += blobs.put([os.urandom(50_000) for _ in range(5)])
    except FullError:
        break
ballast.unlink()
assert all(blobs.get(name) for name in put) and not list((disk / "blobs" / "parts").iterdir())
put += blobs.put([os.urandom(50_000)])
assert sorted(put) == list(blobs.names())
for name in put:
    blobs.remove(name)

database, committed = open_database(f"sqlite:///{disk}/foveal.db"), 0
migrate(database)
ballast.write_bytes(bytes(1 << 20))
while True:
    try:
        with database.write() as connection:
            trail.append(connection, [trail.Event("received", "guest", "", {"x": "y" * 2000})] * 50)
        committed += 50
    except FullError:
        break
with database.read() as connection:
    assert trail.verify(connection) == trail.Verdict(committed, 0, None)
ballast.unlink()
with database.write() as connection:
    trail.append(connection, [trail.Event("received", "guest")])
with database.read() as connection:
    assert trail.verify(connection) == trail.Verdict(committed + 1, 0, None)
database.close()
print(len(put), committed)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_full_disk_is_told_and_loses_nothing(tmp_path):
    script = 'mount -t tmpfs -o size=6m tmpfs "$0" || { echo unmountable; exit 0; }; exec "$@"'
    words = run_python(FULL_DISK, tmp_path, before=["unshare", "-m", "sh", "-c", script, str(tmp_path)])
    if words == ["unmountable"]:
        pytest.skip("needs root that may mount a small disk")
    put, committed = map(int, words)
    assert put > 20
    assert committed > 100


READ_ONLY = """
import sys
from pathlib import Path
from foveal.errors import StorageError
from foveal.storage import trail
from foveal.storage.blobs import Blobs
from foveal.storage.database import open_database
disk = Path(sys.argv[1])
def told(call):
    try:
        call()
    except StorageError as error:
        print(str(error).replace(" ", "-"))
def write():
    database = open_database(f"sqlite:///{disk}/foveal.db")
    with database.write() as connection:
        trail.append(connection, [trail.Event("received", "guest")])
told(write)
told(lambda: Blobs(disk / "blobs").put([b"a"]))
told(lambda: Blobs(disk / "other"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a disk read-only")
def test_a_read_only_disk_is_told(tmp_path, sqlite_template):
    (tmp_path / "foveal.db").write_bytes(sqlite_template.read_bytes())
    Blobs(tmp_path / "blobs").put([b"before"])
    script = 'mount --bind -o ro "$0" "$0" && mount -o remount,bind,ro "$0" || { echo unmountable; exit 0; }; exec "$@"'
    words = run_python(READ_ONLY, tmp_path, before=["unshare", "-m", "sh", "-c", script, str(tmp_path)])
    if words == ["unmountable"]:
        pytest.skip("needs root that may mount a disk read-only")
    assert len(words) == 3
    assert "write-protected" in words[0] or "cannot-be-opened" in words[0]
    assert all("Read-only" in one for one in words[1:])


def test_a_disk_error_while_flushing_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    blobs = Blobs(tmp_path / "blobs")
    blobs.put([b"before"])

    def broken(handle):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageError, match="Input/output error") as caught:
        blobs.put([b"after", b"wards"])
    assert not isinstance(caught.value, FullError)
    monkeypatch.undo()
    assert len(list(blobs.names())) == 1


def test_no_handle_is_left_open(tmp_path, place):
    def handles():
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    blobs = Blobs(tmp_path / "blobs")
    database = open_database(place.url, timeout_s=5)
    write_a_case(database)
    blobs.put([b"1", b"2"])
    before = handles()
    for number in range(30):
        write_a_case(database)
        blobs.put([f"{number}".encode(), b"2"])
        with pytest.raises(ZeroDivisionError), database.write() as connection:
            a_case(connection)
            raise ZeroDivisionError
    assert handles() <= before + 1
    database.close()


def test_a_text_with_a_nul_is_the_fault_of_whoever_sent_it(postgres_place):
    database = open_database(postgres_place.url)
    with pytest.raises(UnfitError), database.write() as connection:
        trail.append(connection, [trail.Event("received", "guest", "a\0b")])
    with pytest.raises(UnfitError), database.read() as connection:
        connection.execute(select(cases.c.id).where(cases.c.leading == "\0")).all()
    assert number_of_cases(database) == 0
    database.close()
