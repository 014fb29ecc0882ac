"""The page of folds: what all out-of-fold predictions say together, each fold, and what the audit found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from foveal.audit.finding import Finding
from foveal.errors import ClassifierError
from foveal.evaluation.interval import Estimate
from foveal.evaluation.spread import Spread
from foveal.report.model_card import model_card
from foveal.report.repeats import dot_plot
from foveal.report.results import estimate_of, finding_of, read_results, tested_of
from foveal.report.sections import HERE, Pictures, by_severity, evaluation_page
from foveal.run import Run, read_json
from foveal.web import asset
from foveal.web.svg import printable

FOLDS = "folds.json"  # that of classifier.artefact, which takes torch to load; a test holds the two together
FOLDS_PAGE = "folds.html"
OUT_OF_FOLD = "out-of-fold"  # the evaluation that folds have in place of a test


def render_folds(home: Path, pictures: Pictures) -> str:
    """Return the page of the folds in `home` as one HTML document, from what is stored there alone.

    Raises ClassifierError when a stored result is missing or incomplete.
    """
    plan = read_json(home / FOLDS)
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


def folds_card(home: Path) -> str:
    """Return MODEL_CARD.md of the folds in `home`, which answer together, from what is stored there alone."""
    plan = read_json(home / FOLDS)
    try:
        count = int(plan["folds"])
        tested = tested_of(plan["out_of_fold"], Run(home).predictions(OUT_OF_FOLD))
        findings = tuple(finding_of(entry) for entry in plan["findings"])
        first = read_results(Run(home / "folds" / "1"))
        hashes = [
            read_json(home / "folds" / str(number) / "classifier" / "classifier.json") for number in range(1, count + 1)
        ]
        content_hash = " ".join(str(one["content_hash"])[:12] for one in hashes)
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"The stored results under {home} are incomplete or damaged: {error!r}.") from error
    sentence = (
        f"All images were divided into {count} folds, stratified by class, no group torn; each was the test of one."
    )
    split = {**first.split, "sentences": [sentence]}
    results = replace(first, tested=tested, findings=findings, split=split, content_hash=content_hash)
    return model_card(results, folds=count)


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
