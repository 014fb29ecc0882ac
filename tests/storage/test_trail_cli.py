"""foveal trail and foveal database, as a person types them."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from foveal.cli.app import app
from foveal.errors import FovealError, StorageError, UsageError
from foveal.storage import trail
from foveal.storage.database import migrate, open_database, schema_state
from foveal.storage.folder import DataFolder
from foveal.storage.heads import sign_last, signing_key


def run(*words):
    """Return what a command prints; its error is raised."""
    result = CliRunner().invoke(app, list(map(str, words)))
    if isinstance(result.exception, FovealError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def data(tmp_path):
    """The data directory of a service with ten rows and one signed head."""
    folder = DataFolder(tmp_path / "foveal-data")
    folder.root.mkdir()
    database = open_database(folder.url)
    migrate(database)
    with database.write() as connection:
        trail.append(connection, [trail.Event("received", "guest", f"case{n}") for n in range(10)])
    with database.read() as connection:
        sign_last(connection, signing_key(folder.keys), folder.heads)
    database.close()
    return folder


def tamper(folder, *statements):
    database = open_database(folder.url)
    with database.write() as connection:
        for name in ("trail_no_update", "trail_no_delete"):
            connection.execute(text(f"DROP TRIGGER {name}"))
        for statement in statements:
            connection.execute(text(statement))
    database.close()


def test_a_trail_that_holds(data):
    assert "10 rows, 1 signed heads" in run("trail", "verify", data.root)


def test_the_first_altered_row_is_named_with_its_exit_code(data):
    tamper(data, "UPDATE trail SET actor = 'x' WHERE seq IN (4, 7)")
    with pytest.raises(StorageError, match="Row 4: its hash") as caught:
        run("trail", "verify", data.root)
    assert caught.value.exit_code == 10


def test_a_head_kept_elsewhere_shows_what_was_cut_off_with_the_heads(data, tmp_path):
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(run("trail", "head", data.root))
    assert json.loads(elsewhere.read_text())["seq"] == 10
    assert "2 signed heads" in run("trail", "verify", data.root, "--head", elsewhere)
    tamper(data, "DELETE FROM trail WHERE seq > 6")
    with pytest.raises(StorageError, match="Row 7: it is missing"):
        run("trail", "verify", data.root)
    data.heads.unlink()
    assert "Without a signed head" in run("trail", "verify", data.root)
    with pytest.raises(StorageError, match="Row 7: it is missing"):
        run("trail", "verify", data.root, "--head", elsewhere)


def test_heads_signed_anew_with_another_key_do_not_hold_against_the_public_key_kept(data, tmp_path):
    kept = tmp_path / "kept.pub"
    kept.write_bytes((data.keys / "trail.pub").read_bytes())
    for file in (data.heads, data.keys / "trail.key", data.keys / "trail.pub"):
        file.unlink()
    run("trail", "head", data.root)
    assert "holds" in run("trail", "verify", data.root)
    with pytest.raises(StorageError, match="signature of its head"):
        run("trail", "verify", data.root, "--key", kept)


def test_a_folder_without_a_database_is_refused(tmp_path):
    for verb in ("verify", "head"):
        with pytest.raises(StorageError, match=r"holds no foveal\.db"):
            run("trail", verb, tmp_path)
    assert not list(tmp_path.iterdir())


def test_postgres_is_migrated_by_its_owner_and_used_by_the_service(postgres, tmp_path):
    name = postgres.new_database()
    clerk = postgres.url(name, "clerk")
    assert "tables are made" in run("database", "migrate", postgres.url(name, "keeper"), "--app-role", "clerk")
    assert "already" in run("database", "migrate", postgres.url(name, "keeper"))
    database = open_database(clerk)
    assert schema_state(database) == "current"
    with database.write() as connection:
        trail.append(connection, [trail.Event("received", "guest")] * 3)
    database.close()
    (tmp_path / "head.json").write_text(run("trail", "head", tmp_path, "--database", clerk))
    assert "3 rows, 1 signed" in run("trail", "verify", clerk, "--head", tmp_path / "head.json")
    postgres.execute("SET session_replication_role = replica; UPDATE trail SET actor = 'x' WHERE seq = 2", name)
    with pytest.raises(StorageError, match="Row 2"):
        run("trail", "verify", clerk)


def test_a_role_without_rights_is_told_what_it_lacks(postgres):
    name = postgres.new_database()
    database = open_database(postgres.url(name, "clerk"))
    with pytest.raises(StorageError, match="permission denied"):
        migrate(database)
    database.close()


def test_images_are_not_passed_over_where_only_the_database_is_named(data):
    with pytest.raises(UsageError, match="Images lie in the data directory"):
        run("trail", "verify", data.url, "--images")
    assert "0 images read" in run("trail", "verify", data.root, "--database", data.url, "--images")
    with pytest.raises(StorageError, match="no data directory"):
        run("trail", "verify", data.root / "missing", "--database", data.url)
    with pytest.raises(StorageError, match="no data directory"):
        run("trail", "head", data.root / "missing", "--database", data.url)
    assert not (data.root / "missing").exists()
