"""Writing the report: read what is stored, choose the pictures, render, and put the page there last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from foveal.files import write_bytes, write_text
from foveal.report import acting, confusion, curves, doubtful, figures, intervals, reliability, wording
from foveal.report.bins import images_by_bin
from foveal.report.model_card import model_card
from foveal.report.page_data import MOST_SHOWN, page_data
from foveal.report.results import Answer, Results, Scores, estimate_of, read_results
from foveal.report.seal import seal
from foveal.report.thumbnails import make_thumbnails
from foveal.run import Run
from foveal.training.reading import read_curves
from foveal.web import asset, page, templates
from foveal.web.curves import panel_svg

HERE = "foveal.report"
MOST_MISTAKES = 24
SEVERITIES = ("block", "warn", "note")


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
    write_bytes(run.model_card_file, model_card(results).encode("utf-8", "replace"))
    html = render(results, pictures)
    # A file name that is not UTF-8 reaches us as lone surrogates, which no encoder takes.
    content = html.encode("utf-8", "replace")
    seal(run, content)
    write_bytes(run.report_file, content)
    return run.report_file


def render(results: Results, pictures: Callable[[str], Image.Image | None]) -> str:
    """Return the report as one HTML document."""
    test = results.test
    pairs = confusion.confused_pairs(test)
    cells = confusion.images_by_cell(test, results.answers)
    has_matrix = len(test.classes) <= confusion.MOST_CLASSES
    listed = pairs[: confusion.MOST_PAIRS]
    choosable = cells if has_matrix else {pair: cells[pair] for pair in listed if pair in cells}
    calibrated = "calibration" in results.measured
    worst = confusion.worst_mistakes(results.answers, MOST_MISTAKES)
    bins = images_by_bin(results.measured["calibration"]["after"]["equal_width"], results.answers) if calibrated else []
    thumbnails = make_thumbnails(_by_importance(worst, [*choosable.values(), *bins]), pictures)
    numbers = {record_id: index for index, record_id in enumerate(thumbnails)}
    wrong = sum(answer.label != answer.predicted for answer in results.answers)
    body = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            results=results,
            test=test,
            panels=_panels(results),
            reading=_reading(results),
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
            first_positive=_first_positive(results),
            data={
                "first": "{}-{}".format(*(pairs[0] if pairs else (0, 0))),
                **page_data(results, choosable, bins, thumbnails, {answer.record_id for answer in worst}),
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
    environment.globals["figures"] = figures
    environment.globals["reliability"] = reliability
    environment.globals["doubtful"] = doubtful
    environment.globals["acting"] = acting
    environment.filters["estimate"] = estimate_of
    environment.globals["interval_scale"] = intervals.interval_scale
    return environment


def _first_positive(results: Results) -> int:
    """Return the class that the slider begins with: that of the operating point, else the rarest one."""
    positive = acting.positive_of(results.measured)
    if positive in results.test.classes:
        return results.test.classes.index(str(positive))
    supports = [entry.support or results.test.n for entry in results.test.per_class]
    return supports.index(min(supports)) if supports else 0


def _by_importance(worst: Sequence[Answer], cells: Sequence[Sequence[Answer]]) -> list[str]:
    """Return record ids: the worst mistakes, then the first image of every cell, the second of every cell, …."""
    ranks = zip_longest(*(images[:MOST_SHOWN] for images in cells))
    return [answer.record_id for answer in chain(worst, *ranks) if answer is not None]


def _panels(results: Results) -> list[Markup]:
    if not results.history:
        return []
    summary = wording.curves(results)
    return [panel_svg(panel, summary) for panel in curves.panels(results.history, results.training.best_epoch)]


def _reading(results: Results) -> tuple[str, ...]:
    """Return what the learning curves say, and what to try next."""
    return (
        read_curves(results.history, results.validation.n, stopped_early=results.training.stopped_early).sentences
        if results.history
        else ()
    )


def _best_row(results: Results) -> int:
    """Return which row of the history is the best epoch, or the last one."""
    numbers = [epoch.epoch for epoch in results.history]
    best = results.training.best_epoch
    return numbers.index(best) if best in numbers else len(numbers) - 1


def _matrix(test: Scores) -> list[list[tuple[int, int]]]:
    """Return (number, shading) of every cell, rows by true class."""
    return [[(number, confusion.shading(number, sum(row))) for number in row] for row in test.confusion]
