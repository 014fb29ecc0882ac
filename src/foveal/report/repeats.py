"""The page of repeated runs: their test accuracies as dots, the mean with its interval, and every run in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from foveal.errors import ClassifierError
from foveal.evaluation.interval import Estimate
from foveal.evaluation.spread import Spread
from foveal.files import write_text
from foveal.report import wording
from foveal.run import Run
from foveal.web import asset, page, templates
from foveal.web.svg import element, printable, ticks

HERE = "foveal.report"
WIDTH, MARGIN, DOT = 640.0, 30.0, 6.0
ABOVE, BELOW = 34.0, 34.0  # the interval over the dots, the axis under them


@dataclass(frozen=True)
class RepeatedRun:
    """One run among its repeats."""

    seed: int
    link: str  # of its report, seen from the page
    test: Estimate
    n: int
    validation: float
    epochs: int
    best_epoch: int
    seconds: float


def write_repeats_page(
    path: Path,
    runs: Sequence[Run],
    seeds: Sequence[int],
    accuracy: Spread,
    same_test_images: bool,
    together: Estimate | None = None,
) -> Path:
    """Write the page of `runs`, which lie in folders below it, and return its path.

    `together` is the accuracy of all of them as one classifier, where they share their images.
    Raises ClassifierError when a stored result is incomplete, OutputError when the page cannot be written.
    """
    home = path.parent
    try:
        rows = [_row(run, seed, home) for run, seed in zip(runs, seeds, strict=True)]
        first = runs[0].audit["dataset"]
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"The stored results under {home} are incomplete or damaged: {error!r}.") from error
    title = f"{len(rows)} runs of {runs[0].recipe.get('model', '')} on {printable(str(first['name']))}"
    environment = templates(HERE)
    body = environment.get_template("repeats.html.jinja").render(
        title=title,
        rows=rows,
        accuracy=accuracy,
        same=same_test_images,
        together=together,
        dataset=first,
        plot=dot_plot([row.test.value for row in rows], accuracy),
        recipe=runs[0].recipe,
        say=wording,
    )
    style = asset(HERE, "report.css") + asset(HERE, "repeats.css")
    html = page(f"{title} · Foveal", Markup(body), style=style, closed=True)
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))
    return path


def dot_plot(values: Sequence[float], accuracy: Spread) -> Markup:
    """Return the accuracies as dots on one axis, stacked where they would cover one another, under the interval."""
    mean = accuracy.mean
    marks = [tick for tick in ticks(min(*values, mean.low), max(*values, mean.high), 6) if -1e-9 <= tick <= 1 + 1e-9]
    low, high = marks[0], marks[-1] if len(marks) > 1 else marks[0] + 0.01

    def x(value: float) -> float:
        return MARGIN + (value - low) / (high - low) * (WIDTH - 2 * MARGIN)

    heights = stacked([x(value) for value in values])
    floor = ABOVE + (max(heights) + 1) * 2 * DOT + 8
    lines = [element("line", class_="grid", x1=x(tick), x2=x(tick), y1=8, y2=floor) for tick in marks]
    labels = [
        element("text", f"{100 * tick:.6g} %", class_="tick", x=x(tick), y=floor + 18, text_anchor="middle")
        for tick in marks
    ]
    start, end = x(mean.low), x(mean.high)
    whisker = f"M{start:.1f} 18H{end:.1f}M{start:.1f} 12v12M{end:.1f} 12v12"
    dots = [
        element("circle", class_="dot", cx=x(value), cy=floor - 8 - DOT - height * 2 * DOT, r=DOT)
        for value, height in zip(values, heights, strict=True)
    ]
    return element(
        "svg",
        *lines,
        element("line", class_="axis", x1=MARGIN, x2=WIDTH - MARGIN, y1=floor, y2=floor),
        element("path", class_="reach", d=whisker),
        element("circle", class_="mean", cx=x(mean.value), cy=18, r=5.5),
        *dots,
        *labels,
        viewBox=f"0 0 {WIDTH:g} {floor + BELOW:g}",
        class_="dots",
        role="img",
        aria_label=f"Test accuracy of {len(values)} runs: {', '.join(wording.percent(value) for value in values)}",
    )


def stacked(places: Sequence[float]) -> list[int]:
    """Return how high each dot lies so that no two cover one another: the lowest level that is free."""
    levels: list[list[float]] = []
    heights = []
    for place in places:
        height = next(
            (level for level, taken in enumerate(levels) if all(abs(place - other) >= 2 * DOT for other in taken)),
            len(levels),
        )
        if height == len(levels):
            levels.append([])
        levels[height].append(place)
        heights.append(height)
    return heights


def _row(run: Run, seed: int, home: Path) -> RepeatedRun:
    metrics: dict[str, Any] = run.metrics
    accuracy, training = metrics["test"]["accuracy"], metrics["training"]
    return RepeatedRun(
        seed=seed,
        link=run.report_file.relative_to(home).as_posix(),
        test=Estimate(**accuracy),
        n=int(metrics["test"]["n"]),
        validation=float(metrics["validation"]["accuracy"]["value"]),
        epochs=int(training["epochs"]),
        best_epoch=int(training["best_epoch"]),
        seconds=float(training["seconds"]),
    )
