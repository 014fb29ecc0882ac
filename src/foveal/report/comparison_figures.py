"""The pictures of a comparison: forests of intervals on one scale, and learning curves laid over each other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from foveal.evaluation.interval import Estimate
from foveal.report.compared import ComparedPair, ComparedRun
from foveal.training.history import EpochRow
from foveal.web.svg import element, ticks

COLOURS = 7  # that the style sheet knows as .run-0, .run-1, …; then they begin anew with other dashes
DASHES = (None, "7 4", "2 3", "9 3 2 3")
ROW_WIDTH, ROW_HEIGHT, MARGIN = 340.0, 26.0, 24.0
WIDTH, HEIGHT = 440.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 34.0, 34.0, 42.0
LABEL_HEIGHT = 14.0
NARROWEST = 1e-4  # of a forest
MOST_MARKERS = 12
MOST_LOG_TICKS = 8
FEW_EPOCHS = 8
SMALLEST_LOSS = 1e-6

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """The one scale on which all intervals of a forest lie."""

    ticks: tuple[float, ...]

    def x(self, value: float) -> float:
        """Return where `value` lies."""
        low, high = self.ticks[0], self.ticks[-1]
        return MARGIN + (value - low) / (high - low) * (ROW_WIDTH - 2 * MARGIN)


def scale_of(estimates: Sequence[Estimate], *, through_zero: bool = False) -> Scale:
    """Return the scale that holds every interval of `estimates`, one or more; differences go through 0."""
    low, high = min(one.low for one in estimates), max(one.high for one in estimates)
    if through_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    wider = max(0.0, NARROWEST - (high - low)) / 2
    low, high = low - wider, high + wider
    return Scale(tuple(tick for tick in ticks(low, high, 4) if through_zero or -1e-9 <= tick <= 1 + 1e-9))


def forest_row(estimate: Estimate | None, scale: Scale, look: str) -> Markup:
    """Return one interval as a dot with whiskers on `scale`; `look` is its class."""
    middle = ROW_HEIGHT / 2
    lines = [element("line", class_="grid", x1=scale.x(t), x2=scale.x(t), y1=0, y2=ROW_HEIGHT) for t in scale.ticks]
    if scale.ticks[0] <= 0 <= scale.ticks[-1]:
        lines.append(element("line", class_="zero", x1=scale.x(0), x2=scale.x(0), y1=0, y2=ROW_HEIGHT))
    drawn: list[Markup] = []
    if estimate is not None:
        low, high, value = scale.x(estimate.low), scale.x(estimate.high), scale.x(estimate.value)
        path = f"M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 5:g}v10M{high:.1f} {middle - 5:g}v10"
        drawn = [
            element("path", class_=f"reach {look}", d=path),
            element("circle", class_=f"dot {look}", cx=value, cy=middle, r=5.5),
        ]
    return _row(ROW_HEIGHT, *lines, *drawn)


def forest_axis(scale: Scale, label: Callable[[float], str]) -> Markup:
    """Return the numbers under a forest; where they would touch, every second one."""
    every = 2 if len(scale.ticks) > 5 else 1
    marks = []
    for index, tick in enumerate(scale.ticks):
        if index % every == 0:
            marks.append(element("text", label(tick), class_="tick", x=scale.x(tick), y=14, text_anchor="middle"))
    return _row(20, *marks)


def share_label(tick: float) -> str:
    """``0.975`` → ``97.5 %``."""
    return f"{round(100 * tick, 6):g}\N{NO-BREAK SPACE}%"


def points_label(tick: float) -> str:
    """``0.02`` → ``+2``."""
    return "0" if not tick else f"{round(100 * tick, 6):+g}".replace("-", "−")


def _row(height: float, *parts: Markup) -> Markup:
    return element("svg", *parts, class_="forest-row", viewBox=f"0 0 {ROW_WIDTH:g} {height:g}", aria_hidden="true")


def look_of(letter: str) -> str:
    """Return the class that gives a run its colour."""
    return f"run-{(ord(letter) - ord('A')) % COLOURS}"


def pair_scale(pairs: Sequence[ComparedPair]) -> Scale | None:
    """Return the scale of the differences, or None when no pair has one."""
    known = [pair.result.difference for pair in pairs if pair.result]
    return scale_of(known, through_zero=True) if known else None


# --- learning curves ---


@dataclass(frozen=True)
class Curve:
    """One quantity of one run, over epochs or over time."""

    letter: str
    points: tuple[Point, ...]
    best: Point | None  # the epoch whose weights were kept


@dataclass(frozen=True)
class Overlay:
    """One quantity of all runs."""

    title: str
    unit: str  # of the horizontal axis
    curves: tuple[Curve, ...]
    x_ticks: tuple[float, ...]
    y_ticks: tuple[float, ...]
    tick_label: Callable[[float], str]
    logarithmic: bool

    def at(self, point: Point) -> Point:
        """Return where a point lies; the first epochs may lie below the frame."""
        rise = (lambda y: math.log(max(y, SMALLEST_LOSS))) if self.logarithmic else float
        low, high = rise(self.y_ticks[0]), rise(self.y_ticks[-1])
        x = (point[0] - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0])
        y = (rise(point[1]) - low) / (high - low)
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)


def overlays(runs: Sequence[ComparedRun]) -> list[Overlay]:
    """Return validation loss and accuracy over the epochs, and accuracy over the time; none without an epoch."""
    with_epochs = [run for run in runs if run.history]
    if not with_epochs:
        return []
    loss = [_curve(run, _epochs(run.history), lambda row: row.validation_loss) for run in with_epochs]
    share = [_curve(run, _epochs(run.history), lambda row: row.validation_accuracy) for run in with_epochs]
    timed = [_curve(run, _seconds(run.history), lambda row: row.validation_accuracy) for run in with_epochs]
    unit, seconds = ("minutes", 60.0) if max(run.training.seconds for run in with_epochs) > 300 else ("seconds", 1.0)
    timed = [
        Curve(
            one.letter,
            tuple((x / seconds, y) for x, y in one.points),
            one.best and (one.best[0] / seconds, one.best[1]),
        )
        for one in timed
    ]
    return [
        _overlay("Validation loss, logarithmic", "epoch", loss, lambda tick: f"{tick:g}"),
        _overlay("Validation accuracy", "epoch", share, share_label),
        _overlay("Validation accuracy over the training time", unit, timed, share_label),
    ]


def overlay_svg(overlay: Overlay) -> Markup:
    """Return the overlay for the page, coloured by the page's style sheet."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [element("text", overlay.title, class_="title", x=0, y=15)]
    for tick in overlay.y_ticks:
        y = overlay.at((overlay.x_ticks[0], tick))[1]
        parts.append(element("line", class_="grid", x1=LEFT, x2=right, y1=y, y2=y))
        parts.append(element("text", overlay.tick_label(tick), class_="tick", x=LEFT - 8, y=y + 4, text_anchor="end"))
    for tick in overlay.x_ticks:
        x = overlay.at((tick, overlay.y_ticks[0]))[0]
        parts.append(element("text", f"{tick:g}", class_="tick", x=x, y=bottom + 18, text_anchor="middle"))
    middle = (LEFT + right) / 2
    parts.append(element("text", overlay.unit, class_="axis-title", x=middle, y=HEIGHT - 6, text_anchor="middle"))
    frame = f"frame-{sum(map(ord, overlay.title))}"  # the same page holds several
    box = element("rect", x=LEFT - 8, y=TOP - 10, width=right - LEFT + 16, height=bottom - TOP + 10)
    parts.append(element("clipPath", box, id=frame))
    drawn = [part for curve in overlay.curves for part in _drawn(overlay, curve)]
    parts.append(element("g", *drawn, clip_path=f"url(#{frame})"))
    parts += _letters(overlay)
    words = "; ".join(
        f"{one.letter} ends at {overlay.tick_label(round(one.points[-1][1], 4))}" for one in overlay.curves
    )
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        class_="panel",
        role="img",
        aria_label=f"{overlay.title} of each run by {overlay.unit}: {words}",
    )


