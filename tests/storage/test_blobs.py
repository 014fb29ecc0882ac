"""Blobs: there whole or not at all, and never another's bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading

import pytest

from foveal.errors import StorageError
from foveal.storage.blobs import Blobs


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "blobs")


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_bytes_come_back_as_they_were(blobs):
    contents = [os.urandom(n) for n in (0, 1, 70_000)] + [b"twice", b"twice"]
    names = blobs.put(contents)
    assert names == [digest(one) for one in contents]
    assert [blobs.get(name) for name in names] == contents
    assert list(blobs.names()) == sorted(set(names))
    assert blobs.path(names[0]).is_file()
    assert not list((blobs.folder / "parts").iterdir())


def test_what_is_there_is_not_written_again_unless_it_is_short(blobs):
    (name,) = blobs.put([b"the same"])
    before = blobs.path(name).stat()
    assert blobs.put([b"the same"]) == [name]
    assert blobs.path(name).stat().st_ino == before.st_ino
    blobs.path(name).write_bytes(b"the")
    blobs.put([b"the same"])
    assert blobs.get(name) == b"the same"


def test_what_was_damaged_on_the_disk_is_whole_again_when_the_same_image_comes(blobs):
    (name,) = blobs.put([b"a picture"])
    blobs.path(name).write_bytes(b"a pictura")
    assert blobs.put([b"a picture"]) == [name]
    assert blobs.get(name) == b"a picture"


def test_an_altered_blob_is_not_handed_out(blobs):
    (name,) = blobs.put([b"a picture"])
    blobs.path(name).write_bytes(b"a pictura")
    with pytest.raises(StorageError, match="altered"):
        blobs.get(name)
    blobs.remove(name)
    blobs.remove(name)
    with pytest.raises(StorageError, match="not there"):
        blobs.get(name)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_name_that_is_no_hash_is_refused(blobs, name):
    for call in (blobs.path, blobs.get, blobs.remove):
        with pytest.raises(StorageError, match="64 hexadecimal"):
            call(name)


def test_threads_that_put_the_same_bytes_agree(blobs):
    contents = [bytes([n]) * 5000 for n in range(20)]
    faults = []

    def put():
        try:
            blobs.put(contents)
        except StorageError as error:
            faults.append(error)

    threads = [threading.Thread(target=put) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not faults
    assert [blobs.get(digest(one)) for one in contents] == contents


PUTS = """
import os, sys
from pathlib import Path
from foveal.storage.blobs import Blobs
blobs = Blobs(Path(sys.argv[1]))
while True:
    contents = [os.urandom(20_000) for _ in range(8)]
    for name in blobs.put(contents):
        os.write(1, (name + "\\n").encode())
"""


def test_what_was_acknowledged_before_a_kill_is_there_and_nothing_is_half_there(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", PUTS, tmp_path / "blobs"], stdout=subprocess.PIPE)
    seen = [child.stdout.readline() for _ in range(60)]
    child.kill()
    seen += child.communicate()[0].splitlines(keepends=True)
    blobs = Blobs(tmp_path / "blobs")
    blobs.sweep_parts()
    acknowledged = {one.decode().strip() for one in seen if one.endswith(b"\n")}
    there = set(blobs.names())
    assert acknowledged <= there
    for name in there:
        blobs.get(name)
    assert not list((tmp_path / "blobs" / "parts").iterdir())
