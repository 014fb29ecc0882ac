"""How a run shows itself in a notebook: its test accuracy, its learning curves, and where the report lies."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from markupsafe import Markup

from foveal.errors import FovealError
from foveal.progress import duration
from foveal.run import Run
from foveal.web import card
from foveal.web.curves import loss_and_accuracy, panel_svg

T = TypeVar("T")


def run_card(run: Run) -> str:
    """Return the card of `run` from what is stored now; of an unfinished or damaged run, what there is."""
    history: list[dict[str, float]] = _readable(lambda: run.history, list[dict[str, float]]())
    metrics: dict[str, Any] = _readable(lambda: run.metrics, dict[str, Any]())
    return card(
        "foveal",
        "run_card.html.jinja",
        name=run.path.name or str(run.path),
        facts=_facts(run, metrics),
        accuracy=_readable(lambda: _accuracy(metrics["test"]), None),
        panels=_readable(lambda: _panels(history), list[Markup]()),
        state="" if run.is_finished else _state(run, len(history)),
        report=str(run.report_file) if run.is_finished else "",
        address=_address(run.report_file),
    )


def _accuracy(test: dict[str, Any]) -> dict[str, str]:
    """Return the test accuracy in words; KeyError or TypeError where it was not measured."""
    found = test["accuracy"]
    return {
        "value": f"{found['value']:.2%}",
        "interval": f"{found['level']:.0%} interval {found['low']:.2%} to {found['high']:.2%}, {found['method']}",
        "of": f"{test['n']:,} test images",
    }


def _facts(run: Run, metrics: dict[str, Any]) -> dict[str, str]:
    training = metrics.get("training", {})
    readers: dict[str, Callable[[], str]] = {
        "model": lambda: str(run.recipe["model"]),
        "data": lambda: f"{run.audit['dataset']['name']}, {run.audit['dataset']['n']:,} images",
        "classes": lambda: f"{len(run.audit['dataset']['classes']):,}",
        "epochs": lambda: (
            f"{training['epochs']}, best {training['best_epoch']}{', stopped early' * training['stopped_early']}"
        ),
        "training": lambda: duration(training["seconds"]),
        "parameters": lambda: f"{training['parameters']:,}",
        "device": lambda: str(run.environment["device"]),
    }
    facts = {what: _readable(read, "") for what, read in readers.items()}
    return {what: words for what, words in facts.items() if words}


def _panels(history: list[dict[str, float]]) -> list[Markup]:
    """Return loss and accuracy over the epochs as drawings; none before the first epoch has ended."""
    if not history:
        return []
    best = max((int(row["epoch"]) for row in history if row["best"]), default=0)
    columns = [[row[name] for row in history] for name in ("train_loss", "validation_loss")]
    shares = [[row[name] for row in history] for name in ("train_accuracy", "validation_accuracy")]
    drawn = loss_and_accuracy(
        [int(row["epoch"]) for row in history], (columns[0], columns[1]), (shares[0], shares[1]), best
    )
    last = history[-1]
    summary = (
        f"Best epoch {best}. Last epoch {int(last['epoch'])}: loss {last['train_loss']:.3f} in training, "
        f"{last['validation_loss']:.3f} in validation; accuracy {last['train_accuracy']:.1%} and "
        f"{last['validation_accuracy']:.1%}."
    )
    return [panel_svg(panel, summary) for panel in drawn]


def _state(run: Run, epochs: int) -> str:
    """Return how far a run without a report has come."""
    if not run.path.is_dir():
        return f"There is no run at {run.path}."
    wanted = _readable(lambda: f" of {run.recipe['epochs']}", "")
    so_far = f"Not finished: {epochs}{wanted} epochs so far."
    if not run.recipe_file.is_file():
        return so_far
    return f"{so_far} If nothing is at work on it, go on with: foveal train --resume {shlex.quote(str(run.path))}"


def _address(path: Path) -> str:
    """Return the address of `path` for a link: relative as it was given, or of the file."""
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _readable(read: Callable[[], T], otherwise: T) -> T:
    """Return what `read` gives, or `otherwise` where that is missing or damaged: a card shows what there is."""
    try:
        return read()
    except (FovealError, KeyError, TypeError, ValueError, AttributeError):
        return otherwise
