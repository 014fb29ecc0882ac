"""What the report says of doubtful images: left to a human, given a set of classes, refused, or worse in one slice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from foveal.report.frame import Frame
from foveal.report.wording import count, counted, decimal, images_of, percent
from foveal.web.svg import printable

SURE_AT = 0.9  # the coverage that the conclusion speaks of


def conclusion(measured: Mapping[str, Any]) -> str:
    """Return what leaving the doubtful images to a human brings."""
    doubt = measured["doubt"]
    whole = next(one for one in doubt["at"] if one["wanted"] == 1)
    most = next(one for one in doubt["at"] if one["wanted"] == SURE_AT)
    return (
        f"Answering only the surest {percent(most['n'] / doubt['n'])} of the images would raise the accuracy from "
        f"{percent(whole['accuracy']['value'])} to {percent(most['accuracy']['value'])} "
        f"({percent(most['accuracy']['low'])} to {percent(most['accuracy']['high'])}), and leave "
        f"{counted(doubt['n'] - most['n'], 'image')} to a human. Area under the risk-coverage curve "
        f"{decimal(doubt['aurc'])}, {decimal(doubt['excess_aurc'])} above the best order for as many mistakes."
    )


def risk_coverage_drawing(doubt: Mapping[str, Any]) -> Markup:
    """Return the share of wrong answers over the share of images that are answered."""
    points = list(zip(doubt["coverage"], doubt["risk"], strict=True))
    high = max(0.02, max(y for _, y in points) * 1.1)
    frame = Frame("Wrong answers among those that are given", "share of images answered", "wrong", high=high)
    return frame.drawing(
        frame.path(points, "model") if len(points) > 1 else frame.dot(*points[0], "model"),
        frame.dot(*points[-1], "chosen"),
        summary=f"All images answered: {percent(points[-1][1])} wrong.",
    )


def sets_sentence(sets: Mapping[str, Any]) -> str:
    """Return what the prediction sets promise, and what they do on these images."""
    found = sets["found"]
    note = f" {sets['note']}" if sets["note"] else ""
    empty = ""
    if found["empty"]["value"]:
        empty = f" {percent(found['empty']['value'])} are empty: no class fits as well as the true one mostly does."
    return (
        f"Prediction sets, made on {count(sets['units'])} independent {images_of(sets['split'])}, are to hold the "
        f"true class {percent(1 - sets['alpha'])} of the time. On the test images they hold it in "
        f"{percent(found['coverage']['value'])} ({percent(found['coverage']['low'])} to "
        f"{percent(found['coverage']['high'])}), with {found['mean_size']:.2f} classes on average; "
        f"{percent(found['singletons']['value'])} name one class alone.{empty} {sets['method']}{note}"
    )


def gate_sentence(gate: Mapping[str, Any], n: int) -> str:
    """Return how often the gate takes test images for foreign ones."""
    share = gate["share"]
    return (
        f"The gate takes {count(gate['alarms'])} of {counted(n, 'test image')} for foreign "
        f"({percent(share['value'])}, {percent(share['low'])} to {percent(share['high'])}); these are false alarms, "
        f"since test images come from where the others do."
    )


def slice_sentence(report: Mapping[str, Any]) -> str:
    """Return whether the slices of a column differ by more than chance."""
    column, gap = printable(str(report["column"])), report["gap"]
    if gap is None:
        return f"By {column}: too few slices have images enough to compare them."
    best, worst = printable(str(gap["best"])), printable(str(gap["worst"]))
    if gap["p_value"] is None:
        return (
            f"By {column}: accuracy is {100 * gap['difference']:.1f} points higher in {best} than in {worst}. Whether "
            f"that is for the {column} or for the classes cannot be told: no class has images in two of them."
        )
    clear = "which chance hardly explains" if gap["p_value"] < 0.05 else "which chance may explain"
    return (
        f"By {column}: accuracy is {100 * gap['difference']:.1f} points higher in {best} than in {worst}, {clear} "
        f"(p = {gap['p_value']:.3f}; with slices exchanged at random within "
        f"each class the gap is {100 * gap['by_chance']:.1f} points on average)."
    )
