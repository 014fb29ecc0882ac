"""foveal users and foveal keys, as one types them before a service first starts."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from foveal.storage.accounts import sign_in
from foveal.storage.database import open_database
from foveal.storage.keys import verify_key

PASSWORD = "a horse that corrects staples"


@pytest.fixture
def foveal(tmp_path):
    def call(*words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from foveal.cli import main; main()", *words, "--data", str(tmp_path / "d")]
        return subprocess.run(command, input=said, capture_output=True, text=True, timeout=60, check=False)

    return call


@pytest.fixture
def database(tmp_path, foveal):
    done = foveal("users", "add", "Rosa", "--role", "admin", said=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Rosa may sign in as admin.\n"
    opened = open_database(f"sqlite:///{tmp_path / 'd' / 'foveal.db'}")
    yield opened
    opened.close()


def test_the_first_admin_is_made_where_there_is_no_service_yet(foveal, database):
    assert sign_in(database, "Rosa", PASSWORD) is not None
    assert foveal("users", "list").stdout == "Rosa  admin\n"
    alone = foveal("users", "disable", "Rosa")
    assert alone.returncode == 2
    assert "only admin" in alone.stderr
    foveal("users", "add", "Tom", "--role", "admin", said=PASSWORD)
    assert foveal("users", "disable", "Rosa").returncode == 0
    assert sign_in(database, "Rosa", PASSWORD) is None


def test_a_key_is_printed_once_alone_on_standard_output(foveal, database):
    done = foveal("keys", "add", "scanner", "--scope", "predict", "--scope", "read", "--expires-days", "3")
    token = done.stdout.strip()
    key = verify_key(database, token)
    assert key is not None
    assert key.scopes == {"predict", "read"}
    assert re.search(r"scanner may predict, read until \d{4}-\d\d-\d\d", done.stderr)
    listed = foveal("keys", "list").stdout
    assert key.id in listed
    assert token not in listed
    foveal("keys", "revoke", key.id)
    assert verify_key(database, token) is None


def test_a_store_that_is_not_there_is_made_by_what_adds_alone(foveal):
    done = foveal("users", "list")
    assert (done.returncode, "holds no store" in done.stderr) == (10, True)


@pytest.mark.parametrize(
    "words, said, code, says",
    [
        (("users", "add", "Rosa"), "", 2, "standard input"),
        (("users", "add", "Rosa"), "short\n", 2, "12 to"),
        (("users", "role", "Rsoa", "reader"), "", 2, "no user"),
        (("keys", "revoke", "x"), "", 2, "no such key"),
        (("keys", "add", "x"), "", 2, "scope"),
    ],
)
def test_what_is_refused_is_said_in_one_sentence(foveal, words, said, code, says):
    foveal("keys", "add", "first", "--scope", "read")  # which makes the store
    done = foveal(*words, said=said)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
