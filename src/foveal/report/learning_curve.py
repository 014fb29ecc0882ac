"""The page of a learning curve by training-set size: points, law, band, and what twice as many images would bring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from foveal.errors import ClassifierError
from foveal.evaluation.data_curve import AHEAD, DataCurve
from foveal.evaluation.interval import Estimate
from foveal.files import write_text
from foveal.report import wording
from foveal.run import Run
from foveal.web import asset, page, templates
from foveal.web.svg import element, printable, ticks

HERE = "foveal.report"
WIDTH, HEIGHT = 720.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 24.0, 22.0, 50.0
LABEL_WIDTH = 46.0  # that a number under the axis takes
SMALLEST_RANGE = 0.02  # of accuracy that is drawn


@dataclass(frozen=True)
class SizeRow:
    """One number of training images, as the table shows it."""

    share: float
    images: float
    repeats: int
    accuracy: Estimate  # on the validation images
    lowest: float
    highest: float
    seconds: float  # of training, the mean


def conclusion(curve: DataCurve, validation_n: int) -> str:
    """Return in one or two sentences what the curve says of twice as many images, and no more than it says."""
    first, last = curve.points[0], curve.points[-1]
    before, after = f"{round(last.images):,}", f"{round(AHEAD * last.images):,}"
    measured = f"{wording.counted(validation_n, 'validation image')}"
    gain = curve.gain
    if curve.verdict == "too few sizes" or gain is None:
        return (
            f"What more images would bring cannot be told from {wording.counted(len(curve.points), 'size')} between "
            f"{round(first.images):,} and {before} images: take four or more, the largest at least four times the "
            f"smallest."
        )
    if curve.verdict == "flat":
        return (
            f"Between {round(first.images):,} and {before} training images {measured} show no fall of the error beyond "
            f"chance, so what {after} would bring cannot be told; more of the same kind, trained like this, promise "
            f"little."
        )
    if curve.verdict == "misfit":
        return (
            f"The errors do not follow a power law of the number of images, so what {after} in place of {before} would "
            f"bring cannot be told."
        )
    doubled = f"Doubling the training images from {before} to {after}"
    if curve.verdict == "at most":
        return (
            f"{doubled} would bring at most about {_points(gain.high)} of accuracy, if the curve goes on as it did; "
            f"whether it would bring anything cannot be told with {measured}."
        )
    return (
        f"{doubled} would bring about {_points(gain.value)} of accuracy ({100 * gain.level:g} % "
        f"interval {100 * gain.low:.1f} to {100 * gain.high:.1f}), if the curve goes on as it did."
    )


def about_epochs(short: Sequence[Sequence[bool]]) -> str:
    """Return what to think of trainings whose validation loss was still falling, `short` (sizes) of (repeats)."""
    count, all_of_them = sum(map(sum, short)), sum(map(len, short))
    if not count:
        return ""
    small, large = fmean(map(float, short[0])), fmean(map(float, short[-1]))
    steeper = (
        " That was so more often with few images, whose errors are then too high: the curve is too steep, and the gain "
        "likely overstated."
        if small > large
        else ""
    )
    return (
        f"In {count} of {wording.counted(all_of_them, 'training')} the validation loss was still falling at the end."
        f"{steeper} More epochs would tell."
    )


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def write_learning_curve_page(
    path: Path,
    runs: Sequence[Sequence[Run]],
    shares: Sequence[float],
    curve: DataCurve,
    sentence: str,
    note: str,
    test: Mapping[str, Any] | None,
) -> Path:
    """Write the page of `runs`, those of each share, and return its path.

    Raises ClassifierError when a stored result is incomplete, OutputError when the page cannot be written.
    """
    first = runs[0][0]
    try:
        rows = [_row(*one) for one in zip(shares, curve.points, runs, strict=True)]
        dataset, recipe = first.audit["dataset"], first.recipe
        tested = Estimate(**test["accuracy"]) if test else None
        validation = int(first.metrics["validation"]["n"])
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(
            f"The stored results under {path.parent} are incomplete or damaged: {error!r}."
        ) from error
    title = f"Learning curve of {recipe.get('model', '')} on {printable(str(dataset['name']))}"
    environment = templates(HERE)
    body = environment.get_template("learning_curve.html.jinja").render(
        title=title,
        sentence=sentence,
        note=note,
        rows=rows,
        curve=curve,
        plot=curve_plot(curve),
        validation=validation,
        tested=tested,
        test_n=test["n"] if test else 0,
        link=(runs[-1][0].report_file.relative_to(path.parent).as_posix() if test else ""),
        dataset=dataset,
        recipe=recipe,
        say=wording,
        ahead=AHEAD,
    )
    style = asset(HERE, "report.css") + asset(HERE, "repeats.css") + asset(HERE, "learning_curve.css")
    html = page(f"{title} · Foveal", Markup(body), style=style, closed=True)
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))
    return path


def _row(share: float, point: Any, runs: Sequence[Run]) -> SizeRow:
    error = point.error
    return SizeRow(
        share=share,
        images=point.images,
        repeats=len(point.errors),
        accuracy=Estimate(1 - error.value, 1 - error.high, 1 - error.low, error.level, error.method),
        lowest=1 - max(point.errors),
        highest=1 - min(point.errors),
        seconds=fmean(float(run.metrics["training"]["seconds"]) for run in runs),
    )


# --- the drawing ---


@dataclass(frozen=True)
class Axes:
    """Training images on a logarithmic scale, accuracy on a linear one."""

    low: float  # images
    high: float
    marks: tuple[float, ...]  # of accuracy

    def x(self, images: float) -> float:
        """Return where a number of images lies."""
        share = math.log(images / self.low) / math.log(self.high / self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, accuracy: float) -> float:
        """Return where an accuracy lies; what is off the scale at its edge."""
        low, high = self.marks[0], self.marks[-1]
        share = min(1.0, max(0.0, (accuracy - low) / (high - low)))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def axes_of(curve: DataCurve) -> Axes:
    """Return axes that hold every point, its interval, and the law up to where it is drawn."""
    sizes = [one.images for one in curve.points]
    shares = [1 - error for one in curve.points for error in (*one.errors, one.error.low, one.error.high)]
    shares += [1 - middle for _, middle, _, _ in curve.band]
    low, high = min(shares), max(shares)
    wider = max(0.0, SMALLEST_RANGE - (high - low)) / 2
    marks = [tick for tick in ticks(low - wider, high + wider, 6) if -1e-9 <= tick <= 1 + 1e-9]
    end = AHEAD * sizes[-1] if curve.band else sizes[-1]
    return Axes(sizes[0] / 1.12, end * 1.04, tuple(marks))


def curve_plot(curve: DataCurve) -> Markup:
    """Return the points, the law through them with its band, and beyond the largest size the law dotted."""
    axes = axes_of(curve)
    right = WIDTH - RIGHT
    parts = []
    for tick in axes.marks:
        y = axes.y(tick)
        parts.append(element("line", class_="grid", x1=LEFT, x2=right, y1=y, y2=y))
        label = f"{round(100 * tick, 6):g} %"
        parts.append(element("text", label, class_="tick", x=LEFT - 8, y=y + 4, text_anchor="end"))
    parts += _size_labels(curve, axes)
    parts.append(element("text", "validation accuracy", class_="axis-title", x=LEFT, y=TOP - 8))
    title = "training images, logarithmic"
    parts.append(element("text", title, class_="axis-title", x=(LEFT + right) / 2, y=HEIGHT - 8, text_anchor="middle"))
    if curve.band:
        parts += _law(curve, axes)
    for point in curve.points:
        x = axes.x(point.images)
        top, foot = axes.y(1 - point.error.low), axes.y(1 - point.error.high)
        whisker = f"M{x:.1f} {foot:.1f}V{top:.1f}M{x - 5:.1f} {foot:.1f}h10M{x - 5:.1f} {top:.1f}h10"
        parts += [element("circle", class_="one", cx=x, cy=axes.y(1 - error), r=3.2) for error in point.errors]
        parts.append(element("path", class_="reach", d=whisker))
        parts.append(element("circle", class_="mean", cx=x, cy=axes.y(1 - point.error.value), r=5))
    told = ", ".join(f"{round(one.images):,} images {wording.percent(1 - one.error.value)}" for one in curve.points)
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        class_="by-size",
        role="img",
        aria_label=f"Validation accuracy by the number of training images: {told}",
    )


def _size_labels(curve: DataCurve, axes: Axes) -> list[Markup]:
    """Return the numbers of images under the axis: those that were trained on, and the doubled; none over another."""
    sizes = [one.images for one in curve.points]
    wanted = [sizes[-1], *([AHEAD * sizes[-1]] if curve.band else []), *sizes[:-1]]  # the weightiest first
    placed: list[float] = []
    parts = []
    for images in wanted:
        x = axes.x(images)
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM + 4))
        if all(abs(x - other) >= LABEL_WIDTH for other in placed):
            placed.append(x)
            middle = min(x, WIDTH - RIGHT)
            label = f"{round(images):,}"
            parts.append(element("text", label, class_="tick", x=middle, y=HEIGHT - BOTTOM + 19, text_anchor="middle"))
    return parts


def _law(curve: DataCurve, axes: Axes) -> list[Markup]:
    """Return the band, and the law: drawn up to the largest size, dotted beyond."""
    end = curve.points[-1].images
    upper = [(axes.x(n), axes.y(1 - low)) for n, _, low, _ in curve.band]
    lower = [(axes.x(n), axes.y(1 - high)) for n, _, _, high in curve.band]
    area = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in (*upper, *reversed(lower))) + "Z"
    middle = [(n, axes.x(n), axes.y(1 - error)) for n, error, _, _ in curve.band]
    within = [(x, y) for n, x, y in middle if n <= end * (1 + 1e-9)]
    beyond = [(x, y) for n, x, y in middle if n > end * (1 + 1e-9)]
    if curve.law is not None:
        join = (axes.x(end), axes.y(1 - curve.law.error(end)))
        within, beyond = [*within, join], [join, *beyond]
    lines = [("law", within), ("law ahead", beyond)]
    return [
        element("path", class_="band", d=area),
        *(
            element("path", class_=look, d="M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in places))
            for look, places in lines
        ),
    ]
