"""Sheets: small pictures in a grid, each with its title, under a heading; as many pages as they need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from foveal.explanation.lettering import font, lines

MARGIN, GAP, LINE = 16, 10, 15
FONT_SIZE, HEADING_SIZE = 12, 17
INK, FAINT, PAPER, ALARM = "#1a1a1a", "#595959", "#ffffff", "#a33c00"
NARROWEST = 360  # pixels of a sheet


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture and what it is called; the title's line breaks are kept. `alarm` follows it in another colour."""

    picture: np.ndarray  # uint8 (h, w, 3), or (h, w) grey
    title: str = ""
    alarm: str = ""


def sheets(
    tiles: Sequence[Tile],
    *,
    heading: str,
    note: str = "",
    columns: int = 8,
    side: int = 96,
    most: int = 64,
) -> list[Image.Image]:
    """Return `tiles` on sheets of at most `most`, `columns` beside one another, each in a square of `side` pixels.

    A smaller picture is enlarged without blurring its pixels where it goes in twice or more; a larger one is reduced.
    With several sheets the heading says which this is.
    """
    parts = [tiles[start : start + most] for start in range(0, len(tiles), most)] or [tiles]
    return [
        _sheet(part, heading + (f" ({at} of {len(parts)})" if len(parts) > 1 else ""), note, columns, side)
        for at, part in enumerate(parts, start=1)
    ]


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """Return uint8 `picture` (h, w), (h, w, 1) or (h, w, 3) with three channels."""
    grey = picture[..., None] if picture.ndim == 2 else picture
    return np.repeat(grey, 3, axis=-1) if grey.shape[-1] == 1 else grey


def fitted(picture: np.ndarray, side: int) -> Image.Image:
    """Return `picture` in the largest size that a square of `side` holds; small ones in whole multiples of pixels."""
    image = Image.fromarray(as_rgb(picture))
    scale = side / max(image.size)
    if scale >= 2:
        times = math.floor(scale)
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def _sheet(tiles: Sequence[Tile], heading: str, note: str, columns: int, side: int) -> Image.Image:
    columns = max(1, min(columns, len(tiles)))
    small, large = font(FONT_SIZE), font(HEADING_SIZE)
    titles = [(lines(tile.title, side, small), lines(tile.alarm, side, small)) for tile in tiles]
    width = max(2 * MARGIN + columns * side + (columns - 1) * GAP, NARROWEST)
    head, foot = lines(heading, width - 2 * MARGIN, large), lines(note, width - 2 * MARGIN, small)
    top = MARGIN + len(head) * (HEADING_SIZE + 5) + len(foot) * LINE + GAP
    rows = [titles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [side + max(len(title) + len(alarm) for title, alarm in row) * LINE + GAP for row in rows]
    page = Image.new("RGB", (width, top + sum(heights) + MARGIN - GAP), PAPER)
    draw = ImageDraw.Draw(page)
    y = MARGIN
    for words in head:
        draw.text((MARGIN, y), words, fill=INK, font=large)
        y += HEADING_SIZE + 5
    for words in foot:
        draw.text((MARGIN, y), words, fill=FAINT, font=small)
        y += LINE
    for at, (tile, (title, alarm)) in enumerate(zip(tiles, titles, strict=True)):
        left, upper = MARGIN + at % columns * (side + GAP), top + sum(heights[: at // columns])
        picture = fitted(tile.picture, side)
        page.paste(picture, (left + (side - picture.width) // 2, upper + (side - picture.height) // 2))
        for row, words in enumerate((*title, *alarm)):
            colour = ALARM if row >= len(title) else INK
            draw.text((left, upper + side + 2 + row * LINE), words, fill=colour, font=small)
    return page
