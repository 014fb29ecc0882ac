"""The page of folds: what all out-of-fold predictions say together, each fold, and what the audit found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foveal.audit.finding import Finding
from foveal.errors import ClassifierError
from foveal.evaluation.interval import Estimate
from foveal.evaluation.spread import Spread
from foveal.report.repeats import dot_plot
from foveal.report.results import estimate_of, finding_of, tested_of
from foveal.report.sections import HERE, Pictures, by_severity, evaluation_page
from foveal.run import Run, read_json
from foveal.web import asset
from foveal.web.svg import printable

PLAN = "folds.json"
OUT_OF_FOLD = "out-of-fold"  # the evaluation that folds have in place of a test


def render_folds(home: Path, pictures: Pictures) -> str:
    """Return the page of the folds in `home` as one HTML document, from what is stored there alone.

    Raises ClassifierError when a stored result is missing or incomplete.
    """
    plan = read_json(home / PLAN)
    try:
        runs = [Run(home / "folds" / str(number)) for number in range(1, int(plan["folds"]) + 1)]
        rows = [_row(run, number, home) for number, run in enumerate(runs, 1)]
        name = printable(str(runs[0].audit["dataset"]["name"]))
        tested = tested_of(plan["out_of_fold"], Run(home).predictions(OUT_OF_FOLD))
        told = plan["test_accuracy"]
        accuracy = Spread(tuple(told["values"]), Estimate(**told["mean"]), float(told["standard_deviation"]))
        findings: list[Finding] = [finding_of(entry) for entry in plan["findings"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"The stored results under {home} are incomplete or damaged: {error!r}.") from error
    title = f"{len(rows)} folds of {runs[0].recipe.get('model', '')} on {name}"
    own = {
        "title": title,
        "rows": rows,
        "accuracy": accuracy,
        "findings": by_severity(findings),
        "plot": dot_plot(list(accuracy.values), accuracy),
        "recipe": runs[0].recipe,
    }
    return evaluation_page("folds.html.jinja", title, tested, pictures, own=own, style=asset(HERE, "repeats.css"))


def _row(run: Run, number: int, home: Path) -> dict[str, Any]:
    metrics = run.metrics
    training = metrics["training"]
    return {
        "number": number,
        "link": run.report_file.relative_to(home).as_posix(),
        "test": estimate_of(metrics["test"]["accuracy"]),
        "n": int(metrics["test"]["n"]),
        "validation": Estimate(**metrics["validation"]["accuracy"]).value,
        "calibration": str(metrics["test"]["calibration"]["method"]),
        "epochs": int(training["epochs"]),
        "seconds": float(training["seconds"]),
    }
