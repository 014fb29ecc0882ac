"""The drill: back up under writing, wipe, restore, verify; between both databases; and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
from pathlib import Path

import pytest
from filled_store import everything, filled, receive
from postgres_server import Server

from foveal.errors import OutputError, StorageError
from foveal.storage import archive
from foveal.storage import backup as backup_module
from foveal.storage.backup import back_up
from foveal.storage.blobs import Blobs
from foveal.storage.database import Database, open_database
from foveal.storage.folder import DataFolder
from foveal.storage.heads import read_heads, sign_last, signing_key
from foveal.storage.jobs import claim
from foveal.storage.restore import FORMER_HEADS, restore
from foveal.storage.retention import erase_case
from foveal.storage.trail import verify
from foveal.storage.witness import hear


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    (tmp_path / "service").mkdir()
    return DataFolder(tmp_path / "service")


@pytest.fixture
def backup(database: Database, folder: DataFolder, tmp_path: Path) -> Path:
    filled(database, folder)
    return back_up(database, folder, tmp_path / "out.tar").file


def target(kind: str, request: pytest.FixtureRequest) -> str | None:
    """The address of an empty database with the rights of a service; None for SQLite within the data folder."""
    if kind == "sqlite":
        return None
    server: Server = request.getfixturevalue("postgres")
    return server.url(server.new_database(request.getfixturevalue("postgres_template")), "clerk")


def opened(restored: Path, url: str | None) -> Database:
    return open_database(url or f"sqlite:///{restored / 'foveal.db'}")


@pytest.mark.parametrize("into", ["sqlite", "postgres"])
def test_the_drill(database, folder, tmp_path, into, request):
    """Everything acknowledged before the backup began is there after it was restored, once and whole."""
    filled(database, folder)
    acknowledged: list[str] = []
    stop = threading.Event()
    blobs = Blobs(folder.blobs)

    def write() -> None:
        while not stop.is_set():
            acknowledged.append(receive(database, blobs, os.urandom(5000)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(acknowledged) < 20:
            pass
        before = list(acknowledged)
        done = back_up(database, folder, tmp_path / "out.tar", actor="user:1")
    finally:
        stop.set()
        writer.join()
    assert done.manifest.missing == ()
    kept_heads = read_heads(folder.heads)

    url = target(into, request)
    restore(done.file, tmp_path / "again", database_url=url, actor="user:1")
    again = opened(tmp_path / "again", url)
    with again.read() as connection:
        assert verify(connection, kept_heads).holds
        witness = hear(connection, Blobs(tmp_path / "again" / "blobs"))
        assert witness.disagreements == ()
    now = everything(again, Blobs(tmp_path / "again" / "blobs"))
    then = everything(database, blobs)
    ids = {row["id"] for row in now["cases"]}
    assert set(before) <= ids
    seq = done.manifest.trail_seq
    assert now["trail"][:-1] == [row for row in then["trail"] if row["seq"] <= seq]
    assert (now["trail"][-1]["kind"], now["trail"][-1]["actor"]) == ("restored", "user:1")
    for name in ("cases", "images", "predictions"):
        assert now[name] == [row for row in then[name] if row.get("case_id", row["id"]) in ids], name
    for name in ("reviews", "problems", "explanations", "jobs"):
        assert now[name] == then[name], name
    assert all(then["files"][name] == content for name, content in now["files"].items())
    (job,) = claim(again, "worker", ["predict"])
    assert job.body == {"name": "MUELLER-HANS.png"}
    new = receive(again, Blobs(tmp_path / "again" / "blobs"), b"new", answered=False)  # jobs are numbered on
    assert [one.case_id for one in claim(again, "worker", ["predict"])] == [new]
    again.close()


def test_an_erasure_in_the_middle_is_no_loss(database, folder, tmp_path, monkeypatch):
    first, second, *_ = filled(database, folder)
    blobs, get = Blobs(folder.blobs), Blobs.get
    erased: list[str] = []

    def get_and_erase(self: Blobs, name: str) -> bytes:
        if not erased:
            erased.append(erase_case(database, blobs, second, "user:1").case_id)
            erased.append(erase_case(database, blobs, first, "user:1").case_id)
        return get(self, name)

    monkeypatch.setattr(Blobs, "get", get_and_erase)
    done = back_up(database, folder, tmp_path / "out.tar")
    monkeypatch.undo()
    assert done.manifest.missing == ()
    restore(done.file, tmp_path / "again")
    again = opened(tmp_path / "again", None)
    with again.read() as connection:
        assert hear(connection, Blobs(tmp_path / "again" / "blobs")).disagreements == ()
    states = {row["id"]: row["state"] for row in everything(again, Blobs(tmp_path / "again" / "blobs"))["cases"]}
    assert (states[first], states[second]) == ("erased", "erased")
    again.close()


def test_a_lost_or_altered_image_is_named_and_does_not_stop_a_backup(database, folder, tmp_path):
    filled(database, folder)
    blobs = Blobs(folder.blobs)
    gone, altered, *_ = blobs.names()
    blobs.remove(gone)
    blobs.path(altered).write_bytes(b"other")
    done = back_up(database, folder, tmp_path / "out.tar")
    assert set(done.manifest.missing) == {gone, altered}
    restore(done.file, tmp_path / "again")
    assert not Blobs(tmp_path / "again" / "blobs").path(altered).exists()


def test_a_backup_is_for_its_owner_and_overwrites_nothing(database, folder, backup, tmp_path):
    assert backup.stat().st_mode & 0o077 == 0
    with pytest.raises(OutputError, match="there already"):
        back_up(database, folder, backup)
    with pytest.raises(OutputError, match="cannot be written"):
        back_up(database, folder, Path("/proc/none/out.tar"))
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part") or "backup-" in path.name] == []


def test_without_keys_new_heads_begin_and_the_former_ones_are_kept_apart(database, folder, tmp_path):
    filled(database, folder)
    file = back_up(database, folder, tmp_path / "out.tar", with_keys=False).file
    with tarfile.open(file) as tar:
        assert not [name for name in tar.getnames() if name.startswith("keys/")]
    done = restore(file, tmp_path / "again")
    assert not done.has_keys
    assert (tmp_path / "again" / FORMER_HEADS).read_bytes() == folder.heads.read_bytes()
    assert not (tmp_path / "again" / "heads.jsonl").exists()
    again = opened(tmp_path / "again", None)
    with again.read() as connection:
        assert verify(connection, read_heads(tmp_path / "again" / FORMER_HEADS)).holds
    again.close()


def test_keys_come_back_for_their_owner_alone(backup, folder, tmp_path):
    restore(backup, tmp_path / "again")
    key = tmp_path / "again" / "keys" / "trail.key"
    assert key.read_bytes() == (folder.keys / "trail.key").read_bytes()
    assert key.stat().st_mode & 0o077 == 0
    assert (tmp_path / "again").stat().st_mode & 0o077 == 0


def edited(backup: Path, out: Path, change) -> Path:
    """Write a copy of a backup, each member through `change(name, content)`: other bytes, or None to leave it out."""
    with tarfile.open(backup) as old, tarfile.open(out, "w") as new:
        for entry in old:
            content = change(entry.name, old.extractfile(entry).read())
            if content is not None:
                entry.size = len(content)
                new.addfile(entry, io.BytesIO(content))
    return out


def lying(backup: Path, out: Path, name: str, change) -> Path:
    """Write a copy with one member changed and the manifest made to fit."""
    new: list[bytes] = []

    def through(member: str, content: bytes) -> bytes:
        if member == name:
            new.append(change(content))
            return new[0]
        if member == "manifest.json":
            manifest = json.loads(content)
            manifest["members"][name] = {"size": len(new[0]), "sha256": hashlib.sha256(new[0]).hexdigest()}
            return json.dumps(manifest).encode()
        return content

    return edited(backup, out, through)


def member(name: str, change):
    """A function that copies a backup, with the bytes of one member changed."""
    return lambda old, new: edited(old, new, lambda one, content: change(content) if one == name else content)


def fitting(name: str, change):
    """The same, with a manifest that fits."""
    return lambda old, new: lying(old, new, f"tables/{name}.jsonl", change)


REFUSED = {
    "cut off": (lambda old, new: new.write_bytes(old.read_bytes()[: old.stat().st_size // 2]), "cut off"),
    "empty": (lambda old, new: new.write_bytes(b""), "no backup of Foveal"),
    "no tar": (lambda old, new: new.write_bytes(b"x" * 2000), "no backup of Foveal"),
    "no manifest": (member("manifest.json", lambda _: None), "manifest"),
    "a broken manifest": (member("manifest.json", lambda _: b"{"), "manifest"),
    "an altered member": (
        member("tables/cases.jsonl", lambda content: content.replace(b"0", b"1")),
        "altered or is damaged: tables/cases.jsonl",
    ),
    "a member less": (member("tables/reviews.jsonl", lambda _: None), "tables/reviews.jsonl"),
    "a trail that was rewritten": (
        fitting("trail", lambda content: content.replace(b'"actor":"guest"', b'"actor":"ghost"', 1)),
        "The trail in .* was altered. Row 1",
    ),
    "a trail that was cut": (fitting("trail", lambda content: content[: content.rfind(b"\n", 0, -1) + 1]), "rows, not"),
    "other columns": (fitting("cases", lambda content: content.replace(b'"via"', b'"vai"')), "other columns"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_backup_leaves_nothing_behind(name, sqlite_place, tmp_path):
    change, says = REFUSED[name]
    (tmp_path / "service").mkdir()
    database = open_database(sqlite_place.url)
    filled(database, DataFolder(tmp_path / "service"))
    good = back_up(database, DataFolder(tmp_path / "service"), tmp_path / "out.tar").file
    database.close()
    change(good, tmp_path / "bad.tar")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StorageError, match=says):
        restore(tmp_path / "bad.tar", tmp_path / "again")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "kind"),
    [("../evil", tarfile.REGTYPE), ("/etc/evil", tarfile.REGTYPE), ("blobs/../../evil", tarfile.REGTYPE),
     ("blobs/ab/" + "c" * 62, tarfile.SYMTYPE), ("keys/.hidden", tarfile.REGTYPE), ("tables/x.jsonl", tarfile.LNKTYPE),
     ("tables", tarfile.DIRTYPE), ("tables/x.jsonl", tarfile.FIFOTYPE)],
)  # fmt: skip
def test_a_hostile_archive_writes_nothing_outside(tmp_path, name, kind):
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 1 if kind == tarfile.REGTYPE else 0
        tar.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(StorageError, match="no backup of Foveal"):
        restore(tmp_path / "evil.tar", tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar"]


def test_nothing_is_restored_over_something(backup, database, place, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(OutputError, match="not empty"):
        restore(backup, tmp_path / "full")
    with pytest.raises(StorageError, match=r"not empty \(\w+ has rows\)"):
        restore(backup, tmp_path / "again", database_url=place.url)
    assert not (tmp_path / "again").exists()
    (tmp_path / "empty").mkdir()
    assert restore(backup, tmp_path / "empty").folder.database.is_file()


def test_a_newer_backup_is_refused_by_name_of_its_version(backup, tmp_path):
    def newer(name: str, content: bytes) -> bytes:
        return content.replace(b'"format": 1', b'"format": 2') if name == archive.MANIFEST else content

    with pytest.raises(StorageError, match="made by a newer Foveal"):
        restore(edited(backup, tmp_path / "newer.tar", newer), tmp_path / "again")


def test_a_head_that_is_signed_while_files_are_packed_does_not_make_the_restored_trail_look_cut(
    database, folder, tmp_path, monkeypatch
):
    filled(database, folder)
    pack = backup_module._pack_files

    def packed_while_work_goes_on(*given):
        found = pack(*given)
        receive(database, Blobs(folder.blobs), b"received meanwhile")
        with database.read() as connection:
            sign_last(connection, signing_key(folder.keys), folder.heads)
        return found

    monkeypatch.setattr(backup_module, "_pack_files", packed_while_work_goes_on)
    file = back_up(database, folder, tmp_path / "out.tar").file
    restored = restore(file, tmp_path / "restored").folder
    again = open_database(restored.url)
    with again.read() as connection:
        verdict = verify(connection, read_heads(restored.heads))
    again.close()
    assert verdict.fault is None
    assert verdict.heads == 1
