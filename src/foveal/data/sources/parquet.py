"""A table as a Parquet file: with paths, or with the images themselves as Hugging Face data sets keep them."""

from __future__ import annotations

import json
import math
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from foveal.data.members import MemberImages, Pieces, refuse_bomb
from foveal.data.spool import Spool
from foveal.errors import DataError, FovealError, MissingPartError, ResourceError

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 50_000_000
IMAGES_AT_ONCE = 16  # few, since a column may repeat one large image in a few bytes


class ParquetTable:
    """A Parquet file. Rows count from 0, as pandas counts them.

    Text, whole numbers (also as fractions of zero, which pandas makes of integers with gaps), truth
    values and categories of these become text; null and not-a-number are *unknown*. An integer column
    that the file's ``huggingface`` metadata call a ClassLabel becomes the class's name, -1 unknown.
    Raises DataError when it is no Parquet file or damaged, MissingPartError without pyarrow.
    """

    unit = "row"

    def __init__(self, file: BinaryIO, place: str) -> None:
        """Read the header of `file`, which lies at `place`; the rows are read when they are asked for."""
        self.place = place
        weakref.finalize(self, file.close)
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise MissingPartError(f"{place} cannot be read without pyarrow: pip install 'foveal[parquet]'") from error
        with self._saying_damage():
            self._packed = file.seek(0, os.SEEK_END)
            schema = parquet.read_schema(file)
            texts = [field.name for field in schema if _is_text(field.type)]
            self._file = parquet.ParquetFile(file, read_dictionary=texts)  # a text that repeats is kept once
            self._schema: pa.Schema = self._file.schema_arrow
            self.header: list[str] = list(self._schema.names)
            count = self._file.metadata.num_rows
        if count > MOST_ROWS:
            raise DataError(f"{place} has {count:,} rows; the limit is {MOST_ROWS:,}.")

    def rows(self, where: dict[str, int]) -> Iterator[tuple[int, dict[str, str] | str]]:
        """Yield (row, role → text) of every row."""
        columns = [
            self._names(at) if role == "path" and self._holds_images(at) else self._texts(at)
            for role, at in where.items()
        ]
        for number, cells in enumerate(zip(*columns, strict=True)):
            yield number, dict(zip(where, cells, strict=True))

    def class_names(self, position: int) -> tuple[str, ...]:
        """Return the names of a ClassLabel of Hugging Face, else nothing."""
        try:
            about = json.loads((self._schema.metadata or {})[b"huggingface"])
            feature = about["info"]["features"][self.header[position]]
            names = feature["names"] if feature["_type"] == "ClassLabel" else ()
        except (KeyError, TypeError, ValueError):
            return ()
        whole = isinstance(names, list) and all(isinstance(one, str) for one in names) and len(set(names)) == len(names)
        return tuple(names) if whole else ()

    def images(self, position: int, numbers: Sequence[int]) -> MemberImages | None:
        """Return the images of the rows `numbers` where the column holds their bytes, else None."""
        if not self._holds_images(position):
            return None
        spool, where, number = Spool(self.place), {}, 0
        with self._saying_damage():
            batches = self._file.iter_batches(IMAGES_AT_ONCE, columns=[self.header[position]], use_threads=False)
            for batch in batches:
                for cell in batch.column(0).to_pylist():
                    content = cell.get("bytes") if isinstance(cell, dict) else cell
                    if content is not None:
                        where[str(number)] = (spool.append(content), len(content))
                        refuse_bomb(self.place, spool.size, self._packed)
                    number += 1
        return MemberImages(Pieces(spool.finished()[0], where), self.place, [str(number) for number in numbers])

    def _holds_images(self, position: int) -> bool:
        """Return whether the column holds bytes, or records with a field ``bytes``, as the feature Image has."""
        import pyarrow as pa

        kind = self._schema.field(position).type
        if pa.types.is_struct(kind):
            field = kind.get_field_index("bytes")
            return field >= 0 and _is_binary(kind.field(field).type)
        return _is_binary(kind)

    def _names(self, position: int) -> list[str]:
        """Return a record id for each image in the column: its path where all have one of their own, else its row."""
        import pyarrow as pa

        kind = self._schema.field(position).type
        count = self._file.metadata.num_rows
        if pa.types.is_struct(kind) and (at := kind.get_field_index("path")) >= 0 and _is_text(kind.field(at).type):
            with self._saying_damage():
                column = self._file.read(columns=[f"{self.header[position]}.path"], use_threads=False).column(0)
                paths = [(cell or {}).get("path") or "" for cell in column.to_pylist()]
            tidied = [os.path.normpath(path).replace(os.sep, "/") for path in paths]
            if all(_is_plain(path) for path in tidied) and len(set(tidied)) == count:
                return tidied
        return [f"{number:0{max(6, len(str(count)))}}" for number in range(count)]

    def _texts(self, position: int) -> list[str]:
        """Return the column as text; empty where it is unknown."""
        import pyarrow as pa

        with self._saying_damage():
            column = self._file.read(columns=[self.header[position]], use_threads=False).column(0)
            texts: list[str] = []
            for chunk in column.chunks:
                if pa.types.is_dictionary(chunk.type):
                    words = [*self._as_texts(position, chunk.dictionary), ""]  # index -1: null
                    texts += [words[-1 if index is None else index] for index in chunk.indices.to_pylist()]
                else:
                    texts += self._as_texts(position, chunk)
        return texts

    def _as_texts(self, position: int, values: pa.Array) -> list[str]:
        import pyarrow as pa

        name, kind, items = self.header[position], values.type, values.to_pylist()
        if _is_text(kind) or pa.types.is_null(kind):
            return [item or "" for item in items]
        if pa.types.is_integer(kind) and (names := self.class_names(position)):
            strange = sorted({item for item in items if item is not None and not -1 <= item < len(names)})
            if strange:
                raise DataError(
                    f'{self.place}: the column "{name}" names {len(names)} classes, but holds {strange[0]}.'
                )
            return ["" if item is None or item < 0 else names[item] for item in items]
        if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            return ["" if item is None else str(item) for item in items]
        if pa.types.is_floating(kind):
            known = [item for item in items if item is not None and not math.isnan(item)]
            if all(item == math.floor(item) for item in known if math.isfinite(item)) and not any(
                map(math.isinf, known)
            ):
                return ["" if item is None or math.isnan(item) else str(int(item)) for item in items]
        raise DataError(
            f'{self.place}: the column "{name}" holds values of the type {kind}; give text or whole numbers.'
        )

    @contextmanager
    def _saying_damage(self) -> Iterator[None]:
        """Turn whatever pyarrow raises into a DataError with the reason in plain words."""
        try:
            yield
        except FovealError:
            raise
        except MemoryError as error:
            raise ResourceError(f"There is not enough memory to read {self.place}.") from error
        except Exception as error:  # readers of hostile files raise nearly anything
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise DataError(f"{self.place} is no Parquet file, or it is damaged: {reason}.") from error


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return any((pa.types.is_string(kind), pa.types.is_large_string(kind), pa.types.is_string_view(kind)))


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return any((pa.types.is_binary(kind), pa.types.is_large_binary(kind), pa.types.is_binary_view(kind)))


def _is_plain(path: str) -> bool:
    """Return whether a path can name a record: relative, and staying where it is."""
    return (
        path not in ("", ".")
        and not path.startswith("/")
        and path.split("/", maxsplit=1)[0] != ".."
        and path.isprintable()
    )
