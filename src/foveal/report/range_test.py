"""The page of a learning-rate range test: the loss over the rate, and the rates that it suggests."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from foveal.report import wording
from foveal.report.svg import standalone
from foveal.training.finder import COMES_DOWN, RangeTest
from foveal.training.recipe import Recipe
from foveal.web import asset, page, templates
from foveal.web.svg import element, printable, ticks

HERE = "foveal.report"
WIDTH, HEIGHT = 760.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 20.0, 58.0, 50.0
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
STYLE = """
.batch { fill: #858d97; fill-opacity: 0.45; } .course { fill: none; stroke: #0b62a8; stroke-width: 2.5; }
.chosen { stroke: #b04e00; stroke-width: 2; } .chosen-label { fill: #b04e00; font-weight: 600; }
.other { stroke: #545c67; stroke-dasharray: 2 3; } .other-label { fill: #545c67; font-size: 12px; }
.at { fill: #0b62a8; stroke: #ffffff; stroke-width: 1.5; }
"""


def range_test_page(test: RangeTest, rate: float | None, command: str, recipe: Recipe, name: str) -> str:
    """Return the page as one HTML document; `rate` is the suggestion, `command` trains with it."""
    environment = templates(HERE)
    body = environment.get_template("range_test.html.jinja").render(
        test=test,
        rate=rate,
        command=command,
        recipe=recipe,
        name=name,
        comes_down=recipe.schedule in COMES_DOWN,
        plot=element(
            "svg",
            *drawing(test, rate),
            viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
            class_="range",
            role="img",
            aria_label=sentence(test, rate),
        ),
        sentence=sentence(test, rate),
        say=wording,
    )
    style = asset(HERE, "report.css") + asset(HERE, "range_test.css")
    title = f"Learning rate of {recipe.model} on {printable(name)} · Foveal"
    html = page(title, Markup(body), style=style, closed=True)
    return html.encode("utf-8", "replace").decode("utf-8")


def range_test_figure(test: RangeTest, rate: float | None) -> str:
    """Return the plot as one SVG file."""
    return standalone(WIDTH, HEIGHT, sentence(test, rate), *drawing(test, rate), style=STYLE)


def sentence(test: RangeTest, rate: float | None) -> str:
    """Return the plot in words."""
    if rate is None or test.bottom is None:
        return "The loss never fell clearly over all rates that were tried."
    end = f", and diverged at {test.rates[-1]:.2g}" if test.diverged else ""
    return (
        f"The loss fell fastest at a learning rate of {test.steepest:.2g}, nearly all the way until "
        f"{test.bottom:.2g}{end}; {rate:g} is suggested."
    )


def drawing(test: RangeTest, rate: float | None) -> list[Markup]:
    """Return the elements of the plot: the loss of every batch as a point, its course as a line, rates as uprights."""
    if not test.rates:
        return [element("text", "No step had a finite loss.", x=LEFT, y=HEIGHT / 2)]
    marks = ticks(*_visible(test), 6)
    low, high = marks[0], marks[-1]
    first, last = math.log10(test.rates[0]), max(math.log10(test.rates[-1]), math.log10(test.rates[0]) + 1)

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        return HEIGHT - BOTTOM - (min(loss, high) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    bottom = HEIGHT - BOTTOM
    parts = [element("text", "Loss of a training batch", class_="title", x=0, y=15)]
    for mark in marks:
        parts.append(element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y(mark), y2=y(mark)))
        parts.append(element("text", f"{mark:g}", class_="tick", x=LEFT - 8, y=y(mark) + 4, text_anchor="end"))
    for power in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1):
        label = f"10{str(power).translate(SUPERSCRIPTS)}"
        parts.append(element("line", class_="grid", x1=x(10**power), x2=x(10**power), y1=bottom, y2=bottom + 5))
        parts.append(element("text", label, class_="tick", x=x(10**power), y=bottom + 20, text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(element("text", "learning rate", class_="axis-title", x=middle, y=HEIGHT - 8, text_anchor="middle"))
    seen = [(one, loss) for one, loss in zip(test.rates, test.losses, strict=True) if loss <= high]
    parts += [element("circle", class_="batch", cx=x(one), cy=y(loss), r=2.2) for one, loss in seen]
    course = [(x(one), y(loss)) for one, loss in zip(test.rates, test.smoothed, strict=True) if loss <= high]
    parts.append(element("path", class_="course", d="M" + " L".join(f"{a:.1f} {b:.1f}" for a, b in course)))
    if rate is not None and test.bottom is not None and test.steepest is not None:
        parts += [_upright("other", x(test.steepest), 48, bottom, f"steepest {test.steepest:.2g}", "end")]
        if rate < test.bottom / 2:
            parts += [_upright("other", x(test.bottom), 48, bottom, f"bottom {test.bottom:.2g}", "start")]
        parts += [_upright("chosen", x(rate), 30, bottom, f"suggested: {rate:g}", "middle")]
        at = test.smoothed[min(range(len(test.rates)), key=lambda i: abs(math.log(test.rates[i] / rate)))]
        parts.append(element("circle", class_="at", cx=x(rate), cy=y(at), r=5))
    return parts


def _visible(test: RangeTest) -> tuple[float, float]:
    """Return the range of losses to show: the course up to the beginning of its last rise, which has no end."""
    start: Sequence[float] = test.smoothed[: max(1, len(test.smoothed) // 3)]
    low, high = min(test.smoothed), max(start)
    return max(0.0, low - 0.08 * (high - low)), high + 0.25 * (high - low)


def _upright(kind: str, x: float, top: float, bottom: float, label: str, anchor: str) -> Markup:
    shift = {"start": 5.0, "middle": 0.0, "end": -5.0}[anchor]
    return element(
        "g",
        element("line", class_=kind, x1=x, x2=x, y1=top + 4, y2=bottom),
        element("text", label, class_=f"{kind}-label", x=x + shift, y=top, text_anchor=anchor),
    )
