"""Writing the report: read what is stored, choose the pictures, render, and put the page there last."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from foveal.files import write_bytes, write_text
from foveal.report import confusion, curves, wording
from foveal.report.model_card import model_card
from foveal.report.results import Results, read_results
from foveal.report.seal import seal
from foveal.report.sections import Pictures, by_severity, evaluation_page
from foveal.run import Run
from foveal.training.reading import read_curves
from foveal.web.curves import panel_svg


def write_report(run: Run, pictures: Pictures) -> Path:
    """Write ``report.html``, ``MODEL_CARD.md`` and ``figures/`` of `run`, from its stored results; return the page.

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


def render(results: Results, pictures: Pictures) -> str:
    """Return the report as one HTML document."""
    own = {
        "results": results,
        "panels": _panels(results),
        "told_by_curves": wording.curves(results),
        "reading": _reading(results),
        "best_row": _best_row(results),
        "findings": by_severity(results.findings),
    }
    epochs = {"epochs": curves.readings(results.history)}
    return evaluation_page("report.html.jinja", wording.what(results), results.tested, pictures, own=own, data=epochs)


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
