"""The page of robustness: one sentence, table and curves by corruption, worst cases, shifts, and what it all means."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from markupsafe import Markup

from foveal.evaluation.robustness import LOSS, Case, Condition, Curve, Robustness
from foveal.report import wording
from foveal.report.svg import standalone
from foveal.web import asset, page, templates
from foveal.web.svg import element, printable

HERE = "foveal.report"
WIDTH, HEIGHT = 230.0, 182.0  # of one panel
LEFT, RIGHT, TOP, BOTTOM = 36.0, 10.0, 40.0, 30.0
COLUMNS = 5  # of the figure
SHADES = (0.01, 0.05, 0.1, 0.2, 0.4, 0.6)  # of accuracy lost, from which on a cell has the next shade
APART = 0.05  # of the falls of accuracy and confidence, from which on they are not about the same
KNOWS = 0.1  # of mean confidence above accuracy, from which on it is said not to know
STYLE = """
.reach { fill: #bcd8f0; fill-opacity: 0.6; } .accuracy { fill: none; stroke: #0b62a8; stroke-width: 2.2; }
.confidence { fill: none; stroke: #b04e00; stroke-width: 1.8; stroke-dasharray: 5 3; }
.at { fill: #0b62a8; } .sure { fill: #ffffff; stroke: #b04e00; stroke-width: 1.4; }
.ends { stroke: #545c67; stroke-dasharray: 2 3; } .quantity { fill: #545c67; font-size: 10.5px; }
"""


def robustness_page(result: Robustness) -> str:
    """Return the page as one HTML document."""
    environment = templates(HERE)
    body = environment.get_template("robustness.html.jinja").render(
        result=result,
        title=title(result),
        conclusion=conclusion(result),
        known=known(result),
        panels=[(curve, panel(curve, result)) for curve in result.curves],
        cases=cases(result),
        shade=shade,
        endured=endured,
        points=points,
        say=wording,
        loss=LOSS,
    )
    style = asset(HERE, "report.css") + asset(HERE, "robustness.css")
    html = page(f"{title(result)} · Foveal", Markup(body), style=style, closed=True)
    return html.encode("utf-8", "replace").decode("utf-8")


def robustness_figure(result: Robustness) -> str:
    """Return all curves as one SVG file."""
    rows = -(-len(result.curves) // COLUMNS)
    columns = min(COLUMNS, len(result.curves))
    placed = [
        element("g", *drawing(curve, result), transform=f"translate({i % COLUMNS * WIDTH:g} {i // COLUMNS * HEIGHT:g})")
        for i, curve in enumerate(result.curves)
    ]
    return standalone(columns * WIDTH, rows * HEIGHT, conclusion(result), *placed, style=STYLE)


# --- sentences ---


def title(result: Robustness) -> str:
    """Return what was damaged."""
    return f"Robustness of {result.model} on {printable(result.dataset)}"


def conclusion(result: Robustness) -> str:
    """Return what came out, in one sentence."""
    said = (
        f"Of {wording.counted(result.n, 'test image')} {wording.percent(result.clean.value)} are answered rightly as "
        f"they are, and {wording.percent(result.mean.value)} on average when they are damaged"
    )
    if len(result.curves) == 1:
        return f"{said} by {named(result.curves[0])}: {endured(result.curves[0], whole=True)}."
    weak, strong = result.weakest, result.strongest
    return (
        f"{said}: worst by {named(weak)} ({wording.percent(weak.mean_accuracy)}), least "
        f"by {named(strong)} ({wording.percent(strong.mean_accuracy)})."
    )


def named(curve: Curve) -> str:
    """Return a corruption's name within a sentence."""
    return curve.title if curve.title.isupper() or curve.title.startswith("Gauss") else curve.title.lower()


def endured(curve: Curve, *, whole: bool = False) -> str:
    """Return at which strength `LOSS` is lost, as a cell of a table or as a clause."""
    if curve.endures is None:
        strongest = curve.written(curve.conditions[-1].strength)
        return f"less than {100 * LOSS:g} points lost at {strongest}" if whole else f"not at {strongest}"
    at = curve.written(curve.endures)
    return f"{100 * LOSS:g} points are lost at {at} {curve.quantity}" if whole else f"at {at}"


def known(result: Robustness) -> str:
    """Return whether the network's confidence falls with its accuracy, and how often the classifier abstains."""
    gap = result.mean_confidence - result.mean.value
    clean = result.clean_confidence - result.clean.value
    falls = result.clean.value - result.mean.value, result.clean_confidence - result.mean_confidence
    said = (
        f"Damaged, it is {wording.percent(result.mean_confidence)} sure on average and right for "
        f"{wording.percent(result.mean.value)}"
    )
    if gap - max(clean, 0.0) >= KNOWS:
        said += ": it mostly does not know what it no longer sees."
    elif gap >= KNOWS:
        said += ": it is too sure, as it is of clean images."
    elif falls[0] - falls[1] >= APART:
        said += f": its accuracy falls by {100 * falls[0]:.1f} points, its confidence by {100 * falls[1]:.1f} only."
    else:
        said += ": its confidence falls about as far as its accuracy."
    return said + _abstaining(result)


def _abstaining(result: Robustness) -> str:
    """Return on how many images it abstains, as a further sentence; nothing where it never does."""
    shares = [one.abstained for curve in result.curves for one in curve.conditions if one.abstained is not None]
    if result.clean_abstained is None or not shares:
        return ""
    return (
        f" It abstains on {wording.percent(result.clean_abstained)} of the clean images and on "
        f"{wording.percent(sum(shares) / len(shares))} of the damaged ones, which count here as answered all the same."
    )


def points(share: float) -> str:
    """``0.0123`` → ``1.2``, in percentage points, with a true minus."""
    return f"{100 * share:.1f}".replace("-0.0", "0.0").replace("-", "\N{MINUS SIGN}")


def shade(condition: Condition) -> int:
    """Return the shade of a cell, 0 to 6, by the accuracy that is lost."""
    return sum(condition.drop.value >= least for least in SHADES)


def cases(result: Robustness) -> list[tuple[Curve, list[Case]]]:
    """Return the corruptions that turned images, each with those that are shown."""
    shown = {name: list(some) for name, some in groupby(result.cases, key=lambda one: one.corruption)}
    return [(curve, shown[curve.name]) for curve in result.curves if curve.name in shown]


# --- drawing ---


def panel(curve: Curve, result: Robustness) -> Markup:
    """Return one corruption's curves for the page."""
    accuracies = ", ".join(
        f"{curve.written(one.strength)}: {wording.percent(one.accuracy.value)}" for one in curve.conditions
    )
    label = f"{curve.title}, {curve.quantity}. Accuracy clean {wording.percent(result.clean.value)}, {accuracies}."
    view = f"0 0 {WIDTH:g} {HEIGHT:g}"
    return element("svg", *drawing(curve, result), viewBox=view, class_="multiple", role="img", aria_label=label)


def drawing(curve: Curve, result: Robustness) -> list[Markup]:
    """Return the elements: accuracy with its interval, confidence, and where `LOSS` is lost, over the strength."""
    last = curve.conditions[-1].strength
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT

    def x(strength: float) -> float:
        return LEFT + (strength - curve.clean) / (last - curve.clean) * (right - LEFT)

    def y(share: float) -> float:
        return bottom - share * (bottom - TOP)

    at = [x(curve.clean), *(x(one.strength) for one in curve.conditions)]
    estimates = [result.clean, *(one.accuracy for one in curve.conditions)]
    sure = [result.clean_confidence, *(one.confidence for one in curve.conditions)]
    parts = [
        element("text", curve.title, class_="title", x=0, y=13),
        element("text", curve.quantity, class_="quantity", x=0, y=26),
    ]
    for tick in (0.0, 0.5, 1.0):
        parts.append(element("line", class_="grid", x1=LEFT, x2=right, y1=y(tick), y2=y(tick)))
        parts.append(element("text", f"{100 * tick:g}", class_="tick", x=LEFT - 6, y=y(tick) + 4, text_anchor="end"))
    parts += [
        element("text", curve.written(one), class_="tick", x=place, y=bottom + 16, text_anchor=anchor)
        for one, place, anchor in _strength_marks(curve, x)
    ]
    if curve.endures is not None:
        ends = x(curve.endures)
        parts.append(element("line", class_="ends", x1=ends, x2=ends, y1=TOP - 2, y2=bottom))
    upper = [f"{a:.1f} {y(one.high):.1f}" for a, one in zip(at, estimates, strict=True)]
    lower = [f"{a:.1f} {y(one.low):.1f}" for a, one in zip(at, estimates, strict=True)]
    parts.append(element("path", class_="reach", d="M" + "L".join([*upper, *lower[::-1]]) + "Z"))
    for kind, dot, values in (
        ("confidence", "sure", sure),
        ("accuracy", "at", [one.value for one in estimates]),
    ):
        course = [(a, y(value)) for a, value in zip(at, values, strict=True)]
        parts.append(element("path", class_=kind, d="M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in course)))
        parts += [element("circle", class_=dot, cx=a, cy=b, r=2.8) for a, b in course]
    return parts


def _strength_marks(curve: Curve, x: Callable[[float], float]) -> list[tuple[float, float, str]]:
    """Return (strength, place, anchor) of the labels under a panel: both ends, and between them where there is room."""
    last = curve.conditions[-1].strength
    marks = [(curve.clean, x(curve.clean), "middle"), (last, WIDTH - RIGHT, "end")]
    middle = (x(curve.clean) + x(last)) / 2
    nearest = min((one.strength for one in curve.conditions), key=lambda one: abs(x(one) - middle))
    if abs(x(nearest) - middle) < (x(last) - x(curve.clean)) / 4:
        marks.insert(1, (nearest, x(nearest), "middle"))
    return marks
