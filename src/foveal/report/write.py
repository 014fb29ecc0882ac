"""Writing the report: read what is stored, choose the pictures, render, and put the page there last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from foveal.files import write_text
from foveal.report import confusion, curves, intervals, wording
from foveal.report.results import Answer, Results, Scores, read_results
from foveal.report.thumbnails import make_thumbnails
from foveal.run import Run
from foveal.web import asset, page, templates
from foveal.web.curves import panel_svg
from foveal.web.svg import printable
from foveal.web.thumbnails import Thumbnail

HERE = "foveal.report"
MOST_IN_A_CELL = 24
MOST_MISTAKES = 24
SEVERITIES = ("block", "warn", "note")

Cell = tuple[int, int]


def write_report(run: Run, pictures: Callable[[str], Image.Image | None]) -> Path:
    """Write ``report.html`` and ``figures/`` of `run` from its stored results alone; return the page's path.

    `pictures` gives the original image of a record, or None when it can no longer be read; it is asked
    at most once for each picture that the page shows, and its images are not changed. The figures are
    written first and the page last, so that a run with a page is a run with everything.

    Raises ClassifierError when a stored result is missing or damaged, OutputError when the page cannot
    be written.
    """
    results = read_results(run)
    if results.history:
        drawn = curves.panels(results.history, results.training.best_epoch)
        write_text(run.figures_dir / "learning_curves.svg", curves.curves_figure(drawn, wording.curves(results)))
    write_text(run.figures_dir / "confusion.svg", confusion.confusion_figure(results.test))
    html = render(results, pictures)
    # A file name that is not UTF-8 reaches us as lone surrogates, which no encoder takes.
    write_text(run.report_file, html.encode("utf-8", "replace").decode("utf-8"))
    return run.report_file


def render(results: Results, pictures: Callable[[str], Image.Image | None]) -> str:
    """Return the report as one HTML document."""
    test = results.test
    pairs = confusion.confused_pairs(test)
    cells = confusion.images_by_cell(test, results.answers)
    has_matrix = len(test.classes) <= confusion.MOST_CLASSES
    listed = pairs[: confusion.MOST_PAIRS]
    choosable = cells if has_matrix else {pair: cells[pair] for pair in listed if pair in cells}
    worst = confusion.worst_mistakes(results.answers, MOST_MISTAKES)
    thumbnails = make_thumbnails(_by_importance(worst, list(choosable.values())), pictures)
    numbers = {record_id: index for index, record_id in enumerate(thumbnails)}
    wrong = sum(answer.label != answer.predicted for answer in results.answers)
    body = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            results=results,
            test=test,
            panels=_panels(results),
            best_row=_best_row(results),
            findings=sorted(results.findings, key=lambda finding: SEVERITIES.index(finding.severity)),
            severities=dict(zip(SEVERITIES, ("Blocking", "Warning", "Note"), strict=True)),
            has_matrix=has_matrix,
            matrix=_matrix(test) if has_matrix else [],
            pairs=listed,
            n_pairs=len(pairs),
            contradicted=confusion.contradicted(test, cells),
            worst=worst,
            wrong=wrong,
            thumbnails=thumbnails,
            numbers=numbers,
            data={
                "first": "{}-{}".format(*(pairs[0] if pairs else (0, 0))),
                **_page_data(results, choosable, thumbnails, {answer.record_id for answer in worst}),
            },
            sentences={
                "curves": wording.curves(results),
                "confusion": wording.confusion(test, pairs),
                "mistakes": wording.mistakes(wrong, len(worst), len(results.answers)),
            },
        )
    )
    return page(
        f"{wording.what(results)} · Foveal",
        Markup(body),
        style=asset(HERE, "report.css"),
        script=asset(HERE, "report.js"),
        closed=True,
    )


def _environment() -> Environment:
    environment = templates(HERE)
    environment.globals["say"] = wording
    environment.globals["interval_bar"] = intervals.interval_bar
    environment.globals["interval_scale"] = intervals.interval_scale
    return environment


def _by_importance(worst: Sequence[Answer], cells: Sequence[Sequence[Answer]]) -> list[str]:
    """Return record ids: the worst mistakes, then the first image of every cell, the second of every cell, …."""
    ranks = zip_longest(*(images[:MOST_IN_A_CELL] for images in cells))
    return [answer.record_id for answer in chain(worst, *ranks) if answer is not None]


def _panels(results: Results) -> list[Markup]:
    if not results.history:
        return []
    summary = wording.curves(results)
    return [panel_svg(panel, summary) for panel in curves.panels(results.history, results.training.best_epoch)]


def _best_row(results: Results) -> int:
    """Return which row of the history is the best epoch, or the last one."""
    numbers = [epoch.epoch for epoch in results.history]
    best = results.training.best_epoch
    return numbers.index(best) if best in numbers else len(numbers) - 1


def _matrix(test: Scores) -> list[list[tuple[int, int]]]:
    """Return (number, shading) of every cell, rows by true class."""
    return [[(number, confusion.shading(number, sum(row))) for number in row] for row in test.confusion]


def _page_data(
    results: Results,
    cells: dict[Cell, list[Answer]],
    thumbnails: dict[str, Thumbnail | None],
    in_the_page: set[str],
) -> dict[str, Any]:
    """Return what the page's script reads.

    ``images`` leaves out the thumbnails of the mistakes, which stand in the page already, so that no
    picture is stored twice. A record is [id, true, predicted, probability, thumbnail or -1].
    """
    numbers = {record_id: index for index, record_id in enumerate(thumbnails)}
    names = {name: index for index, name in enumerate(results.test.classes)}
    records: list[list[Any]] = []
    shown: dict[str, list[Any]] = {}
    for (true, predicted), images in sorted(cells.items()):
        here = [answer for answer in images[:MOST_IN_A_CELL] if answer.record_id in thumbnails]
        shown[f"{true}-{predicted}"] = [len(images), list(range(len(records), len(records) + len(here)))]
        records += [
            [
                printable(answer.record_id),
                names[answer.label],
                names[answer.predicted],
                wording.percent(answer.probability),
                numbers[answer.record_id] if thumbnails[answer.record_id] else -1,
            ]
            for answer in here
        ]
    return {
        "classes": [printable(name) for name in results.test.classes],
        "cells": shown,
        "records": records,
        "images": {
            str(numbers[record_id]): [made.address, made.width, made.height]
            for record_id, made in thumbnails.items()
            if made and record_id not in in_the_page
        },
        "epochs": curves.readings(results.history),
    }
