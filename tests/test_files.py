"""CSV as Python's own module writes it, whatever the texts."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from foveal.files import write_csv

TEXTS = st.text(st.sampled_from(["a", ",", '"', "\n", "\r", " ", "é", "'", ";", "\t"]), max_size=4)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=5))
def test_rows_are_written_as_the_csv_module_does(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    write_csv(path, ("one", "two", "three"), rows)
    expected = io.StringIO()
    csv.writer(expected, lineterminator="\n").writerows([("one", "two", "three"), *rows])
    assert path.read_bytes().decode() == expected.getvalue()
