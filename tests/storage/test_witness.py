"""What was changed behind the service's back, in the tables beside the trail, is named."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from filled_store import filled

from foveal.storage.database import open_database
from foveal.storage.folder import DataFolder
from foveal.storage.witness import hear


@pytest.mark.parametrize(
    ("statement", "table", "words"),
    [
        ("UPDATE reviews SET reason = 'another one' WHERE reason IS NOT NULL", "reviews", "reason_hash"),
        ("UPDATE reviews SET verdict = 'accept'", "reviews", "verdict"),
        ("UPDATE predictions SET engine = 'onnx'", "predictions", "engine"),
        ("DELETE FROM reviews", "reviews", "not there"),
        ("UPDATE images SET sha256 = 'other'", "images", "sha256"),
        ("UPDATE cases SET final_label = 'altered'", "cases", "reviews"),
        ("UPDATE cases SET version = 7", "cases", "reviews"),
        ("UPDATE cases SET \"leading\" = 'altered'", "cases", "newest prediction"),
        ("UPDATE cases SET prediction_id = NULL", "cases", "newest prediction"),
    ],
)
def test_what_was_altered_is_named(place, tmp_path, statement, table, words):
    (tmp_path / "service").mkdir()
    database = open_database(place.url)
    filled(database, DataFolder(tmp_path / "service"))
    with database.read() as connection:
        assert hear(connection).disagreements == ()
    place.tamper(statement)
    with database.read() as connection:
        first = hear(connection).disagreements[0]
    database.close()
    assert first.table == table
    assert words in first.sentence


@pytest.mark.parametrize(
    ("change", "table", "sentence"),
    [
        ("DELETE FROM images WHERE rowid = 1", "images", "the trail tells of it, and it is not there"),
        ("DELETE FROM cases WHERE rowid = 1", "cases", "its image is there, and it is not"),
    ],
)
def test_what_is_gone_is_named(tmp_path: Path, sqlite_place, change, table, sentence):
    (tmp_path / "service").mkdir()
    database = open_database(sqlite_place.url)
    filled(database, DataFolder(tmp_path / "service"))
    connection = sqlite3.connect(tmp_path / "foveal.db")  # by hand, where foreign keys are not asked for
    connection.execute(change)
    connection.commit()
    connection.close()
    with database.read() as reading:
        found = hear(reading).disagreements
    database.close()
    assert (table, sentence) in [(one.table, one.sentence) for one in found]
