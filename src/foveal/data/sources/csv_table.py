"""A table as a text file: comma, semicolon or tab between the cells, a header in the first line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from foveal.errors import DataError

HEADER_CHARACTERS = 100_000


class CsvTable:
    """A CSV file. The separator is a comma, semicolon or tab, whichever the header has most of.

    A byte-order mark and Windows line ends are fine. Raises DataError when it is no UTF-8 text or empty.
    """

    unit = "line"

    def __init__(self, file: BinaryIO, place: str) -> None:
        """Read `file`, which lies at `place`, and close it."""
        self.place = place
        with file:
            content = file.read()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{place} is not UTF-8 text (byte {error.start}); save it as “CSV UTF-8”.") from error
        first = re.split(r"[\r\n]", re.sub(r'"[^"]*"', "", text[:HEADER_CHARACTERS]), maxsplit=1)[0]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
        self._rows: list[tuple[int, list[str]]] = []  # the line where it begins, its cells
        try:
            self.header = [name.strip() for name in next(reader, [])]
            line = reader.line_num + 1
            for row in reader:
                if any(cell.strip() for cell in row):
                    self._rows.append((line, row))
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{place}, line {reader.line_num}: {error}.") from error
        if not any(self.header):
            raise DataError(f"{place} is empty; expected a header with at least a path and a label column.")

    def rows(self, where: dict[str, int]) -> Iterator[tuple[int, dict[str, str] | str]]:
        """Yield (line, role → cell) of every row that is not blank, or (line, fault) where its width is another."""
        for line, row in self._rows:
            if len(row) != len(self.header):
                yield line, f"{len(row)} cells, the header has {len(self.header)}"
            else:
                yield line, {role: row[position] for role, position in where.items()}

    def class_names(self, position: int) -> tuple[str, ...]:  # noqa: ARG002
        """Return nothing: a CSV does not say its classes."""
        return ()

    def images(self, position: int, numbers: Sequence[int]) -> None:  # noqa: ARG002
        """Return None: a CSV holds paths."""
        return
