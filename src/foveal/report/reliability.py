"""Calibration as a drawing: what was said of images, against how often it was so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from foveal.report.frame import Frame
from foveal.report.wording import count, counted, decimal
from foveal.web.svg import element

MANY = 20  # images of a bin from which on its error tells something
FEWEST = 5  # images of a bin that the line goes through
HISTOGRAM = 0.16  # share of the height that the bars of counts take at most


def reliability_drawing(measures: Mapping[str, Any], title: str) -> Markup:
    """Return the reliability diagram of one set of answers: points with intervals, and how many images each holds.

    `measures` is the JSON object of `evaluation.calibration`; bins without an image are left out.
    """
    bins: Sequence[Mapping[str, Any]] = measures["equal_width"]
    frame = Frame(title, "probability of the answer", "share of right answers")
    most = max((one["n"] for one in bins), default=1)
    bars = [_bar(frame, one, HISTOGRAM * one["n"] / most) for one in bins]
    ideal = frame.path([(0, 0), (1, 1)], "ideal")
    whiskers = [
        frame.whisker(one["mean_probability"], one["share"]["low"], one["share"]["high"], "of-bin") for one in bins
    ]
    points = [(one["mean_probability"], one["share"]["value"]) for one in bins]
    dots = [frame.dot(x, y, "of-bin") for x, y in points]
    telling = [point for point, one in zip(points, bins, strict=True) if one["n"] >= FEWEST]
    line = [frame.path(telling, "of-bin")] if len(telling) > 1 else []
    return frame.drawing(*bars, ideal, *line, *whiskers, *dots, summary=_summary(measures))


def _bar(frame: Frame, one: Mapping[str, Any], height: float) -> Markup:
    left, right = frame.x(one["low"]), frame.x(one["high"])
    top = frame.y(height)
    return element("rect", class_="bar-of-counts", x=left + 0.5, y=top, width=right - left - 1, height=frame.y(0) - top)


def _summary(measures: Mapping[str, Any]) -> str:
    return f"Expected calibration error {decimal(measures['ece']['value'])} on {counted(measures['n'], 'image')}."


def method_sentence(calibration: Mapping[str, Any]) -> str:
    """Return how the probabilities were calibrated, and what that changed on these images."""
    method, before, after = calibration["method"], calibration["before"], calibration["after"]
    if method is None:
        return "These probabilities are the network's own: nothing was calibrated."
    reason = f" {calibration['reason']}" if calibration.get("reason") else ""
    if method == "none":
        return f"The probabilities are deployed as the network gives them.{reason}"
    changed = ""
    if before is not None:
        changed = (
            f" On the test images, which it did not see, the expected calibration error is "
            f"{decimal(after['ece']['value'])} with it and {decimal(before['ece']['value'])} without it."
        )
    return f"The probabilities are deployed with {method} calibration, fitted on validation images.{changed}{reason}"


def _of_few(measures: Mapping[str, Any]) -> str:
    """Return how many images the bin with the largest error holds, where they are too few to tell anything."""
    bins = [one for one in measures["equal_width"] if one["n"]]
    if not bins:
        return ""
    worst = max(bins, key=lambda one: abs(one["share"]["value"] - one["mean_probability"]))
    return f" (of {counted(worst['n'], 'image')} alone)" if worst["n"] < MANY else ""


def brier_sentence(measures: Mapping[str, Any]) -> str:
    """Return the Brier score and its parts."""
    brier = measures["brier"]
    sign = "+" if brier["within_bins"] >= 0 else "−"
    return (
        f"Brier score {decimal(brier['score'])} = reliability {decimal(brier['reliability'])} (0 is best) − resolution "
        f"{decimal(brier['resolution'])} + uncertainty {decimal(brier['uncertainty'])} of the labels {sign} "
        f"{decimal(abs(brier['within_bins']))} within bins. Largest error of a bin "
        f"{decimal(measures['mce'])}{_of_few(measures)}; mean "
        f"error class by class {decimal(measures['mean_classwise_ece'])}; over bins of equal mass "
        f"{decimal(measures['ece_equal_mass']['value'])}. All over {count(measures['bins'])} bins."
    )
