"""Files: a CSV that is written is read back, as Python's own module writes plain rows; what a disk refuses is said."""

from __future__ import annotations

import csv
import errno
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import OutputError
from foveal.files import write_bytes, write_csv
from foveal.run import read_csv

CHARACTERS = ["a", ",", '"', "\n", "\r", " ", "é", "'", ";", "\t"]
TEXTS = st.text(st.sampled_from(CHARACTERS), max_size=4)
HEADER = ("one", "two", "three")


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=5))
def test_every_row_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    write_csv(path, HEADER, rows)
    assert [tuple(row.values()) for row in read_csv(path)] == rows
    if not any("\r" in text for row in rows for text in row):
        expected = io.StringIO()
        csv.writer(expected, lineterminator="\n").writerows([HEADER, *rows])
        assert path.read_bytes().decode() == expected.getvalue()


def test_a_disk_that_may_only_be_read_is_said_as_what_cannot_be_written(tmp_path, monkeypatch):
    def read_only(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", read_only)  # as such a disk does, whether or not the file is there
    monkeypatch.setattr(Path, "write_bytes", read_only)
    with pytest.raises(OutputError, match=r"x\.json cannot be written: Read-only file system"):
        write_bytes(tmp_path / "x.json", b"{}")
