"""foveal backup, restore and erase, as they are typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filled_store import SUBJECT, filled
from typer.testing import CliRunner

from foveal.cli.app import app
from foveal.errors import OutputError, StorageError, UsageError
from foveal.storage.blobs import Blobs
from foveal.storage.database import open_database
from foveal.storage.folder import DataFolder


@pytest.fixture
def data(tmp_path: Path, sqlite_template: Path) -> Path:
    (tmp_path / "data").mkdir()
    shutil.copy(sqlite_template, tmp_path / "data" / "foveal.db")
    return tmp_path / "data"


def foveal(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    if done.exception is not None:
        raise done.exception
    return done.output


def fill(data: Path) -> list[str]:
    database = open_database(DataFolder(data).url)
    made = filled(database, DataFolder(data))
    database.close()
    return made


def test_what_is_typed_in_the_drill(data, tmp_path):
    first, *_ = fill(data)
    said = foveal("backup", data, tmp_path / "out.tar")
    assert "cases      6, and 7 files of images and maps" in said
    said = foveal("restore", tmp_path / "out.tar", tmp_path / "again")
    assert "cases      6" in said
    assert "holds" in foveal("trail", "verify", tmp_path / "again")
    said = foveal("erase", tmp_path / "again", first)
    assert f"erased     {first}" in said
    assert "files      2 removed" in said
    assert "holds" in foveal("trail", "verify", tmp_path / "again", "--head", data / "heads.jsonl")


def test_the_settings_of_the_service_tell_where_its_database_is(data, tmp_path):
    first, *_ = fill(data)
    elsewhere, config = tmp_path / "elsewhere.db", tmp_path / "foveal.toml"
    (data / "foveal.db").rename(elsewhere)
    config.write_text(f'database = "sqlite:///{elsewhere}"\n')
    assert "cases      6" in foveal("backup", data, tmp_path / "out.tar", "--config", config)
    assert f"erased     {first}" in foveal("erase", data, first, "--config", config)
    assert "holds" in foveal("trail", "verify", data, "--config", config, "--images")
    assert "signature" in foveal("trail", "head", data, "--config", config)
    with pytest.raises(StorageError, match="erased"):
        foveal("trail", "replay", first, "--data", data, "--config", config)
    with pytest.raises(UsageError, match="not both"):
        foveal("backup", data, tmp_path / "again.tar", "--config", config, "--database", f"sqlite:///{elsewhere}")
    config.write_text("databse = 1\n")
    with pytest.raises(UsageError, match="database"):
        foveal("trail", "verify", data, "--config", config)


def test_every_case_of_a_subject_is_erased_and_of_nobody_else(data):
    *_, last = made = fill(data)
    said = foveal("erase", data, "--subject", SUBJECT)
    assert said.count("erased     ") == len(made)
    assert last in said
    assert "holds" in foveal("trail", "verify", data)
    with pytest.raises(StorageError, match="no case of a subject"):
        foveal("erase", data, "--subject", SUBJECT)
    for words in ((), (last, "--subject", SUBJECT)):
        with pytest.raises(UsageError, match="one of the two"):
            foveal("erase", data, *words)


def test_what_is_refused(data, tmp_path):
    fill(data)
    with pytest.raises(StorageError, match=r"holds no foveal\.db"):
        foveal("backup", tmp_path, tmp_path / "out.tar")
    with pytest.raises(StorageError, match="There is no case"):
        foveal("erase", data, "0" * 26)
    with pytest.raises(StorageError, match="There is no backup"):
        foveal("restore", tmp_path / "none.tar", tmp_path / "again")
    foveal("backup", data, tmp_path / "out.tar", "--no-keys")
    with pytest.raises(OutputError, match="not empty"):
        foveal("restore", tmp_path / "out.tar", data)
    assert "heads-before-restore.jsonl" in foveal("restore", tmp_path / "out.tar", tmp_path / "again")


def test_a_lost_image_is_told_by_the_exit_code(data, tmp_path):
    fill(data)
    blobs = Blobs(data / "blobs")
    lost = next(iter(blobs.names()))
    blobs.remove(lost)
    with pytest.raises(StorageError, match=f"written, but 1 images are gone or altered.*{lost}"):
        foveal("backup", data, tmp_path / "out.tar")
    assert "missing    1 images" in foveal("restore", tmp_path / "out.tar", tmp_path / "again")
