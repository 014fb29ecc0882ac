"""The page of an evaluation that is not a run's own test: other images, another place, another tool's predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from foveal.report.mistakes import MistakeMap
from foveal.report.results import tested_of
from foveal.report.sections import Pictures, evaluation_page
from foveal.web.svg import printable

EVALUATION_PAGE = "report.html"
MEMBERS = {
    "dropout": "dropout left on",
    "augment": "slightly changed views of it",
    "folds": "each fold of the ensemble",
}


def render_evaluation(
    measured: dict[str, Any],
    answered: Iterable[Mapping[str, str]],
    pictures: Pictures,
    maps: Mapping[str, MistakeMap] | None = None,
) -> str:
    """Return the page of an evaluation as one HTML document.

    `measured` is the JSON object of its metrics.json, `answered` are the rows of its predictions.csv, `maps` those of
    its worst mistakes. KeyError,
    TypeError or ValueError where something lacks.
    """
    dataset = measured.get("dataset", {})
    asked = measured.get("architecture", "Predictions")
    title = f"{asked} on {printable(str(dataset.get('name', 'stored labels')))}"
    facts = [("Images from", dataset.get("origin")), ("Engine", measured.get("engine"))]
    facts += [("Classifier", str(measured["classifier"])[:12])] if "classifier" in measured else []
    own = {"title": title, "facts": [(name, str(value)) for name, value in facts if value], "members": MEMBERS}
    return evaluation_page("evaluation.html.jinja", title, tested_of(measured, answered, maps), pictures, own=own)
