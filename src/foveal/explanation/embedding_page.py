"""The page of an embedding: a point an image, which shows itself when it is pointed at or reached by keyboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from PIL import Image

from foveal.explanation.embedding import Embedding
from foveal.explanation.sheets import as_rgb
from foveal.web import asset, page
from foveal.web.svg import element
from foveal.web.thumbnails import thumbnail

HERE = "foveal.explanation"
# After Okabe and Ito 2008, told apart by colour-blind readers; darker where white paper would swallow them.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a4fa3")
# Paths around (0, 0); as many as are coprime to the colours, so that 56 classes differ in one of both.
SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
    "M-4.5-4.5H4.5V4.5H-4.5Z",
    "M0-6L5.5 4H-5.5Z",
    "M0-6.5L6 0L0 6.5L-6 0Z",
    "M0 6L5.5-4H-5.5Z",
    "M-1.8-5.5H1.8V-1.8H5.5V1.8H1.8V5.5H-1.8V1.8H-5.5V-1.8H-1.8Z",
    "M0-6.5L1.7-2H6.2L2.7 1L4 5.5L0 2.8L-4 5.5L-2.7 1L-6.2-2H-1.7Z",
    "M-5-3L-3-5L0-2L3-5L5-3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z",
)
UNKNOWN = ("#767676", SHAPES[0])
WIDTH, HEIGHT, EDGE = 900, 640, 16


@dataclass(frozen=True, eq=False)
class Member:
    """An image of the embedding."""

    name: str
    true: str  # its class; empty where it is not known
    predicted: str
    pixels: np.ndarray  # uint8 (H, W, 1 or 3)


def embedding_page(embedding: Embedding, members: Sequence[Member], *, title: str, note: str = "") -> str:
    """Return the page as one HTML document that loads nothing and works from a file.

    Classes differ in colour and shape; images that the classifier gets wrong have a dark rim. Arrow keys go from point
    to point, through one class after the other. Without scripts a browser still shows each point's words.
    """
    classes = sorted({one.true for one in members if one.true})
    marks = {name: (COLOURS[at % len(COLOURS)], SHAPES[at % len(SHAPES)]) for at, name in enumerate(classes)}
    places = _placed(embedding.points)
    order = sorted(range(len(members)), key=lambda at: (members[at].true, places[at].tolist()))
    points = [_point(members[at], places[at], marks, first=at == order[0]) for at in order]
    plot = element(
        "svg",
        *points,
        Markup('<circle id="ring" r="12" hidden></circle>'),  # around the chosen point, above all others
        id="points",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label=f"{len(members):,} images as points; arrow keys go from one to the next",
    )
    legend = [_entry(name, marks[name], sum(one.true == name for one in members)) for name in classes]
    if unknown := sum(not one.true for one in members):
        legend.append(_entry("not labelled", UNKNOWN, unknown))
    wrong = sum(bool(one.true) and one.true != one.predicted for one in members)
    known = len(members) - unknown
    hint = "Point at an image, or reach it with Tab and the arrow keys."
    shown = element(
        "figure",
        Markup('<img id="picture" alt="" hidden>'),
        element("figcaption", hint, id="words", aria_live="polite"),
    )
    beside = element(
        "aside",
        shown,
        element("ul", *legend, class_="legend"),
        element("p", f"With a dark rim: {wrong:,} of {known:,} that are predicted wrongly." if known else ""),
    )
    body = element(
        "main",
        element("h1", title),
        element("p", f"{len(members):,} images. {embedding.words} {note}".strip(), class_="how"),
        element("div", plot, beside, class_="plane"),
    )
    style, script = asset(HERE, "embedding.css"), asset(HERE, "embedding.js")
    return page(f"{title} · Foveal", body, style=style, script=script, closed=True)


def _placed(points: np.ndarray) -> np.ndarray:
    """Return `points` (N, 2) where they lie in the drawing: as large as it allows, one scale for both axes."""
    low, high = points.min(0), points.max(0)
    room = np.array([WIDTH, HEIGHT]) - 2 * EDGE
    scale = float(np.min(room / np.maximum(high - low, 1e-12))) if (high > low).any() else 0.0
    centred = (points - (low + high) / 2) * scale * np.array([1, -1])  # upwards is more
    placed: np.ndarray = centred + np.array([WIDTH, HEIGHT]) / 2
    return placed


def _point(member: Member, place: np.ndarray, marks: dict[str, tuple[str, str]], *, first: bool) -> Markup:
    colour, shape = marks.get(member.true, UNKNOWN)
    said = f"{member.name}: {member.true or 'not labelled'}, predicted {member.predicted}"
    wrong = bool(member.true) and member.true != member.predicted
    return element(
        "path",
        element("title", said),
        d=shape,
        transform=f"translate({place[0]:.1f} {place[1]:.1f})",
        fill=colour,
        class_="point wrong" if wrong else "point",
        tabindex=0 if first else -1,
        role="img",
        aria_label=said,
        data_image=thumbnail(Image.fromarray(as_rgb(member.pixels))).address,
    )


def _entry(name: str, mark: tuple[str, str], count: int) -> Markup:
    drawn = element("path", d=mark[1], fill=mark[0])
    symbol = element("svg", drawn, viewBox="-8 -8 16 16", aria_hidden="true")
    return element("li", symbol, f"{name} ({count:,})")
