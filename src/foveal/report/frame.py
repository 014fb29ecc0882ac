"""The frame of a drawing with two axes: where a value lies, its grid, its titles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from foveal.web.svg import element, ticks

WIDTH, HEIGHT = 360.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 14.0, 34.0, 46.0

Point = tuple[float, float]


def percent_label(share: float) -> str:
    """``0.25`` → ``25 %``."""
    return f"{round(100 * share, 1):g} %"


@dataclass(frozen=True)
class Frame:
    """Two axes, of which the horizontal one goes from 0 to 1."""

    title: str
    across: str  # what the horizontal axis is
    up: str  # what the vertical axis is
    low: float = 0.0
    high: float = 1.0
    label: Callable[[float], str] = percent_label  # of a tick of the vertical axis

    def x(self, value: float) -> float:
        """Return where `value` lies."""
        return LEFT + value * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return where `value` lies."""
        inside = min(max(value, self.low), self.high)
        return HEIGHT - BOTTOM - (inside - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def path(self, points: Iterable[Point], kind: str) -> Markup:
        """Return a line through `points`."""
        d = "M" + " L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        return element("path", class_=f"line {kind}", d=d)

    def band(self, points: Sequence[tuple[float, float, float]], kind: str) -> Markup:
        """Return the area between low and high of `points`, (x, low, high) each."""
        over = [f"{self.x(x):.1f} {self.y(high):.1f}" for x, _, high in points]
        under = [f"{self.x(x):.1f} {self.y(low):.1f}" for x, low, _ in reversed(points)]
        return element("path", class_=f"band {kind}", d="M" + " L".join(over + under) + "Z")

    def whisker(self, x: float, low: float, high: float, kind: str) -> Markup:
        """Return an interval that stands upright at `x`."""
        at = self.x(x)
        top, bottom = self.y(high), self.y(low)
        ends = f"M{at - 3:.1f} {top:.1f}h6M{at - 3:.1f} {bottom:.1f}h6"
        return element("path", class_=f"whisker {kind}", d=f"M{at:.1f} {top:.1f}V{bottom:.1f}{ends}")

    def dot(self, x: float, y: float, kind: str, radius: float = 4.0) -> Markup:
        """Return a point."""
        return element("circle", class_=f"dot {kind}", cx=self.x(x), cy=self.y(y), r=radius)

    def words(self, x: float, y: float, text: str) -> Markup:
        """Return `text` that ends at a place inside the frame."""
        return element("text", text, class_="end", x=self.x(x), y=self.y(y), text_anchor="end")

    def drawing(self, *children: Markup, summary: str) -> Markup:
        """Return the whole drawing for the page; `summary` says what it shows to those who do not see it."""
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = [element("text", self.title, class_="title", x=0, y=15)]
        for tick in ticks(self.low, self.high):
            if not self.low <= tick <= self.high:
                continue
            y = self.y(tick)
            parts.append(element("line", class_="grid", x1=LEFT, x2=right, y1=y, y2=y))
            parts.append(element("text", self.label(tick), class_="tick", x=LEFT - 8, y=y + 4, text_anchor="end"))
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
            anchor = "end" if tick == 1 else "middle"
            label = percent_label(tick)
            parts.append(element("text", label, class_="tick", x=self.x(tick), y=bottom + 18, text_anchor=anchor))
        middle = (LEFT + right) / 2
        parts.append(element("text", self.across, class_="axis-title", x=middle, y=HEIGHT - 8, text_anchor="middle"))
        turned = f"rotate(-90 12 {(TOP + bottom) / 2:.1f})"
        words = element(
            "text", self.up, class_="axis-title", x=12, y=(TOP + bottom) / 2, text_anchor="middle", transform=turned
        )
        return element(
            "svg",
            *parts,
            words,
            *children,
            viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
            class_="frame",
            role="img",
            aria_label=f"{self.title}. {summary}",
        )
