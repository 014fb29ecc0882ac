"""The learning curves: loss and accuracy over the epochs, training dashed and hollow, validation solid and filled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from foveal.web.svg import element, ticks

WIDTH, HEIGHT = 440.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 76.0, 44.0, 42.0
MOST_MARKERS = 24


@dataclass(frozen=True)
class Panel:
    """One quantity over the epochs."""

    title: str
    best_epoch: int
    epochs: tuple[int, ...]
    train: tuple[float, ...]
    validation: tuple[float, ...]
    ticks: tuple[float, ...]
    tick_label: Callable[[float], str]

    def x(self, epoch: float) -> float:
        """Return where `epoch` lies; a single epoch lies in the middle."""
        return position(self.epochs, epoch)

    def y(self, value: float) -> float:
        """Return where `value` lies."""
        low, high = self.ticks[0], self.ticks[-1]
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def position(epochs: Sequence[int], epoch: float) -> float:
    """Return the horizontal position of `epoch`, the same in both panels."""
    first, last = epochs[0], epochs[-1]
    share = (epoch - first) / (last - first) if last > first else 0.5
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def loss_and_accuracy(
    epochs: Sequence[int],
    losses: tuple[Sequence[float], Sequence[float]],
    accuracies: tuple[Sequence[float], Sequence[float]],
    best_epoch: int,
) -> tuple[Panel, Panel]:
    """Return the two panels of one epoch or more; `losses` and `accuracies` are (training, validation)."""
    train_loss, validation_loss, train_share, validation_share = (tuple(one) for one in (*losses, *accuracies))
    highest = max(_finite(train_loss, validation_loss), default=1.0)
    lowest = min(_finite(train_share, validation_share), default=0.0)
    share_ticks = tuple(tick for tick in ticks(lowest if lowest < 0.98 else 0.98, 1.0) if tick <= 1.0)
    at, loss_ticks = tuple(epochs), tuple(ticks(0.0, highest))
    return (
        Panel("Loss", best_epoch, at, train_loss, validation_loss, loss_ticks, lambda tick: f"{tick:g}"),
        Panel("Accuracy", best_epoch, at, train_share, validation_share, share_ticks, _percent_label),
    )


def _percent_label(share: float) -> str:
    return f"{round(100 * share, 1):g} %"


def panel_drawing(panel: Panel) -> Markup:
    """Return the panel as an SVG group of WIDTH × HEIGHT."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [element("text", panel.title, class_="title", x=0, y=15)]
    for tick in panel.ticks:
        y = panel.y(tick)
        parts.append(element("line", class_="grid", x1=LEFT, x2=right, y1=y, y2=y))
        parts.append(element("text", panel.tick_label(tick), class_="tick", x=LEFT - 8, y=y + 4, text_anchor="end"))
    for epoch in _epoch_ticks(panel.epochs):
        label = str(epoch)
        parts.append(element("text", label, class_="tick", x=panel.x(epoch), y=bottom + 18, text_anchor="middle"))
    middle = (LEFT + right) / 2
    parts.append(element("text", "epoch", class_="axis-title", x=middle, y=HEIGHT - 6, text_anchor="middle"))
    if panel.best_epoch in panel.epochs:
        x = panel.x(panel.best_epoch)
        parts.append(element("line", class_="best", x1=x, x2=x, y1=TOP - 8, y2=bottom))
        anchor = "end" if x > middle else "start"
        label = f"best: epoch {panel.best_epoch}"
        parts.append(element("text", label, class_="best-label", x=x, y=TOP - 13, text_anchor=anchor))
    parts.append(element("line", class_="cursor", x1=LEFT, x2=LEFT, y1=TOP - 8, y2=bottom))
    parts += _curve(panel, panel.train, "train")
    parts += _curve(panel, panel.validation, "validation")
    parts += _end_labels(panel)
    return element("g", *parts)


def panel_svg(panel: Panel, summary: str) -> Markup:
    """Return the panel for the page, coloured by the page's style sheet."""
    return element(
        "svg",
        panel_drawing(panel),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        class_="panel",
        role="img",
        aria_label=f"{panel.title} over {len(panel.epochs)} epochs, training and validation. {summary}",
    )


def _curve(panel: Panel, values: tuple[float, ...], kind: str) -> list[Markup]:
    points = [
        (panel.x(epoch), panel.y(value))
        for epoch, value in zip(panel.epochs, values, strict=True)
        if math.isfinite(value)
    ]
    drawn = []
    if len(points) > 1:
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        drawn.append(element("path", class_=f"curve {kind}", d=path))
    every = math.ceil(len(points) / MOST_MARKERS) or 1
    drawn += [element("circle", class_=f"point {kind}", cx=x, cy=y, r=3.2) for x, y in points[::-1][::every]]
    return drawn


def _end_labels(panel: Panel) -> list[Markup]:
    ends = {
        kind: panel.y(finite[-1])
        for kind, values in (("train", panel.train), ("validation", panel.validation))
        if (finite := _finite(values))
    }
    if len(ends) == 2 and abs(ends["train"] - ends["validation"]) < 16:
        upper, lower = sorted(ends, key=lambda kind: ends[kind])
        middle = (ends["train"] + ends["validation"]) / 2
        ends = {upper: middle - 8, lower: middle + 8}
    x = panel.x(panel.epochs[-1]) + 9
    words = {"train": "training", "validation": "validation"}
    return [element("text", words[kind], class_=f"end {kind}", x=x, y=y + 4) for kind, y in ends.items()]


def _epoch_ticks(epochs: tuple[int, ...]) -> list[int]:
    step = max(1, round(ticks(0, max(epochs[-1] - epochs[0], 1), 7)[1]))
    inner = [epoch for epoch in range(epochs[0], epochs[-1] + 1) if epoch % step == 0]
    kept = [epoch for epoch in inner if epoch - epochs[0] >= step * 0.6 and epochs[-1] - epoch >= step * 0.6]
    return sorted({epochs[0], *kept, epochs[-1]})


def _finite(*series: tuple[float, ...]) -> list[float]:
    return [value for values in series for value in values if math.isfinite(value)]
