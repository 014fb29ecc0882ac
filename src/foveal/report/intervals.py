"""Small pictures of a share and its confidence interval; the numbers always stand beside them as text."""

from __future__ import annotations

from markupsafe import Markup

from foveal.evaluation.interval import Estimate
from foveal.web.svg import element


def interval_bar(estimate: Estimate | None) -> Markup:
    """Return a bar from 0 to the share with its interval as a whisker."""
    if estimate is None:
        return Markup("")
    low, high = 100 * estimate.low, 100 * estimate.high
    return element(
        "svg",
        element("rect", class_="track", x=0, y=3, width=100, height=6),
        element("rect", class_="fill", x=0, y=3, width=100 * estimate.value, height=6),
        element("path", class_="whisker", d=f"M{low:.1f} 6H{high:.1f}M{low:.1f} 2V10M{high:.1f} 2V10"),
        class_="bar",
        viewBox="-1 0 102 12",
        aria_hidden="true",
    )


def interval_scale(estimate: Estimate) -> Markup:
    """Return the interval on a scale that ends at 100 % and begins at the round number below it."""
    start = max(
        (begin for begin in (0.0, 0.5, 0.8, 0.9, 0.95, 0.98) if begin <= estimate.low - (1 - begin) * 0.08), default=0
    )

    def x(share: float) -> float:
        return 20 + 300 * (share - start) / (1 - start)

    low, value, high = x(estimate.low), x(estimate.value), x(estimate.high)
    marks: list[Markup] = []
    for fraction in (0.0, 0.25, 0.5, 0.75, 1.0):
        share = start + fraction * (1 - start)
        marks.append(element("line", class_="grid", x1=x(share), x2=x(share), y1=22, y2=28))
        if fraction in (0.0, 0.5, 1.0):
            label = f"{100 * share:g} %"
            marks.append(element("text", label, class_="tick", x=x(share), y=44, text_anchor="middle"))
    return element(
        "svg",
        element("line", class_="grid", x1=x(start), x2=x(1), y1=22, y2=22),
        *marks,
        element("path", class_="whisker", d=f"M{low:.1f} 12H{high:.1f}M{low:.1f} 6V18M{high:.1f} 6V18"),
        element("circle", class_="value", cx=value, cy=12, r=6),
        class_="interval",
        viewBox="0 0 340 50",
        aria_hidden="true",
    )
