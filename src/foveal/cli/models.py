"""foveal models: the gallery as a table."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.completion import complete_model

if TYPE_CHECKING:
    from foveal.models.architecture import Architecture, Published

WIDE = 200  # columns where the output goes into a file or another program
LEFT = ("name", "input", "title", "weights", "paper")
EXTRA = ("title", "weights", "field", "stride", "classes", "paper")  # shown as far as there is room, in this order


class Sort(StrEnum):
    year = "year"
    parameters = "parameters"
    macs = "macs"
    name = "name"
    error = "error"


def models(
    pattern: Annotated[
        str | None,
        typer.Argument(
            help='Part of a name, or a pattern as "resnet*" (default: all).',
            show_default=False,
            autocompletion=complete_model,
        ),
    ] = None,
    sort: Annotated[
        Sort | None, typer.Option(help="By this, the smallest first (default: by family); errors protocol by protocol.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Of this family only, e.g. resnet.")] = None,
    year: Annotated[str | None, typer.Option(help="Of this year, or of years as 2014-2016, only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead, with every published figure.")] = False,
) -> None:
    """List the architectures: year, size, cost, native input, published error with its protocol, and weights."""
    chosen = _chosen(pattern, family, year)
    if sort is Sort.error:
        chosen = _by_error(chosen)
    elif sort is not None:
        chosen = sorted(chosen, key=SORTS[sort])
    if as_json:
        typer.echo(json.dumps([_object(one) for one in chosen], indent=2, ensure_ascii=False))
        return
    width = shutil.get_terminal_size((WIDE, 24)).columns if sys.stdout.isatty() else WIDE
    for line in _lines(chosen, width):
        typer.echo(line)


SORTS: dict[Sort, Callable[[Architecture], Any]] = {
    Sort.year: lambda one: (one.year, one.parameters),
    Sort.parameters: lambda one: one.parameters,
    Sort.macs: lambda one: one.macs,
    Sort.name: lambda one: one.name,
}


def _by_error(entries: Sequence[Architecture]) -> list[Architecture]:
    """Return `entries` by the error that is shown, protocol by protocol: figures of two cannot be compared."""
    protocols = list(dict.fromkeys(one.published[0].protocol for one in entries if one.published))

    def place(one: Architecture) -> tuple[float, ...]:
        if not one.published:
            return (len(protocols),)
        first = one.published[0]
        errors = (first.top1_error, first.top5_error)
        return (protocols.index(first.protocol), *(float("inf") if error is None else error for error in errors))

    return sorted(entries, key=place)


def _chosen(pattern: str | None, family: str | None, year: str | None) -> list[Architecture]:
    """Return the entries asked for, in the order of the gallery; UsageError where there are none."""
    from foveal.errors import UsageError, nearest
    from foveal.models.catalog import CATALOG

    families = sorted({entry.family for entry in CATALOG.values()})
    wanted = None if family is None else family.lower().replace("-", "_")
    if wanted is not None and wanted not in families:
        raise UsageError(f'There is no family "{family}".{nearest(wanted, families)} There are {", ".join(families)}.')
    first, last = _years(year)
    chosen = [
        entry
        for entry in CATALOG.values()
        if wanted in (None, entry.family) and first <= entry.year <= last and _matches(entry.name, pattern)
    ]
    if not chosen:
        asked = [
            f'"{pattern}"' if pattern else "",
            f"family {family}" if family else "",
            f"year {year}" if year else "",
        ]
        raise UsageError(f"No network matches {', '.join(filter(None, asked))}.{nearest(pattern or '', CATALOG)}")
    return chosen


def _matches(name: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    plain = pattern.lower().replace("-", "_")
    return fnmatchcase(name, plain) if set(plain) & set("*?[") else plain in name


def _years(text: str | None) -> tuple[int, int]:
    from foveal.errors import UsageError

    first, dash, last = (text or "0-9999").partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UsageError(f'--year is a year or two, e.g. 2015 or 2014-2016, not "{text}".')
    return int(first), int(last or first)


def _weights(entry: Architecture) -> list[str]:
    """Return the names of the weights that can be loaded into a network."""
    from foveal.models.weights.published import published_for

    return [one.tag for one in published_for(entry.name)]


def _object(entry: Architecture) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "family": entry.family,
        "year": entry.year,
        "paper": entry.paper,
        "parameters": entry.parameters,
        "auxiliary_parameters": entry.auxiliary_parameters,
        "macs": entry.macs,
        "input": list(entry.native_input),
        "classes": entry.native_classes,
        "receptive_field": entry.receptive_field,
        "stride": entry.stride,
        "smallest_input": entry.smallest,
        "published": [
            {"top1_error": one.top1_error, "top5_error": one.top5_error, "protocol": one.protocol}
            for one in entry.published
        ],
        "weights": _weights(entry),
    }


@dataclass(frozen=True)
class Column:
    """One column: its head, and a cell a network."""

    head: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        """The columns of the terminal that it takes."""
        return max(len(self.head), *map(len, self.cells))

    def shown(self, row: int) -> str:
        """Return the cell of `row`, or the head for -1, at the column's width."""
        text = self.head if row < 0 else self.cells[row]
        return f"{text:<{self.width}}" if self.head in LEFT else f"{text:>{self.width}}"