def _curve(run: ComparedRun, places: Sequence[float], value: Callable[[EpochRow], float]) -> Curve:
    known = [
        (place, value(row), row) for place, row in zip(places, run.history, strict=True) if math.isfinite(value(row))
    ]
    best = next(((x, y) for x, y, row in known if row.epoch == run.training.best_epoch), None)
    return Curve(run.letter, tuple((x, y) for x, y, _ in known) or ((0.0, 0.0),), best)


def _epochs(history: Sequence[EpochRow]) -> list[float]:
    return [float(row.epoch) for row in history]


def _seconds(history: Sequence[EpochRow]) -> list[float]:
    return list(accumulate(row.seconds for row in history))


def _overlay(title: str, unit: str, curves: Sequence[Curve], label: Callable[[float], str]) -> Overlay:
    xs = [x for curve in curves for x, _ in curve.points]
    ys = sorted(y for curve in curves for _, y in curve.points)
    if unit == "epoch":
        whole = ticks(0, max(xs), 6)
        x_ticks = tuple(tick for tick in whole if tick == round(tick))
    else:
        x_ticks = tuple(ticks(0, max(xs), 6))
    if label is share_label:  # the end is what is compared; the first epochs may lie below
        low = min(_settled(curve) for curve in curves)
        y_ticks = tuple(tick for tick in ticks(min(low, 0.98), 1.0) if tick <= 1.0)
    else:
        y_ticks = logarithmic_ticks(ys[0], ys[-1])
    return Overlay(title, unit, tuple(curves), x_ticks, y_ticks, label, label is not share_label)


