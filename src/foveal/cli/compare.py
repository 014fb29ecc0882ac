"""foveal compare: finished runs against each other; a table here, and a page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.completion import complete_another_run

if TYPE_CHECKING:
    from foveal.report.compared import ComparedPair, Comparison

LONGEST_CELL = 32
MOST_PAIRS = 15


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more finished run directories, or folders of folds.", autocompletion=complete_another_run
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write the page to this file (default: none); it must not exist.")
    ] = None,
    evaluation: Annotated[
        str, typer.Option(help="test, validation, or an evaluation that every run has (default: test).")
    ] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")] = False,
) -> None:
    """Compare runs on the same images: accuracy, AUC, loss, paired tests, recipes, curves, and where they disagree."""
    from foveal.workflows.compare import compare as run_comparison

    comparison = run_comparison(runs, evaluation=evaluation, out=out)
    if as_json:
        typer.echo(json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    for line in _lines(comparison, shutil.get_terminal_size((100, 24)).columns):
        typer.echo(line.replace("\N{NO-BREAK SPACE}%", "%"))


def _lines(comparison: Comparison, width: int) -> Iterator[str]:
    """Yield what is printed: the runs, what differs, each pair, and what must be said beside it."""
    from foveal.report import comparison_wording as say

    runs, pairs = comparison.runs, comparison.pairs
    differing = [(name, list(values)) for name, values in comparison.differing.items()]
    head = [("", [f"{run.letter} {run.name}" for run in runs])]
    yield from _table([*head, *say.facts(runs)], width)
    if differing:
        letters = [run.letter for run in runs]
        yield ""
        yield from _table([("recipe", letters), *((f"  {name}", values) for name, values in differing)], width)
    yield ""
    for pair in pairs[:MOST_PAIRS]:
        yield from _about_pair(pair, len(pairs))
    if len(pairs) > MOST_PAIRS:
        yield f"… and {len(pairs) - MOST_PAIRS} more pairs, on the page (--out)"
    if len(pairs) > 1:
        yield say.summary(pairs)
    for note in (*comparison.notes, say.selection(runs), say.caveat()):
        if note:
            yield f"note: {note}"
    yield f"page  {comparison.page}" if comparison.page else "--out FILE.html writes the page: curves, tables, pictures"


def _about_pair(pair: ComparedPair, pairs: int) -> Iterator[str]:
    from foveal.evaluation.paired_bootstrap import ACCURACY, AUC, DELONG
    from foveal.report import comparison_wording as say

    yield " ".join(part for part in (say.verdict(pair), say.counts(pair)) if part)
    if pair.result:
        yield f"  {pair.first} − {pair.second}  {say.difference(pair)}"
        yield f"  {say.tested(pair, pairs)}"
        if strictness := say.strictness(pair):
            yield f"  {strictness}"
        for one in pair.measures:
            above = (ACCURACY, AUC) if pair.measures[-1].measure == DELONG else (ACCURACY,)  # McNemar, DeLong say it
            if one.measure not in above:
                name, first, second, difference, interval, p = say.measure(one)
                said = f"{difference} ({interval}), p {p if p[0] == '<' else f'= {p}'}"
                yield f"  {name}: {first} − {second} = {said}{' (Holm)' if pairs > 1 else ''}"
        if undefined := say.undefined(pair.measures):
            yield f"  {undefined}"
    for sentence in pair.sentences:
        yield f"  {sentence}"


def _table(rows: Sequence[tuple[str, Sequence[str]]], width: int) -> Iterator[str]:
    """Yield the rows in columns, a run each; so many runs beside each other as `width` allows, the others below."""
    first = max(len(heading) for heading, _ in rows)
    count = len(rows[0][1])
    cells = [max(len(_cut(row[i])) for _, row in rows) for i in range(count)]
    at = 0
    while at < count:
        upto, taken = at, first
        while upto < count and (upto == at or taken + 2 + cells[upto] <= width):
            taken += 2 + cells[upto]
            upto += 1
        for heading, row in rows:
            yield f"{heading:<{first}}" + "".join(f"  {_cut(row[i]):>{cells[i]}}" for i in range(at, upto))
        at = upto


def _cut(text: str) -> str:
    plain = text.replace("\N{NO-BREAK SPACE}%", "%")
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in plain)
    return shown if len(shown) <= LONGEST_CELL else shown[: LONGEST_CELL - 1] + "…"