def _lines(entries: Sequence[Architecture], width: int) -> list[str]:
    """Return the table, as wide as there is room, and the protocols of the errors in it."""
    protocols = list(dict.fromkeys(entry.published[0].protocol for entry in entries if entry.published))
    marks = {protocol: number for number, protocol in enumerate(protocols, 1)}
    columns = [
        Column("name", [entry.name for entry in entries]),
        Column("year", [str(entry.year) for entry in entries]),
        Column("parameters", [f"{entry.parameters:,}" for entry in entries]),
        Column("MACs", [_short(entry.macs) for entry in entries]),
        Column("input", ["×".join(map(str, entry.native_input)) for entry in entries]),
        Column("error %", [_error(entry.published, marks) for entry in entries]),
    ]
    extra = {
        "title": [entry.title for entry in entries],
        "weights": [_listed(_weights(entry)) for entry in entries],
        "field": [str(entry.receptive_field or "–") for entry in entries],
        "stride": [str(entry.stride or "–") for entry in entries],
        "classes": [str(entry.native_classes) for entry in entries],
        "paper": [entry.paper for entry in entries],
    }
    for head in EXTRA:
        column = Column(head, extra[head])
        if sum(one.width + 2 for one in columns) + column.width <= width:
            columns.append(column)
    table = ["  ".join(one.shown(row) for one in columns).rstrip() for row in range(-1, len(entries))]
    if not protocols:
        return table
    head = "error: top-1 / top-5 in per cent as published; figures of different protocols must not be compared:"
    return [*table, "", head, *(f"  [{mark}] {protocol}" for protocol, mark in marks.items())]


def _error(published: Sequence[Published], marks: dict[str, int]) -> str:
    """Return the first published figures with the mark of their protocol: ``25.02 / 7.71 [3]``."""
    if not published:
        return "–"
    one = published[0]
    top1 = "–" if one.top1_error is None else f"{one.top1_error:.2f}"
    top5 = "–" if one.top5_error is None else f"{one.top5_error:.2f}"
    return f"{top1} / {top5:>5} [{marks[one.protocol]}]".replace("]", "]" if marks[one.protocol] > 9 else "] ")


def _listed(weights: Sequence[str]) -> str:
    if not weights:
        return "–"
    return weights[0] if len(weights) == 1 else f"{weights[0]} + {len(weights) - 1}"


def _short(number: int) -> str:
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= unit:
            return f"{number / unit:.2f} {letter}"
    return str(number)
