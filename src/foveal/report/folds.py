"""The page of folds: what all out-of-fold predictions say together, each class, each fold, and what the audit found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from foveal.audit.finding import Finding
from foveal.errors import ClassifierError
from foveal.evaluation.interval import Estimate
from foveal.evaluation.spread import Spread
from foveal.files import write_text
from foveal.report import wording
from foveal.report.repeats import dot_plot
from foveal.run import Run
from foveal.web import asset, page, templates
from foveal.web.svg import printable

HERE = "foveal.report"


def write_folds_page(
    path: Path, runs: Sequence[Run], metrics: Mapping[str, Any], accuracy: Spread, findings: Sequence[Finding]
) -> Path:
    """Write the page of `runs`, which lie in folders below it, and return its path.

    Raises ClassifierError when a stored result is incomplete, OutputError when the page cannot be written.
    """
    home = path.parent
    try:
        rows = [_row(run, number, home) for number, run in enumerate(runs, 1)]
        first = runs[0].audit["dataset"]
        whole = Estimate(**metrics["accuracy"])
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"The stored results under {home} are incomplete or damaged: {error!r}.") from error
    title = f"{len(rows)} folds of {runs[0].recipe.get('model', '')} on {printable(str(first['name']))}"
    environment = templates(HERE)
    body = environment.get_template("folds.html.jinja").render(
        title=title,
        rows=rows,
        whole=whole,
        metrics=metrics,
        classes=[(name, _class(entry)) for name, entry in metrics["per_class"].items()],
        confusion=metrics["confusion"],
        names=metrics["classes"],
        accuracy=accuracy,
        findings=sorted(findings, key=lambda one: one.severity != "block"),
        dataset=first,
        plot=dot_plot(list(accuracy.values), accuracy),
        recipe=runs[0].recipe,
        say=wording,
    )
    style = asset(HERE, "report.css") + asset(HERE, "repeats.css")
    html = page(f"{title} · Foveal", Markup(body), style=style, closed=True)
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))
    return path


def _class(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a class's figures, estimates as such."""
    return {
        "recall": Estimate(**entry["recall"]) if entry["recall"] else None,
        "precision": Estimate(**entry["precision"]) if entry["precision"] else None,
        "f1": entry["f1"],
        "support": entry["support"],
    }


def _row(run: Run, number: int, home: Path) -> dict[str, Any]:
    metrics = run.metrics
    training = metrics["training"]
    return {
        "number": number,
        "link": run.report_file.relative_to(home).as_posix(),
        "test": Estimate(**metrics["test"]["accuracy"]),
        "n": int(metrics["test"]["n"]),
        "validation": float(metrics["validation"]["accuracy"]["value"]),
        "epochs": int(training["epochs"]),
        "seconds": float(training["seconds"]),
    }