def _settled(curve: Curve) -> float:
    """Return from where a curve is worth showing: where it spends most of its epochs, or all of it when it is short."""
    values = [y for _, y in curve.points]
    return min(values) if len(values) < FEW_EPOCHS else statistics.quantiles(values, n=4)[0]


def logarithmic_ticks(low: float, high: float) -> tuple[float, ...]:
    """Return numbers that enclose `low` to `high`: 1, 2, 5, 10, …, or powers of ten where these would be many."""
    low, high = max(low, SMALLEST_LOSS), max(high, 2 * SMALLEST_LOSS)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        all_ticks = [round(factor * 10.0**power, 9) for power in exponents for factor in factors]
        first = max(index for index, tick in enumerate(all_ticks) if tick <= low * (1 + 1e-9))
        last = min(index for index, tick in enumerate(all_ticks) if tick >= high * (1 - 1e-9))
        if last - first <= MOST_LOG_TICKS:
            break
    return tuple(all_ticks[first : max(last, first + 1) + 1])


def _drawn(overlay: Overlay, curve: Curve) -> list[Markup]:
    """Return the line, a few markers, and a ring at the best epoch."""
    look, dash = look_of(curve.letter), DASHES[(ord(curve.letter) - ord("A")) % len(DASHES)]
    places = [overlay.at(point) for point in curve.points]
    parts = []
    if len(places) > 1:
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(element("path", class_=f"curve {look}", d=path, stroke_dasharray=dash))
    every = math.ceil(len(places) / MOST_MARKERS)
    parts += [element("circle", class_=f"dot {look}", cx=x, cy=y, r=2.6) for x, y in places[::-1][::every]]
    if curve.best is not None:
        x, y = overlay.at(curve.best)
        parts.append(element("circle", class_=f"ring {look}", cx=x, cy=y, r=5.5))
    return parts


def _letters(overlay: Overlay) -> list[Markup]:
    """Return the letters at the ends of the curves, pushed apart where they would lie over each other."""
    ends = sorted((overlay.at(curve.points[-1]), curve.letter) for curve in overlay.curves)
    by_height = sorted(ends, key=lambda end: end[0][1])
    y, placed = -math.inf, []
    for (x, wanted), letter in by_height:
        y = max(wanted, y + LABEL_HEIGHT)
        placed.append((x, y, letter))
    over = max(0.0, placed[-1][1] - (HEIGHT - BOTTOM)) if placed else 0.0  # a letter never lies among the epochs
    return [
        element("text", letter, class_=f"letter {look_of(letter)}", x=x + 9, y=y + 4 - over) for x, y, letter in placed
    ]
