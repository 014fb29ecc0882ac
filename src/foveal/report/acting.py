"""What the report says of acting on the answers: an operating point, the ROC curve, net benefit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from foveal.evaluation.out_of_fold import SPLIT
from foveal.evaluation.thresholds import roc_points
from foveal.report.figures import cell
from foveal.report.frame import Frame
from foveal.report.results import Tested
from foveal.report.wording import images_of, percent, quoted

MOST_CURVES = 6
RATES = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV", "npv": "NPV"}


def conclusion(measured: Mapping[str, Any]) -> str:
    """Return what was decided beforehand, and what it does on the test images."""
    operating = measured.get("operating")
    if operating is None and "operating_missed" in measured:
        return f"The operating point that was asked for could not be had: {measured['operating_missed']}"
    if operating is None:
        return (
            "The most probable class is answered: no operating point was asked for (--operating-point). The curves "
            "show what others would give."
        )
    rule, binary = operating["operating"], operating["binary"]
    if binary is None:
        return _without_threshold(operating, measured)
    reached = ", ".join(f"{title} {cell(binary[key])}" for key, title in RATES.items())
    by = ", each fold decided by the threshold that the others give," if rule["split"] == SPLIT else ""
    return (
        f"{quoted(rule['positive'])} is answered from a probability of {percent(rule['threshold'])} on, chosen on "
        f"{images_of(rule['split'])} for: {rule['requirement']['words']}. On the test images{by} "
        f"that gives {reached}, and {cell(operating['accuracy'])} right over all classes."
    )


def _without_threshold(operating: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    """Return what deciding by costs or by stated prevalences gives."""
    rule, classes, right = operating["operating"], measured["classes"], cell(operating["accuracy"])
    if rule["rule"] == "cost":
        dear = [
            f"{quoted(true)} taken for {quoted(said)} costs {cost:g}"
            for true, row in zip(classes, rule["costs"], strict=True)
            for said, cost in zip(classes, row, strict=True)
            if cost not in (0, 1)
        ]
        return (
            f"The class with the least expected cost is answered{': ' if dear else ''}{'; '.join(dear)}. On the test "
            f"images an answer costs {_cost(operating['mean_cost'])} on average, the most probable class "
            f"{_cost(operating['mean_cost_of_most_probable'])}, a difference of {_cost(operating['cost_saved'])}; "
            f"{right} of the answers are right."
        )
    shares = ", ".join(
        f"{quoted(name)} {percent(stated)} (was {percent(former)})"
        for name, stated, former in zip(classes, rule["stated"], rule["former"], strict=True)
    )
    return (
        f"The most probable class is answered for a place where the classes have these shares: {shares}. On these "
        f"test images, which have others, {right} of the answers are right."
    )


def _cost(entry: Mapping[str, Any]) -> str:
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


def beside_the_matrix(measured: Mapping[str, Any]) -> str:
    """Return that the sections of the page count another answer than the one that is deployed; empty where not so."""
    if "operating" not in measured:
        return ""
    return (
        "Here, in the headline and in the tables the most probable class counts as the answer. The classifier answers "
        "at its operating point, which for some images is another class: see Acting on it."
    )


def at_a_glance(measured: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return how many answers are right at the operating point, and at what; None without one."""
    operating = measured.get("operating")
    if operating is None:
        return None
    rule, binary = operating["operating"], operating["binary"]
    if binary is None or binary["sensitivity"] is None or binary["specificity"] is None:
        return f"{percent(operating['accuracy']['value'])} right", f"rule: {rule['rule']}"
    return (
        f"{percent(operating['accuracy']['value'])} right",
        f"{quoted(rule['positive'])}: sensitivity {percent(binary['sensitivity']['value'])}, specificity "
        f"{percent(binary['specificity']['value'])}",
    )


def positive_of(measured: Mapping[str, Any]) -> str | None:
    """Return the class that an operating point is for; None without one."""
    operating = measured.get("operating")
    return None if operating is None else operating["operating"].get("positive")


def roc_drawings(tested: Tested) -> list[Markup]:
    """Return the ROC curve of the class that is acted upon, or of each of a few classes."""
    answers = [answer for answer in tested.answers if answer.shares]
    if not answers:
        return []
    positive = positive_of(tested.measured)
    named = list(tested.scores.classes) if positive is None else [positive]
    labels = np.array([answer.label for answer in answers], object)
    drawn = []
    for name in named[:MOST_CURVES] if len(named) <= MOST_CURVES else []:
        is_class = labels == name
        if not is_class.any() or is_class.all():
            continue
        score = np.array([answer.shares[tested.scores.classes.index(name)] for answer in answers])
        drawn.append(_roc(name, roc_points(is_class, score), tested.measured))
    return drawn


def _roc(
    name: str,
    points: Sequence[tuple[float, float]],
    measured: Mapping[str, Any],
) -> Markup:
    frame = Frame(f"ROC: {_short(name)}", "1 − specificity", "sensitivity")
    auc = measured["per_class"][name].get("auc")
    marks = []
    if name == positive_of(measured):
        reached = measured["operating"]["binary"]
        marks.append(
            frame.dot(1 - reached["specificity"]["value"], reached["sensitivity"]["value"], "chosen", radius=5.5)
        )
    words = f"Area {cell(auc)}."
    return frame.drawing(
        frame.path([(0, 0), (1, 1)], "ideal"),
        frame.path(points, "model"),
        *marks,
        frame.words(0.98, 0.06, f"AUC {cell(auc)}"),
        summary=words,
    )


def benefit_drawing(curve: Mapping[str, Any]) -> Markup:
    """Return the net benefit of acting on the classifier, on everybody and on nobody."""
    ends = (curve["model_low"] or curve["model"], curve["model_high"] or curve["model"])
    high = max(0.02, curve["all"][0], *ends[1]) * 1.05
    low = -0.25 * high
    frame = Frame(
        f"Net benefit: {_short(curve['positive'])}",
        "threshold probability",
        "net benefit",
        low,
        high,
        lambda tick: f"{tick:.2f}",
    )
    at = curve["thresholds"]
    everybody = [(x, y) for x, y in zip(at, curve["all"], strict=True) if y >= low]
    return frame.drawing(
        frame.band(list(zip(at, *ends, strict=True)), "model"),
        frame.path([(0, 0), (1, 0)], "none"),
        frame.path(everybody, "other") if len(everybody) > 1 else Markup(""),
        frame.path(list(zip(at, curve["model"], strict=True)), "model"),
        summary="Solid: acting on the classifier. Dashed: acting on everybody. Dotted: on nobody.",
    )


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
