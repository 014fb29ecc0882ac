"""CSV: what is written is read back, and plain rows are as Python's own module writes them."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from foveal.files import write_csv
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
