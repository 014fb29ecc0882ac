"""Sheets: every word in its place, in letters that the font has."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.explanation.lettering import MOST_LINES, font, lines, written
from foveal.explanation.sheets import MARGIN, PAPER, Tile, sheets


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.integers(20, 300))
def test_lines_fit_and_lose_nothing_but_what_is_cut(text, width):
    found = lines(text, width, font(12))
    assert len(found) <= MOST_LINES
    assert all(font(12).getlength(line) <= max(width, 14) + 12 for line in found)  # a letter at least; the cut's dots
    if len(found) < MOST_LINES:
        assert "".join(found).replace(" ", "") == written(text).replace(" ", "").replace("\n", "")


def test_letters_that_the_font_lacks_have_a_stand_in():
    assert written("Müller größe é 3×3 → Łódź") == "Muller grosse e 3x3 -> Lodz"
    assert written("中 \U0001f33a \x07") == "? ? ?"
    assert written("plain (100 %), A-Z") == "plain (100 %), A-Z"


def test_a_long_name_does_not_run_into_its_neighbour():
    side = 96
    tiles = [Tile(np.zeros((8, 8), np.uint8), "W" * 240), Tile(np.zeros((8, 8), np.uint8), "b")]
    (page,) = sheets(tiles, heading="h", columns=2, side=side)
    gap = np.asarray(page)[:, MARGIN + side + 1 : MARGIN + side + 9]
    assert (gap == np.array([255, 255, 255])).all()
    assert PAPER == "#ffffff"


def test_pages_and_rows():
    tiles = [Tile(np.zeros((8, 8), np.uint8), str(at)) for at in range(70)]
    pages = sheets(tiles, heading="many", columns=8, side=40, most=64)
    assert len(pages) == 2
    assert pages[0].height > pages[1].height
