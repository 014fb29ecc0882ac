"""foveal backup, restore and erase, as they are typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filled_store import filled
from typer.testing import CliRunner

from foveal.cli.app import app
from foveal.errors import OutputError, StorageError
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
