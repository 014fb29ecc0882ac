"""The strokes that a network's drawing is made of: words, badges, paths and arrows."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from foveal.web.svg import element, written

Point = tuple[float, float]


def text(x: float, y: float, words: str, *, class_: str | None = None, anchor: str | None = None) -> Markup:
    """Return words that begin, end or lie in the middle at x."""
    return element("text", words, x=x, y=y, class_=class_, text_anchor=anchor)


def badge(x: float, y: float, letter: str) -> list[Markup]:
    """Return a letter on a dark square, its left edge at x and its middle at y."""
    return [
        element("rect", class_="badge", x=x, y=y - 8, width=17, height=17, rx=4),
        text(x + 8.5, y + 4.5, letter, class_="letter", anchor="middle"),
    ]


def polygon(class_: str, corners: Sequence[Point]) -> Markup:
    """Return a filled shape."""
    return element("polygon", class_=class_, points=" ".join(f"{written(x)},{written(y)}" for x, y in corners))


def path(class_: str, *steps: str | float) -> Markup:
    """Return a line by the letters and numbers of SVG's paths."""
    return element("path", class_=class_, d=" ".join(one if isinstance(one, str) else written(one) for one in steps))


def arrow(points: Sequence[Point], *, head: bool) -> Markup:
    """Return a line, curved where it goes down to another axis, with a head or without."""
    (x, y), *between, (end, bottom) = points
    tip = bottom - (5 if head else 0)
    if between:
        line = path("wire", "M", x, y, *(step for a, b in points[1:] for step in ("L", a, b)))
    elif abs(x - end) < 1:
        line = path("wire", "M", x, y, "V", tip)
    else:
        half = (y + tip) / 2
        line = path("wire", "M", x, y, "C", x, half, end, half, end, tip)
    if not head:
        return line
    if between:  # it comes from the right
        return line + polygon("head", ((end + 7, bottom - 4), (end + 7, bottom + 4), (end, bottom)))
    return line + polygon("head", ((end - 4, bottom - 7), (end + 4, bottom - 7), (end, bottom)))
