"""All figures of an evaluation as rows and cells of tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from foveal.evaluation.interval import Estimate
from foveal.report.results import estimate_of
from foveal.report.wording import NOTHING, interval, percent

FIGURES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy (mean recall)",
    "mcc": "Matthews correlation",
    "kappa": "Cohen's κ",
    "auc_macro": "ROC AUC, one against the rest, macro",
    "auc_micro": "ROC AUC, micro",
    "average_precision_macro": "Average precision, macro",
    "brier": "Brier score (0 to 2, 0 is best)",
}
CLASS_FIGURES = {
    "recall": "Sensitivity",
    "specificity": "Specificity",
    "precision": "PPV",
    "npv": "NPV",
    "f1_interval": "F1",
    "auc": "ROC AUC",
    "average_precision": "Average precision",
}


def all_figures(measured: Mapping[str, Any]) -> Iterator[tuple[str, Estimate]]:
    """Yield the name and the estimate of every figure of the whole that was measured."""
    found = {title: measured.get(key) for key, title in FIGURES.items()}
    found |= {f"Top-{k} accuracy": entry for k, entry in measured.get("top_k", {}).items()}
    found |= {
        {"loss": "Log loss", "macro_f1": "Macro F1"}[key]: entry for key, entry in measured.get("intervals", {}).items()
    }
    for name, entry in found.items():
        estimate = estimate_of(entry)
        if estimate is not None:
            yield name, estimate


TOO_SMALL = "n too small"


def of_class(entry: Mapping[str, Any], key: str) -> str:
    """Return one figure of a class from its object in metrics.json; of too few images none, however good it looks."""
    if entry.get("too_small") and entry.get(key) is not None:
        return TOO_SMALL
    return cell(entry.get(key))


def cell(entry: Mapping[str, Any] | None) -> str:
    """Return the value and interval of one figure of a class."""
    estimate = estimate_of(entry)
    return NOTHING if estimate is None else f"{percent(estimate.value)} ({interval(estimate)})"
